"""Project points to the pixels of a picture, as `rasterizer.homogeneous` does, without the threads of a BLAS.

For products of points with a 3 x 3 matrix such threads cost more than they save, above all beside other processes.
"""

from __future__ import annotations

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import njit_exact
from portrait360.geometry.rasterizer_kernels import NEAR
from portrait360.utils.array_types import F32, F64


def to_homogeneous(points: F32, camera: Camera, size: int) -> F64:
    """Return homogeneous pixel coordinates (n, 3) of world points (n, 3); the last one is the depth."""
    out = np.empty((len(points), 3))
    transform(np.ascontiguousarray(points), camera.position.astype(np.float64), _matrix(camera, size), out)
    return out


def project_strands(points: F32, widths: F32, camera: Camera, size: int) -> tuple[F64, F64]:
    """Return the pixel positions and depths (p, 3) of points on strands, and half of their widths in pixels (p,)."""
    positions, halves = to_homogeneous(points, camera, size), np.empty(len(points))
    divide_by_depth(positions, widths, 0.5 * camera.focal * size, halves)
    return positions, halves


def _matrix(camera: Camera, size: int) -> F64:
    return np.ascontiguousarray(camera.intrinsics(size, size) @ camera.cam2world[:3, :3].T, np.float64)


@njit_exact
def transform(points, origin, matrix, out):
    """Write a matrix (3, 3) times points (n, 3) less an origin into out (n, 3)."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - origin[0], points[i, 1] - origin[1], points[i, 2] - origin[2]
        for row in range(3):
            out[i, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z


@njit_exact
def divide_by_depth(positions, widths, scale, halves):
    """Divide the first two coordinates by the third, in place, and write half widths in pixels into `halves`."""
    for i in range(positions.shape[0]):
        z = max(positions[i, 2], NEAR)
        positions[i, 0] /= z
        positions[i, 1] /= z
        halves[i] = widths[i] * scale / z
