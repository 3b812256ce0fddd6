"""The cells of a cube near a surface whose depth maps are known, which says far more than a visual hull."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from portrait360.geometry.cameras import Camera

MARGIN = 1  # cells on either side of a point of the surface, for points between pixels and for hair, which is thick


def find_surface_cells(
    maps: Iterable[tuple[Camera, NDArray[np.floating]]], *, half: float, cells: int
) -> NDArray[np.bool_]:
    """Return the cells (cells, cells, cells) of the cube [-half, half]^3 within MARGIN cells of the surface.

    Each map is a camera and its depths along the optical axis (s, s), 0 where there is nothing.
    """
    found = np.zeros((cells,) * 3, bool)
    for camera, depth in maps:
        row, column = np.nonzero(depth > 0)
        uv = np.stack([column + 0.5, row + 0.5], -1) / len(depth)
        points = camera.unproject(uv, depth[row, column])
        cell = np.floor((points + half) * (cells / (2 * half))).astype(np.int64)
        inside = ((cell >= 0) & (cell < cells)).all(1)
        found[tuple(cell[inside].T)] = True
    return np.asarray(ndimage.binary_dilation(found, iterations=MARGIN), bool)
