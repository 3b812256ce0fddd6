"""The linear face: it holds the sampler's people, and its points lie on the skin."""

import numpy as np
import pytest

from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import load_pack
from portrait360.training.linear_models.face_model import expressions, modes, on_body, shapes


@pytest.fixture(scope="module")
def bodies():
    return shapes(90)


def test_modes_have_unit_variance_and_hold_the_people_they_came_from(bodies):
    mean, shape = modes(bodies, count=89)
    flat = shape.reshape(89, -1)
    scores = np.linalg.lstsq(flat.T, (bodies - mean).reshape(len(bodies), -1).T, rcond=None)[0]
    np.testing.assert_allclose((scores**2).mean(1), 1, rtol=0.05)
    again = mean + (scores.T @ flat).reshape(bodies.shape)
    assert np.abs(again - bodies).max() < 1e-5


def test_fewer_modes_explain_the_most(bodies):
    mean, shape = modes(bodies, count=30)
    weight = np.where(load_average_head().base[: shape.shape[1], 1] > -0.75, 1, 0.2**2)  # the shoulders count little
    energy = (shape**2 * weight[:, None]).sum((1, 2))
    assert (np.diff(energy) <= 1e-9).all() and energy[0] > 100 * energy[-1]


def test_expressions_move_the_face_alone():
    moved = np.linalg.norm(expressions(), axis=-1)
    rest = load_average_head().base[: load_pack().body]
    still = [load_pack().units[i] for i in np.where(moved.max(1) < 0.001)[0]]
    assert moved.shape[0] == 52 and still == ["tongueOut"]  # which moves the tongue, not the skin
    assert moved[:, rest[:, 2] < -0.1].max() < 1e-6  # the back of the head stays


def test_points_of_the_skin_are_found_on_it():
    skin = load_average_head().fine[1]
    rng = np.random.default_rng(0)
    triangles = load_pack().subdivision(1).triangles
    weights = rng.dirichlet([1, 1, 1], 200)
    places = (skin[triangles[rng.integers(len(triangles), size=200)]] * weights[..., None]).sum(1)
    rows = on_body(places)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
    error = np.linalg.norm(rows @ load_average_head().base[: load_pack().body] - places, axis=1)
    assert np.median(error) < 1e-5 and error.max() < 5e-3
