"""Fuse depth maps of one head into signed distances on a grid (Curless and Levoy 1996)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import prange

from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import cached_njit
from portrait360.utils.array_types import Floats

BAND = 4.0  # truncation distance in cells, on either side of the surface


def fuse(depths: Sequence[Floats], cameras: Sequence[Camera], *, half: float, cells: int) -> Floats:
    """Fuse depth maps (s, s), 0 where a ray meets nothing -> signed distances (cells, cells, cells) over x, y, z.

    Distances are in cells, negative inside, and truncated at BAND. The cells along a ray that meets nothing count as
    outside; cells that no ray reaches count as inside.
    """
    total = np.zeros((cells,) * 3, np.float32)
    weight = np.zeros((cells,) * 3, np.float32)
    for depth, camera in zip(depths, cameras, strict=True):
        matrix = camera.intrinsics(depth.shape[0]) @ camera.world2cam[:3]
        _add_view(np.ascontiguousarray(depth, np.float32), matrix, half, total, weight)
    return np.where(weight > 0, total / np.maximum(weight, 1e-6), -BAND).astype(np.float32)


@cached_njit(parallel=True)
def _add_view(depth, matrix, half, total, weight):  # noqa: ANN001, ANN202 (numba)
    side, size = total.shape[0], depth.shape[0]
    cell = 2 * half / side
    for i in prange(side):
        x = (i + 0.5) * cell - half
        for j in range(side):
            y = (j + 0.5) * cell - half
            for k in range(side):
                z = (k + 0.5) * cell - half
                w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
                if w <= 1e-6:
                    continue
                u = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]) / w - 0.5
                v = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]) / w - 0.5
                if u < 0 or v < 0 or u >= size - 1 or v >= size - 1:
                    continue
                c, r = int(u), int(v)
                fx, fy = u - c, v - r
                d00, d01, d10, d11 = depth[r, c], depth[r, c + 1], depth[r + 1, c], depth[r + 1, c + 1]
                if (
                    d00 > 0
                    and d01 > 0
                    and d10 > 0
                    and d11 > 0
                    and max(d00, d01, d10, d11) - min(d00, d01, d10, d11) < BAND * cell
                ):
                    d = (d00 * (1 - fx) + d01 * fx) * (1 - fy) + (d10 * (1 - fx) + d11 * fx) * fy
                else:
                    d = depth[int(v + 0.5), int(u + 0.5)]
                if d <= 0:
                    total[i, j, k] += BAND
                    weight[i, j, k] += 1
                elif d - w > -BAND * cell:
                    total[i, j, k] += min((d - w) / cell, BAND)
                    weight[i, j, k] += 1
