"""The skin of an avatar, fitted to the landmarks of a portrait."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.surfaces.subdivision import mesh_laplacian
from portrait360.pipeline.avatar.skin_fit import fit_skin, reliable_model, spread_residuals
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.synth.head_pack import load_pack
from tests.fixtures.photos import FOCAL

UNITS = load_pack().units


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


def test_the_astronaut_smiles_and_her_landmarks_are_met(fit, portrait):
    named = dict(zip(UNITS, fit.expression, strict=True))
    assert named["mouthSmileLeft"] > 0.2 and named["mouthSmileRight"] > 0.2
    off = np.linalg.norm(seen(fit.shape, fit.expression, fit.camera) - portrait.landmarks[:468], axis=1)
    assert 512 * fit.error < 0.5 and fit.error < 0.5 * np.median(off)
    assert np.abs(fit.offset).max() < 0.02
    assert all(value == 0 for name, value in named.items() if name.startswith(("jawLeft", "cheekPuff", "eyeLook")))


def test_the_camera_sees_what_the_portraits_camera_sees(fit, portrait):
    assert fit.camera.azimuth == pytest.approx(portrait.camera.azimuth, abs=1e-6)
    assert fit.camera.elevation == pytest.approx(portrait.camera.elevation, abs=1e-6)
    nose = load_morphable().landmarks.at(fit.shape, fit.expression)[1]
    np.testing.assert_allclose(fit.camera.project(nose)[0], portrait.landmarks[1], atol=0.01)


def test_a_flat_field_has_no_laplacian():
    model = load_morphable()
    laplacian = mesh_laplacian(model.quads, len(model.skin.mean))
    assert np.abs(laplacian @ np.ones(laplacian.shape[0])).max() < 1e-12


def test_reliable_units_stay():
    model, whole = reliable_model(UNITS), load_morphable()
    kept = [i for i, name in enumerate(UNITS) if np.array_equal(model.skin.expression[i], whole.skin.expression[i])]
    assert {"jawOpen", "mouthSmileLeft", "eyeBlinkLeft", "browDownLeft"} <= {UNITS[i] for i in kept}
