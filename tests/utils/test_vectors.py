"""Lengths and products are numpy's own, to the bit."""

import numpy as np
import pytest

from portrait360.utils.vectors import measure_length, sum_products


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 3), (40, 33, 3), (2, 4, 5, 3)])
def test_they_are_those_of_numpy_whatever_their_order_in_memory(kind, shape):
    a, b = np.random.default_rng(0).normal(0, 1, (2, *shape)).astype(kind)
    for ordered in (np.ascontiguousarray, np.asfortranarray):
        one, two = ordered(a), ordered(b)
        np.testing.assert_array_equal(measure_length(one), np.linalg.norm(one, axis=-1))
        np.testing.assert_array_equal(sum_products(one, two), (one * two).sum(-1))
        assert measure_length(one).dtype == sum_products(one, two).dtype == kind
