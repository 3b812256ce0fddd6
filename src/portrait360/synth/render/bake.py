"""Precompute everything in a scene that does not depend on the camera: arrays, occlusion, shadows, hair light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from portrait360.synth.render import hair_shading, shadow_maps, toon_outline
from portrait360.synth.render import mesh_buffers as surfaces
from portrait360.synth.render import strand_buffers as curve_rows
from portrait360.synth.render.ear_occlusion import open_ears
from portrait360.synth.render.lights import radiance, sphere_directions
from portrait360.synth.render.mesh_buffers import AMBIENT, NORMAL, POSITION, Surface
from portrait360.synth.render.strand_buffers import Curves
from portrait360.synth.scene import Light, Part, Scene
from portrait360.utils.array_types import F32, I32
from portrait360.utils.parallel.threads import map_in_threads
from portrait360.utils.vectors import measure_length


@dataclass(frozen=True)
class BakeQuality:
    sky: int = 32  # number of directions of ambient light
    sky_map: int = 128  # side of the depth maps for ambient occlusion
    key_map: int = 512  # side of the shadow maps of the key lights
    hair_shade: float = 1.0  # exponent of the share of the ambient light that reaches hair: less than 1 is softer
    gleam: float = 1.0  # strength of the clear highlight of hair, whose colour is the light's
    ears: bool = False  # whether the folds of ears, finer than the depth maps, have maps of their own
    eye_light: float = 0.0  # least share of the ambient light on eyeballs, whose lids are finer than the depth maps


FINE, DRAFT = BakeQuality(), BakeQuality(6, 96, 256)
"""A draft takes half the time; at 256 pixels a viewer can hardly tell them apart."""
PORTRAIT = BakeQuality(hair_shade=0.8, eye_light=0.75, gleam=0.35, ears=True)
"""For light without keys, in which nothing else lights the eyes."""


class LightRig(NamedTuple):
    """The light as the kernels read it."""

    sh: F32  # (9, 3)
    directions: F32  # (j, 3)
    colours: F32  # (j, 3)
    softness: F32  # (j,)
    glint: F32  # (3,) colour of a catchlight that appears in every eye, whatever the key lights are
    contrast: float  # 0 for uniform light, 1 for light with a clear direction
    gleam: float  # strength of the clear highlight of hair
    steps: int


class Solids(NamedTuple):
    """What blocks light: triangles of a surface."""

    points: F32  # (n, 3) contiguous: each direction of light reads them
    triangles: I32
    chosen: I32

    @classmethod
    def of(cls, surface: Surface, solid: I32) -> Solids:
        return cls(np.ascontiguousarray(surface.values[:, POSITION]), surface.triangles, solid)


@dataclass(frozen=True)
class PreparedScene:
    """A scene ready to be rendered from any camera."""

    surface: Surface
    solid: I32  # opaque triangles
    clear: I32  # transparent triangles
    curves: Curves
    rig: LightRig
    shadows: shadow_maps.Maps
    outline: float  # width in image sides; if positive, the second half of the surface is the ink hull


def prepare_scene(scene: Scene, *, occlusion: bool = True, quality: BakeQuality = FINE) -> PreparedScene:
    """Bake a scene; without occlusion nothing blocks ambient light (the shadows of the key lights stay)."""
    surface, solid, clear = surfaces.flatten(scene.meshes)
    curves = curve_rows.flatten(scene.strands, len(scene.light.key_directions))
    centre, radius = _bounding_sphere(surface.values[:, POSITION], curves.points)
    rig = _light_rig(scene.light, scene.steps, quality.gleam)
    if occlusion:
        _bake_sky(surface, solid, curves, scene.light, centre, radius, quality)
    else:
        hair_shading.ambient_light(rig.sh, curves.normals, curves.ambient)
    shadows = _key_shadows(surface, solid, curves, rig, centre, radius, quality.key_map)
    hair_shading.diffuse_light(curves, rig)
    if scene.outline > 0:
        surface = toon_outline.add_hull(surface)
    return PreparedScene(surface, solid, clear, curves, rig, shadows, scene.outline)


def renew_shadows(prepared: PreparedScene, quality: BakeQuality = FINE) -> PreparedScene:
    """Return a scene whose points have moved with the shadows that its key lights throw now."""
    centre, radius = _bounding_sphere(prepared.surface.values[:, POSITION], prepared.curves.points)
    curves = prepared.curves._replace(keys=prepared.curves.keys.copy())
    scene = prepared.surface, prepared.solid, curves
    shadows = _key_shadows(*scene, prepared.rig, centre, radius, quality.key_map)
    return replace(prepared, curves=curves, shadows=shadows)


def _bounding_sphere(*points: F32) -> tuple[F32, float]:
    """Return centre and radius of a sphere that contains all points."""
    all_points = np.concatenate([p for p in points if len(p)] or [np.zeros((1, 3), np.float32)])
    centre = (all_points.min(0) + all_points.max(0)) / 2
    return centre, float(np.sqrt(((all_points - centre) ** 2).sum(1).max())) * 1.01 + 1e-6


def _light_rig(light: Light, steps: int, gleam: float) -> LightRig:
    directions = np.ascontiguousarray(light.key_directions, np.float32).reshape(-1, 3)
    mean_ambient = np.array([0.282095, 0, 0, 0, 0, 0, 0, 0, 0], np.float32) @ light.ambient
    key_sum = light.key_colours.sum(0) if len(directions) else np.zeros(3, np.float32)
    glint = (0.6 * mean_ambient + 0.3 * key_sum).astype(np.float32).clip(0.0, None)
    weight = np.abs(light.ambient).sum(1)
    contrast = min(3.0 * float(weight[1:].sum() / max(float(weight.sum()), 1e-6)), 1.0)
    return LightRig(
        np.ascontiguousarray(light.ambient, np.float32),
        directions,
        np.ascontiguousarray(light.key_colours, np.float32).reshape(-1, 3),
        np.ascontiguousarray(light.key_softness, np.float32),
        glint,
        contrast,
        float(gleam),
        int(steps),
    )


def _depth_maps(solids: Solids, curves: Curves, view: shadow_maps.Frame, side: int) -> tuple[F32, ...]:
    """Return vertices and hair points in a map's frame, and the map: solid heights, hair heights, hair amount."""
    vertices = shadow_maps.to_map_frame(solids.points, view.matrix)
    points = shadow_maps.to_map_frame(curves.points, view.matrix)
    heights = np.full((side, side), shadow_maps.FAR, np.float32)
    hair, amount = np.full((side, side), shadow_maps.FAR, np.float32), np.zeros((side, side), np.float32)
    shadow_maps.draw_triangles(vertices, solids.triangles, solids.chosen, heights)
    shadow_maps.draw_segments(points, curves.widths, curves.segments, view.texel, hair, amount)
    return vertices, points, heights, hair, amount


