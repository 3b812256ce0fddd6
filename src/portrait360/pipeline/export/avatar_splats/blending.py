"""Which Gaussians a view shows, how much of each, and over what colours: the weights with which they are blended."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.gaussians import cpu_kernels as kernels
from portrait360.geometry.gaussians.flat_gaussians import FlatGaussians
from portrait360.geometry.numba_jit import cached_njit
from portrait360.utils.array_types import F32, Floats


def gather(flat: FlatGaussians, picture: Floats) -> F32:
    """Return for each Gaussian (n, 1 + c) the sum of its weights in the view, and that of weights times `picture`.

    The weight of a Gaussian in a pixel is its alpha times what those before it let through.
    """
    out = np.zeros((len(flat.means), 1 + picture.shape[2]), np.float32)
    values = flat.means, flat.conics, flat.opacities, flat.boxes, flat.starts, flat.ids
    _gather(*values, np.ascontiguousarray(picture, np.float32), out)
    return out


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
    out = np.zeros((len(flat.means), 8), np.float32)
    values = flat.means, flat.conics, flat.opacities, flat.boxes, flat.starts, flat.ids, colours
    _gather_slopes(*values, *(np.ascontiguousarray(values, np.float32) for values in (drawn, error)), out)
    return out


@cached_njit(fastmath=True, nogil=True)
def _gather_slopes(means, conics, opacities, boxes, starts, ids, colours, drawn, error, out):  # noqa: ANN001, ANN202 (numba)
    size, tile_side = drawn.shape[0], kernels.TILE
    across = (size + tile_side - 1) // tile_side
    half, one = np.float32(0.5), np.float32(1)
    least, most, closed = kernels.MIN_ALPHA32, kernels.MAX_ALPHA32, kernels.MIN_TRANSMITTANCE32
    for tile in range(across * across):
        top, left = tile // across * tile_side, tile % across * tile_side
        bottom, right = min(top + tile_side, size), min(left + tile_side, size)
        transmittance = np.ones((tile_side, tile_side), np.float32)
        rest = drawn[top:bottom, left:right].copy()  # the light of all that is still to come
        open_pixels = (bottom - top) * (right - left)
        for k in range(starts[tile], starts[tile + 1]):
            if open_pixels == 0:
                break
            n = ids[k]
            for y in range(max(top, boxes[n, 2]), min(bottom, boxes[n, 3])):
                dy = np.float32(y) + half - means[n, 1]
                for x in range(max(left, boxes[n, 0]), min(right, boxes[n, 1])):
                    before = transmittance[y - top, x - left]
                    if before < closed:
                        continue
                    dx = np.float32(x) + half - means[n, 0]
                    falloff = kernels.evaluate_gaussian(conics, n, dx, dy)
                    alpha = min(opacities[n] * falloff, most)
                    if alpha < least:
                        continue
                    weight = alpha * before
                    slope, square = np.float32(0), np.float32(0)
                    for channel in range(3):
                        behind = rest[y - top, x - left, channel] - weight * colours[n, channel]
                        rest[y - top, x - left, channel] = behind
                        change = weight * colours[n, channel] - behind * alpha / (one - alpha)
                        slope += change * error[y, x, channel]
                        square += change * change
                        out[n, 1 + channel] += weight * error[y, x, channel]
                    distance = -np.float32(2) * np.log(falloff)
                    out[n, 0] += weight
                    out[n, 4] += slope
                    out[n, 5] += square
                    out[n, 6] += slope * distance
                    out[n, 7] += square * distance * distance
                    transmittance[y - top, x - left] = before * (one - alpha)
                    open_pixels -= before * (one - alpha) < closed


@cached_njit(fastmath=True, nogil=True)
def _gather(means, conics, opacities, boxes, starts, ids, picture, out):  # noqa: ANN001, ANN202 (numba)
    size, channels, tile_side = picture.shape[0], picture.shape[2], kernels.TILE
    across = (size + tile_side - 1) // tile_side
    half, one = np.float32(0.5), np.float32(1)
    least, most, closed = kernels.MIN_ALPHA32, kernels.MAX_ALPHA32, kernels.MIN_TRANSMITTANCE32
    for tile in range(across * across):
        top, left = tile // across * tile_side, tile % across * tile_side
        bottom, right = min(top + tile_side, size), min(left + tile_side, size)
        transmittance = np.ones((tile_side, tile_side), np.float32)
        open_pixels = (bottom - top) * (right - left)
        for k in range(starts[tile], starts[tile + 1]):
            if open_pixels == 0:
                break
            n = ids[k]
            for y in range(max(top, boxes[n, 2]), min(bottom, boxes[n, 3])):
                dy = np.float32(y) + half - means[n, 1]
                for x in range(max(left, boxes[n, 0]), min(right, boxes[n, 1])):
                    before = transmittance[y - top, x - left]
                    if before < closed:
                        continue
                    dx = np.float32(x) + half - means[n, 0]
                    alpha = min(opacities[n] * kernels.evaluate_gaussian(conics, n, dx, dy), most)
                    if alpha < least:
                        continue
                    out[n, 0] += alpha * before
                    for channel in range(channels):
                        out[n, 1 + channel] += alpha * before * picture[y, x, channel]
                    transmittance[y - top, x - left] = before * (one - alpha)
                    open_pixels -= before * (one - alpha) < closed
