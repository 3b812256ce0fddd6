"""Sculpt with soft solids: smoothly blended ellipsoids and cones, and the surface that encloses them."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike

from portrait360.geometry.numba_jit import njit_helper
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32, I32

BLOCK = 4  # cells per side of the blocks that are tested before they are evaluated
ELLIPSOID, CONE = 0.0, 1.0
# layout of Solid.row: kind, centre (3), world to local (9), smallest scale, cone length and two radii, blend, sign


@dataclass(frozen=True)
class Solid:
    """One primitive; `row` is its encoding for the kernels."""

    name: str
    row: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Sculpture:
    vertices: F32
    triangles: I32
    normals: F32
    near: dict[str, F32]  # distance of every vertex from each named solid


def ball(
    name: str,
    center: ArrayLike,
    radii: ArrayLike,
    *,
    blend: float = 0.03,
    cut: bool = False,
    axes: ArrayLike | None = None,
) -> Solid:
    """Make an ellipsoid; the rows of `axes` are its axes. With `cut` it is subtracted instead of added."""
    radii = np.broadcast_to(np.asarray(radii, float), 3)
    local = (np.eye(3) if axes is None else np.asarray(axes, float)) / radii[:, None]
    row = (
        ELLIPSOID,
        *np.asarray(center, float),
        *local.ravel(),
        radii.min(),
        0,
        0,
        0,
        blend,
        -1 if cut else 1,
    )
    return Solid(name, tuple(float(v) for v in row))


def cone(
    name: str,
    start: ArrayLike,
    end: ArrayLike,
    radii: tuple[float, float],
    *,
    wide: float = 1.0,
    flat: float = 1.0,
    side: ArrayLike = (1.0, 0.0, 0.0),
    blend: float = 0.03,
    cut: bool = False,
) -> Solid:
    """Make a rounded cone from start to end, `wide` times as wide along `side`, `flat` times as thick across."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    across = np.asarray(side, float)
    across = unit(across - (across @ along) * along)
    local = np.stack([across / wide, along, np.cross(across, along) / flat])
    row = (CONE, *start, *local.ravel(), min(wide, flat, 1.0), length, *radii, blend, -1 if cut else 1)
    return Solid(name, tuple(float(v) for v in row))


def mirror(solid: Solid) -> Solid:
    """Return the same solid on the other side of the face."""
    row = np.array(solid.row)
    row[1] *= -1
    row[[4, 7, 10]] *= -1
    return Solid(solid.name, tuple(row))


def sculpt(solids: list[Solid], low: ArrayLike, high: ArrayLike, step: float) -> tuple[F32, I32, F32]:
    """Return vertices, triangles and normals of the surface within a box."""
    rows = np.array([solid.row for solid in solids])
    low = np.asarray(low, float)
    shape = (np.ceil((np.asarray(high) - low) / step / BLOCK).astype(int) * BLOCK + 1).tolist()
    values = _sample_grid(rows, low, step, shape[0], shape[1], shape[2])
    vertices, quads = _surface_nets(values, low, step)
    vertices, normals = _project_to_surface(rows, vertices, step)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return vertices.astype(np.float32), triangles, normals.astype(np.float32)


def distances(solids: list[Solid], points: F32) -> dict[str, F32]:
    """Return the distance of points from every named solid; solids that share a name count as their union."""
    table = _distance_table(np.array([solid.row for solid in solids]), np.asarray(points, np.float64))
    out: dict[str, F32] = {}
    for i, solid in enumerate(solids):
        out[solid.name] = np.minimum(out[solid.name], table[:, i]) if solid.name in out else table[:, i]
    return out


@njit_helper
def _primitive_distance(row, x, y, z):
    """Return the distance from one solid."""
    x, y, z = x - row[1], y - row[2], z - row[3]
    u = row[4] * x + row[5] * y + row[6] * z
    v = row[7] * x + row[8] * y + row[9] * z
    w = row[10] * x + row[11] * y + row[12] * z
    if row[0] == 0.0:
        k0 = (u * u + v * v + w * w) ** 0.5
        gx = row[4] * u + row[7] * v + row[10] * w
        gy = row[5] * u + row[8] * v + row[11] * w
        gz = row[6] * u + row[9] * v + row[12] * w
        k1 = (gx * gx + gy * gy + gz * gz) ** 0.5
        return k0 * (k0 - 1.0) / (k1 + 1e-9) if k0 > 0.05 else -row[13]
    h, r0, r1 = row[14], row[15], row[16]
    q = (u * u + w * w) ** 0.5
    b = (r0 - r1) / h
    a = max(1.0 - b * b, 1e-6) ** 0.5
    k = -q * b + v * a
    if k < 0:
        d = (q * q + v * v) ** 0.5 - r0
    elif k > a * h:
        d = (q * q + (v - h) ** 2) ** 0.5 - r1
    else:
        d = q * a + v * b - r0
    return d * row[13]


@njit_helper
def _distance(rows, x, y, z):
    """Return the distance from all solids, joined or cut in order with rounded seams."""
    total = 1e3
    for i in range(len(rows)):
        d, k = _primitive_distance(rows[i], x, y, z), rows[i, 17]
        if rows[i, 18] > 0:
            h = max(k - abs(total - d), 0.0) / k
            total = min(total, d) - h * h * k * 0.25
        else:
            h = max(k - abs(total + d), 0.0) / k
            total = max(total, -d) + h * h * k * 0.25
    return total