def _bake_sky(
    surface: Surface, solid: I32, curves: Curves, light: Light, centre: F32, radius: float, quality: BakeQuality
) -> None:
    """Fill AMBIENT of the surface, and `ambient` and `normals` of the curves."""
    normals = np.ascontiguousarray(surface.values[:, NORMAL])
    visible, total = np.zeros_like(normals), np.full_like(normals, 1e-9)
    hair_visible, hair_total = np.zeros_like(curves.points), np.full_like(curves.points, 1e-9)
    opening = np.zeros_like(curves.points)
    directions = sphere_directions(quality.sky)
    views = [shadow_maps.make_frame(direction, centre, radius, quality.sky_map) for direction in directions]
    solids = Solids.of(surface, solid)
    maps = map_in_threads(lambda view: _depth_maps(solids, curves, view, quality.sky_map), views, lone_first=False)
    for direction, view, (vertices, points, heights, hair, amount) in zip(directions, views, maps, strict=True):
        colour = np.maximum(radiance(light.ambient, direction[None])[0], 1e-3)
        bias = 1.5 * view.texel
        shadow_maps.surface_occlusion(
            vertices, normals, direction, colour, heights, hair, amount, bias, visible, total
        )
        shadow_maps.hair_occlusion(
            points, direction, colour, heights, hair, amount, bias, hair_visible, hair_total, opening
        )
    surface.values[:, AMBIENT] = visible / total
    if quality.ears:
        surface.values[:, AMBIENT] *= open_ears(surface, solid, light)
    if quality.eye_light > 0:
        eyes = np.unique(surface.triangles[surface.part[: len(surface.triangles)] == Part.EYES])
        surface.values[eyes, AMBIENT] = np.maximum(surface.values[eyes, AMBIENT], quality.eye_light)
    opening /= np.maximum(measure_length(opening)[:, None], 1e-6)
    volume = 0.6 * opening + 0.4 * curves.normals
    curves.normals[:] = volume / np.maximum(measure_length(volume)[:, None], 1e-6)
    hair_shading.ambient_light(np.ascontiguousarray(light.ambient, np.float32), curves.normals, curves.ambient)
    # a strand on a convex head sees half of the sky, which counts as fully open
    share = np.clip(1.8 * hair_visible / hair_total, 0.05, 1.0)
    curves.ambient[:] *= share if quality.hair_shade == 1 else share**quality.hair_shade


def _key_shadows(
    surface: Surface, solid: I32, curves: Curves, rig: LightRig, centre: F32, radius: float, side: int
) -> shadow_maps.Maps:
    """Return depth maps of the key lights, and fill in their light on the hair points."""
    texel = 2 * radius / side
    views = [shadow_maps.make_frame(direction, centre, radius, side) for direction in rig.directions]
    blockers = Solids.of(surface, solid)

    def draw(view: shadow_maps.Frame) -> tuple[F32, tuple[F32, ...]]:
        _, points, heights, hair, amount = _depth_maps(blockers, curves, view, side)
        key_share = np.empty(len(points), np.float32)
        shadow_maps.hair_shadow(points, heights, hair, amount, 3 * texel, key_share)
        return key_share, (heights, hair, amount, shadow_maps.block_ceiling(heights, hair))

    layers = []
    for j, (key_share, maps) in enumerate(map_in_threads(draw, views, lone_first=False)):
        curves.keys[:, j] = key_share
        layers.append(maps)
    if not layers:
        empty, empty_ceiling = np.zeros((0, side, side), np.float32), np.zeros((0, 1, 1), np.float32)
        return shadow_maps.Maps(np.zeros((0, 3, 4), np.float32), empty, empty, empty, empty_ceiling, texel)
    solids, hairs, amounts, ceilings = (np.stack(kind) for kind in zip(*layers, strict=True))
    return shadow_maps.Maps(np.stack([view.matrix for view in views]), solids, hairs, amounts, ceilings, texel)
