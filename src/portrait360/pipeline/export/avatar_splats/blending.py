"""Which Gaussians a view shows, how much of each, and over what colours: the weights with which they are blended."""

from __future__ import annotations

import numpy as np
from numba import njit

from portrait360.geometry.gaussians import cpu_kernels as kernels
from portrait360.geometry.gaussians.flat_gaussians import FlatGaussians
from portrait360.geometry.numba_jit import LOOSE, WITHOUT_WRAPPERS, cached_njit
from portrait360.utils.array_types import F32, Floats

TILE = kernels.TILE
CHANNELS = 4  # most of a picture


def gather(flat: FlatGaussians, picture: Floats) -> F32:
    """Return for each Gaussian (n, 1 + c) the sum of its weights in the view, and that of weights times `picture`.

    The weight of a Gaussian in a pixel is its alpha times what those before it let through.
    """
    channels = picture.shape[2]
    sums = np.zeros((len(flat.means), 1 + CHANNELS), np.float32)
    planes = np.zeros((CHANNELS, flat.size, flat.size), np.float32)
    planes[:channels] = np.moveaxis(picture, 2, 0)
    _gather(flat.means, flat.conics, flat.opacities, flat.boxes, flat.starts, flat.ids, planes, sums)
    return sums[:, : 1 + channels]


@njit(error_model="numpy", fastmath=LOOSE, nogil=True, **WITHOUT_WRAPPERS)
def _add(lines, free, first, last, width, left, top, a, b, c, peak, sums):  # noqa: ANN001, ANN202 (numba)
    """Add a splat's weights in the rows of a tile to its sums, as `kernels._blend` draws it."""
    least, most, closed = kernels.MIN_ALPHA32, kernels.MAX_ALPHA32, kernels.MIN_TRANSMITTANCE32
    one, zero, total = kernels.ONE, kernels.ZERO, 0
    for y in range(first, last):
        if free[y] == 0:
            continue
        dy = np.float32(y) + top
        across, along, ended = b * dy, c * dy * dy, zero
        share, red, green, blue, alphas = zero, zero, zero, zero, zero
        for x in range(width):
            dx = lines[y, TILE + x] + left
            power = (a * dx + across) * dx + along
            alpha = peak * kernels.find_exponential(power if power > kernels.LEAST else kernels.LEAST)
            alpha = alpha if alpha < most else most
            before = lines[y, x]
            alpha = alpha if (alpha >= least) & (before >= closed) else zero
            weight, after = alpha * before, before * (one - alpha)
            lines[y, x] = after
            share += weight
            red += weight * lines[y, 2 * TILE + x]
            green += weight * lines[y, 3 * TILE + x]
            blue += weight * lines[y, 4 * TILE + x]
            alphas += weight * lines[y, 5 * TILE + x]
            ended += one if (before >= closed) & (after < closed) else zero
        sums[0] += share
        sums[1] += red
        sums[2] += green
        sums[3] += blue
        sums[4] += alphas
        free[y] -= np.int64(ended)
        total += np.int64(ended)
    return total


@cached_njit(error_model="numpy", fastmath=LOOSE, nogil=True)
def _gather(means, conics, opacities, boxes, starts, ids, planes, sums):  # noqa: ANN001, ANN202 (numba)
    size = planes.shape[1]
    across = (size + TILE - 1) // TILE
    half, sixteenth = kernels.HALF, kernels.SIXTEENTH
    for tile in range(across * across):
        top, left = tile // across * TILE, tile % across * TILE
        height, width = min(TILE, size - top), min(TILE, size - left)
        lines, free = np.zeros((TILE, (2 + CHANNELS) * TILE), np.float32), np.full(TILE, width)
        for y in range(TILE):
            for x in range(TILE):
                lines[y, x] = kernels.ONE if x < width else kernels.ZERO
                lines[y, TILE + x] = np.float32(x) + half
        for y in range(height):
            for channel in range(CHANNELS):
                for x in range(width):
                    lines[y, (2 + channel) * TILE + x] = planes[channel, top + y, left + x]
        open_pixels = height * width
        for k in range(starts[tile], starts[tile + 1]):
            if open_pixels == 0:
                break
            n = ids[k]
            first, last = max(top, boxes[n, 2]) - top, min(top + height, boxes[n, 3]) - top
            x, y = np.float32(left) - means[n, 0], np.float32(top) + half - means[n, 1]
            a, b, c = -half * conics[n, 0], -conics[n, 1], -half * conics[n, 2]
            open_pixels -= _add(
                lines, free, first, last, TILE, x, y, sixteenth * a, sixteenth * b, sixteenth * c,
                opacities[n], sums[n],
            )  # fmt: skip
