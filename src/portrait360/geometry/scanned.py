"""A surface known by points that cameras saw of it, unwrapped into a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.completion import around
from portrait360.geometry.head_map import HeadMap

Floats = NDArray[np.floating]

ALONG = 0.8  # cosine between a cell's ray and the direction to a camera that may fill it
OUTER = 0.85  # quantile of a cell's radii that is its surface
THICK = 0.015  # canonical: what lies no deeper than this below it belongs to it


@dataclass(frozen=True, eq=False)
class Unwrapped:
    radius: Floats  # (rows, columns)
    values: Floats  # (rows, columns, n)
    seen: Floats  # (rows, columns) 1 where a camera saw the cell, 0 where it was filled


def unwrapped(layout: HeadMap, points: Floats, towards: Floats, values: Sequence[Floats]) -> Unwrapped:
    """Points (n, 3), unit directions to the cameras that saw them (n, 3), and values (n,) of them each."""
    column, row, radius = layout.locate(points)
    row, column = np.floor(row).astype(int), np.floor(column).astype(int) % layout.columns
    inside = (row >= 0) & (row < layout.rows)
    cell = np.where(inside, row, 0) * layout.columns + column
    along = (layout.rays()[1].reshape(-1, 3)[cell] * towards).sum(1)
    inside &= along > ALONG
    outer = _quantiles(cell[inside], radius[inside], layout.rows * layout.columns)
    inside &= radius > outer[cell] - THICK
    cell, weight = cell[inside], along[inside] ** 8
    asked = [*(value[inside] for value in values), radius[inside]]
    sums = np.stack([np.bincount(cell, weight * value, len(outer)) for value in asked], -1)
    total = np.bincount(cell, weight, len(outer))
    shape = (layout.rows, layout.columns)
    known = (total > 0).reshape(shape)
    mean = _filled((sums / np.maximum(total, 1e-9)[:, None]).reshape(*shape, len(asked)), known)
    return Unwrapped(mean[..., -1], mean[..., :-1], known.astype(np.float64))


def _quantiles(cell: Floats, radius: Floats, cells: int) -> Floats:
    """(cells,) the radius of each cell's outer surface; 0 where there is none."""
    order = np.lexsort((radius, cell))
    cell, radius = cell[order], radius[order]
    first = np.searchsorted(cell, np.arange(cells))
    count = np.searchsorted(cell, np.arange(cells), "right") - first
    at = (first + np.floor(OUTER * (count - 1)).astype(int)).clip(0, len(radius) - 1)
    return np.where(count > 0, radius[at], 0)


def _filled(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Cells that no camera saw, from what lies around them."""
    out, holes = values.copy(), ~known
    weight = known.astype(np.float64)
    for sigma in (1, 2, 4, 8, 16, 32):
        total = around(weight, sigma, sigma)
        now = holes & (total > 0.05)
        for channel in range(values.shape[-1]):
            near = around(np.where(known, values[..., channel], 0), sigma, sigma) / np.maximum(total, 1e-9)
            out[..., channel][now] = near[now]
        holes = holes & ~now
    return out
