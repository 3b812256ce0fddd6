"""Keep ears beneath a hat that covers them: what is left of a fold that pokes through the cloth is a speck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from portrait360.pipeline.avatar.worn.hat_colours import is_hat
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.render import shadow_maps
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep

SIDE = 128  # texels across an ear
UNDER = 0.002  # canonical distance beneath the cloth
POKE, OUTSIDE = 0.012, 0.3  # canonical; share of the ear beside cloth that stands out further if it is worn outside
NONE = -1.0  # canonical: how far an ear stands out where there is no cloth


def tuck_ears(meshes: Sequence[Mesh], head: Head) -> list[Mesh]:
    """Return meshes in which the skin's ears end beneath a hat through which they poke a little."""
    hats = [mesh for mesh in meshes if is_hat(mesh)]
    return [
        _tuck(mesh, hats, head)
        if hats and mesh.part[0] == Part.SKIN and len(mesh.vertices) == len(head.body)
        else mesh
        for mesh in meshes
    ]


def _tuck(skin: Mesh, hats: Sequence[Mesh], head: Head) -> Mesh:
    vertices = skin.vertices.copy()
    for side in (1, -1):
        rows = np.flatnonzero((head.mask("ears") > 0) & (head.rest[:, 0] * side > 0))
        over = _measure_over(vertices[rows], hats, side)
        covered = over > NONE
        if covered.any() and (over[covered] > POKE).mean() < OUTSIDE:
            held = 1 - smoothstep(0.5 * POKE, POKE, over)
            vertices[rows, 0] -= side * np.maximum(over + UNDER, 0) * held
    if (vertices == skin.vertices).all():
        return skin
    return replace(skin, vertices=vertices, normals=vertex_normals(vertices, skin.triangles))


def _measure_over(points: F32, hats: Sequence[Mesh], side: int) -> F32:
    """Return how far points (n, 3) stand out sideways of the cloth beside them, far within where there is none."""
    centre = (points.min(0) + points.max(0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    view = shadow_maps.make_frame(np.array([side, 0, 0], np.float32), centre, radius, SIDE)
    heights = np.full((SIDE, SIDE), shadow_maps.FAR, np.float32)
    for hat in hats:
        every = np.arange(len(hat.triangles), dtype=np.int32)
        shadow_maps.draw_triangles(shadow_maps.to_map_frame(hat.vertices, view.matrix), hat.triangles, every, heights)
    placed = shadow_maps.to_map_frame(points, view.matrix)
    x, y = np.clip(placed[:, :2].astype(int), 0, SIDE - 1).T
    cloth = heights[y, x]
    return np.where(cloth > 0, placed[:, 2] - cloth, np.float32(NONE))  # not that on the head's other side
