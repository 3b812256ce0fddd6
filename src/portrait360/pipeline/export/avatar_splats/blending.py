"""Which Gaussians a view shows, how much of each, and over what colours: the weights with which they are blended."""

from __future__ import annotations

import numpy as np
import torch

from portrait360.geometry.cameras import Camera
from portrait360.geometry.gaussians import cpu_kernels as kernels
from portrait360.geometry.gaussians.projection import project
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.numba_jit import cached_njit
from portrait360.utils.array_types import F32, Floats


@torch.no_grad()
def gather(splats: GaussianSplats, camera: Camera, picture: Floats) -> F32:
    """Return for each Gaussian (n, 1 + c) the sum of its weights in the view, and that of weights times `picture`.

    The weight of a Gaussian in a pixel is its alpha times what those before it let through.
    """
    names = ("means", "scales", "rotations", "opacities", "colours")
    size = len(picture)
    values = [torch.from_numpy(getattr(splats, name)) for name in names]
    flat = project(values[0], values[1], values[2], values[3], values[4], camera, size)
    means, conics, opacities = (t.contiguous().numpy() for t in (flat.means, flat.conics, flat.opacities))
    boxes = kernels.bounding_boxes(means, opacities, flat.extents.numpy(), size)
    starts, ids = kernels.bin_splats(boxes, torch.argsort(flat.depths, stable=True).numpy(), size)
    out = np.zeros((len(splats), 1 + picture.shape[2]), np.float32)
    _gather(means, conics, opacities, boxes, starts, ids, np.ascontiguousarray(picture, np.float32), out)
    return out


@cached_njit(fastmath=True)
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
