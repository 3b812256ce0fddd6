"""Catmull-Clark subdivision as a sparse matrix, which applies to vertices, colours, masks and UVs alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from portrait360.utils.array_types import F32, I32


@dataclass(frozen=True, eq=False)
class Subdivision:
    """One step from coarse to fine. Fine vertices are the coarse ones, then one per edge, then one per face."""

    matrix: sp.csr_matrix  # (fine, coarse)
    quads: I32  # (f, 4) of the fine mesh
    corner: I32  # (fine,) the nearest coarse vertex of each fine one

    @cached_property
    def triangles(self) -> I32:
        return triangulate(self.quads)

    def __call__(self, values: NDArray[np.floating]) -> F32:
        return np.asarray(self.matrix @ values, np.float32)


def triangulate(quads: NDArray[np.integer]) -> I32:
    """Split each quad (f, 4) into two triangles -> (2 f, 3)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def mesh_laplacian(quads: NDArray[np.integer], count: int) -> sp.csr_matrix:
    """Return the uniform Laplacian (count, count): a vertex minus the mean of its neighbours; 0 for those without."""
    a, b = quads.ravel(), np.roll(quads, -1, 1).ravel()
    edges = sp.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (count, count))
    edges.data[:] = 1.0
    degree = edges @ np.ones(count)
    return sp.csr_matrix(sp.diags((degree > 0) * 1.0) - sp.diags(1 / np.maximum(degree, 1)) @ edges)


def catmull_clark(quads: NDArray[np.integer], count: int) -> Subdivision:
    """Subdivide a quad mesh with `count` vertices; open edges follow the cubic spline rule."""
    faces = len(quads)
    ends = np.stack([quads, np.roll(quads, -1, axis=1)], -1).reshape(-1, 2)
    edges, edge_of_side = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    edge_of_side = edge_of_side.reshape(faces, 4)
    open_edge = np.bincount(edge_of_side.ravel(), minlength=len(edges)) == 1

    face_rule = _matrix(np.repeat(np.arange(faces), 4), quads.ravel(), 0.25, (faces, count))
    middle = _matrix(np.repeat(np.arange(len(edges)), 2), edges.ravel(), 0.5, (len(edges), count))
    adjacent = _matrix(edge_of_side.ravel(), np.repeat(np.arange(faces), 4), 1.0, (len(edges), faces))
    inner = sp.diags((~open_edge).astype(np.float64))
    edge_rule = inner @ (0.5 * middle + 0.25 * adjacent @ face_rule) + sp.diags(open_edge * 1.0) @ middle
    vertex_rule = _vertex_rule(quads, edges, open_edge, middle, face_rule, count)

    rows = np.arange(4)
    fine = np.stack(
        [quads, count + edge_of_side, np.full_like(quads, count + len(edges)), count + edge_of_side[:, rows - 1]], -1
    )
    fine[:, :, 2] += np.arange(faces)[:, None]
    matrix = sp.csr_matrix(sp.vstack([vertex_rule, edge_rule, face_rule]), dtype=np.float32)
    corner = np.concatenate([np.arange(count), edges[:, 0], quads[:, 0]]).astype(np.int32)
    return Subdivision(matrix, fine.reshape(-1, 4).astype(np.int32), corner)


def _vertex_rule(quads, edges, open_edge, middle, face_rule, count: int) -> sp.csr_matrix:
    faces = len(quads)
    valence = np.maximum(np.bincount(edges.ravel(), minlength=count), 1).astype(np.float64)
    face_count = np.maximum(np.bincount(quads.ravel(), minlength=count), 1).astype(np.float64)
    vertex_faces = _matrix(quads.ravel(), np.repeat(np.arange(faces), 4), 1.0, (count, faces))
    vertex_edges = _matrix(edges.ravel(), np.repeat(np.arange(len(edges)), 2), 1.0, (count, len(edges)))
    smooth = (
        sp.diags(1 / (valence * face_count)) @ vertex_faces @ face_rule
        + sp.diags(2 / valence**2) @ vertex_edges @ middle
        + sp.diags((valence - 3) / valence)
    )
    rim = vertex_edges @ sp.diags(open_edge * 1.0)  # (count, edges) open edges of a vertex
    on_rim = np.asarray(rim.sum(1)).ravel() == 2
    crease = 0.25 * rim @ middle + 0.5 * sp.identity(count)  # 1/8, 3/4, 1/8
    used = np.bincount(quads.ravel(), minlength=count) > 0
    inside = used & (np.asarray(rim.sum(1)).ravel() == 0)
    fixed = ~inside & ~on_rim
    return (sp.diags(inside * 1.0) @ smooth + sp.diags(on_rim * 1.0) @ crease + sp.diags(fixed * 1.0)).tocsr()


def _matrix(rows, columns, value: float, shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.full(len(rows), value), (rows, columns)), shape=shape)
