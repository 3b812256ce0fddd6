"""The tile rasteriser of splats: numba, every tile on its own, so that threads never write the same place.

A pixel's colour is C = sum_i c_i a_i T_i with T_i = prod_{j<i} (1 - a_j) (Kerbl et al. 2023, eq. 3). The way back
walks in the same order: what lies behind splat i is what the pixel has in all, less what it had up to i.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from portrait360.geometry.compiled import kept

TILE = 16
LEAST = 1 / 255  # of alpha: less is not drawn
MOST = 0.99  # of alpha: a splat is never quite opaque
SURFACE = 0.75  # of the light is left where the surface lies: splats fill a layer around it
CLOSED = 1e-4  # of what shines through: less, and nothing behind is drawn

ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
LEAST32, MOST32, CLOSED32, SURFACE32 = (np.float32(value) for value in (LEAST, MOST, CLOSED, SURFACE))


@kept()
def boxes(means, opacities, extents, size):  # noqa: ANN001, ANN201 (numba)
    """Pixels (n, 4) x0 x1 y0 y1, ends excluded, where a splat's alpha may reach LEAST; empty boxes have x0 = x1."""
    out = np.zeros((len(means), 4), np.int32)
    for n in range(len(means)):
        if opacities[n] <= LEAST:
            continue
        reach = math.sqrt(2 * math.log(opacities[n] / LEAST))
        rx, ry = reach * math.sqrt(extents[n, 0]), reach * math.sqrt(extents[n, 1])
        x, y = means[n, 0] - 0.5, means[n, 1] - 0.5  # pixel centres lie at + 1/2
        if not (x + rx >= 0 and x - rx <= size - 1 and y + ry >= 0 and y - ry <= size - 1):
            continue
        out[n, 0], out[n, 1] = max(math.ceil(x - rx), 0), min(math.floor(x + rx), size - 1) + 1
        out[n, 2], out[n, 3] = max(math.ceil(y - ry), 0), min(math.floor(y + ry), size - 1) + 1
        if out[n, 1] <= out[n, 0] or out[n, 3] <= out[n, 2]:
            out[n] = 0
    return out


