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