@numba.njit(cache=True, nogil=True)
def _sample_grid(rows, low, step, nx, ny, nz):
    """Evaluate the distance on the grid; blocks far from the surface take the value at their centre."""
    values = np.empty((nx, ny, nz), np.float32)
    half = step * 4 / 2
    for bi in range(0, nx, 4):
        for bj in range(0, ny, 4):
            for bk in range(0, nz, 4):
                x, y, z = low[0] + bi * step + half, low[1] + bj * step + half, low[2] + bk * step + half
                d = _distance(rows, x, y, z)
                far = abs(d) > 3.2 * half
                for i in range(bi, min(bi + 4, nx)):
                    for j in range(bj, min(bj + 4, ny)):
                        for k in range(bk, min(bk + 4, nz)):
                            if far:
                                values[i, j, k] = d
                            else:
                                values[i, j, k] = _distance(
                                    rows, low[0] + i * step, low[1] + j * step, low[2] + k * step
                                )
    return values


@numba.njit(cache=True, nogil=True)
def _surface_nets(values, low, step):
    """Surface nets: one vertex in every cell that the surface crosses, one quad across every crossed edge."""
    vertices, index = _net_vertices(values, low, step)
    return vertices, _net_quads(values, index)


@njit_helper
def _net_vertices(values, low, step):
    """Return a vertex at the mean of the edge crossings of each cell, and the index of each cell's vertex."""
    nx, ny, nz = values.shape
    index = np.full((nx, ny, nz), -1, np.int32)
    vertices = [(0.0, 0.0, 0.0)]
    vertices.pop()
    for i in range(nx - 1):
        for j in range(ny - 1):
            for k in range(nz - 1):
                inside = 0
                for a in range(8):
                    inside += values[i + (a & 1), j + ((a >> 1) & 1), k + (a >> 2)] < 0
                if inside == 0 or inside == 8:
                    continue
                x, y, z, n = 0.0, 0.0, 0.0, 0
                for a in range(8):
                    for axis in range(3):
                        b = a | (1 << axis)
                        if b == a:
                            continue
                        ai, aj, ak = a & 1, (a >> 1) & 1, a >> 2
                        bi, bj, bk = b & 1, (b >> 1) & 1, b >> 2
                        p, q = values[i + ai, j + aj, k + ak], values[i + bi, j + bj, k + bk]
                        if (p < 0) != (q < 0):
                            t = p / (p - q)
                            x += ai + (bi - ai) * t
                            y += aj + (bj - aj) * t
                            z += ak + (bk - ak) * t
                            n += 1
                index[i, j, k] = len(vertices)
                vertices.append(
                    (low[0] + (i + x / n) * step, low[1] + (j + y / n) * step, low[2] + (k + z / n) * step)
                )
    return np.array(vertices), index


@njit_helper
def _net_quads(values, index):
    nx, ny, nz = values.shape
    quads = [(0, 0, 0, 0)]
    quads.pop()
    for i in range(1, nx - 1):
        for j in range(1, ny - 1):
            for k in range(1, nz - 1):
                here = values[i, j, k] < 0
                if here != (values[i + 1, j, k] < 0):
                    q = (index[i, j - 1, k - 1], index[i, j, k - 1], index[i, j, k], index[i, j - 1, k])
                    quads.append(q if here else (q[3], q[2], q[1], q[0]))
                if here != (values[i, j + 1, k] < 0):
                    q = (index[i - 1, j, k - 1], index[i - 1, j, k], index[i, j, k], index[i, j, k - 1])
                    quads.append(q if here else (q[3], q[2], q[1], q[0]))
                if here != (values[i, j, k + 1] < 0):
                    q = (index[i - 1, j - 1, k], index[i, j - 1, k], index[i, j, k], index[i - 1, j, k])
                    quads.append(q if here else (q[3], q[2], q[1], q[0]))
    return np.array(quads, dtype=np.int32)


@numba.njit(cache=True, nogil=True)
def _project_to_surface(rows, vertices, step):
    """Move vertices onto the surface, and return them with the surface normals."""
    out, normals = vertices.copy(), np.empty_like(vertices)
    e = 0.25 * step
    for i in range(len(vertices)):
        for iteration in range(3):
            x, y, z = out[i, 0], out[i, 1], out[i, 2]
            gx = _distance(rows, x + e, y, z) - _distance(rows, x - e, y, z)
            gy = _distance(rows, x, y + e, z) - _distance(rows, x, y - e, z)
            gz = _distance(rows, x, y, z + e) - _distance(rows, x, y, z - e)
            length = (gx * gx + gy * gy + gz * gz) ** 0.5 + 1e-12
            normals[i, 0], normals[i, 1], normals[i, 2] = gx / length, gy / length, gz / length
            if iteration < 2:
                slope = length / (2 * e)
                move = _distance(rows, x, y, z) / max(slope, 0.3)
                move = min(max(move, -0.6 * step), 0.6 * step)
                out[i] -= move * normals[i]
    return out, normals


@numba.njit(cache=True, nogil=True)
def _distance_table(rows, points):
    out = np.empty((len(points), len(rows)), np.float32)
    for i in range(len(points)):
        for j in range(len(rows)):
            out[i, j] = _primitive_distance(rows[j], points[i, 0], points[i, 1], points[i, 2])
    return out
