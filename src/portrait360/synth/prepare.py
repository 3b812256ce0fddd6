"""What of a scene does not depend on the camera, worked out once: flat arrays, occlusion, shadows, light on
hair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from portrait360.synth import curves as curve_rows
from portrait360.synth import fibres, ink, lightmap
from portrait360.synth import surface as surfaces
from portrait360.synth.curves import Curves
from portrait360.synth.lights import radiance, sphere_directions
from portrait360.synth.scene import F32, I32, Light, Scene
from portrait360.synth.surface import NORMAL, OPEN, PLACE, Surface

KEY_MAP = 512  # side of the keys' shadow maps
SKY_MAP = 128  # side of the maps that ambient occlusion is taken from
SKY = 32  # directions of ambient light


class Rig(NamedTuple):
    """The light as the kernels want it."""

    sh: F32  # (9, 3)
    directions: F32  # (j, 3)
    colours: F32  # (j, 3)
    softness: F32  # (j,)
    glint: F32  # (3,) light that every eye catches, whatever the keys are
    contrast: float  # 0 where light is the same from everywhere, 1 where it has a clear direction
    steps: int


@dataclass(frozen=True)
class Prepared:
    """A scene ready to be seen from anywhere."""

    surface: Surface
    solid: I32  # opaque triangles
    clear: I32  # the others
    curves: Curves
    rig: Rig
    shadows: lightmap.Maps
    outline: float  # width in image sides; where there is one, the second half of the surface is its ink


def prepare(scene: Scene, *, occlusion: bool = True) -> Prepared:
    """Bake a scene; without occlusion nothing hides ambient light (shadows of the keys stay)."""
    surface, solid, clear = surfaces.flatten(scene.meshes)
    curves = curve_rows.flatten(scene.strands, len(scene.light.key_directions))
    centre, radius = _sphere(surface.values[:, PLACE], curves.points)
    rig = _rig(scene.light, scene.steps)
    if occlusion:
        _bake_sky(surface, solid, curves, scene.light, centre, radius)
    else:
        fibres.ambient_light(rig.sh, curves.normals, curves.ambient)
    shadows = _shadows(surface, solid, curves, rig, centre, radius)
    fibres.diffuse_light(curves, rig)
    if scene.outline > 0:
        surface = ink.with_hull(surface)
    return Prepared(surface, solid, clear, curves, rig, shadows, scene.outline)


def _sphere(*points: F32) -> tuple[F32, float]:
    """Centre and radius of a sphere that holds all points."""
    everything = np.concatenate([p for p in points if len(p)] or [np.zeros((1, 3), np.float32)])
    centre = (everything.min(0) + everything.max(0)) / 2
    return centre, float(np.sqrt(((everything - centre) ** 2).sum(1).max())) * 1.01 + 1e-6


def _rig(light: Light, steps: int) -> Rig:
    directions = np.ascontiguousarray(light.key_directions, np.float32).reshape(-1, 3)
    sky = np.array([0.282095, 0, 0, 0, 0, 0, 0, 0, 0], np.float32) @ light.ambient
    keys = light.key_colours.sum(0) if len(directions) else np.zeros(3, np.float32)
    glint = (0.6 * sky + 0.3 * keys).astype(np.float32).clip(0.0, None)
    weight = np.abs(light.ambient).sum(1)
    contrast = min(3.0 * float(weight[1:].sum() / max(float(weight.sum()), 1e-6)), 1.0)
    return Rig(
        np.ascontiguousarray(light.ambient, np.float32),
        directions,
        np.ascontiguousarray(light.key_colours, np.float32).reshape(-1, 3),
        np.ascontiguousarray(light.key_softness, np.float32),
        glint,
        contrast,
        int(steps),
    )


def _map(surface: Surface, solid: I32, curves: Curves, view: lightmap.Frame, side: int) -> tuple[F32, ...]:
    """Vertices and hair points in a map's frame, and the map: solid, hair, amount."""
    vertices = lightmap.places(surface.values[:, PLACE], view.matrix)
    points = lightmap.places(curves.points, view.matrix)
    heights = np.full((side, side), lightmap.FAR, np.float32)
    hair, amount = np.full((side, side), lightmap.FAR, np.float32), np.zeros((side, side), np.float32)
    lightmap.raise_triangles(vertices, surface.triangles, solid, heights)
    lightmap.raise_segments(points, curves.widths, curves.segments, view.texel, hair, amount)
    return vertices, points, heights, hair, amount


def _bake_sky(surface: Surface, solid: I32, curves: Curves, light: Light, centre: F32, radius: float) -> None:
    """Fill OPEN of the surface, `ambient` and `normals` of the curves."""
    normals = np.ascontiguousarray(surface.values[:, NORMAL])
    seen, total = np.zeros_like(normals), np.full_like(normals, 1e-9)
    hair_seen, hair_total = np.zeros_like(curves.points), np.full_like(curves.points, 1e-9)
    opening = np.zeros_like(curves.points)
    for direction in sphere_directions(SKY):
        colour = np.maximum(radiance(light.ambient, direction[None])[0], 1e-3)
        view = lightmap.frame(direction, centre, radius, SKY_MAP)
        vertices, points, heights, hair, amount = _map(surface, solid, curves, view, SKY_MAP)
        bias = 1.5 * view.texel
        lightmap.surface_occlusion(vertices, normals, direction, colour, heights, hair, amount, bias, seen, total)
        lightmap.hair_occlusion(
            points, direction, colour, heights, hair, amount, bias, hair_seen, hair_total, opening
        )
    surface.values[:, OPEN] = seen / total
    opening /= np.maximum(np.linalg.norm(opening, axis=1, keepdims=True), 1e-6)
    volume = 0.6 * opening + 0.4 * curves.normals
    curves.normals[:] = volume / np.maximum(np.linalg.norm(volume, axis=1, keepdims=True), 1e-6)
    fibres.ambient_light(np.ascontiguousarray(light.ambient, np.float32), curves.normals, curves.ambient)
    # a strand on a convex head sees half of the sky: that counts as fully open
    curves.ambient[:] *= np.clip(1.8 * hair_seen / hair_total, 0.05, 1.0)


def _shadows(surface: Surface, solid: I32, curves: Curves, rig: Rig, centre: F32, radius: float) -> lightmap.Maps:
    """Depth maps of the keys, and the keys' light on the hair points."""
    matrices, layers = [], []
    texel = 2 * radius / KEY_MAP
    for j, direction in enumerate(rig.directions):
        view = lightmap.frame(direction, centre, radius, KEY_MAP)
        _, points, heights, hair, amount = _map(surface, solid, curves, view, KEY_MAP)
        arriving = np.empty(len(points), np.float32)
        lightmap.hair_shadow(points, heights, hair, amount, 3 * texel, arriving)
        curves.keys[:, j] = arriving
        matrices.append(view.matrix)
        layers.append((heights, hair, amount, lightmap.ceiling(heights, hair)))
    if not layers:
        empty, few = np.zeros((0, KEY_MAP, KEY_MAP), np.float32), np.zeros((0, 1, 1), np.float32)
        return lightmap.Maps(np.zeros((0, 3, 4), np.float32), empty, empty, empty, few, texel)
    solid_, hair_, amount_, ceilings = (np.stack(kind) for kind in zip(*layers, strict=True))
    return lightmap.Maps(np.stack(matrices), solid_, hair_, amount_, ceilings, texel)
