"""Lengths and products of vectors in space: to the bit those of numpy, which is slow with axes of three."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sum_products(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Return the products (...) of vectors (..., 3)."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def measure_length(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the Euclidean lengths (...) of vectors (..., 3)."""
    return np.sqrt(sum_products(vectors, vectors))


def measure_paths(points: NDArray[Any]) -> NDArray[np.float64]:
    """Return the lengths of polylines (n, k, d)."""
    return np.asarray(measure_length(np.diff(points, axis=1)).sum(1), np.float64)
