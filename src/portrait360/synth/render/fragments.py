"""Partial pixel coverage: hair strands and transparent triangles as fragments sorted by depth.

Each pixel keeps the DEEP nearest fragments; of the fragments behind them only the product of their transparencies is
kept, which does not depend on their order. A strand is a line with a width: its coverage of a pixel is computed
analytically, so that a strand thinner than a pixel fades instead of breaking into dots.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.numba_jit import njit_exact, njit_exact_inline
from portrait360.geometry.rasterizer_kernels import NEAR, bounds, edges, reach
from portrait360.synth.render.numba_borrow import borrow

DEEP = 8  # fragments kept per pixel
BLOCK = 8  # side of the blocks in which hidden segments are skipped
INK_SOURCE = -(2**31)  # source of the ink band behind hair
FAINT = 1.0 / 512  # coverage below this is ignored
CLOSED = 1e-3  # joint transparency of a pixel's dropped fragments from which nothing behind them is seen
REFRESHES = 64  # how often, while strands are drawn, blocks learn what earlier strands hide


class Fragments(NamedTuple):
    """The fragments of every pixel, nearest first."""

    filled: NDArray[np.int32]  # (h, w) number of fragments
    depth: NDArray[np.float32]  # (h, w, DEEP)
    source: NDArray[np.int32]  # (h, w, DEEP) segment index, or -1 - triangle index
    along: NDArray[np.float32]  # (h, w, DEEP) position along the segment, 0..1
    cover: NDArray[np.float32]  # (h, w, DEEP)
    samples: NDArray[np.uint8]  # (h, w, DEEP) bit mask of the covered samples
    behind: NDArray[np.float32]  # (h, w) joint transparency of all dropped fragments


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


@njit_exact_inline
def count_bits(bits):
    """Return the number of set bits of eight."""
    count = (bits & 0x55) + ((bits >> 1) & 0x55)
    count = (count & 0x33) + ((count >> 2) & 0x33)
    return (count & 15) + (count >> 4)


@njit_exact_inline
def insert(f, y, x, depth, source, along, cover, samples):
    """Insert a fragment by depth; equal depths are ordered by source, so that drawing order does not matter."""
    n = f.filled[y, x]
    index = n
    while index > 0 and (
        f.depth[y, x, index - 1] > depth or (f.depth[y, x, index - 1] == depth and f.source[y, x, index - 1] > source)
    ):
        index -= 1
    if n == DEEP:
        dropped_cover, bits = cover, samples
        if index < DEEP:
            dropped_cover, bits = f.cover[y, x, DEEP - 1], f.samples[y, x, DEEP - 1]
        f.behind[y, x] *= 1.0 - dropped_cover * count_bits(bits) / 8.0
        if index == DEEP:
            return
        n -= 1
    for i in range(n, index, -1):
        f.depth[y, x, i] = f.depth[y, x, i - 1]
        f.source[y, x, i] = f.source[y, x, i - 1]
        f.along[y, x, i] = f.along[y, x, i - 1]
        f.cover[y, x, i] = f.cover[y, x, i - 1]
        f.samples[y, x, i] = f.samples[y, x, i - 1]
    f.depth[y, x, index] = depth
    f.source[y, x, index] = source
    f.along[y, x, index] = along
    f.cover[y, x, index] = cover
    f.samples[y, x, index] = samples
    f.filled[y, x] = n + 1


@njit_exact
def find_farthest(depth, far, blocks):
    """Compute the farthest solid depth per pixel and per block of pixels; anything behind it is invisible."""
    depth, far, blocks = borrow(depth), borrow(far), borrow(blocks)
    blocks[:] = 0.0
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            z = depth[y, x, 0]
            for s in range(1, depth.shape[2]):
                z = max(z, depth[y, x, s])
            far[y, x] = z
            blocks[y // BLOCK, x // BLOCK] = max(blocks[y // BLOCK, x // BLOCK], z)


@njit_exact_inline
def refresh_blocks(far, blocks, is_stale):
    """Compute the farthest visible depth again of the blocks (rows, columns) that are marked, and unmark them."""
    for row in range(blocks.shape[0]):
        for column in range(blocks.shape[1]):
            if not is_stale[row, column]:
                continue
            z = np.float32(0)
            for y in range(row * BLOCK, min(row * BLOCK + BLOCK, far.shape[0])):
                for x in range(column * BLOCK, min(column * BLOCK + BLOCK, far.shape[1])):
                    z = max(z, far[y, x])
            blocks[row, column], is_stale[row, column] = z, False


@njit_exact_inline
def is_hidden(blocks, x0, x1, y0, y1, depth):
    """Return whether a box of pixels lies behind solid surfaces."""
    for y in range(y0 // BLOCK, y1 // BLOCK + 1):
        for x in range(x0 // BLOCK, x1 // BLOCK + 1):
            if depth < blocks[y, x]:
                return False
    return True


@njit_exact_inline
def joint_direction(positions, a, b, ux, uy):
    """Average the direction (ux, uy) of a segment with that of its neighbour from a to b unless the curve folds."""
    vx, vy = positions[b, 0] - positions[a, 0], positions[b, 1] - positions[a, 1]
    length = math.sqrt(vx * vx + vy * vy)
    if length < 1e-6 or vx * ux + vy * uy <= 0.0:
        return ux, uy
    return ux + vx / length, uy + vy / length


@njit_exact
def find_visible(positions, halves, segments, blocks, height, width, visible, directions):
    """Write which segments no solid surface hides into `visible`, and return their number; arguments: `draw_strands`.

    Of these, `directions` (s, 2) gets cos and sin of twice their angle in the image: without a sign, these can be
    averaged.
    """
    positions, halves, segments, blocks = borrow(positions), borrow(halves), borrow(segments), borrow(blocks)
    count = 0
    for n in range(segments.shape[0]):
        a = segments[n]
        b = a + 1
        nearest = min(positions[a, 2], positions[b, 2])
        if not nearest >= NEAR:
            continue
        ax, ay, bx, by = positions[a, 0], positions[a, 1], positions[b, 0], positions[b, 1]
        x, y = bx - ax, by - ay
        square = x * x + y * y
        if not square > 1e-12:
            continue
        reach = max(halves[a], halves[b]) + 1.5  # at least what draw_strands takes
        if not (max(ax, bx) + reach >= 0 and min(ax, bx) - reach <= width):
            continue
        if not (max(ay, by) + reach >= 0 and min(ay, by) - reach <= height):
            continue
        x0, x1 = int(max(min(ax, bx) - reach, 0.0)), int(min(max(ax, bx) + reach, width - 1.0))
        y0, y1 = int(max(min(ay, by) - reach, 0.0)), int(min(max(ay, by) + reach, height - 1.0))
        if is_hidden(blocks, x0, x1, y0, y1, nearest):
            continue
        directions[n, 0], directions[n, 1] = (x * x - y * y) / square, 2 * x * y / square
        visible[count] = n
        count += 1
    return count


@njit_exact
def draw_strands(positions, halves, segments, ends, order, far, blocks, f):
    """Rasterise segments between positions (p, 3: pixel x, y and depth) of half width `halves` (p,) into fragments.

    `halves` are in pixels. `order` lists the segments from front to back, only for speed, since those that earlier
    ones hide are skipped; `far` and `blocks` change with what is drawn. Where two segments meet, each pixel belongs
    to the one on its side of the bisector, so that none counts twice.
    """
    height, width = far.shape
    positions, halves, far, blocks, f = borrow(positions), borrow(halves), borrow(far), borrow(blocks), borrow(f)
    is_stale = np.zeros(blocks.shape, np.bool_)
    period = max(order.shape[0] // REFRESHES, 256)
    for i in range(order.shape[0]):
        if i % period == period - 1:
            refresh_blocks(far, blocks, is_stale)
        n = order[i]
        a = segments[n]
        b = a + 1
        za, zb = positions[a, 2], positions[b, 2]
        if not (za >= NEAR and zb >= NEAR):
            continue
        ax, ay, bx, by = positions[a, 0], positions[a, 1], positions[b, 0], positions[b, 1]
        ux, uy = bx - ax, by - ay
        length = math.sqrt(ux * ux + uy * uy)
        if not length > 1e-6:
            continue
        ux, uy = ux / length, uy / length
        span = 0.5 * (abs(ux) + abs(uy))  # half extent of a pixel along and across the strand
        reach = max(halves[a], halves[b]) + span
        y0, y1 = math.ceil(min(ay, by) - reach - 0.5), math.floor(max(ay, by) + reach - 0.5)
        left, right = math.ceil(min(ax, bx) - reach - 0.5), math.floor(max(ax, bx) + reach - 0.5)
        if not (right >= 0 and left < width and y1 >= 0 and y0 < height):
            continue
        x0, x1 = max(int(left), 0), min(int(right), width - 1)
        y0, y1 = max(int(y0), 0), min(int(y1), height - 1)
        nearest = min(za, zb)
        if is_hidden(blocks, x0, x1, y0, y1, nearest):
            continue
        first, last = ends[n] & 1, ends[n] & 2
        sx, sy = (ux, uy) if first else joint_direction(positions, a - 1, a, ux, uy)
        ex, ey = (ux, uy) if last else joint_direction(positions, b, b + 1, ux, uy)
        is_steep = abs(uy) > 0.05
        slope, spread = (ux / uy, reach / abs(uy)) if is_steep else (0.0, 0.0)
        for y in range(y0, y1 + 1):
            dy = y + 0.5 - ay
            from_x, to_x = x0, x1
            if is_steep:  # where the widened line intersects this row
                middle = ax - 0.5 + dy * slope
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
                if cover > 0.995:  # it hides everything behind it
                    cover = 1.0
                    far[y, x], is_stale[y // BLOCK, x // BLOCK] = z, True
                insert(f, y, x, z, n, np.float32(t), np.float32(cover), np.uint8(255))
                if f.behind[y, x] < CLOSED and f.depth[y, x, DEEP - 1] < far[y, x]:
                    far[y, x], is_stale[y // BLOCK, x // BLOCK] = f.depth[y, x, DEEP - 1], True


@njit_exact_inline
def is_inside(edge, weight):
    """Return whether a sample is on the inner side of an edge.

    A sample exactly on an edge belongs to one of the two triangles that share it, so that it is not blended twice.
    """
    return weight > 0.0 or (weight == 0.0 and (edge[0] > 0.0 or (edge[0] == 0.0 and edge[1] > 0.0)))


@njit_exact
def draw_transparent(points, triangles, selection, opacity, samples, far, f):
    """Rasterise transparent triangles, in homogeneous pixel coordinates (see rasterizer_kernels), into fragments."""
    height, width = far.shape
    points, triangles, far, f = borrow(points), borrow(triangles), borrow(far), borrow(f)
    low, high = reach(samples)
    for n in range(selection.shape[0]):
        k = selection[n]
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
                    if is_inside(e0, w0) and is_inside(e1, w1) and is_inside(e2, w2) and w0 + w1 + w2 > 0:
                        bits |= 1 << s
                        s0, s1, s2 = s0 + w0, s1 + w1, s2 + w2
                if bits == 0:
                    continue
                total = s0 + s1 + s2
                z = np.float32(volume * count_bits(bits) / total)
                cover = (opacity[a] * s0 + opacity[b] * s1 + opacity[c] * s2) / total
                if z < NEAR or z >= far[y, x] or cover < FAINT:
                    continue
                insert(f, y, x, z, -1 - k, np.float32(0), np.float32(cover), np.uint8(bits))
