"""Fitting a linear face: what made the points is found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.pipeline.portrait.face_fitting import FitOptions, LinearPoints, _jacobian, _project, _State, fit_face

FOCAL = focal_from_fov(18.8)


def model(seed: int = 0, n: int = 120) -> LinearPoints:
    """Points on the front half of an ellipsoid, with smooth random modes."""
    rng = np.random.default_rng(seed)
    azimuth, height = rng.uniform(-1.2, 1.2, n), rng.uniform(-0.2, 0.2, n)
    mean = np.stack([0.16 * np.sin(azimuth), height, 0.2 * np.cos(azimuth)], -1)
    waves = rng.normal(0, 6, (8, 3))
    basis = 0.008 * np.sin(mean @ waves.T + rng.uniform(0, 6, 8)).T[:, :, None] * rng.normal(0, 1, (8, 1, 3))
    return LinearPoints(mean, basis[:5], basis[5:] * 2)


def picture(face: LinearPoints, camera: Camera, corner, side, shape, expression):
    uv, _ = camera.project(face.at(shape, expression))
    return np.asarray(corner) + uv * side


@settings(max_examples=30)
@given(
    st.floats(-60, 60),
    st.floats(-25, 25),
    st.floats(-30, 30),
    st.floats(80, 2000),
    st.floats(-100, 900),
    st.integers(0, 2**31),
)
def test_camera_crop_and_face_are_found_again(azimuth, elevation, roll, side, corner, seed):
    face, rng = model(), np.random.default_rng(seed)
    shape, expression = rng.normal(0, 0.7, 5), rng.uniform(0, 0.7, 3)
    camera = Camera(look_at(azimuth, elevation, roll=roll), FOCAL)
    points = picture(face, camera, (corner, -corner / 2), side, shape, expression)
    options = FitOptions(noise=1e-4, steps=40, shape_prior=0.01, expression_prior=0.01)
    fit = fit_face(points, np.ones(len(points)), face, FOCAL, options)
    assert fit.error < 1e-4
    assert abs(azimuth_between(fit.camera.azimuth, azimuth)) < 0.5 and abs(fit.camera.elevation - elevation) < 0.5
    assert fit.side == pytest.approx(side, rel=0.01)
    np.testing.assert_allclose(fit.corner, (corner, -corner / 2), atol=0.01 * side)
    again = picture(face, fit.camera, fit.corner, fit.side, fit.shape, fit.expression)
    np.testing.assert_allclose(again, points, atol=1e-3 * side)


@settings(max_examples=20)
@given(st.floats(-70, 70), st.floats(-40, 40), st.floats(-30, 30), st.integers(0, 2**31))
def test_a_held_camera_stands_there_and_the_rest_is_found(azimuth, elevation, roll, seed):
    face, rng = model(), np.random.default_rng(seed)
    shape, expression = rng.normal(0, 0.7, 5), rng.uniform(0, 0.7, 3)
    points = picture(face, Camera(look_at(azimuth, elevation, roll=roll), FOCAL), (30, -9), 400, shape, expression)
    options = FitOptions(noise=1e-4, steps=40, shape_prior=0.01, expression_prior=0.01, hold=(azimuth, elevation))
    fit = fit_face(points, np.ones(len(points)), face, FOCAL, options)
    assert abs(azimuth_between(fit.camera.azimuth, azimuth)) < 1e-6
    assert fit.camera.elevation == pytest.approx(elevation, abs=1e-6)
    assert fit.error < 1e-4 and fit.camera.roll == pytest.approx(roll, abs=0.5)
    assert fit.side == pytest.approx(400, rel=0.01)


def test_a_camera_may_be_held_elsewhere():
    face = model()
    points = picture(face, Camera(look_at(10, 0, roll=15), FOCAL), (0, 0), 300, np.zeros(5), np.zeros(3))
    for azimuth, elevation in ((-25, 10), (180, 0), (90, -89)):
        fit = fit_face(points, np.ones(120), face, FOCAL, FitOptions(hold=(azimuth, elevation)))
        assert abs(azimuth_between(fit.camera.azimuth, azimuth)) < 1e-6
        assert fit.camera.elevation == pytest.approx(elevation, abs=1e-6)
        assert 30 < fit.side < 3000 and np.isfinite(fit.residuals).all()


def test_a_few_wild_points_do_not_pull_the_fit():
    face = model()
    camera = Camera(look_at(20, 5), FOCAL)
    points = picture(face, camera, (0, 0), 256, np.zeros(5), np.zeros(3))
    points[:8] += 60
    fit = fit_face(points, np.ones(len(points)), face, FOCAL)
    assert abs(azimuth_between(fit.camera.azimuth, 20)) < 2 and fit.side == pytest.approx(256, rel=0.03)
    assert np.linalg.norm(fit.residuals[:8], axis=1).min() > 0.2  # they are seen to be off


def test_points_without_weight_do_not_matter():
    face = model()
    points = picture(face, Camera(look_at(-15), FOCAL), (5, 7), 200, np.zeros(5), np.zeros(3))
    weights = np.r_[np.zeros(20), np.ones(100)]
    wild = points.copy()
    wild[:20] = 1e4
    a, b = (fit_face(p, weights, face, FOCAL) for p in (points, wild))
    np.testing.assert_allclose(a.camera.cam2world, b.camera.cam2world, atol=1e-9)


def test_expressions_stay_between_zero_and_one_and_priors_hold_shapes_back():
    face, rng = model(), np.random.default_rng(3)
    points = picture(face, Camera(look_at(0), FOCAL), (0, 0), 100, np.zeros(5), np.zeros(3)) + rng.normal(
        0, 4, (120, 2)
    )
    free = fit_face(points, np.ones(120), face, FOCAL, FitOptions(shape_prior=1e-3))
    held = fit_face(points, np.ones(120), face, FOCAL, FitOptions(shape_prior=30))
    assert np.linalg.norm(held.shape) < 0.2 * np.linalg.norm(free.shape)
    for fit in (free, held):
        assert fit.expression.min() >= 0 and fit.expression.max() <= 1


def test_the_jacobian_is_the_slope():
    face, rng = model(), np.random.default_rng(4)
    rotation = look_at(25, -10, roll=5)[:3, :3].T
    state = _State(rotation, np.array([30.0, 40.0]), 150.0, rng.normal(0, 1, 5), rng.uniform(0, 1, 3))
    seen, local, _ = _project(state, face, FOCAL)
    slope, h = _jacobian(state, local, face, FOCAL), 1e-6
    from portrait360.pipeline.portrait.face_fitting import _exp

    for i in range(slope.shape[2]):
        d = np.zeros(slope.shape[2])
        d[i] = h
        moved = _State(
            _exp(d[:3]) @ rotation,
            state.move + d[3:5] * state.side,
            state.side * np.exp(d[5]),
            state.shape + d[6:11],
            state.expression + d[11:],
        )
        np.testing.assert_allclose((_project(moved, face, FOCAL)[0] - seen) / h, slope[:, :, i], atol=2e-3)
