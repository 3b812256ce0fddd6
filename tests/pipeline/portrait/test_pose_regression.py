"""Reading the pose from the whole head: laws of the map, how far it is trusted, and that it helps."""

from dataclasses import replace

import numpy as np
import pytest

from portrait360.assets import POSE_READOUT
from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.pipeline.portrait.face_detection import face_features
from portrait360.pipeline.portrait.face_fitting import FaceFit, FitOptions
from portrait360.pipeline.portrait.morphable_model import load_morphable, pose_terms
from portrait360.pipeline.portrait.pose_regression import (
    FEATURES,
    MODES,
    MOST,
    OUTER,
    PIXELS,
    SPAN,
    PosePrediction,
    check_tensors,
    crop_upright_head,
    fit_options_from_prediction,
    load_pose_readout,
)
from portrait360.training.linear_models.pose_regressor import Views, fit_readout, mirror_matrix, predict_views, save
from portrait360.training.linear_models.pose_samples import sample_views

MODEL = load_morphable()
FOCAL = focal_from_fov(18.8)
HELD_OUT = 590_000  # seeds of people that were not learnt from


def fit_at(azimuth: float, elevation: float, roll: float = 0.0) -> FaceFit:
    zeros = np.zeros(len(MODEL.skin.shape)), np.zeros(len(MODEL.skin.expression))
    camera = Camera(look_at(azimuth, elevation, roll=roll), FOCAL)
    return FaceFit(camera, (40.0, 30.0), 200.0, *zeros, 0.0, np.zeros((0, 2)))


@pytest.mark.parametrize("roll", [0, 17, -60])
def test_the_head_is_upright(roll):
    y, x = (np.indices((300, 320)) + 0.5) / 320
    crop = crop_upright_head(np.stack([x, y, 0 * x], -1).astype(np.float32), fit_at(10, 5, roll))
    along = ((np.arange(PIXELS) + 0.5) / PIXELS - 0.5) * SPAN * 200
    u, v = np.meshgrid(along, along)
    turn = np.radians(roll)
    expected = (140 + np.cos(turn) * u - np.sin(turn) * v) / 320, (130 + np.sin(turn) * u + np.cos(turn) * v) / 320
    np.testing.assert_allclose(crop[..., 0], expected[0], atol=1e-3)
    np.testing.assert_allclose(crop[..., 1], expected[1], atol=1e-3)


def test_left_and_right_are_treated_alike():
    readout, rng = load_pose_readout(), np.random.default_rng(0)
    one, other = rng.normal(0, 1, (2, FEATURES))
    a, b = readout(one, other, fit_at(20, -7)), readout(other, one, fit_at(-20, -7))
    assert azimuth_between(a.azimuth, -b.azimuth) == pytest.approx(0, abs=1e-9)
    assert a.elevation == pytest.approx(b.elevation, abs=1e-9)
    np.testing.assert_allclose(readout.mirror @ a.shape, b.shape, atol=0.02)  # the file is in 16 bits


def test_a_mirror_of_the_skin_is_one():
    mirror, shape = mirror_matrix(MODEL), np.zeros(len(MODEL.skin.shape))
    np.testing.assert_allclose((mirror @ mirror)[:MODES, :MODES], np.eye(MODES), atol=0.05)
    shape[:MODES] = np.random.default_rng(1).normal(0, 1, MODES)
    one, other = (np.tensordot(s, MODEL.skin.shape, 1) for s in (shape, mirror @ shape))
    assert one[:, 0].max() == pytest.approx(-other[:, 0].min(), abs=2e-3)


def test_the_same_head_gives_the_same_bytes():
    crop = np.random.default_rng(2).random((PIXELS, PIXELS, 3)).astype(np.float32)
    one, other = face_features(crop), face_features(crop.copy())
    assert one.shape == (FEATURES,) and one.tobytes() == other.tobytes()
    a, b = (load_pose_readout()(f, f, fit_at(3, 4)) for f in (one, other))
    assert a[:2] == b[:2] and a.shape.tobytes() == b.shape.tobytes()


