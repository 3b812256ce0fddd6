"""The drawn outline of a toon: a dark hull behind surfaces, a dark band behind hair, both as wide
everywhere."""

from __future__ import annotations

import math

import numpy as np

from portrait360.cameras import Camera
from portrait360.geometry.compiled import exact
from portrait360.geometry.raster_numba import NEAR
from portrait360.synth.fragments import FAINT, INK_SOURCE, Fragments, hidden, insert
from portrait360.synth.scene import F32, F64, I32
from portrait360.synth.shading import INK
from portrait360.synth.surface import ALBEDO, NORMAL, PLACE, Surface

DARK = 0.10  # of the surface's own colour
BACK = 0.03  # the band lies this far behind the hair, so that strands do not outline each other


def with_hull(surface: Surface) -> Surface:
    """The surface, and after it the same again as ink, to be pushed out for each camera."""
    hull = surface.values.copy()
    hull[:, ALBEDO] *= DARK
    return Surface(
        np.concatenate([surface.values, hull]),
        np.concatenate([surface.triangles, surface.triangles + np.int32(len(hull))]),
        np.concatenate([surface.material, np.full_like(surface.material, INK)]),
        np.concatenate([surface.part, surface.part]),
    )


def push_hull(values: F32, camera: Camera, width: float) -> None:
    """Move the second half of the vertices outwards, by `width` image sides as this camera sees it."""
    half = len(values) // 2
    outer = values[half:]
    depth = (values[:half, PLACE] - camera.position) @ camera.cam2world[:3, 2]
    step = (width / camera.focal * np.maximum(depth, NEAR)).astype(np.float32)
    outer[:, PLACE] = values[:half, PLACE] + outer[:, NORMAL] * step[:, None]


def turned_away(values: F32, triangles: I32, chosen: I32, eye: F64) -> I32:
    """Those of the chosen triangles whose outside (the side of their normals) the eye does not see."""
    a, b, c = (values[triangles[chosen, i]] for i in range(3))
    face = np.cross(b[:, PLACE] - a[:, PLACE], c[:, PLACE] - a[:, PLACE])
    outside = (face * (a[:, NORMAL] + b[:, NORMAL] + c[:, NORMAL])).sum(1)
    seen = (face * (eye.astype(np.float32) - a[:, PLACE])).sum(1)
    return chosen[outside * seen < 0]


def draw_hair_ink(places: F64, halves: F64, segments: I32, wide: float, far: F32, coarse: F32, f: Fragments) -> None:
    """A band `wide` pixels wider than the hair (half widths), as one fragment a pixel."""
    cover, depth = np.zeros_like(far), np.full_like(far, np.inf)
    spread(places, halves + wide, segments, far, coarse, cover, depth)
    add(cover, depth, far, f)


@exact
def spread(places, halves, segments, far, blocks, cover, depth):
    """Greatest cover and nearest depth of the band at each pixel."""
    height, width = far.shape
    for n in range(segments.shape[0]):
        a = segments[n]
        b = a + 1
        nearest = min(places[a, 2], places[b, 2])
        if not nearest >= NEAR:
            continue
        ax, ay, bx, by = places[a, 0], places[a, 1], places[b, 0], places[b, 1]
        half = min(halves[a], halves[b])
        reach = half + 0.5
        if not (max(ax, bx) + reach > 0 and min(ax, bx) - reach < width):
            continue
        if not (max(ay, by) + reach > 0 and min(ay, by) - reach < height):
            continue
        x0, x1 = int(max(min(ax, bx) - reach, 0.0)), int(min(max(ax, bx) + reach, width - 1.0))
        y0, y1 = int(max(min(ay, by) - reach, 0.0)), int(min(max(ay, by) + reach, height - 1.0))
        if hidden(blocks, x0, x1, y0, y1, nearest + BACK):
            continue
        ux, uy = bx - ax, by - ay
        square = max(ux * ux + uy * uy, 1e-12)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                dx, dy = x + 0.5 - ax, y + 0.5 - ay
                t = min(max((dx * ux + dy * uy) / square, 0.0), 1.0)
                distance = math.sqrt((dx - t * ux) ** 2 + (dy - t * uy) ** 2)
                here = min(max(half + 0.5 - distance, 0.0), 1.0)
                if here > 0.0:
                    z = np.float32(places[a, 2] + (places[b, 2] - places[a, 2]) * t + BACK)
                    cover[y, x] = max(cover[y, x], np.float32(here))
                    depth[y, x] = min(depth[y, x], z)


@exact
def add(cover, depth, far, f):
    for y in range(cover.shape[0]):
        for x in range(cover.shape[1]):
            if cover[y, x] > FAINT and depth[y, x] < far[y, x]:
                insert(f, y, x, depth[y, x], INK_SOURCE, np.float32(0), cover[y, x], np.uint8(255))