@kept()
def bins(boxes, order, size):  # noqa: ANN001, ANN201 (numba)
    """Of every tile, where its list begins (tiles + 1), and the lists: splats from near to far."""
    across = (size + TILE - 1) // TILE
    starts = np.zeros(across * across + 1, np.int64)
    for n in range(len(boxes)):
        if boxes[n, 1] > boxes[n, 0]:
            for i in range(boxes[n, 2] // TILE, (boxes[n, 3] - 1) // TILE + 1):
                for j in range(boxes[n, 0] // TILE, (boxes[n, 1] - 1) // TILE + 1):
                    starts[i * across + j + 1] += 1
    starts = np.cumsum(starts)
    ids, at = np.empty(starts[-1], np.int32), starts[:-1].copy()
    for n in order:
        if boxes[n, 1] > boxes[n, 0]:
            for i in range(boxes[n, 2] // TILE, (boxes[n, 3] - 1) // TILE + 1):
                for j in range(boxes[n, 0] // TILE, (boxes[n, 1] - 1) // TILE + 1):
                    tile = i * across + j
                    ids[at[tile]] = n
                    at[tile] += 1
    return starts, ids


@njit(inline="always")
def _bell(conics, n, dx, dy):  # noqa: ANN001, ANN202 (numba)
    """A splat's height at an offset from its centre."""
    a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
    return np.float32(math.exp(-HALF * (a * dx * dx + c * dy * dy) - b * dx * dy))


@kept(parallel=True, fastmath=True)
def draw(means, conics, opacities, colours, depths, boxes, starts, ids, out):  # noqa: ANN001, ANN201 (numba)
    size = out.shape[0]
    across = (size + TILE - 1) // TILE
    for tile in prange(across * across):
        top, left = tile // across * TILE, tile % across * TILE
        bottom, right = min(top + TILE, size), min(left + TILE, size)
        through = np.ones((TILE, TILE), np.float32)
        open_pixels = (bottom - top) * (right - left)
        for k in range(starts[tile], starts[tile + 1]):
            if open_pixels == 0:
                break
            n = ids[k]
            for y in range(max(top, boxes[n, 2]), min(bottom, boxes[n, 3])):
                dy = np.float32(y) + HALF - means[n, 1]
                for x in range(max(left, boxes[n, 0]), min(right, boxes[n, 1])):
                    before = through[y - top, x - left]
                    if before < CLOSED32:
                        continue
                    dx = np.float32(x) + HALF - means[n, 0]
                    alpha = min(opacities[n] * _bell(conics, n, dx, dy), MOST32)
                    if alpha < LEAST32:
                        continue
                    weight = alpha * before
                    for channel in range(3):
                        out[y, x, channel] += weight * colours[n, channel]
                    after = before * (ONE - alpha)
                    if before > SURFACE32 >= after:
                        out[y, x, 4] = depths[n]
                    through[y - top, x - left] = after
                    open_pixels -= after < CLOSED32
        for y in range(top, bottom):
            for x in range(left, right):
                out[y, x, 3] = ONE - through[y - top, x - left]


@kept(parallel=True, fastmath=True)
def draw_backward(means, conics, opacities, colours, boxes, starts, ids, out, above, pairs):  # noqa: ANN001, ANN201 (numba)
    """Gradients (pairs, 9) of every splat in every tile: place 2, conic 3, opacity, colour 3."""
    size = out.shape[0]
    across = (size + TILE - 1) // TILE
    for tile in prange(across * across):
        top, left = tile // across * TILE, tile % across * TILE
        bottom, right = min(top + TILE, size), min(left + TILE, size)
        through = np.ones((TILE, TILE), np.float32)
        behind = np.zeros((TILE, TILE), np.float32)  # gradient of all that was not yet passed
        last = np.zeros((TILE, TILE), np.float32)  # gradient of alpha, times what shines through all splats
        for y in range(top, bottom):
            for x in range(left, right):
                for channel in range(3):
                    behind[y - top, x - left] += out[y, x, channel] * above[y, x, channel]
                last[y - top, x - left] = (ONE - out[y, x, 3]) * above[y, x, 3]
        for k in range(starts[tile], starts[tile + 1]):
            n = ids[k]
            a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
            for y in range(max(top, boxes[n, 2]), min(bottom, boxes[n, 3])):
                dy = np.float32(y) + HALF - means[n, 1]
                for x in range(max(left, boxes[n, 0]), min(right, boxes[n, 1])):
                    before = through[y - top, x - left]
                    if before < CLOSED32:
                        continue
                    dx = np.float32(x) + HALF - means[n, 0]
                    bell = _bell(conics, n, dx, dy)
                    alpha = min(opacities[n] * bell, MOST32)
                    if alpha < LEAST32:
                        continue
                    weight = alpha * before
                    own = ZERO
                    for channel in range(3):
                        own += colours[n, channel] * above[y, x, channel]
                        pairs[k, 6 + channel] += weight * above[y, x, channel]
                    behind[y - top, x - left] -= weight * own
                    through[y - top, x - left] = before * (ONE - alpha)
                    if alpha >= MOST32:
                        continue
                    slope = before * own + (last[y - top, x - left] - behind[y - top, x - left]) / (ONE - alpha)
                    pairs[k, 5] += slope * bell
                    slope *= alpha  # now by the power
                    pairs[k, 0] += slope * (a * dx + b * dy)
                    pairs[k, 1] += slope * (c * dy + b * dx)
                    pairs[k, 2] -= slope * HALF * dx * dx
                    pairs[k, 3] -= slope * dx * dy
                    pairs[k, 4] -= slope * HALF * dy * dy


@kept()
def gather(ids, pairs, count):  # noqa: ANN001, ANN201 (numba)
    """Gradients of the splats (count, 9): the sum over their tiles."""
    out = np.zeros((count, pairs.shape[1]), np.float32)
    for k in range(len(ids)):
        for channel in range(pairs.shape[1]):
            out[ids[k], channel] += pairs[k, channel]
    return out
