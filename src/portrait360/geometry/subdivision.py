"""Catmull-Clark subdivision as a sparse matrix: the same rule moves vertices, colours, masks and UVs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Subdivision:
    """One step from coarse to fine; fine vertices are the coarse ones, then one an edge, then one a face."""

    matrix: sp.csr_matrix  # (fine, coarse)
    quads: I32  # (f, 4) of the fine mesh
    corner: I32  # (fine,) the coarse vertex each fine one is nearest to

    @cached_property
    def triangles(self) -> I32:
        return triangulate(self.quads)

    def __call__(self, values: NDArray[np.floating]) -> F32:
        return np.asarray(self.matrix @ values, np.float32)


def triangulate(quads: NDArray[np.integer]) -> I32:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def catmull_clark(quads: NDArray[np.integer], count: int) -> Subdivision:
    """The subdivision of a quad mesh with `count` vertices; open edges follow the cubic spline rule."""
    faces = len(quads)
    ends = np.stack([quads, np.roll(quads, -1, axis=1)], -1).reshape(-1, 2)
    edges, of_side = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    of_side = of_side.reshape(faces, 4)
    open_edge = np.bincount(of_side.ravel(), minlength=len(edges)) == 1

    face_rule = _matrix(np.repeat(np.arange(faces), 4), quads.ravel(), 0.25, (faces, count))
    middle = _matrix(np.repeat(np.arange(len(edges)), 2), edges.ravel(), 0.5, (len(edges), count))
    beside = _matrix(of_side.ravel(), np.repeat(np.arange(faces), 4), 1.0, (len(edges), faces))
    inner = sp.diags((~open_edge).astype(np.float64))
    edge_rule = inner @ (0.5 * middle + 0.25 * beside @ face_rule) + sp.diags(open_edge * 1.0) @ middle
    vertex_rule = _vertex_rule(quads, edges, open_edge, middle, face_rule, count)

    rows = np.arange(4)
    fine = np.stack(
        [quads, count + of_side, np.full_like(quads, count + len(edges)), count + of_side[:, rows - 1]], -1
    )
    fine[:, :, 2] += np.arange(faces)[:, None]
    matrix = sp.csr_matrix(sp.vstack([vertex_rule, edge_rule, face_rule]), dtype=np.float32)
    corner = np.concatenate([np.arange(count), edges[:, 0], quads[:, 0]]).astype(np.int32)
    return Subdivision(matrix, fine.reshape(-1, 4).astype(np.int32), corner)


def _vertex_rule(quads, edges, open_edge, middle, face_rule, count: int) -> sp.csr_matrix:
    faces = len(quads)
    valence = np.maximum(np.bincount(edges.ravel(), minlength=count), 1).astype(np.float64)
    of_faces = np.maximum(np.bincount(quads.ravel(), minlength=count), 1).astype(np.float64)
    around = _matrix(quads.ravel(), np.repeat(np.arange(faces), 4), 1.0, (count, faces))
    along = _matrix(edges.ravel(), np.repeat(np.arange(len(edges)), 2), 1.0, (count, len(edges)))
    smooth = (
        sp.diags(1 / (valence * of_faces)) @ around @ face_rule
        + sp.diags(2 / valence**2) @ along @ middle
        + sp.diags((valence - 3) / valence)
    )
    rim = along @ sp.diags(open_edge * 1.0)  # (count, edges) open edges of a vertex
    on_rim = np.asarray(rim.sum(1)).ravel() == 2
    crease = 0.25 * rim @ middle + 0.5 * sp.identity(count)  # 1/8, 3/4, 1/8
    used = np.bincount(quads.ravel(), minlength=count) > 0
    inside = used & (np.asarray(rim.sum(1)).ravel() == 0)
    fixed = ~inside & ~on_rim
    return (sp.diags(inside * 1.0) @ smooth + sp.diags(on_rim * 1.0) @ crease + sp.diags(fixed * 1.0)).tocsr()


def _matrix(rows, columns, value: float, shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.full(len(rows), value), (rows, columns)), shape=shape)
