"""Render a built head for a camera: colour, alpha, depth, normals and part labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry import rasterizer_kernels
from portrait360.geometry.cameras import Camera
from portrait360.synth.render import fragments, tone_mapping, toon_outline
from portrait360.synth.render.bake import PreparedScene, prepare_scene
from portrait360.synth.render.compositing import Film, resolve
from portrait360.synth.render.mesh_buffers import DEPTH, OPACITY, POSITION
from portrait360.synth.render.pixel_shading import Eye
from portrait360.synth.render.projection import project_strands, to_homogeneous
from portrait360.synth.scene import Scene
from portrait360.utils.array_types import F32, F64, I32, Bytes

# eight sample positions in a pixel, no two in the same row or column, so that edges of every slope have eight levels
SAMPLES = (np.array([[9, 5], [7, 11], [13, 9], [5, 3], [3, 13], [1, 7], [11, 15], [15, 1]]) / 16.0).astype(np.float64)
LEVELS = 64  # of depth, in which strands are drawn from front to back


@dataclass(frozen=True)
class Rendering:
    """One view; colours are straight (not premultiplied), empty pixels are 0 in all channels."""

    rgb: F32  # (size, size, 3) sRGB-encoded in [0, 1]
    alpha: F32  # (size, size)
    depth: F32  # (size, size) along the optical axis
    normals: F32  # (size, size, 3) unit, in world coordinates
    parts: Bytes  # (size, size) Part
    labels: Bytes  # (size, size) Label
    flow: F32  # (size, size, 2) cos and sin of twice the angle of the hair in the image (x right, y down); 0: no hair


def render(scene: Scene | PreparedScene, camera: Camera, size: int) -> Rendering:
    """Render a view of a scene; call `prepare` once if several views of it are needed."""
    film = render_linear(scene if isinstance(scene, PreparedScene) else prepare_scene(scene), camera, size)
    rgb = np.zeros_like(film.radiance)
    tone_mapping.tone_map(film.radiance, rgb)
    return Rendering(rgb, film.alpha, film.depth, film.normals, film.parts, film.labels, film.flow)


def render_linear(prepared: PreparedScene, camera: Camera, size: int) -> Film:
    """Render a view in linear light, before tone mapping."""
    values = prepared.surface.values.copy()  # two threads may render the same head
    if prepared.outline > 0:
        toon_outline.push_hull(values, camera, prepared.outline)
    points = to_homogeneous(values[:, POSITION], camera, size)
    values[:, DEPTH] = points[:, 2]
    surface = prepared.surface._replace(values=values)
    depth = np.full((size, size, len(SAMPLES)), np.inf, np.float32)
    ids = np.full((size, size, len(SAMPLES)), -1, np.int32)
    rasterizer_kernels.draw(points, surface.triangles, prepared.solid, SAMPLES, depth, ids)
    if prepared.outline > 0:
        hull = prepared.solid + np.int32(len(surface.triangles) // 2)
        hull = toon_outline.select_back_faces(values, surface.triangles, hull, camera.position)
        rasterizer_kernels.draw(points, surface.triangles, hull, SAMPLES, depth, ids)
    f, directions = _draw_fragments(prepared, points, depth, camera, size)
    film = _empty_film(size)
    eye = Eye(camera.position, 1.0 / (camera.focal * size))
    rig, shadows = prepared.rig, prepared.shadows
    resolve(surface, points, prepared.curves, directions, rig, shadows, eye, SAMPLES, ids, depth, f, film)
    return film


def _draw_fragments(
    prepared: PreparedScene, points: F64, depth: F32, camera: Camera, size: int
) -> tuple[fragments.Fragments, F32]:
    """Rasterise strands and transparent triangles before solid surfaces; return them and directions of segments."""
    surface, curves = prepared.surface, prepared.curves
    f, far, blocks = begin_fragments(depth)
    opacity = np.ascontiguousarray(surface.values[:, OPACITY])
    fragments.draw_transparent(points, surface.triangles, prepared.clear, opacity, SAMPLES, far, f)
    positions, halves = project_strands(curves.points, curves.widths, camera, size)
    if prepared.outline > 0:
        toon_outline.draw_hair_ink(positions, halves, curves.segments, prepared.outline * size, far, blocks, f)
    return f, draw_hair(positions, halves, curves.segments, curves.ends, far, blocks, f)


def begin_fragments(depth: F32) -> tuple[fragments.Fragments, F32, F32]:
    """Return no fragments, and the depths of pixels and blocks behind which solid samples (h, w, s) hide them."""
    height, width, _ = depth.shape
    rows, columns = -(-height // fragments.BLOCK), -(-width // fragments.BLOCK)
    far, blocks = np.empty((height, width), np.float32), np.empty((rows, columns), np.float32)
    fragments.find_farthest(depth, far, blocks)
    return fragments.empty_fragments(height, width), far, blocks


def draw_hair(
    positions: F64, halves: F64, segments: I32, ends: Bytes, far: F32, blocks: F32, f: fragments.Fragments
) -> F32:
    """Rasterise strands, from front to back; return the directions in the image of the segments that are seen."""
    visible, directions = np.empty(len(segments), np.int32), np.empty((len(segments), 2), np.float32)
    count = fragments.find_visible(positions, halves, segments, blocks, *far.shape, visible, directions)
    order = visible[:count]
    order = order[_sort_roughly(positions[segments[order], 2])]
    fragments.draw_strands(positions, halves, segments, ends, order, far, blocks, f)
    return directions


def _sort_roughly(depths: F64) -> NDArray[np.intp]:
    """Return an order from near to far, in LEVELS steps: within one, neighbours in memory stay together."""
    if len(depths) == 0:
        return np.zeros(0, np.intp)
    nearest = depths.min()
    steps = (depths - nearest) * ((LEVELS - 1) / max(depths.max() - nearest, 1e-9))
    return np.argsort(steps.astype(np.uint8), kind="stable")


def _empty_film(size: int) -> Film:
    return Film(
        np.zeros((size, size, 3), np.float32),
        np.zeros((size, size), np.float32),
        np.zeros((size, size), np.float32),
        np.zeros((size, size, 3), np.float32),
        np.zeros((size, size), np.uint8),
        np.zeros((size, size), np.uint8),
        np.zeros((size, size, 2), np.float32),
    )
