"""How much of the sky reaches the folds of ears, and the skin that ears shade: too fine for the maps of a scene."""

from __future__ import annotations

import numpy as np

from portrait360.synth.noise import smoothstep
from portrait360.synth.render import shadow_maps
from portrait360.synth.render.lights import radiance, sphere_directions
from portrait360.synth.render.mesh_buffers import NORMAL, POSITION, Surface
from portrait360.synth.scene import Light, Part
from portrait360.utils.array_types import F32, I32
from portrait360.utils.portrait_labels import Label

DIRECTIONS, SIDE = 48, 128  # of light, and texels of the map of one ear
FEWEST = 40  # triangles of an ear
ROOM = 1.45  # radii of an ear within which what blocks its light lies
DARK = 1.3  # power of the share of the sky: maps of lamps are too coarse for folds, which keep off their light, too
SHADED = (1.0, 1.3)  # radii of an ear from which, and at which, its shade on the skin ends


def open_ears(surface: Surface, solid: I32, light: Light) -> F32:
    """Return the share (n, 3) of the sky that solid surfaces beside an ear leave to each vertex; 1 far from ears."""
    out = np.ones((len(surface.values), 3), np.float32)
    corners = surface.triangles[solid]
    ears = corners[(surface.labels[solid] == Label.EAR) & (surface.part[solid] == Part.SKIN)]
    if len(ears) < FEWEST:
        return out
    points = np.ascontiguousarray(surface.values[:, POSITION])
    across = points[ears[:, 0], 0]
    for ear in (ears[across < 0], ears[across >= 0]):
        if len(ear) >= FEWEST:
            _open_ear(surface, solid, points, np.unique(ear), light, out)
    return out


def _open_ear(surface: Surface, solid: I32, points: F32, ear: I32, light: Light, out: F32) -> None:
    """Multiply `out` (n, 3) by what one ear, of these vertices, leaves of the sky."""
    centre = (points[ear].min(0) + points[ear].max(0)) / 2
    radius = float(np.sqrt(((points[ear] - centre) ** 2).sum(1).max())) + 1e-6
    distance = np.sqrt(((points - centre) ** 2).sum(1)) / radius
    near = distance < ROOM
    solid = solid[near[surface.triangles[solid]].all(1)]
    rows = np.unique(surface.triangles[solid])
    local = np.zeros(len(points), np.int32)
    local[rows] = np.arange(len(rows), dtype=np.int32)
    triangles = local[surface.triangles[solid]]
    corners, normals = points[rows], np.ascontiguousarray(surface.values[rows, NORMAL])
    visible, total = np.zeros_like(corners), np.full_like(corners, 1e-9)
    hair = np.full((SIDE, SIDE), shadow_maps.FAR, np.float32), np.zeros((SIDE, SIDE), np.float32)  # none
    every = np.arange(len(triangles), dtype=np.int32)
    for direction in sphere_directions(DIRECTIONS):
        colour = np.maximum(radiance(light.ambient, direction[None])[0], 1e-3)
        view = shadow_maps.make_frame(direction, centre, ROOM * radius, SIDE)
        placed = shadow_maps.to_map_frame(corners, view.matrix)
        heights = np.full((SIDE, SIDE), shadow_maps.FAR, np.float32)
        shadow_maps.draw_triangles(placed, triangles, every, heights)
        shadow_maps.surface_occlusion(placed, normals, direction, colour, heights, *hair, view.texel, visible, total)
    blocked = (1 - (visible / total) ** DARK) * (1 - smoothstep(*SHADED, distance[rows]))[:, None]
    out[rows] *= (1 - blocked).astype(np.float32)
