"""Hair that hangs before the far cheek of a turned face is no skin."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.photo.stray_hair import find_stray_hair
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE = 256
STRIP = 0.02  # picture sides of hair on either side of the face that are called face


def photograph(azimuth: float, hair: float = 0.15) -> Photo:
    """Return a photo of a face within hair of this brightness, whose edges are called face."""
    random = np.random.default_rng(2)
    labels = np.full((SIDE, SIDE), Label.HAIR, np.uint8)
    cv2.ellipse(labels, (128, 128), (50, 60), 0, 0, 360, int(Label.FACE), -1)
    inner = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(inner, (128, 128), (50 - round(STRIP * SIDE), 60), 0, 0, 360, 1, -1)
    rgb = np.where(inner[..., None] > 0, 0.7, hair) + random.normal(0, 0.02, (SIDE, SIDE, 3))
    rgb = rgb.clip(0, 1).astype(np.float32)
    ones, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, rgb, ones, ones, labels, ones, flow, Camera(look_at(azimuth, 0), FOCAL))


@pytest.mark.parametrize("azimuth", [-40, -20, 20, 40])
def test_strands_before_the_far_cheek_alone_are_found(azimuth):
    photo = photograph(azimuth)
    found, x = find_stray_hair(photo), np.indices((SIDE, SIDE))[1]
    strip = photo.shows(Label.FACE) & (photo.rgb.mean(-1) < 0.4)
    far, near = (x < 92, x > 164) if azimuth > 0 else (x > 164, x < 92)  # seen from its left, its right is far
    assert found[strip & far].mean() > 0.9
    assert not found[near].any()
    assert found[photo.shows(Label.FACE) & ~strip].mean() < 0.05


def test_a_face_from_its_front_shows_both_cheeks_itself():
    assert not find_stray_hair(photograph(0)).any()


def test_hair_like_skin_is_not_told_from_it():
    assert not find_stray_hair(photograph(30, hair=0.7)).any()
