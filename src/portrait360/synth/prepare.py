"""What of a scene does not depend on the camera, worked out once: flat arrays, occlusion, shadows, light on hair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.raster import vertex_normals
from portrait360.synth import fibres, lightmap
from portrait360.synth.lights import radiance, sphere_directions
from portrait360.synth.scene import F32, I32, U8, Light, Mesh, Scene, Strands

OPAQUE = 0.999  # vertices from this opacity on are solid
KEY_MAP = 512  # side of the keys' shadow maps
SKY_MAP = 128  # side of the maps that ambient occlusion is taken from
SKY = 32  # directions of ambient light


class Surface(NamedTuple):
    """All meshes as one."""

    values: F32  # (n, 18) what is interpolated, side by side since it is read together: see the slices below
    triangles: I32  # (m, 3)
    material: U8  # (m,)
    part: U8  # (m,)


PLACE, NORMAL, ALBEDO, OPEN, REST = (slice(i, i + 3) for i in range(0, 15, 3))  # OPEN: share of ambient light
RELIEF, OPACITY, DEPTH = 15, 16, 17  # DEPTH is filled per view


class Curves(NamedTuple):
    """All strands as one row of points; a segment goes from point s to s + 1."""

    points: F32  # (p, 3)
    widths: F32  # (p,)
    tangents: F32  # (p, 3)
    normals: F32  # (p, 3) where it is open: the normal of the hair as a volume
    albedo: F32  # (p, 3)
    ambient: F32  # (p, 3) ambient light that arrives
    keys: F32  # (p, j) share of each key that arrives
    diffuse: F32  # (p, 3) light sent on equally to all sides
    jitter: F32  # (p,) in [-1, 1], the same along a strand
    segments: I32  # (s,) first point
    ends: U8  # (s,) 1: begins a strand, 2: ends it
    material: U8  # (p,)
    part: U8  # (p,)


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
    outline: float


def prepare(scene: Scene, *, occlusion: bool = True) -> Prepared:
    """Bake a scene; without occlusion nothing hides ambient light (shadows of the keys stay)."""
    surface, solid, clear = _surface(scene.meshes)
    curves = _curves(scene.strands, len(scene.light.key_directions))
    centre, radius = _sphere(surface.values[:, PLACE], curves.points)
    rig = _rig(scene.light, scene.steps)
    if occlusion:
        _bake_sky(surface, solid, curves, scene.light, centre, radius)
    else:
        fibres.ambient_light(rig.sh, curves.normals, curves.ambient)
    shadows = _shadows(surface, solid, curves, rig, centre, radius)
    fibres.diffuse_light(curves, rig)
    return Prepared(surface, solid, clear, curves, rig, shadows, scene.outline)


def _surface(meshes: tuple[Mesh, ...]) -> tuple[Surface, I32, I32]:
    first = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    values = np.ones((int(first[-1]), 18), np.float32)
    values[:, PLACE] = _join([m.vertices for m in meshes], np.float32, 3)
    values[:, NORMAL] = _join([_normals(m) for m in meshes], np.float32, 3)
    values[:, ALBEDO] = _join([m.albedo for m in meshes], np.float32, 3)
    values[:, REST] = _join([m.rest * _rest_scale(m) for m in meshes], np.float32, 3)
    values[:, RELIEF] = _join([_relief(m) for m in meshes], np.float32)
    values[:, OPACITY] = _join([m.opacity for m in meshes], np.float32)
    triangles = _join([m.triangles + o for m, o in zip(meshes, first, strict=False)], np.int32, 3)
    material = _join([m.material for m in meshes], np.uint8)
    part = _join([m.part for m in meshes], np.uint8)
    clear = (values[triangles, OPACITY] < OPAQUE).any(1)
    surface = Surface(values, triangles, material, part)
    return surface, np.flatnonzero(~clear).astype(np.int32), np.flatnonzero(clear).astype(np.int32)


def _join(arrays: list[NDArray], kind: type, *shape: int) -> NDArray:
    """One contiguous array of all, also when there is none."""
    return np.ascontiguousarray(np.concatenate([np.zeros((0, *shape), kind), *arrays]).astype(kind, copy=False))


def _normals(mesh: Mesh) -> F32:
    return vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals


def _relief(mesh: Mesh) -> F32:
    return np.zeros(len(mesh.vertices), np.float32) if mesh.roughness is None else mesh.roughness


def _rest_scale(mesh: Mesh) -> float:
    """Size of the world over that of the rest coordinates, so that pores are as fine on every head."""
    if len(mesh.triangles) == 0:
        return 1.0
    edge = mesh.triangles[:, :2]
    real = np.linalg.norm(np.diff(mesh.vertices[edge], axis=1)[:, 0], axis=1)
    rest = np.linalg.norm(np.diff(mesh.rest[edge], axis=1)[:, 0], axis=1)
    return float(np.median(real) / max(float(np.median(rest)), 1e-9))


def _curves(groups: tuple[Strands, ...], keys: int) -> Curves:
    groups = tuple(g for g in groups if len(g.points) and g.points.shape[1] > 1)
    points = _join([g.points.reshape(-1, 3) for g in groups], np.float32, 3)
    first = np.cumsum([0, *(g.points.shape[0] * g.points.shape[1] for g in groups)])
    segments, ends = [], []
    for group, offset in zip(groups, first, strict=False):
        strands, k = group.points.shape[:2]
        index = np.arange(strands)[:, None] * k + np.arange(k - 1) + offset
        mark = np.zeros((strands, k - 1), np.uint8)
        mark[:, 0] |= 1
        mark[:, -1] |= 2
        segments.append(index.ravel())
        ends.append(mark.ravel())
    count = len(points)
    return Curves(
        points=points,
        widths=_join([g.widths.ravel() for g in groups], np.float32),
        tangents=_join([_tangents(g.points) for g in groups], np.float32, 3),
        normals=_join([_outward(g) for g in groups], np.float32, 3),
        albedo=_join([g.albedo.reshape(-1, 3) for g in groups], np.float32, 3),
        ambient=np.zeros((count, 3), np.float32),
        keys=np.ones((count, keys), np.float32),
        diffuse=np.zeros((count, 3), np.float32),
        jitter=_join([_jitter(g) for g in groups], np.float32),
        segments=_join(segments, np.int32),
        ends=_join(ends, np.uint8),
        material=_join([np.repeat(g.material, g.points.shape[1]) for g in groups], np.uint8),
        part=_join([np.repeat(g.part, g.points.shape[1]) for g in groups], np.uint8),
    )


def _tangents(points: F32) -> F32:
    step = np.gradient(points, axis=1).reshape(-1, 3)
    return step / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12)


def _outward(group: Strands) -> F32:
    """The surface's normal at the root, going over to away from the head's centre at the tip."""
    away = group.points / np.maximum(np.linalg.norm(group.points, axis=2, keepdims=True), 1e-9)
    if group.normals is not None:
        along = np.linspace(0, 1, group.points.shape[1], dtype=np.float32)[None, :, None]
        away = group.normals[:, None] * (1 - along) + away * along
    away = away.reshape(-1, 3)
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)


def _jitter(group: Strands) -> F32:
    """One number a strand, from where its root is, so that it does not depend on the order of strands."""
    root = group.points[:, 0].astype(np.float64) @ np.array([127.1, 311.7, 74.7])
    value = np.modf(np.sin(root) * 43758.5453)[0]
    return np.repeat(value, group.points.shape[1]).astype(np.float32)


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
        lightmap.surface_occlusion(
            vertices, normals, direction, colour, heights, hair, amount, bias, seen, total
        )
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


def _shadows(
    surface: Surface, solid: I32, curves: Curves, rig: Rig, centre: F32, radius: float
) -> lightmap.Maps:
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
