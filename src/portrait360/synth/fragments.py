"""Everything that covers a pixel only in part: strands of hair and clear triangles, kept sorted by depth.
 Each pixel keeps the DEEP nearest fragments; of those behind them only their joint transparency is kept,
which does not depend on their order. A strand is a line with a width: its share of a pixel is computed, not
sampled, so that a strand thinner than a pixel fades instead of breaking into dots.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.compiled import exact, exact_inline
from portrait360.geometry.raster_numba import NEAR, bounds, edges, reach
from portrait360.synth.borrow import borrow

DEEP = 8  # fragments kept a pixel
BLOCK = 8  # side of the blocks in which hidden segments are skipped
INK_SOURCE = -(2**31)  # source of the band of ink behind hair
FAINT = 1.0 / 512  # cover below this is nothing


class Fragments(NamedTuple):
    """The fragments of every pixel, nearest first."""

    filled: NDArray[np.int32]  # (h, w) how many
    depth: NDArray[np.float32]  # (h, w, DEEP)
    source: NDArray[np.int32]  # (h, w, DEEP) segment, or -1 - triangle
    along: NDArray[np.float32]  # (h, w, DEEP) share of the segment
    cover: NDArray[np.float32]  # (h, w, DEEP)
    samples: NDArray[np.uint8]  # (h, w, DEEP) bits of the samples that are covered
    behind: NDArray[np.float32]  # (h, w) transparency of all fragments that were not kept


def empty_fragments(height: int, width: int) -> Fragments:
    deep = (height, width, DEEP)
    return Fragments(
        np.zeros((height, width), np.int32),
        np.empty(deep, np.float32),
        np.empty(deep, np.int32),
        np.empty(deep, np.float32),
        np.empty(deep, np.float32),
        np.empty(deep, np.uint8),
        np.ones((height, width), np.float32),
    )


@exact_inline
def ones(bits):
    """How many of eight bits are set."""
    count = (bits & 0x55) + ((bits >> 1) & 0x55)
    count = (count & 0x33) + ((count >> 2) & 0x33)
    return (count & 15) + (count >> 4)


@exact_inline
def insert(f, y, x, depth, source, along, cover, samples):
    """Put a fragment in its place; equal depths are ordered by source, so that the order of drawing is not
    seen."""
    n = f.filled[y, x]
    place = n
    while place > 0 and (
        f.depth[y, x, place - 1] > depth or (f.depth[y, x, place - 1] == depth and f.source[y, x, place - 1] > source)
    ):
        place -= 1
    if n == DEEP:
        lost, bits = cover, samples
        if place < DEEP:
            lost, bits = f.cover[y, x, DEEP - 1], f.samples[y, x, DEEP - 1]
        f.behind[y, x] *= 1.0 - lost * ones(bits) / 8.0
        if place == DEEP:
            return
        n -= 1
    for i in range(n, place, -1):
        f.depth[y, x, i] = f.depth[y, x, i - 1]
        f.source[y, x, i] = f.source[y, x, i - 1]
        f.along[y, x, i] = f.along[y, x, i - 1]
        f.cover[y, x, i] = f.cover[y, x, i - 1]
        f.samples[y, x, i] = f.samples[y, x, i - 1]
    f.depth[y, x, place] = depth
    f.source[y, x, place] = source
    f.along[y, x, place] = along
    f.cover[y, x, place] = cover
    f.samples[y, x, place] = samples
    f.filled[y, x] = n + 1


@exact
def farthest(depth, far, blocks):
    """Per pixel, and per block of pixels, the farthest solid depth: what lies behind it is not seen."""
    depth, far, blocks = borrow(depth), borrow(far), borrow(blocks)
    blocks[:] = 0.0
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            z = depth[y, x, 0]
            for s in range(1, depth.shape[2]):
                z = max(z, depth[y, x, s])
            far[y, x] = z
            blocks[y // BLOCK, x // BLOCK] = max(blocks[y // BLOCK, x // BLOCK], z)


@exact_inline
def hidden(blocks, x0, x1, y0, y1, depth):
    """Whether a box of pixels lies behind solid surfaces."""
    for y in range(y0 // BLOCK, y1 // BLOCK + 1):
        for x in range(x0 // BLOCK, x1 // BLOCK + 1):
            if depth < blocks[y, x]:
                return False
    return True


@exact_inline
def turn(places, a, b, ux, uy):
    """Direction (ux, uy) of one segment, averaged with that of a neighbour from a to b unless the curve
    folds."""
    vx, vy = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
    length = math.sqrt(vx * vx + vy * vy)
    if length < 1e-6 or vx * ux + vy * uy <= 0.0:
        return ux, uy
    return ux + vx / length, uy + vy / length


@exact
def draw_strands(places, halves, segments, ends, order, far, blocks, f):
    """Segments between places (p, 3: pixel x, y and depth) of half width `halves` (p,) pixels into fragments.
     order: the segments from front to back, only for speed, since what is hidden is skipped early. Where two
    segments meet, each pixel belongs to the one on its side of the bisector, so that none counts twice.
    """
    height, width = far.shape
    places, halves, far, blocks, f = borrow(places), borrow(halves), borrow(far), borrow(blocks), borrow(f)
    for i in range(order.shape[0]):
        n = order[i]
        a = segments[n]
        b = a + 1
        za, zb = places[a, 2], places[b, 2]
        if not (za >= NEAR and zb >= NEAR):
            continue
        ax, ay, bx, by = places[a, 0], places[a, 1], places[b, 0], places[b, 1]
        ux, uy = bx - ax, by - ay
        length = math.sqrt(ux * ux + uy * uy)
        if not length > 1e-6:
            continue
        ux, uy = ux / length, uy / length
        span = 0.5 * (abs(ux) + abs(uy))  # half of the pixel, seen along the strand and across it
        reach = max(halves[a], halves[b]) + span
        y0, y1 = math.ceil(min(ay, by) - reach - 0.5), math.floor(max(ay, by) + reach - 0.5)
        left, right = math.ceil(min(ax, bx) - reach - 0.5), math.floor(max(ax, bx) + reach - 0.5)
        if not (right >= 0 and left < width and y1 >= 0 and y0 < height):
            continue
        x0, x1 = max(int(left), 0), min(int(right), width - 1)
        y0, y1 = max(int(y0), 0), min(int(y1), height - 1)
        nearest = min(za, zb)
        if hidden(blocks, x0, x1, y0, y1, nearest):
            continue
        first, last = ends[n] & 1, ends[n] & 2
        sx, sy = (ux, uy) if first else turn(places, a - 1, a, ux, uy)
        ex, ey = (ux, uy) if last else turn(places, b, b + 1, ux, uy)
        for y in range(y0, y1 + 1):
            dy = y + 0.5 - ay
            from_x, to_x = x0, x1
            if abs(uy) > 0.05:  # where the line, as wide as it is, meets this row
                middle, spread = ax - 0.5 + dy * ux / uy, reach / abs(uy)
                from_x, to_x = max(x0, math.ceil(middle - spread)), min(x1, math.floor(middle + spread))
            for x in range(from_x, to_x + 1):
                if nearest >= far[y, x]:
                    continue
                dx = x + 0.5 - ax
                across = abs(dx * uy - dy * ux)
                if across >= reach:
                    continue
                along = dx * ux + dy * uy
                cover = 1.0
                if first:
                    cover = min(max(0.5 + 0.5 * along / span, 0.0), 1.0)
                elif dx * sx + dy * sy < 0.0:
                    continue
                if last:
                    cover *= min(max(0.5 + 0.5 * (length - along) / span, 0.0), 1.0)
                elif (x + 0.5 - bx) * ex + (y + 0.5 - by) * ey >= 0.0:
                    continue
                t = min(max(along / length, 0.0), 1.0)
                half = halves[a] + (halves[b] - halves[a]) * t
                cover *= max(min(across + half, span) - max(across - half, -span), 0.0) * 0.5 / span
                z = np.float32(za + (zb - za) * t)
                if cover < FAINT or z >= far[y, x]:
                    continue
                if cover > 0.995:  # nothing behind it will be seen
                    cover = 1.0
                    far[y, x] = z
                insert(f, y, x, z, n, np.float32(t), np.float32(cover), np.uint8(255))


@exact_inline
def inside(edge, weight):
    """Whether a sample is on the inner side of an edge. One that is exactly on it belongs to one of the two
    triangles that share the edge: twice clear would be less clear."""
    return weight > 0.0 or (weight == 0.0 and (edge[0] > 0.0 or (edge[0] == 0.0 and edge[1] > 0.0)))


@exact
def draw_clear(points, triangles, chosen, opacity, samples, far, f):
    """Clear triangles, in homogeneous pixel coordinates as in `raster_numba`, into fragments."""
    height, width = far.shape
    points, triangles, far, f = borrow(points), borrow(triangles), borrow(far), borrow(f)
    low, high = reach(samples)
    for n in range(chosen.shape[0]):
        k = chosen[n]
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        x0, x1, y0, y1 = bounds(points, a, b, c, width, height, low, high)
        if x1 < x0 or y1 < y0:
            continue
        e0, e1, e2, volume, sign = edges(points, a, b, c)
        if sign == 0.0:
            continue
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                bits, s0, s1, s2 = 0, 0.0, 0.0, 0.0
                for s in range(samples.shape[0]):
                    px, py = x + samples[s, 0], y + samples[s, 1]
                    w0 = e0[0] * px + e0[1] * py + e0[2]
                    w1 = e1[0] * px + e1[1] * py + e1[2]
                    w2 = e2[0] * px + e2[1] * py + e2[2]
                    if inside(e0, w0) and inside(e1, w1) and inside(e2, w2) and w0 + w1 + w2 > 0:
                        bits |= 1 << s
                        s0, s1, s2 = s0 + w0, s1 + w1, s2 + w2
                if bits == 0:
                    continue
                total = s0 + s1 + s2
                z = np.float32(volume * ones(bits) / total)
                cover = (opacity[a] * s0 + opacity[b] * s1 + opacity[c] * s2) / total
                if z < NEAR or z >= far[y, x] or cover < FAINT:
                    continue
                insert(f, y, x, z, -1 - k, np.float32(0), np.float32(cover), np.uint8(bits))
