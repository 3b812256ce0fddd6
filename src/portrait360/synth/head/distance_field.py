"""A signed distance field around the head, on which hair, beards, hats and collars rest."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrait360.geometry.numba_jit import njit_helper
from portrait360.utils.array_types import F32

LOW = np.array([-0.56, -0.66, -0.5], np.float32)  # the box of the field, canonical frame
HIGH = np.array([0.56, 0.46, 0.5], np.float32)
STEP = 0.016


@dataclass(frozen=True, eq=False)
class DistanceField:
    """Signed distance to the skin on a grid, negative inside, with trilinear interpolation."""

    values: F32  # (nx, ny, nz)

    def distance(self, points: ArrayLike) -> NDArray:
        flat = np.ascontiguousarray(np.reshape(points, (-1, 3)), np.float32)
        return _sample_distances(self.values, LOW, STEP, flat).reshape(np.shape(points)[:-1])

    def gradient(self, points: ArrayLike) -> NDArray:
        """Return the unit direction away from the skin."""
        flat = np.ascontiguousarray(np.reshape(points, (-1, 3)), np.float32)
        return _sample_points(self.values, LOW, STEP, flat)[:, 1:].reshape(np.shape(points))

    def radius(self, origins: ArrayLike, directions: ArrayLike, reach: float = 0.5) -> NDArray:
        """Return how far (...) the outermost skin lies from each origin inside the head along each unit direction."""
        origins, directions = np.broadcast_arrays(np.asarray(origins, np.float32), np.asarray(directions, np.float32))
        t = np.full(origins.shape[:-1], reach, np.float32)
        for _ in range(24):
            t = t - np.maximum(self.distance(origins + t[..., None] * directions), 0) * 0.9
        return np.maximum(t, 0)

    def push_out(self, points: ArrayLike, offset: ArrayLike) -> NDArray:
        """Move points to at least `offset` from the skin."""
        points = np.asarray(points, np.float32)
        for _ in range(2):
            lack = np.maximum(offset - self.distance(points), 0)
            points = points + lack[..., None] * self.gradient(points)
        return points

    def pull_in(self, points: ArrayLike, offset: ArrayLike) -> NDArray:
        """Move points to at most `offset` from the skin."""
        points = np.asarray(points, np.float32)
        for _ in range(2):
            excess = np.maximum(self.distance(points) - offset, 0)
            points = points - excess[..., None] * self.gradient(points)
        return points


def distance_field(vertices: F32, normals: F32) -> DistanceField:
    """Build the field from a dense cloud of surface points with outward normals."""
    shape = tuple(np.ceil((HIGH - LOW) / STEP).astype(int) + 1)
    nearest = np.full(shape, -1, np.int32)
    return DistanceField(_sweep(nearest, vertices, normals, LOW, STEP))


@numba.njit(cache=True, nogil=True)
def _sweep(nearest, vertices, normals, low, step):
    """Propagate the nearest vertex between neighbouring cells, then compute the distance to its tangent plane."""
    nx, ny, nz = nearest.shape
    best = np.full(nearest.shape, np.float32(1e9))
    for v in range(len(vertices)):
        i0 = int((vertices[v, 0] - low[0]) / step)
        j0 = int((vertices[v, 1] - low[1]) / step)
        k0 = int((vertices[v, 2] - low[2]) / step)
        for i in range(max(i0, 0), min(i0 + 2, nx)):
            for j in range(max(j0, 0), min(j0 + 2, ny)):
                for k in range(max(k0, 0), min(k0 + 2, nz)):
                    d = (
                        (low[0] + i * step - vertices[v, 0]) ** 2
                        + (low[1] + j * step - vertices[v, 1]) ** 2
                        + (low[2] + k * step - vertices[v, 2]) ** 2
                    )
                    if d < best[i, j, k]:
                        best[i, j, k], nearest[i, j, k] = d, v
    for sweep in range(4):
        for a in range(nx):
            i, si = (a, -1) if sweep % 2 == 0 else (nx - 1 - a, 1)
            for b in range(ny):
                j, sj = (b, -1) if sweep < 2 else (ny - 1 - b, 1)
                for c in range(nz):
                    k, sk = (c, -1) if sweep % 2 == 0 else (nz - 1 - c, 1)
                    for di, dj, dk in (
                        (si, 0, 0),
                        (0, sj, 0),
                        (0, 0, sk),
                        (si, sj, 0),
                        (0, sj, sk),
                        (0, 0, -sk),
                    ):
                        p, q, r = i + di, j + dj, k + dk
                        if p < 0 or q < 0 or r < 0 or p >= nx or q >= ny or r >= nz:
                            continue
                        v = nearest[p, q, r]
                        if v < 0:
                            continue
                        d = (
                            (low[0] + i * step - vertices[v, 0]) ** 2
                            + (low[1] + j * step - vertices[v, 1]) ** 2
                            + (low[2] + k * step - vertices[v, 2]) ** 2
                        )
                        if d < best[i, j, k]:
                            best[i, j, k], nearest[i, j, k] = d, v
    out = np.empty(nearest.shape, np.float32)
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                v = nearest[i, j, k]
                plane = (
                    (low[0] + i * step - vertices[v, 0]) * normals[v, 0]
                    + (low[1] + j * step - vertices[v, 1]) * normals[v, 1]
                    + (low[2] + k * step - vertices[v, 2]) * normals[v, 2]
                )
                far = best[i, j, k] ** 0.5
                # near the skin the distance to the plane is more accurate, far away the distance to the point
                t = min(max(far / step - 1.0, 0.0), 1.0)
                out[i, j, k] = plane * (1 - t) + (far if plane > 0 else -far) * t
    return out


@njit_helper
def sample_field(values, low, step, x, y, z):
    """Return the distance and its (unnormalised) gradient at one point, clamped to the box."""
    nx, ny, nz = values.shape
    u = min(max((x - low[0]) / step, 0.0), nx - 1.001)
    v = min(max((y - low[1]) / step, 0.0), ny - 1.001)
    w = min(max((z - low[2]) / step, 0.0), nz - 1.001)
    i, j, k = int(u), int(v), int(w)
    u, v, w = u - i, v - j, w - k
    c00 = values[i, j, k] * (1 - w) + values[i, j, k + 1] * w
    c01 = values[i, j + 1, k] * (1 - w) + values[i, j + 1, k + 1] * w
    c10 = values[i + 1, j, k] * (1 - w) + values[i + 1, j, k + 1] * w
    c11 = values[i + 1, j + 1, k] * (1 - w) + values[i + 1, j + 1, k + 1] * w
    c0, c1 = c00 * (1 - v) + c01 * v, c10 * (1 - v) + c11 * v
    gy = (c01 - c00) * (1 - u) + (c11 - c10) * u
    low_z = (values[i, j, k] * (1 - v) + values[i, j + 1, k] * v) * (1 - u) + (
        values[i + 1, j, k] * (1 - v) + values[i + 1, j + 1, k] * v
    ) * u
    high_z = (values[i, j, k + 1] * (1 - v) + values[i, j + 1, k + 1] * v) * (1 - u) + (
        values[i + 1, j, k + 1] * (1 - v) + values[i + 1, j + 1, k + 1] * v
    ) * u
    return c0 * (1 - u) + c1 * u, c1 - c0, gy, high_z - low_z


@numba.njit(cache=True, nogil=True)
def _sample_points(values, low, step, points):
    out = np.empty((len(points), 4), np.float32)
    for i in range(len(points)):
        d, gx, gy, gz = sample_field(values, low, step, points[i, 0], points[i, 1], points[i, 2])
        length = (gx * gx + gy * gy + gz * gz) ** 0.5 + 1e-9
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = d, gx / length, gy / length, gz / length
    return out


@numba.njit(cache=True, nogil=True)
def _sample_distances(values, low, step, points):
    out = np.empty(len(points), np.float32)
    for i in range(len(points)):
        out[i] = sample_field(values, low, step, points[i, 0], points[i, 1], points[i, 2])[0]
    return out
