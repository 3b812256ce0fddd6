"""Unwrap a surface, sampled as points by cameras, into a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.texture_completion import map_gaussian
from portrait360.utils.array_types import Floats

MIN_COSINE = 0.8  # between a cell's ray and the direction to a camera that may fill the cell
SURFACE_QUANTILE = 0.85  # quantile of a cell's radii that counts as its surface
SURFACE_THICKNESS = 0.015  # canonical: points at most this far below it belong to it


@dataclass(frozen=True, eq=False)
class UnwrappedMap:
    """Maps of a surface."""

    radius: Floats  # (rows, columns)
    values: Floats  # (rows, columns, n)
    seen: Floats  # (rows, columns) 1 where a camera saw the cell, 0 where it is interpolated


def unwrap_points(
    layout: HeadMap, points: Floats, towards: Floats, values: Sequence[Floats], *, outermost: bool = False
) -> UnwrappedMap:
    """Unwrap points (n, 3) with unit directions to their cameras (n, 3) and several values (n,) for each point.

    The radius of a cell is the mean of its surface's points, or, for strands, which are no closed surface, that of
    its `outermost` ones.
    """
    column, row, radius = layout.locate(points)
    row, column = np.floor(row).astype(int), np.floor(column).astype(int) % layout.columns
    inside = (row >= 0) & (row < layout.rows)
    cell = np.where(inside, row, 0) * layout.columns + column
    cosine = (layout.rays()[1].reshape(-1, 3)[cell] * towards).sum(1)
    inside &= cosine > MIN_COSINE
    outer = _quantiles(cell[inside], radius[inside], layout.rows * layout.columns)
    inside &= radius > outer[cell] - SURFACE_THICKNESS
    cell, weight = cell[inside], cosine[inside] ** 8
    channels = [*(value[inside] for value in values), outer[cell] if outermost else radius[inside]]
    sums = np.stack([np.bincount(cell, weight * channel, len(outer)) for channel in channels], -1)
    total = np.bincount(cell, weight, len(outer))
    shape = (layout.rows, layout.columns)
    observed = (total > 0).reshape(shape)
    mean = _fill_holes((sums / np.maximum(total, 1e-9)[:, None]).reshape(*shape, len(channels)), observed)
    return UnwrappedMap(mean[..., -1], mean[..., :-1], observed.astype(np.float64))


def _quantiles(cell: Floats, radius: Floats, cells: int) -> Floats:
    """Return the radius (cells,) of each cell's outer surface; 0 where there is none."""
    order = np.lexsort((radius, cell))
    cell, radius = cell[order], radius[order]
    first = np.searchsorted(cell, np.arange(cells))
    count = np.searchsorted(cell, np.arange(cells), "right") - first
    index = (first + np.floor(SURFACE_QUANTILE * (count - 1)).astype(int)).clip(0, len(radius) - 1)
    return np.where(count > 0, radius[index], 0)


def _fill_holes(values: Floats, observed: NDArray[np.bool_]) -> Floats:
    """Fill cells that no camera saw from the cells around them."""
    out, holes = values.copy(), ~observed
    weight = observed.astype(np.float64)
    for sigma in (1, 2, 4, 8, 16, 32):
        total = map_gaussian(weight, sigma, sigma)
        fillable = holes & (total > 0.05)
        for channel in range(values.shape[-1]):
            mean = map_gaussian(np.where(observed, values[..., channel], 0), sigma, sigma) / np.maximum(total, 1e-9)
            out[..., channel][fillable] = mean[fillable]
        holes = holes & ~fillable
    return out
