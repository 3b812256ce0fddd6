"""Which Gaussians a view shows, how much of each, and over what colours: the weights with which they are blended.

As in `cpu_kernels`, a row of a tile is computed at once: transmittances, six channels of pictures and the middles of
pixels lie one after the other in `lines` (TILE, PLANES * TILE).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from portrait360.geometry.gaussians import cpu_kernels as kernels
from portrait360.geometry.gaussians.cpu_kernels import (
    HALF,
    LEAST,
    MAX_ALPHA32,
    MIN_ALPHA32,
    MIN_TRANSMITTANCE32,
    ONE,
    SIXTEENTH,
    TILE,
    ZERO,
)
from portrait360.geometry.gaussians.flat_gaussians import FlatGaussians
from portrait360.geometry.numba_jit import LOOSE, WITHOUT_WRAPPERS, cached_njit
from portrait360.utils.array_types import F32, Floats

CHANNELS = 6  # of pictures, at most
PLANES = 2 + CHANNELS
FAR = np.float32(-32)  # squared distances are this times exponents, which are in sixteenths


def gather(flat: FlatGaussians, picture: Floats) -> F32:
    """Return for each Gaussian (n, 1 + c) the sum of its weights in the view, and that of weights times `picture`.

    The weight of a Gaussian in a pixel is its alpha times what those before it let through. A picture has up to
    CHANNELS channels.
    """
    channels = picture.shape[2]
    planes = np.zeros((flat.size, flat.size, CHANNELS), np.float32)
    planes[..., :channels] = picture
    none = np.zeros((len(flat.means), 3), np.float32)
    return _sum_tiles(flat, none, planes, 1 + CHANNELS, slopes=False)[:, : 1 + channels]


def gather_slopes(flat: FlatGaussians, colours: F32, drawn: Floats, error: Floats) -> F32:
    """Return for each Gaussian (n, 8) what its colour, opacity and size have to do with the errors of a view.

    Those are: the sum of its weights, that of weights times the error (3), and for the logarithms of its opacity and
    of its size the sums of the slope of the picture times the error, and of the slope squared.

    Args:
        flat: The Gaussians in the view.
        colours: Their colours (n, 3).
        drawn: What they look like over the background (s, s, 3).
        error: What is wanted less what is drawn (s, s, 3).
    """
    return _sum_tiles(flat, colours, np.concatenate([drawn, error], 2).astype(np.float32), 8, slopes=True)


def _sum_tiles(flat: FlatGaussians, colours: F32, planes: F32, columns: int, *, slopes: bool) -> F32:
    """Return the sums (n, columns) over the tiles of a view, of slopes or of weights alone."""
    out = np.zeros((len(flat.means), columns), np.float32)
    values = flat.means, flat.conics, flat.opacities, flat.boxes, flat.starts, flat.ids
    _gather(*values, colours, planes, slopes, out)
    return out


@njit(error_model="numpy", fastmath=LOOSE, nogil=True, **WITHOUT_WRAPPERS)
def _add_weights(lines, free, first, last, width, left, top, a, b, c, peak, sums):  # noqa: ANN001, ANN202 (numba)
    """Blend a splat into rows of a tile, as `cpu_kernels._blend` does, and add its weights up; see `gather`.

    Return how many pixels have become opaque by it.
    """
    total = 0
    for y in range(first, last):
        if free[y] == 0:
            continue
        dy = np.float32(y) + top
        across, along, closed = b * dy, c * dy * dy, ZERO
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = ZERO
        for x in range(width):
            dx = lines[y, 7 * TILE + x] + left
            power = (a * dx + across) * dx + along
            alpha = peak * kernels.find_exponential(power if power > LEAST else LEAST)
            alpha = alpha if alpha < MAX_ALPHA32 else MAX_ALPHA32
            before = lines[y, x]
            alpha = alpha if (alpha >= MIN_ALPHA32) & (before >= MIN_TRANSMITTANCE32) else ZERO
            weight, after = alpha * before, before * (ONE - alpha)
            lines[y, x] = after
            s0 += weight
            s1 += weight * lines[y, TILE + x]
            s2 += weight * lines[y, 2 * TILE + x]
            s3 += weight * lines[y, 3 * TILE + x]
            s4 += weight * lines[y, 4 * TILE + x]
            s5 += weight * lines[y, 5 * TILE + x]
            s6 += weight * lines[y, 6 * TILE + x]
            closed += ONE if (before >= MIN_TRANSMITTANCE32) & (after < MIN_TRANSMITTANCE32) else ZERO
        sums[0] += s0
        sums[1] += s1
        sums[2] += s2
        sums[3] += s3
        sums[4] += s4
        sums[5] += s5
        sums[6] += s6
        free[y] -= np.int64(closed)
        total += np.int64(closed)
    return total


@njit(error_model="numpy", fastmath=LOOSE, nogil=True, **WITHOUT_WRAPPERS)
def _add_slopes(lines, free, first, last, width, left, top, a, b, c, peak, red, green, blue, sums):  # noqa: ANN001, ANN202 (numba)
    """Do the same for what `gather_slopes` returns; planes 1 to 3 hold the light of all splats still to come."""
    total = 0
    for y in range(first, last):
        if free[y] == 0:
            continue
        dy = np.float32(y) + top
        across, along, closed = b * dy, c * dy * dy, ZERO
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = ZERO
        for x in range(width):
            dx = lines[y, 7 * TILE + x] + left
            power = (a * dx + across) * dx + along
            alpha = peak * kernels.find_exponential(power if power > LEAST else LEAST)
            alpha = alpha if alpha < MAX_ALPHA32 else MAX_ALPHA32
            before = lines[y, x]
            alpha = alpha if (alpha >= MIN_ALPHA32) & (before >= MIN_TRANSMITTANCE32) else ZERO
            weight, after, share = alpha * before, before * (ONE - alpha), alpha / (ONE - alpha)
            lines[y, x] = after
            r = lines[y, TILE + x] - weight * red
            g = lines[y, 2 * TILE + x] - weight * green
            z = lines[y, 3 * TILE + x] - weight * blue
            lines[y, TILE + x], lines[y, 2 * TILE + x], lines[y, 3 * TILE + x] = r, g, z
            r, g, z = weight * red - r * share, weight * green - g * share, weight * blue - z * share
            er, eg, ez = lines[y, 4 * TILE + x], lines[y, 5 * TILE + x], lines[y, 6 * TILE + x]
            slope, square, distance = r * er + g * eg + z * ez, r * r + g * g + z * z, FAR * power
            s0 += weight
            s1 += weight * er
            s2 += weight * eg
            s3 += weight * ez
            s4 += slope
            s5 += square
            s6 += slope * distance
            s7 += square * distance * distance
            closed += ONE if (before >= MIN_TRANSMITTANCE32) & (after < MIN_TRANSMITTANCE32) else ZERO
        sums[0] += s0
        sums[1] += s1
        sums[2] += s2
        sums[3] += s3
        sums[4] += s4
        sums[5] += s5
        sums[6] += s6
        sums[7] += s7
        free[y] -= np.int64(closed)
        total += np.int64(closed)
    return total


@njit(error_model="numpy", nogil=True, **WITHOUT_WRAPPERS)
def _read_tile(lines, free, planes, top, left, height, width):  # noqa: ANN001, ANN202 (numba)
    """Fill the rows of a tile, and how many pixels of each are still transparent."""
    lines[:] = ZERO
    for y in range(TILE):
        free[y] = width if y < height else 0
        for x in range(TILE):
            lines[y, 7 * TILE + x] = np.float32(x) + HALF
            if y < height and x < width:
                lines[y, x] = ONE
                for channel in range(CHANNELS):
                    lines[y, (1 + channel) * TILE + x] = planes[top + y, left + x, channel]


@cached_njit(fastmath=LOOSE, error_model="numpy", nogil=True)
def _gather(means, conics, opacities, boxes, starts, ids, colours, planes, slopes, out):  # noqa: ANN001, ANN202 (numba)
    size = planes.shape[0]
    across = (size + TILE - 1) // TILE
    lines, free = np.empty((TILE, PLANES * TILE), np.float32), np.empty(TILE, np.int64)
    for tile in range(across * across):
        top, left = tile // across * TILE, tile % across * TILE
        height, width = min(TILE, size - top), min(TILE, size - left)
        _read_tile(lines, free, planes, top, left, height, width)
        open_pixels = height * width
        for k in range(starts[tile], starts[tile + 1]):
            if open_pixels == 0:
                break
            n = ids[k]
            first, last = max(top, boxes[n, 2]) - top, min(top + height, boxes[n, 3]) - top
            x, y = np.float32(left) - means[n, 0], np.float32(top) + HALF - means[n, 1]
            a, b, c = -SIXTEENTH * HALF * conics[n, 0], -SIXTEENTH * conics[n, 1], -SIXTEENTH * HALF * conics[n, 2]
            place = first, last, TILE, x, y, a, b, c, opacities[n]
            if slopes:
                colour = colours[n, 0], colours[n, 1], colours[n, 2]
                open_pixels -= _add_slopes(lines, free, *place, *colour, out[n])
            else:
                open_pixels -= _add_weights(lines, free, *place, out[n])
