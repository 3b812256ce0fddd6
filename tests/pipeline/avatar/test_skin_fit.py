"""The skin of an avatar, fitted to the landmarks of a portrait."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.geometry.surfaces.subdivision import mesh_laplacian
from portrait360.pipeline.avatar.skin.fit import fit_skin, reliable_model, spread_residuals
from portrait360.pipeline.avatar.skin.lip_edges import find_hanging_lips
from portrait360.pipeline.avatar.skin.scan_model import (
    face_coefficients,
    load_depths,
    load_scan_model,
    straighten_landmarks,
)
from portrait360.pipeline.portrait.face_detection import find_landmarks
from portrait360.pipeline.portrait.face_fitting import FitOptions
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.synth.build import build
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head.scan_shape import load_scan_shapes, sample_scan_shape
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import composite_over
from portrait360.training.linear_models.pose_samples import SIDE, face_from_landmarks
from portrait360.training.linear_models.scan_fit import sample_scanned_person
from tests.fixtures.photos import FOCAL

UNITS = load_pack().units
TIP, WINGS = 1, [129, 358]  # landmarks of the nose
JAW = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)


@pytest.fixture(scope="module")
def fit(portrait):
    return fit_skin(portrait, UNITS)


def seen(shape, expression, camera):
    model = load_morphable()
    return camera.project(model.rows @ model.skin.at(shape, expression))[0]


def test_landmarks_that_agree_move_nothing():
    model, camera = load_morphable(), Camera(look_at(20.0, 5.0), FOCAL)
    shape, expression = np.linspace(-1, 1, 60), np.zeros(52)
    offset = spread_residuals(model, shape, expression, camera, seen(shape, expression, camera))
    assert np.abs(offset).max() < 1e-9


def test_a_smooth_change_of_the_skin_is_found():
    model, camera = load_morphable(), Camera(look_at(0.0, 0.0), FOCAL)
    shape, expression = np.zeros(60), np.zeros(52)
    moved = model.skin.mean + [0.004, -0.003, 0.0] * np.exp(-((model.skin.mean / 0.2) ** 2).sum(1))[:, None]
    landmarks = camera.project(model.rows @ moved)[0]
    offset = spread_residuals(model, shape, expression, camera, landmarks)
    before = np.linalg.norm(seen(shape, expression, camera) - landmarks, axis=1)
    after = np.linalg.norm(camera.project(model.rows @ (model.skin.mean + offset))[0] - landmarks, axis=1)
    assert np.median(after) < 0.25 * np.median(before)
    assert np.abs(offset @ camera.cam2world[:3, 2]).max() < 1e-9  # parallel to the picture
    far = model.skin.mean[:, 1] < -0.45
    assert np.abs(offset[far]).max() < 0.25 * np.abs(offset).max()  # fades away from the face


def test_parted_lips_leave_the_opening_free_that_the_landmarks_show():
    model, camera = load_morphable(), Camera(look_at(0.0, 0.0), FOCAL)
    shape, expression = np.zeros(60), np.zeros(52)
    for name, value in {"jawOpen": 0.25, "mouthUpperUpLeft": 0.7, "mouthUpperUpRight": 0.7}.items():
        expression[UNITS.index(name)] = value
    landmarks, skin = seen(shape, expression, camera), model.skin.at(shape, expression)
    offset = spread_residuals(model, shape, expression, camera, landmarks)
    before, after = (find_hanging_lips(model, points, camera, landmarks)[1] for points in (skin, skin + offset))
    assert np.abs(before).max() > 0.004
    assert np.abs(after).sum() < 0.3 * np.abs(before).sum()
    met = np.linalg.norm(camera.project(model.rows @ (skin + offset))[0] - landmarks, axis=1)
    assert met.max() < 0.004
    closed = seen(shape, np.zeros(52), camera)
    assert find_hanging_lips(model, model.skin.mean, camera, closed)[0].shape[0] == 0


def test_landmarks_that_slide_from_face_to_face_move_less():
    model, camera = load_morphable(), Camera(look_at(0.0, 0.0), FOCAL)
    shape, expression, moves = np.zeros(60), np.zeros(52), []
    for landmark in (61, 234):  # a corner of the mouth, and a point on the outline of the cheek
        landmarks = seen(shape, expression, camera)
        landmarks[landmark] += [0.0, 0.01]
        moves.append(np.abs(spread_residuals(model, shape, expression, camera, landmarks)).max())
    assert model.spread[61] < model.spread[234] and moves[1] < 0.3 * moves[0]


def test_the_astronaut_smiles_and_her_landmarks_are_met(fit, portrait):
    named = dict(zip(UNITS, fit.expression, strict=True))
    assert named["mouthSmileLeft"] > 0.2 and named["mouthSmileRight"] > 0.2
    plain = fit_skin(portrait, UNITS, snap=False)
    assert 512 * fit.error < 0.5 and fit.error < 0.5 * plain.error
    assert 0 < np.abs(fit.offset - plain.offset).max() < 0.02
    assert all(value == 0 for name, value in named.items() if name.startswith(("jawLeft", "cheekPuff", "eyeLook")))


def test_the_camera_sees_what_the_portraits_camera_sees(fit, portrait):
    assert fit.camera.azimuth == pytest.approx(portrait.camera.azimuth, abs=1e-6)
    assert fit.camera.elevation == pytest.approx(portrait.camera.elevation, abs=1e-6)
    skin = load_morphable().skin.at(fit.shape, fit.expression) + fit.offset
    landmarks = fit.camera.project(load_scan_model().rows @ skin)[0]
    np.testing.assert_allclose(landmarks[TIP], portrait.landmarks[TIP], atol=0.01)


def test_landmarks_of_a_face_from_the_front_stay_and_both_sides_are_straightened_alike():
    points, camera = np.random.default_rng(0).uniform(0.3, 0.7, (468, 2)), Camera(look_at(4.0, 4.0), FOCAL)
    np.testing.assert_array_equal(straighten_landmarks(points, camera), points)
    marks = load_morphable().landmarks.mean
    twin = KDTree(marks).query(marks * [-1, 1, 1])[1]
    left, right = (straighten_landmarks(points, Camera(look_at(a, 4.0), FOCAL)) - points for a in (35.0, -35.0))
    assert np.abs(left).max() > 0.005
    mutual = twin[twin] == np.arange(len(twin))
    assert mutual.mean() > 0.9
    np.testing.assert_allclose((left[twin] * [-1, 1])[mutual], right[mutual], atol=1e-6)


def test_landmarks_are_straightened_in_the_frame_of_the_face():
    points, turn = np.zeros((468, 2)), np.radians(20)
    upright, rolled = (straighten_landmarks(points, Camera(look_at(30.0, 4.0, roll=r), FOCAL)) for r in (0.0, 20.0))
    about = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    error = min(np.abs(rolled - upright @ a).max() for a in (about, about.T))
    assert error < 1e-9 < np.abs(rolled - upright).max()


def test_the_network_sees_a_turned_face_where_it_is_once_its_points_are_straightened():
    model, before, after = load_scan_model(), [], []
    person = sample_scanned_person(3, np.random.default_rng(3))  # none that the drift was learnt on
    scene = build(person)
    head, skin = prepare_scene(scene, occlusion=False), make_head(person).base[: load_pack().body]
    for azimuth in (-38.0, 26.0):
        camera = Camera(look_at(azimuth, 3.0), FOCAL)
        view = render(head, camera, SIDE)
        picture = composite_over(view.rgb, view.alpha, np.full_like(view.rgb, 0.5)).astype(np.float32)
        found = find_landmarks(picture, face_from_landmarks(scene, camera)).points[:468, :2] / SIDE
        true = camera.project(model.rows @ skin)[0]
        for points, errors in ((found, before), (straighten_landmarks(found, camera), after)):
            errors.append(np.linalg.norm(points - true, axis=1)[list(JAW)].mean())
    assert np.mean(after) < 0.75 * np.mean(before)


def test_noses_of_scans_stand_out_as_far_as_they_do_when_they_are_seen_from_the_front():
    model, scans, base = reliable_model(UNITS), load_scan_shapes(), load_average_head().base[: load_pack().body]
    rng, camera, found = np.random.default_rng(5), Camera(look_at(0.0, 0.0), FOCAL), []
    for _ in range(8):
        person = np.asarray(sample_scan_shape(rng), np.float32)
        skin = HEAD_HEIGHT * (base + scans.rest + np.tensordot(person, scans.modes, 1)).astype(np.float64)
        points = camera.project(model.rows @ skin)[0]
        fit = model.fit(512 * points, FOCAL, FitOptions(noise=0.005, expression_prior=3.0, hold=(0.0, 0.0)))
        found.append([_measure_nose(model.rows @ skin), _measure_nose(model.landmarks.at(fit.shape, fit.expression))])
    truth, fitted = np.array(found).T / HEAD_HEIGHT
    assert abs((fitted - truth).mean()) < 0.006 and np.corrcoef(truth, fitted)[0, 1] > 0.7


def _measure_nose(landmarks):
    return landmarks[TIP, 2] - landmarks[WINGS, 2].mean()


def test_the_face_model_says_of_a_scanned_shape_all_but_what_it_lacks():
    model, scans, face = load_scan_model(), load_scan_shapes(), load_morphable().skin
    weights = np.append(np.random.default_rng(0).normal(size=len(scans.mean)), np.zeros(len(face.shape)))
    lacking = model.skin.at(weights, np.zeros(52)) - face.at(face_coefficients(weights), np.zeros(52))
    extra = (scans.mean + scans.factor @ weights[: len(scans.mean)])[len(face.shape) :]
    high = load_average_head().base[: load_pack().body, 1] > -0.6  # below, scans say nothing
    base = load_average_head().base[: load_pack().body] - face.mean / HEAD_HEIGHT
    expected = base + scans.rest + np.tensordot(extra, scans.modes[len(face.shape) :], 1)
    np.testing.assert_allclose(lacking[high], HEAD_HEIGHT * expected[high], atol=2e-5)


def test_a_smile_draws_the_lips_back_and_nothing_else():
    depths, pack = load_depths(), load_pack()
    smile = depths[[UNITS.index("mouthSmileLeft"), UNITS.index("mouthSmileRight")]].sum(0)
    assert smile[pack.landmarks["lip_top"], 2] < -0.005 * HEAD_HEIGHT
    assert not depths[..., :2].any()  # where lips are in the picture, landmarks say
    high = load_average_head().base[: pack.body, 1] > -0.09
    assert not depths[:, high].any() and not depths[UNITS.index("eyeBlinkLeft")].any()


def test_a_flat_field_has_no_laplacian():
    model = load_morphable()
    laplacian = mesh_laplacian(model.quads, len(model.skin.mean))
    assert np.abs(laplacian @ np.ones(laplacian.shape[0])).max() < 1e-12


def test_reliable_units_stay():
    model, whole = reliable_model(UNITS), load_scan_model()
    kept = [i for i, name in enumerate(UNITS) if np.array_equal(model.skin.expression[i], whole.skin.expression[i])]
    assert {"jawOpen", "mouthSmileLeft", "eyeBlinkLeft", "browDownLeft"} <= {UNITS[i] for i in kept}
