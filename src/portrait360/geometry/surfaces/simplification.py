"""Simplify a triangle mesh by collapsing edges onto one of their ends (Garland and Heckbert 1997).

The vertices that stay are some of those that were there, so everything known at them stays true.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.numba_jit import njit_exact, njit_exact_inline, njit_helper
from portrait360.utils.array_types import F64, I32

EDGE_WEIGHT = 30.0  # of the planes that hold open edges in place
SLIVER = 1e-5  # of the square of a triangle's sides: with less area squared it is none
SAME_SIDE = 0.2  # least cosine between a triangle's normals before and after a collapse


def simplify(vertices: NDArray[np.floating], triangles: I32, target: int) -> I32:
    """Return about `target` triangles over the same vertices, or more where collapses would fold the surface."""
    if len(triangles) <= target:
        return np.ascontiguousarray(triangles, np.int32)
    points = np.ascontiguousarray(vertices, np.float64)
    faces = np.ascontiguousarray(triangles, np.int32).copy()
    edges, lone = _find_edges(faces, len(points))
    alive = _collapse(points, faces, _make_quadrics(points, faces, lone), edges, target)
    return np.ascontiguousarray(faces[alive])


def _find_edges(faces: I32, count: int) -> tuple[I32, NDArray[np.bool_]]:
    """Return the edges (e, 2) between `count` vertices, and which sides (3 f,) are open: no second triangle's."""
    a, b = faces, np.roll(faces, -1, axis=1)
    key = (np.minimum(a, b).astype(np.int64) * count + np.maximum(a, b)).ravel()
    edges, owner, uses = np.unique(key, return_inverse=True, return_counts=True)
    return np.stack([edges // count, edges % count], 1).astype(np.int32), uses[owner] == 1


def _make_quadrics(points: F64, faces: I32, lone: NDArray[np.bool_]) -> F64:
    """Return at every vertex the sum of the squared distances to the planes around it, as 4 x 4 forms (n, 16).

    Of the triangles' sides (3 f,) the `lone` ones are open.
    """
    a, b, c = (points[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    unit = normal / np.maximum(area, 1e-20)[:, None]
    out = np.zeros((len(points), 16))
    _add_planes(out, faces, unit, -(unit * a).sum(1), area)
    if lone.any():
        sides = np.stack([faces, np.roll(faces, -1, axis=1)], 2).reshape(-1, 2)[lone]
        owner = np.repeat(np.arange(len(faces)), 3)[lone]
        along = points[sides[:, 1]] - points[sides[:, 0]]
        length = np.linalg.norm(along, axis=1)
        across = np.cross(along, unit[owner]) / np.maximum(length, 1e-20)[:, None]
        distance = -(across * points[sides[:, 0]]).sum(1)
        _add_planes(out, sides, across, distance, EDGE_WEIGHT * length**2)
    return out


def _add_planes(out: F64, corners: NDArray[np.integer], normals: F64, distances: F64, weights: F64) -> None:
    planes = np.concatenate([normals, distances[:, None]], 1)
    forms = (planes[:, :, None] * planes[:, None]).reshape(-1, 16) * weights[:, None]
    for k in range(corners.shape[1]):
        np.add.at(out, corners[:, k], forms)


@njit_exact_inline
def _cost(quadrics, points, u, v):
    """Return the squared distance at v of what u and v stand for."""
    x, y, z = points[v, 0], points[v, 1], points[v, 2]
    total = 0.0
    for i in range(4):
        p = x if i == 0 else y if i == 1 else z if i == 2 else 1.0
        a, b = quadrics[u, 4 * i] + quadrics[v, 4 * i], quadrics[u, 4 * i + 1] + quadrics[v, 4 * i + 1]
        c, d = quadrics[u, 4 * i + 2] + quadrics[v, 4 * i + 2], quadrics[u, 4 * i + 3] + quadrics[v, 4 * i + 3]
        total += p * (a * x + b * y + c * z + d)
    dx, dy, dz = points[u, 0] - x, points[u, 1] - y, points[u, 2] - z
    return max(total, 0.0) + 1e-12 * (dx * dx + dy * dy + dz * dz)


@njit_exact_inline
def _normal(points, a, b, c):
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@njit_exact_inline
def _size(points, a, b, c, u, v):
    """Return the squared lengths of two sides of a triangle after u has moved to v, summed."""
    total = 0.0
    p, q, r = v if a == u else a, v if b == u else b, v if c == u else c
    for k in range(3):
        total += (points[q, k] - points[p, k]) ** 2 + (points[r, k] - points[p, k]) ** 2
    return total


@njit_helper
def _folds(points, faces, alive, first, after, u, v):
    """Return whether moving u to v turns a triangle over, or joins more than the two triangles of an edge."""
    shared = 0
    corner = first[u]
    while corner >= 0:
        f = corner // 3
        if alive[f]:
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            if a == v or b == v or c == v:
                shared += 1
            else:
                x, y, z = _normal(points, a, b, c)
                p, q, r = _normal(points, v if a == u else a, v if b == u else b, v if c == u else c)
                if p * p + q * q + r * r <= SLIVER * _size(points, a, b, c, u, v) ** 2:
                    return True
                scale = ((x * x + y * y + z * z) * (p * p + q * q + r * r)) ** 0.5
                if x * p + y * q + z * r <= SAME_SIDE * scale:
                    return True
        corner = after[corner]
    return shared > 2 or shared == 0


@njit_helper
def _count_common(faces, alive, first, after, u, v, mark, stamp):
    """Return how many neighbours u and v share; `mark` is memory for one number a vertex."""
    corner = first[u]
    while corner >= 0:
        f = corner // 3
        if alive[f]:
            for k in range(3):
                mark[faces[f, k]] = stamp
        corner = after[corner]
    common = 0
    corner = first[v]
    while corner >= 0:
        f = corner // 3
        if alive[f]:
            for k in range(3):
                w = faces[f, k]
                if w != u and w != v and mark[w] == stamp:
                    common += 1
                    mark[w] = 0
        corner = after[corner]
    return common


@njit_helper
def _list_corners(faces, count):
    """Return the first and the last corner of each vertex, and the next corner of the same vertex after each."""
    first, last = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    after = np.full(3 * len(faces), -1, np.int64)
    for corner in range(3 * len(faces)):
        v = faces[corner // 3, corner % 3]
        if first[v] < 0:
            first[v] = corner
        else:
            after[last[v]] = corner
        last[v] = corner
    return first, last, after


@njit_helper
def _merge(faces, alive, first, last, after, u, v):
    """Move u to v, and return how many triangles that ends."""
    ended, corner = 0, first[u]
    while corner >= 0:
        f = corner // 3
        if alive[f]:
            if faces[f, 0] == v or faces[f, 1] == v or faces[f, 2] == v:
                alive[f] = False
                ended += 1
            else:
                faces[f, corner % 3] = v
        corner = after[corner]
    after[last[v]] = first[u]
    last[v] = last[u]
    return ended


@njit_helper
def _propose(quadrics, points, u, v, version, heap):
    """Add the cheaper collapse of an edge to the heap."""
    there, back = _cost(quadrics, points, u, v), _cost(quadrics, points, v, u)
    if there <= back:
        heappush(heap, (there, u, v, version[u], version[v]))
    else:
        heappush(heap, (back, v, u, version[v], version[u]))


@njit_exact
def _collapse(points, faces, quadrics, edges, target):
    """Collapse the cheapest edges in place, and return which triangles stay."""
    alive = np.ones(len(faces), np.bool_)
    first, last, after = _list_corners(faces, len(points))
    version, mark, stamp = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64), 0
    heap = [(0.0, np.int64(0), np.int64(0), np.int64(0), np.int64(0)) for _ in range(0)]
    for e in range(len(edges)):
        _propose(quadrics, points, np.int64(edges[e, 0]), np.int64(edges[e, 1]), version, heap)
    left = len(faces)
    while left > target and len(heap) > 0:
        _, u, v, old_u, old_v = heappop(heap)
        if version[u] != old_u or version[v] != old_v or _folds(points, faces, alive, first, after, u, v):
            continue
        stamp += 1
        if _count_common(faces, alive, first, after, u, v, mark, stamp) > 2:
            continue
        left -= _merge(faces, alive, first, last, after, u, v)
        version[u] = -1
        version[v] += 1
        quadrics[v] += quadrics[u]
        stamp += 1
        corner = first[v]
        while corner >= 0:
            for k in range(3):
                w = np.int64(faces[corner // 3, k])
                if alive[corner // 3] and w != v and mark[w] != stamp:
                    mark[w] = stamp
                    _propose(quadrics, points, v, w, version, heap)
            corner = after[corner]
    return alive
