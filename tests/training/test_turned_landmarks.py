"""How landmarks drift on turned faces, learnt from points that are off."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.geometry.canonical_frame import RADIUS
from portrait360.pipeline.avatar.skin.scan_model import turn_terms
from portrait360.training.linear_models.pose_samples import FOCAL
from portrait360.training.linear_models.turned_landmarks import compare_points, fit_drifts

CHIN = 152  # a landmark in the middle of the face


def test_a_drift_that_is_alike_on_both_sides_is_found_in_spite_of_lost_points():
    rng, azimuths = np.random.default_rng(0), np.linspace(-50, 50, 400)
    drifts = np.zeros((400, 468, 2))
    terms = turn_terms(azimuths)
    drifts[:, CHIN, 0] = 0.02 * terms[:, 0]  # sideways with the turn, upwards with how far it is
    drifts[:, CHIN, 1] = 0.01 * terms[:, 2]
    wanted = drifts[:, CHIN].copy()
    drifts[rng.random(400) < 0.2, CHIN] = np.nan
    found = terms @ fit_drifts(azimuths, drifts)[CHIN].T
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    np.testing.assert_allclose(found[::-1] * [-1, 1], found, atol=1e-12)


def test_points_that_are_moved_and_scaled_together_are_not_off():
    true = np.random.default_rng(1).uniform(0.3, 0.7, (468, 2))
    assert np.abs(compare_points(1.1 * true + 0.05, true)).max() < 1e-9
    found = true.copy()
    found[CHIN, 0] += 0.01
    assert compare_points(found, true)[CHIN, 0] == pytest.approx(0.01 * RADIUS / FOCAL, rel=0.05)
    found[CHIN, 0] += 0.5
    assert np.isnan(compare_points(found, true)[CHIN]).all()
