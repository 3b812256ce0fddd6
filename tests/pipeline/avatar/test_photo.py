"""Labels of the photo of an avatar, corrected by its colours."""

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.avatar.photo import correct_by_colour
from portrait360.utils.portrait_labels import Label

SIDE = 128
CAMERA = Camera(look_at(0, 0, radius=2.7), focal_from_fov(18.8))
FOREHEAD = (slice(44, 54), slice(50, 78))  # above the eyes, below the hair


def draw(hair: float, skin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and picture of a head whose fringe, in the colour of the hair, is labelled as face."""
    rng = np.random.default_rng(0)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(labels, (64, 64), (30, 42), 0, 0, 360, int(Label.HAIR), -1)
    cv2.ellipse(labels, (64, 76), (24, 32), 0, 0, 360, int(Label.FACE), -1)
    rgb = np.where((labels == Label.HAIR)[..., None], hair, skin) + rng.normal(0, 0.02, (SIDE, SIDE, 3))
    rgb[FOREHEAD] = hair + rng.normal(0, 0.02, (10, 28, 3))
    return labels, rgb.clip(0, 1).astype(np.float32)


def test_a_fringe_in_the_colour_of_the_hair_is_hair():
    labels, rgb = draw(0.2, 0.7)
    corrected = correct_by_colour(labels, rgb, CAMERA)
    inside = corrected[46:52, 54:74]
    assert (inside == Label.HAIR).mean() > 0.9
    below = np.indices(labels.shape)[0] > 70
    assert (corrected == labels)[below].all()


@pytest.mark.parametrize(("hair", "skin"), [(0.5, 0.5), (0.52, 0.5)])
def test_colours_that_do_not_tell_hair_from_face_change_nothing(hair, skin):
    labels, rgb = draw(hair, skin)
    assert (correct_by_colour(labels, rgb, CAMERA) == labels).all()


def test_a_brim_that_was_read_as_hair_is_hat():
    labels, rgb = draw(0.2, 0.7)
    labels[10:36, 30:98], rgb[10:36, 30:98] = Label.HAT, (0.8, 0.8, 0.5)
    labels[30:36, 30:50] = Label.HAIR
    corrected = correct_by_colour(labels, rgb, CAMERA)
    assert (corrected[31:35, 31:48] == Label.HAT).mean() > 0.9
