"""The visual hull: the cells of a cube that lie inside all mattes (Laurentini 1994)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numba import prange
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import cached_njit

MIN_ALPHA = 0.02  # a matte above this may belong to the head
MAX_OUTSIDE = 0.05  # share of the views of a cell that may have it outside their matte: mattes have errors
MIN_FRAMED = 0.1  # share of the views that must have the cell in their frame


def visual_hull(
    mattes: Sequence[NDArray[np.floating]], cameras: Sequence[Camera], *, half: float, cells: int
) -> NDArray[np.bool_]:
    """Return the hull as a mask (cells, cells, cells) over x, y, z of the cube [-half, half]^3."""
    outside = np.zeros((cells,) * 3, np.int32)  # number of views that have the cell outside their matte
    framed = np.zeros((cells,) * 3, np.int32)  # number of views that have the cell in their frame
    for matte, camera in zip(mattes, cameras, strict=True):
        size = matte.shape[0]
        pixels = camera.focal * size / camera.radius * (2 * half / cells)  # size of a cell at the origin
        width = int(np.ceil(pixels)) * 2 + 1  # half a cell's diagonal and a pixel on either side
        solid = cv2.dilate((matte > MIN_ALPHA).astype(np.uint8), np.ones((width, width), np.uint8))
        matrix = camera.intrinsics(size) @ camera.world2cam[:3]
        _vote(solid, matrix, half, outside, framed)
    return (outside <= MAX_OUTSIDE * framed) & (framed >= MIN_FRAMED * len(mattes))


@cached_njit(parallel=True)
def _vote(solid, matrix, half, outside, framed):  # noqa: ANN001, ANN202 (numba)
    side, size = outside.shape[0], solid.shape[0]
    for i in prange(side):
        x = (i + 0.5) / side * 2 * half - half
        for j in range(side):
            y = (j + 0.5) / side * 2 * half - half
            for k in range(side):
                z = (k + 0.5) / side * 2 * half - half
                depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
                if depth <= 1e-6:
                    continue
                u = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]) / depth
                v = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]) / depth
                if 0 <= u < size and 0 <= v < size:
                    framed[i, j, k] += 1
                    if solid[int(v), int(u)] == 0:
                        outside[i, j, k] += 1
