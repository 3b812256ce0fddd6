"""How hair lies over skin, learnt from sampled heads."""

import numpy as np

from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Part
from portrait360.training.linear_models.hair_model import COARSE, beliefs, cover, kinds_of, modes


def test_modes_give_the_heads_back():
    rng = np.random.default_rng(0)
    heads = rng.normal(size=(30, 4, 5)) + 3
    mean, basis = modes(heads, count=29)
    scores = (heads.reshape(30, -1) - mean) @ np.linalg.pinv(basis)
    np.testing.assert_allclose(mean + scores @ basis, heads.reshape(30, -1), atol=1e-8)
    np.testing.assert_allclose((scores[:, :20] ** 2).mean(0), 1, rtol=1e-6)


def test_beliefs_count_what_is_seen():
    kinds = np.array([[[0, 1]], [[0, 1]], [[0, 2]], [[0, 1]]], np.int8)
    thick = np.array([[[0.0, 0.2]], [[0.0, 0.4]], [[0.0, 0.1]], [[0.0, 0.3]]])
    share, mean, spread = beliefs(thick, kinds)
    assert share[:, 0, 1].argmax() == 1 and np.allclose(share.sum(0), 1)
    assert np.isclose(mean[1, 0, 1], 0.3) and np.isclose(spread[1, 0, 1], np.hypot(np.std([0.2, 0.4, 0.3]), 0.008))


def test_hair_is_above_and_behind_clothes_below():
    thick, parts = cover(sample(5, "human"))  # long curls
    kinds = kinds_of(parts)
    assert thick.shape == (COARSE.rows, COARSE.columns) and (thick >= 0).all()
    assert (kinds[3] == 1).mean() > 0.6 and kinds[20, COARSE.columns // 2] == 1
    assert (kinds[-1] == 2).mean() > 0.5 and thick[20, 32] > 0.03
    assert set(np.unique(parts)) <= set(map(int, Part))