def test_beyond_what_was_learnt_the_landmarks_alone_speak():
    wild = PosePrediction(0.0, 40.0, np.ones(MODES), np.full(MODES, 0.5))
    for azimuth in (OUTER + 5, -OUTER - 20, 180):
        raw = fit_at(azimuth, 3)
        options = fit_options_from_prediction(MODEL, wild, raw)
        assert options.hold == MODEL.correct_pose(raw.camera)
        assert np.all(options.shape_mean == 0) and np.all(options.shape_prior == 1)


def test_a_correction_is_never_large():
    raw = fit_at(5, 3)
    options = fit_options_from_prediction(
        MODEL, PosePrediction(-50.0, 60.0, np.full(MODES, 99.0), np.full(MODES, 0.5)), raw
    )
    azimuth, elevation = MODEL.correct_pose(raw.camera)
    assert options.hold == pytest.approx((azimuth - MOST[0], elevation + MOST[1]))
    assert np.abs(options.shape_mean).max() == 3 and np.max(options.shape_prior) == pytest.approx(2)


def test_an_expected_skin_draws_the_fit():
    uv, _ = Camera(look_at(0), FOCAL).project(MODEL.landmarks.mean)
    mean = np.zeros(len(MODEL.skin.shape))
    mean[0] = 2
    plain, drawn = (MODEL.fit(uv * 300, FOCAL, FitOptions(shape_mean=m)) for m in (0.0, mean))
    assert abs(plain.shape[0]) < 0.1 < drawn.shape[0]


def test_what_is_linear_is_learnt():
    rng = np.random.default_rng(3)
    mirror = np.diag(np.where(np.arange(60) % 2, -1.0, 1.0))
    features = rng.normal(0, 1, (800, 20)).astype(np.float32)
    angles = np.repeat(rng.uniform(-1, 1, (400, 2)) * [40, 20], 2, 0)
    goal = features @ rng.normal(0, 1, (20, 2 + MODES))
    goal[::4, 2:] = goal[1::4, 2:] = np.nan  # some skins are nobody's
    views = Views(np.repeat(np.arange(400), 2), features, pose_terms(*angles.T), goal)
    readout = fit_readout(views, mirror)
    found = ((features - readout.mean) * readout.scale) @ readout.weight + views.terms @ readout.terms
    assert np.nanmedian(np.abs(found - goal)) < 0.1 * np.nanstd(goal)
    assert predict_views(readout, views).shape == (400, 2 + MODES)


def test_a_readout_is_read_strictly(tmp_path):
    readout = load_pose_readout()
    save(readout, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").read_bytes() == POSE_READOUT.read_bytes()
    with pytest.raises(ValueError, match="something else"):
        check_tensors({"mean": np.zeros(FEATURES)}, "x")
    assert POSE_READOUT.stat().st_size < 1e6 and replace(readout).weight.shape == (FEATURES, 2 + MODES)


@pytest.mark.slow
def test_people_it_has_not_seen_are_placed_better_than_by_landmarks_alone():
    readout, before, after = load_pose_readout(), [], []
    for seed in range(HELD_OUT, HELD_OUT + 6):
        for view in sample_views(seed, 3, MODEL):
            raw = fit_at(*view.fitted)
            hold = fit_options_from_prediction(MODEL, readout(*view.features, raw), raw).hold
            assert hold is not None
            before.append(np.abs(np.subtract(MODEL.correct_pose(raw.camera), view.angles)))
            after.append(np.abs(np.subtract(hold, view.angles)))
    assert len(before) > 12
    assert np.mean(after, 0)[0] < np.mean(before, 0)[0] and np.mean(after, 0)[1] < 0.85 * np.mean(before, 0)[1]
