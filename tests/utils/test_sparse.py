"""Sparse systems are solved as dense ones are."""

import numpy as np
import pytest
import scipy.sparse as sp

from portrait360.utils.sparse import factorise


@pytest.mark.parametrize("side", [1, 2, 7, 12])
def test_solutions_are_those_of_dense_matrices(side):
    rng = np.random.default_rng(side)
    index = np.arange(side * side).reshape(side, side)
    pairs = np.concatenate([np.stack([index[:, 1:], index[:, :-1]], -1).reshape(-1, 2)])
    pairs = np.concatenate([pairs, np.stack([index[1:], index[:-1]], -1).reshape(-1, 2)])
    gradient = sp.lil_matrix((len(pairs), side * side))
    gradient[np.arange(len(pairs)), pairs[:, 0]], gradient[np.arange(len(pairs)), pairs[:, 1]] = 1, -1
    weights = sp.diags(np.exp(rng.normal(0, 3, len(pairs)))) if len(pairs) else sp.csr_matrix((0, 0))
    system = gradient.T @ weights @ gradient + sp.diags(np.exp(rng.normal(-2, 3, side * side)))
    wanted = rng.normal(0, 1, (side * side, 3))
    expected = np.linalg.solve(system.toarray(), wanted)
    np.testing.assert_allclose(factorise(system).solve(wanted), expected, rtol=1e-8, atol=1e-8)
