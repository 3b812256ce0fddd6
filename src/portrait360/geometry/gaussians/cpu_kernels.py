"""The tile rasteriser of splats in numba. Tiles are independent, so threads never write the same pixel.

A pixel's colour is C = sum_i c_i a_i T_i with T_i = prod_{j<i} (1 - a_j) (Kerbl et al. 2023, eq. 3). The backward
pass runs in the same order: the colour behind splat i is the pixel's total, less its colour up to i.

Without gradients a row of a tile is computed at once, without branches, so that the processor's wide registers are
used: the row's transmittances, colours and so on lie one after the other in `lines` (TILE, planes * TILE).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from portrait360.geometry.numba_jit import LOOSE, WITHOUT_WRAPPERS, cached_njit

TILE = 16
MIN_ALPHA = 1 / 255  # less is not drawn
MAX_ALPHA = 0.99  # a splat is never fully opaque
SURFACE_TRANSMITTANCE = 0.75  # at the depth of the surface: splats fill a layer around it
MIN_TRANSMITTANCE = 1e-4  # below it, nothing behind is drawn

ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
FAINTEST = np.float32(math.log(MIN_ALPHA))
SIXTEENTH, LEAST = np.float32(1 / 16), np.float32(-0.5)  # of an exponent: what is less is far below MIN_ALPHA
TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(7))
MIN_ALPHA32, MAX_ALPHA32 = np.float32(MIN_ALPHA), np.float32(MAX_ALPHA)
MIN_TRANSMITTANCE32, SURFACE_TRANSMITTANCE32 = np.float32(MIN_TRANSMITTANCE), np.float32(SURFACE_TRANSMITTANCE)


@cached_njit(nogil=True)
def bounding_boxes(means, opacities, extents, size):  # noqa: ANN001, ANN201 (numba)
    """Return the pixels (n, 4) x0 x1 y0 y1, ends excluded, where each splat's alpha may reach MIN_ALPHA.

    Empty boxes have x0 = x1.
    """
    out = np.zeros((len(means), 4), np.int32)
    for n in range(len(means)):
        if opacities[n] <= MIN_ALPHA:
            continue
        reach = math.sqrt(2 * math.log(opacities[n] / MIN_ALPHA))
        rx, ry = reach * math.sqrt(extents[n, 0]), reach * math.sqrt(extents[n, 1])
        x, y = means[n, 0] - 0.5, means[n, 1] - 0.5  # pixel centres are at + 1/2
        if not (x + rx >= 0 and x - rx <= size - 1 and y + ry >= 0 and y - ry <= size - 1):
            continue
        out[n, 0], out[n, 1] = max(math.ceil(x - rx), 0), min(math.floor(x + rx), size - 1) + 1
        out[n, 2], out[n, 3] = max(math.ceil(y - ry), 0), min(math.floor(y + ry), size - 1) + 1
        if out[n, 1] <= out[n, 0] or out[n, 3] <= out[n, 2]:
            out[n] = 0
    return out


@cached_njit(nogil=True)
def bin_splats(boxes, order, size):  # noqa: ANN001, ANN201 (numba)
    """Return the start of every tile's list (tiles + 1), and the lists: ids of splats from near to far."""
    across = (size + TILE - 1) // TILE
    starts = np.zeros(across * across + 1, np.int64)
    for n in range(len(boxes)):
        if boxes[n, 1] > boxes[n, 0]:
            for i in range(boxes[n, 2] // TILE, (boxes[n, 3] - 1) // TILE + 1):
                for j in range(boxes[n, 0] // TILE, (boxes[n, 1] - 1) // TILE + 1):
                    starts[i * across + j + 1] += 1
    starts = np.cumsum(starts)
    ids, ends = np.empty(starts[-1], np.int32), starts[:-1].copy()
    for n in order:
        if boxes[n, 1] > boxes[n, 0]:
            for i in range(boxes[n, 2] // TILE, (boxes[n, 3] - 1) // TILE + 1):
                for j in range(boxes[n, 0] // TILE, (boxes[n, 1] - 1) // TILE + 1):
                    tile = i * across + j
                    ids[ends[tile]] = n
                    ends[tile] += 1
    return starts, ids


@njit(inline="always")
def evaluate_gaussian(conics, n, dx, dy):  # noqa: ANN001, ANN202 (numba)
    """Evaluate a splat's Gaussian at an offset from its centre; 0 where no opacity brings it to MIN_ALPHA."""
    a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
    power = -HALF * (a * dx * dx + c * dy * dy) - b * dx * dy
    return np.float32(math.exp(power)) if power >= FAINTEST else ZERO


@njit(inline="always")
def find_exponential(p):  # noqa: ANN001, ANN202 (numba)
    """Return exp(16 p) for p in [LEAST, 0], to 4e-5 of its value, and to 5e-6 where more than MIN_ALPHA is left.

    Calls of exp itself would keep a loop out of wide registers.
    """
    e = TAYLOR[4] + p * (TAYLOR[5] + p * TAYLOR[6])
    e = TAYLOR[0] + p * (TAYLOR[1] + p * (TAYLOR[2] + p * (TAYLOR[3] + p * e)))
    e = e * e
    e = e * e
    e = e * e
    return e * e


@njit(error_model="numpy", fastmath=LOOSE, nogil=True, **WITHOUT_WRAPPERS)
def _blend(lines, free, first, last, width, left, top, a, b, c, peak, red, green, blue, depth):  # noqa: ANN001, ANN202 (numba)
    """Blend a splat into rows of a tile, and return how many pixels have become opaque by it.

    `width` is TILE: with a number that the compiler knows, it would write the loop out instead of widening it.
    """
    total = 0
    for y in range(first, last):
        if free[y] == 0:
            continue
        dy = np.float32(y) + top
        across, along, closed = b * dy, c * dy * dy, ZERO
        for x in range(width):
            dx = lines[y, 5 * TILE + x] + left
            power = (a * dx + across) * dx + along
            alpha = peak * find_exponential(power if power > LEAST else LEAST)
            alpha = alpha if alpha < MAX_ALPHA32 else MAX_ALPHA32
            before = lines[y, x]
            alpha = alpha if (alpha >= MIN_ALPHA32) & (before >= MIN_TRANSMITTANCE32) else ZERO
            weight, after = alpha * before, before * (ONE - alpha)
            lines[y, x] = after
            lines[y, TILE + x] += weight * red
            lines[y, 2 * TILE + x] += weight * green
            lines[y, 3 * TILE + x] += weight * blue
            crosses = (before > SURFACE_TRANSMITTANCE32) & (after <= SURFACE_TRANSMITTANCE32)
            surface = lines[y, 4 * TILE + x]
            lines[y, 4 * TILE + x] = depth if crosses else surface
            closed += ONE if (before >= MIN_TRANSMITTANCE32) & (after < MIN_TRANSMITTANCE32) else ZERO
        free[y] -= np.int64(closed)
        total += np.int64(closed)
    return total


@njit(error_model="numpy", fastmath=LOOSE, nogil=True, **WITHOUT_WRAPPERS)
def _draw_tile(tile, means, conics, opacities, colours, depths, boxes, starts, ids, out):  # noqa: ANN001, ANN202 (numba)
    size = out.shape[0]
    across = (size + TILE - 1) // TILE
    top, left = tile // across * TILE, tile % across * TILE
    height, width = min(TILE, size - top), min(TILE, size - left)
    lines, free = np.zeros((TILE, 6 * TILE), np.float32), np.full(TILE, width)
    for y in range(TILE):
        for x in range(TILE):
            lines[y, x] = ONE if x < width else ZERO
            lines[y, 5 * TILE + x] = np.float32(x) + HALF
    open_pixels = height * width
    for k in range(starts[tile], starts[tile + 1]):
        if open_pixels == 0:
            break
        n = ids[k]
        first, last = max(top, boxes[n, 2]) - top, min(top + height, boxes[n, 3]) - top
        x, y = np.float32(left) - means[n, 0], np.float32(top) + HALF - means[n, 1]
        a, b, c = -HALF * conics[n, 0], -conics[n, 1], -HALF * conics[n, 2]
        open_pixels -= _blend(
            lines, free, first, last, TILE, x, y, SIXTEENTH * a, SIXTEENTH * b, SIXTEENTH * c,
            opacities[n], colours[n, 0], colours[n, 1], colours[n, 2], depths[n],
        )  # fmt: skip
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                out[top + y, left + x, channel] = lines[y, (1 + channel) * TILE + x]
            out[top + y, left + x, 3] = ONE - lines[y, x]
            out[top + y, left + x, 4] = lines[y, 4 * TILE + x]


@cached_njit(parallel=True, fastmath=LOOSE, error_model="numpy")
def draw(means, conics, opacities, colours, depths, boxes, starts, ids, out):  # noqa: ANN001, ANN201 (numba)
    """Blend the splats of every tile into out (s, s, 5): premultiplied colour, alpha, depth of the surface."""
    for tile in prange(len(starts) - 1):
        _draw_tile(tile, means, conics, opacities, colours, depths, boxes, starts, ids, out)


@cached_njit(nogil=True, fastmath=LOOSE, error_model="numpy")
def draw_alone(means, conics, opacities, colours, depths, boxes, starts, ids, out):  # noqa: ANN001, ANN201 (numba)
    """Do the same on one core, for threads that each draw a view of their own."""
    for tile in range(len(starts) - 1):
        _draw_tile(tile, means, conics, opacities, colours, depths, boxes, starts, ids, out)


@njit(error_model="numpy", fastmath=LOOSE, nogil=True, **WITHOUT_WRAPPERS)
def _blend_backward(lines, free, first, last, width, left, top, a, b, c, peak, red, green, blue, sums):  # noqa: ANN001, ANN202 (numba)
    """Go over rows of a tile as `_blend` does, and add up what a splat's gradients are made of.

    Those are, in `sums` (9,): the gradient of its exponent, times dx, dy, dx dx, dx dy and dy dy, and those of its
    colour.
    """
    for y in range(first, last):
        if free[y] == 0:
            continue
        dy = np.float32(y) + top
        across, along, closed = b * dy, c * dy * dy, ZERO
        slopes = slopes_x = slopes_xx = reds = greens = blues = ZERO
        for x in range(width):
            dx = lines[y, 6 * TILE + x] + left
            power = (a * dx + across) * dx + along
            alpha = peak * find_exponential(power if power > LEAST else LEAST)
            before = lines[y, x]
            is_drawn = (alpha >= MIN_ALPHA32) & (before >= MIN_TRANSMITTANCE32)
            is_moved = is_drawn & (alpha < MAX_ALPHA32)
            alpha = alpha if alpha < MAX_ALPHA32 else MAX_ALPHA32
            alpha = alpha if is_drawn else ZERO
            weight, after = alpha * before, before * (ONE - alpha)
            grad_red, grad_green, grad_blue = lines[y, 3 * TILE + x], lines[y, 4 * TILE + x], lines[y, 5 * TILE + x]
            dot = red * grad_red + green * grad_green + blue * grad_blue
            behind = lines[y, TILE + x] - weight * dot
            lines[y, x], lines[y, TILE + x] = after, behind
            slope = before * dot + (lines[y, 2 * TILE + x] - behind) / (ONE - alpha)
            slope = slope * alpha if is_moved else ZERO
            slopes += slope
            slopes_x += slope * dx
            slopes_xx += slope * dx * dx
            reds += weight * grad_red
            greens += weight * grad_green
            blues += weight * grad_blue
            closed += ONE if (before >= MIN_TRANSMITTANCE32) & (after < MIN_TRANSMITTANCE32) else ZERO
        free[y] -= np.int64(closed)
        sums[0] += slopes
        sums[1] += slopes_x
        sums[2] += slopes * dy
        sums[3] += slopes_xx
        sums[4] += slopes_x * dy
        sums[5] += slopes * dy * dy
        sums[6] += reds
        sums[7] += greens
        sums[8] += blues


@njit(error_model="numpy", nogil=True, **WITHOUT_WRAPPERS)
def _read_gradients(lines, free, top, left, height, width, out, grad_output):  # noqa: ANN001, ANN202 (numba)
    """Fill the rows of a tile: transmittance, the gradient of all splats to come, that of alpha times the
    transmittance of all, those of the colours, and the middles of pixels."""
    for y in range(TILE):
        free[y] = width if y < height else 0
        for x in range(TILE):
            lines[y, x] = ONE if x < width else ZERO
            lines[y, 6 * TILE + x] = np.float32(x) + HALF
            if y >= height or x >= width:
                continue
            for channel in range(3):
                slope = grad_output[top + y, left + x, channel]
                lines[y, TILE + x] += out[top + y, left + x, channel] * slope
                lines[y, (3 + channel) * TILE + x] = slope
            lines[y, 2 * TILE + x] = (ONE - out[top + y, left + x, 3]) * grad_output[top + y, left + x, 3]


@cached_njit(parallel=True, fastmath=LOOSE, error_model="numpy")
def draw_backward(means, conics, opacities, colours, boxes, starts, ids, out, grad_output, pairs):  # noqa: ANN001, ANN201 (numba)
    """Compute the gradients (pairs, 9) of every splat in every tile: mean 2, conic 3, opacity, colour 3."""
    size = out.shape[0]
    across = (size + TILE - 1) // TILE
    for tile in prange(across * across):
        top, left = tile // across * TILE, tile % across * TILE
        height, width = min(TILE, size - top), min(TILE, size - left)
        lines, free = np.zeros((TILE, 7 * TILE), np.float32), np.zeros(TILE, np.int64)
        _read_gradients(lines, free, top, left, height, width, out, grad_output)
        sums = np.empty(9, np.float32)
        for k in range(starts[tile], starts[tile + 1]):
            n = ids[k]
            first, last = max(top, boxes[n, 2]) - top, min(top + height, boxes[n, 3]) - top
            x, y = np.float32(left) - means[n, 0], np.float32(top) + HALF - means[n, 1]
            a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
            sums[:] = ZERO
            _blend_backward(
                lines, free, first, last, TILE, x, y,
                -SIXTEENTH * HALF * a, -SIXTEENTH * b, -SIXTEENTH * HALF * c,
                opacities[n], colours[n, 0], colours[n, 1], colours[n, 2], sums,
            )  # fmt: skip
            pairs[k, 0], pairs[k, 1] = a * sums[1] + b * sums[2], c * sums[2] + b * sums[1]
            pairs[k, 2], pairs[k, 3], pairs[k, 4] = -HALF * sums[3], -sums[4], -HALF * sums[5]
            pairs[k, 5] = sums[0] / opacities[n]
            for channel in range(3):
                pairs[k, 6 + channel] = sums[6 + channel]


@cached_njit()
def sum_gradients(ids, pairs, count):  # noqa: ANN001, ANN201 (numba)
    """Return the gradients of the splats (count, 9): the sums over their tiles."""
    out = np.zeros((count, pairs.shape[1]), np.float32)
    for k in range(len(ids)):
        for channel in range(pairs.shape[1]):
            out[ids[k], channel] += pairs[k, channel]
    return out
