"""The zero level of values on a grid as a mesh (naive surface nets; Gibson 1998).

One vertex in each cell that the surface crosses, at the mean of its crossings on the cell's edges; one quad around
each grid edge that it crosses. Vertices move freely inside their cells, so there are no slivers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int32]


def surface_nets(values: Floats) -> tuple[Floats, Ints]:
    """Values (a, b, c), negative inside -> vertices (n, 3) in grid units, triangles (m, 3) seen from outside."""
    inside = values < 0
    corners = [inside[_shifted(corner)] for corner in np.ndindex(2, 2, 2)]
    number = np.sum(corners, axis=0)
    cells = np.argwhere((number > 0) & (number < 8)).astype(np.int32)
    index = np.full(number.shape, -1, np.int32)
    index[tuple(cells.T)] = np.arange(len(cells), dtype=np.int32)
    return _places(values, cells), _quads(inside, index)


def _shifted(corner: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(c, None if c else -1) for c in corner)


def _places(values: Floats, cells: Ints) -> Floats:
    total, count = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
    for axis in range(3):
        for a, b in np.ndindex(2, 2):
            start = np.insert(np.array([a, b]), axis, 0)
            end = np.insert(np.array([a, b]), axis, 1)
            low = values[tuple((cells + start).T)].astype(np.float64)
            high = values[tuple((cells + end).T)].astype(np.float64)
            crossed = (low < 0) != (high < 0)
            share = np.where(crossed, low / np.where(crossed, low - high, 1), 0)
            place = start + share[:, None] * (end - start)
            total += place * crossed[:, None]
            count += crossed[:, None]
    return cells + total / count


def _quads(inside: NDArray[np.bool_], index: Ints) -> Ints:
    out = []
    for axis in range(3):
        low, high = (
            np.take(inside, range(inside.shape[axis] - 1), axis),
            np.take(inside, range(1, inside.shape[axis]), axis),
        )
        at = np.argwhere(low != high)
        u, v = (axis + 1) % 3, (axis + 2) % 3
        at = at[((at[:, [u, v]] > 0) & (at[:, [u, v]] < np.array(index.shape)[[u, v]])).all(1)]
        quad = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = at.copy()
            cell[:, u] += du
            cell[:, v] += dv
            quad.append(index[tuple(cell.T)])
        quads = np.stack(quad, 1)
        turned = high[tuple(at.T)]  # from outside into the inside along the axis: seen from the other side
        quads[turned] = quads[turned, ::-1]
        out.append(quads)
    quads = np.concatenate(out)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
