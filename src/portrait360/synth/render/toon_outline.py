"""The ink outline of a toon, of constant width: a dark hull behind surfaces and a dark band behind hair."""

from __future__ import annotations

import math

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import njit_exact
from portrait360.geometry.rasterizer_kernels import NEAR
from portrait360.synth.render.fragments import FAINT, INK_SOURCE, Fragments, insert, is_hidden
from portrait360.synth.render.mesh_buffers import ALBEDO, NORMAL, POSITION, Surface
from portrait360.synth.render.surface_shading import INK
from portrait360.utils.array_types import F32, F64, I32

DARK = 0.10  # ink brightness relative to the surface colour
BACK = 0.03  # distance of the band behind the hair, so that strands do not outline each other


def add_hull(surface: Surface) -> Surface:
    """Append an ink copy of the surface, to be pushed outwards for each camera."""
    hull = surface.values.copy()
    hull[:, ALBEDO] *= DARK
    return Surface(
        np.concatenate([surface.values, hull]),
        np.concatenate([surface.triangles, surface.triangles + np.int32(len(hull))]),
        np.concatenate([surface.material, np.full_like(surface.material, INK)]),
        np.concatenate([surface.part, surface.part]),
        np.concatenate([surface.labels, surface.labels]),
    )


def push_hull(values: F32, camera: Camera, width: float) -> None:
    """Move the second half of the vertices outwards, by `width` image sides as seen by this camera."""
    half = len(values) // 2
    outer = values[half:]
    depth = (values[:half, POSITION] - camera.position) @ camera.cam2world[:3, 2]
    step = (width / camera.focal * np.maximum(depth, NEAR)).astype(np.float32)
    outer[:, POSITION] = values[:half, POSITION] + outer[:, NORMAL] * step[:, None]


def select_back_faces(values: F32, triangles: I32, selection: I32, eye: F64) -> I32:
    """Return the selected triangles whose outer side (the side of their normals) faces away from the eye."""
    a, b, c = (values[triangles[selection, i]] for i in range(3))
    face = np.cross(b[:, POSITION] - a[:, POSITION], c[:, POSITION] - a[:, POSITION])
    outside = (face * (a[:, NORMAL] + b[:, NORMAL] + c[:, NORMAL])).sum(1)
    visible_side = (face * (eye.astype(np.float32) - a[:, POSITION])).sum(1)
    return selection[outside * visible_side < 0]


def draw_hair_ink(
    positions: F64, halves: F64, segments: I32, wide: float, far: F32, coarse: F32, f: Fragments
) -> None:
    """Add a band `wide` pixels wider than the hair (half widths), as one fragment per pixel."""
    cover, depth = np.zeros_like(far), np.full_like(far, np.inf)
    spread_ink(positions, halves + wide, segments, far, coarse, cover, depth)
    insert_ink(cover, depth, far, f)


@njit_exact
def spread_ink(positions, halves, segments, far, blocks, cover, depth):
    """Compute the greatest coverage and nearest depth of the band at each pixel."""
    height, width = far.shape
    for n in range(segments.shape[0]):
        a = segments[n]
        b = a + 1
        nearest = min(positions[a, 2], positions[b, 2])
        if not nearest >= NEAR:
            continue
        ax, ay, bx, by = positions[a, 0], positions[a, 1], positions[b, 0], positions[b, 1]
        half = min(halves[a], halves[b])
        reach = half + 0.5
        if not (max(ax, bx) + reach > 0 and min(ax, bx) - reach < width):
            continue
        if not (max(ay, by) + reach > 0 and min(ay, by) - reach < height):
            continue
        x0, x1 = int(max(min(ax, bx) - reach, 0.0)), int(min(max(ax, bx) + reach, width - 1.0))
        y0, y1 = int(max(min(ay, by) - reach, 0.0)), int(min(max(ay, by) + reach, height - 1.0))
        if is_hidden(blocks, x0, x1, y0, y1, nearest + BACK):
            continue
        ux, uy = bx - ax, by - ay
        square = max(ux * ux + uy * uy, 1e-12)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                dx, dy = x + 0.5 - ax, y + 0.5 - ay
                t = min(max((dx * ux + dy * uy) / square, 0.0), 1.0)
                distance = math.sqrt((dx - t * ux) ** 2 + (dy - t * uy) ** 2)
                pixel_cover = min(max(half + 0.5 - distance, 0.0), 1.0)
                if pixel_cover > 0.0:
                    z = np.float32(positions[a, 2] + (positions[b, 2] - positions[a, 2]) * t + BACK)
                    cover[y, x] = max(cover[y, x], np.float32(pixel_cover))
                    depth[y, x] = min(depth[y, x], z)


@njit_exact
def insert_ink(cover, depth, far, f):
    """Insert the band as one fragment per pixel in front of solid surfaces."""
    for y in range(cover.shape[0]):
        for x in range(cover.shape[1]):
            if cover[y, x] > FAINT and depth[y, x] < far[y, x]:
                insert(f, y, x, depth[y, x], INK_SOURCE, np.float32(0), cover[y, x], np.uint8(255))
