"""Construct meshes: grids, tubes, ellipsoids, normals, and a mesh with all fields filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import F32, I32
from portrait360.utils.portrait_labels import Label
from portrait360.utils.vectors import measure_length


def make_mesh(
    vertices: ArrayLike,
    triangles: ArrayLike,
    albedo: ArrayLike,
    material: Material,
    part: Part,
    *,
    opacity: ArrayLike = 1.0,
    rest: ArrayLike | None = None,
    normals: ArrayLike | None = None,
    roughness: ArrayLike | None = None,
) -> Mesh:
    """Make a mesh; each attribute may be one value per vertex or a single value for all vertices."""
    vertices = np.ascontiguousarray(vertices, np.float32)
    triangles = np.ascontiguousarray(triangles, np.int32)
    colour = np.clip(np.broadcast_to(np.asarray(albedo, np.float32), vertices.shape), 0.0015, 1.0)
    shading_normals = vertex_normals(vertices, triangles) if normals is None else normals
    return Mesh(
        vertices=vertices,
        triangles=triangles,
        albedo=np.ascontiguousarray(colour),
        material=np.full(len(triangles), material, np.uint8),
        part=np.full(len(triangles), part, np.uint8),
        opacity=np.ascontiguousarray(np.broadcast_to(np.asarray(opacity, np.float32), len(vertices))),
        rest=vertices if rest is None else np.ascontiguousarray(rest, np.float32),
        normals=np.ascontiguousarray(shading_normals, np.float32),
        roughness=None if roughness is None else np.ascontiguousarray(roughness, np.float32),
    )


def with_label(meshes: Iterable[Mesh], label: Label) -> list[Mesh]:
    """Return the meshes with one label for all their triangles."""
    return [replace(mesh, labels=np.full(len(mesh.triangles), label, np.uint8)) for mesh in meshes]


def grid(rows: int, columns: int, *, closed: bool = False) -> I32:
    """Return the triangles of a grid of vertices in row-major order; `closed` joins the last column to the first."""
    i = np.arange(rows - 1)[:, None] * columns
    j = np.arange(columns if closed else columns - 1)[None]
    k = (j + 1) % columns
    a, b, c, d = i + j, i + k, i + columns + k, i + columns + j
    quads = np.stack([a, b, c, d], -1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def unit(vectors: ArrayLike) -> NDArray:
    vectors = np.asarray(vectors)
    if vectors.shape[-1] == 3:
        return vectors / (measure_length(vectors)[..., None] + 1e-9)
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)


def tube(path: ArrayLike, radius: ArrayLike, sides: int = 8, *, closed: bool = False) -> tuple[F32, I32]:
    """Return vertices and triangles of a round tube along a path (k, 3); open tubes taper to a point at both ends."""
    path = np.asarray(path, np.float64)
    radius = np.broadcast_to(np.asarray(radius, np.float64), len(path))
    if closed:
        tangent = unit(np.roll(path, -1, 0) - np.roll(path, 1, 0))
    else:
        path = np.concatenate([path[:1], path, path[-1:]])
        radius = np.concatenate([[0.0], radius, [0.0]])
        tangent = unit(np.gradient(path, axis=0))
    across, over = _frames(tangent)
    angle = np.arange(sides) / sides * 2 * np.pi
    ring = np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * over[:, None]
    vertices = path[:, None] + radius[:, None, None] * ring
    if closed:
        vertices = np.concatenate([vertices, _best_match(vertices[0], vertices[-1])[None]])
    triangles = grid(len(vertices), sides, closed=True)
    return vertices.reshape(-1, 3).astype(np.float32), triangles


def _frames(tangent: NDArray) -> tuple[NDArray, NDArray]:
    """Return two unit vectors across the path that rotate as little as possible along it."""
    start = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    across = np.empty_like(tangent)
    for i, t in enumerate(tangent):
        start = start - (start @ t) * t
        start = across[i] = start / (np.linalg.norm(start) + 1e-12)
    return across, np.cross(tangent, across)


def _best_match(ring: NDArray, last: NDArray) -> NDArray:
    """Roll the ring so that it meets `last` without a twist."""
    distances = [np.linalg.norm(np.roll(ring, k, 0) - last) for k in range(len(ring))]
    return np.roll(ring, int(np.argmin(distances)), 0)


def ellipsoid(center: ArrayLike, radii: ArrayLike, rows: int = 12, columns: int = 18) -> tuple[NDArray, I32]:
    theta = np.linspace(0, np.pi, rows)[:, None]
    phi = np.arange(columns)[None] / columns * 2 * np.pi
    ball = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi, np.sin(theta) * np.cos(phi)], -1).reshape(
        -1, 3
    )
    return np.asarray(center) + ball * np.asarray(radii), grid(rows, columns, closed=True)


@numba.njit(cache=True, nogil=True)
def vertex_normals(vertices: F32, triangles: I32) -> F32:
    """Return area-weighted unit normals (n, 3)."""
    out = np.zeros_like(vertices)
    for k in range(len(triangles)):
        a, b, c = triangles[k]
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        n0, n1, n2 = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
        for i in (a, b, c):
            out[i, 0] += n0
            out[i, 1] += n1
            out[i, 2] += n2
    for i in range(len(out)):
        length = (out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) ** 0.5 + 1e-12
        out[i] /= length
    return out
