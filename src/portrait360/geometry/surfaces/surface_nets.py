"""Extract the zero level of values on a grid as a mesh (naive surface nets; Gibson 1998).

Each cell that the surface crosses gets one vertex, at the mean of its crossings with the cell's edges; each grid edge
that it crosses gets one quad. Vertices move freely inside their cells, so there are no slivers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from portrait360.utils.array_types import I32, Floats


def surface_nets(values: Floats) -> tuple[Floats, I32]:
    """Convert values (a, b, c), negative inside -> vertices (n, 3) in grid units, outward-facing triangles (m, 3)."""
    inside = values < 0
    corners = [inside[_corner_slice(corner)] for corner in np.ndindex(2, 2, 2)]
    inside_count = np.sum(corners, axis=0)
    cells = np.argwhere((inside_count > 0) & (inside_count < 8)).astype(np.int32)
    index = np.full(inside_count.shape, -1, np.int32)
    index[tuple(cells.T)] = np.arange(len(cells), dtype=np.int32)
    return _find_vertices(values, cells), _make_triangles(inside, index)


def _corner_slice(corner: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(c, None if c else -1) for c in corner)


def _find_vertices(values: Floats, cells: I32) -> Floats:
    total, count = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
    for axis in range(3):
        for a, b in np.ndindex(2, 2):
            start = np.insert(np.array([a, b]), axis, 0)
            end = np.insert(np.array([a, b]), axis, 1)
            low = values[tuple((cells + start).T)].astype(np.float64)
            high = values[tuple((cells + end).T)].astype(np.float64)
            crossed = (low < 0) != (high < 0)
            share = np.where(crossed, low / np.where(crossed, low - high, 1), 0)
            crossing = start + share[:, None] * (end - start)
            total += crossing * crossed[:, None]
            count += crossed[:, None]
    return cells + total / count


def _make_triangles(inside: NDArray[np.bool_], index: I32) -> I32:
    out = []
    for axis in range(3):
        low, high = (
            np.take(inside, range(inside.shape[axis] - 1), axis),
            np.take(inside, range(1, inside.shape[axis]), axis),
        )
        edges = np.argwhere(low != high)
        u, v = (axis + 1) % 3, (axis + 2) % 3
        edges = edges[((edges[:, [u, v]] > 0) & (edges[:, [u, v]] < np.array(index.shape)[[u, v]])).all(1)]
        quad = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = edges.copy()
            cell[:, u] += du
            cell[:, v] += dv
            quad.append(index[tuple(cell.T)])
        quads = np.stack(quad, 1)
        entering = high[tuple(edges.T)]  # the axis enters the body here: the quad must face the other way
        quads[entering] = quads[entering, ::-1]
        out.append(quads)
    quads = np.concatenate(out)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
