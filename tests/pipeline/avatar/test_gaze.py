"""Where the eyes of an avatar look."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.gaze import IRIS_SIZES, IRISES, find_gaze, measure_irises
from portrait360.pipeline.avatar.view.render import LAYERS, trust_photo
from portrait360.synth.head.bare_head import Head, make_head
from portrait360.synth.head.eyes import eye_meshes
from portrait360.synth.sampling.parameters import HeadParameters, Pose
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

CAMERA = Camera(look_at(0, 0), FOCAL)
PERSON = HeadParameters()


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(PERSON)


@pytest.mark.parametrize("azimuth", [0, 35])
@pytest.mark.parametrize("gaze", [(0.0, 0.0), (12.0, 3.0), (-12.0, -3.0)])
def test_the_irises_of_the_layers_lie_where_the_photo_shows_them(head, azimuth, gaze):
    camera = Camera(look_at(azimuth, 5), FOCAL)
    landmarks = np.zeros((478, 2))
    person = HeadParameters(pose=Pose(gaze=gaze))
    for mesh, i in zip(eye_meshes(head, person), IRISES, strict=True):
        landmarks[i] = camera.project(mesh.vertices[:1])[0][0]  # the middle of the pupil
    assert find_gaze(head, camera, landmarks) == pytest.approx(gaze, abs=2.0)


def test_eyes_look_ahead_without_landmarks_of_their_irises_and_never_far_aside(head):
    camera = Camera(look_at(0, 0), FOCAL)
    for landmarks in (None, np.zeros((468, 2))):
        assert find_gaze(head, camera, landmarks) == (0.0, 0.0)
    azimuth, elevation = find_gaze(head, camera, np.zeros((478, 2)))
    assert abs(azimuth) <= 32 and abs(elevation) <= 12


@pytest.mark.parametrize("size", [0.3, 0.38, 0.44, 0.6])
@pytest.mark.parametrize("azimuth", [0, 20])
def test_irises_are_as_large_as_the_photo_shows_them(head, size, azimuth):
    camera = Camera(look_at(azimuth, 0), FOCAL)
    right, down = camera.cam2world[:3, 0], camera.cam2world[:3, 1]
    landmarks = np.zeros((478, 2))
    for eye, i in zip(head.eyes, IRISES, strict=True):
        radius = float(np.sin(size) * eye.radii[0])
        edge = eye.center + radius * np.stack([right, -down, -right, down])
        landmarks[i + 1 : i + 5] = camera.project(edge)[0]
    assert measure_irises(head, camera, landmarks) == pytest.approx(np.clip(size, *IRIS_SIZES), abs=0.03)
    assert measure_irises(head, camera, np.zeros((468, 2))) is None


def test_eyes_are_the_photos_own_up_to_three_quarters_and_the_layers_in_profile():
    side, labels = 48, np.full((48, 48), Label.EYE, np.uint8)
    ones, still = np.ones((side, side), np.float32), np.zeros((side, side), np.float32)
    photo = Photo(np.dstack([ones] * 3), np.dstack([ones] * 3), ones, ones, labels, ones, still, CAMERA)
    film = SimpleNamespace(
        labels=labels, alpha=ones, normals=np.tile(np.array([0, 0, 1], np.float32), (side, side, 1))
    )
    shows = SimpleNamespace(clear_skin=ones, ink=still, deep=still)
    masks = np.ones((side, side, len(LAYERS)), np.float32)
    projection = SimpleNamespace(photo=photo, masks=masks, face_mask=ones, relief=SimpleNamespace(shows=shows))
    shares = [
        trust_photo(projection, film, pixel_centres(side, side), a * ones, still, still, ones, ones, ones)[24, 24]
        for a in (30.0, 45.0, 60.0, 80.0)
    ]
    assert shares[1] > 0.95 and 0.2 < shares[2] < 1 and shares[3] < 0.01
    assert (np.diff(shares) <= 0).all()
