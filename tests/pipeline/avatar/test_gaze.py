"""Where the eyes of an avatar look."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.skin.gaze import IRISES, find_gaze
from portrait360.synth.head.bare_head import Head, make_head
from portrait360.synth.head.eyes import eye_meshes
from portrait360.synth.sampling.parameters import HeadParameters, Pose
from tests.fixtures.photos import FOCAL

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
