"""Lengths and products of vectors in space: to the bit those of numpy, which is slow with axes of three."""

from __future__ import annotations

import numpy as np

from portrait360.utils.array_types import Floats


def sum_products(a: Floats, b: Floats) -> Floats:
    """Return the products (...) of vectors (..., 3)."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def measure_length(vectors: Floats) -> Floats:
    """Return the Euclidean lengths (...) of vectors (..., 3)."""
    return np.sqrt(sum_products(vectors, vectors))
