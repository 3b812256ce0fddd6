"""Labels of the photo of an avatar, corrected by its colours."""

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.avatar.photo.pixels import blur_coarsely, correct_by_colour, give_crumbs_away
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


def test_locks_before_an_ear_are_hair_and_the_ear_stays():
    labels, rgb = draw(0.2, 0.7)
    labels[70:90, 86:94] = Label.EAR
    rgb[70:80, 86:94], rgb[80:90, 86:94] = 0.2, 0.7
    corrected = correct_by_colour(labels, rgb, CAMERA)
    assert (corrected[70:80, 86:94] == Label.HAIR).all()
    assert (corrected[80:90, 86:94] == Label.EAR).all()


@pytest.mark.parametrize(("read", "true"), [(Label.CLOTHES, Label.SKIN), (Label.SKIN, Label.CLOTHES)])
def test_what_has_the_colours_of_the_other_side_of_a_neckline_lies_beyond_it(read, true):
    labels, rgb = draw(0.2, 0.7)
    labels[100:], rgb[100:] = Label.CLOTHES, 0.4
    labels[100:116, 44:84], rgb[100:116, 44:84] = Label.SKIN, 0.7
    rows = slice(116, 124) if true == Label.SKIN else slice(108, 116)
    rgb[rows, 50:56] = 0.7 if true == Label.SKIN else 0.4
    labels[rows, 50:56] = read
    corrected = correct_by_colour(labels, rgb, CAMERA)
    assert (corrected[rows, 51:55] == true).mean() > 0.9


def test_crumbs_of_cloth_on_a_neck_are_skin_and_others_stay():
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[60:], labels[60:90, 40:90] = Label.CLOTHES, Label.SKIN
    labels[70:73, 60:64] = Label.CLOTHES  # on the neck
    labels[20:23, 20:24] = Label.CLOTHES  # in the background
    cleared = give_crumbs_away(labels, Label.CLOTHES, Label.SKIN)
    expected = labels.copy()
    expected[70:73, 60:64] = Label.SKIN
    assert (cleared == expected).all()


@pytest.mark.parametrize(("sigma", "shape"), [(12.0, (96, 128, 4)), (40.0, (128, 128, 4)), (160.0, (128, 96, 2))])
def test_a_wide_gaussian_is_the_same_at_fewer_pixels(sigma, shape):
    picture = np.random.default_rng(0).random(shape, np.float32)
    picture[: shape[0] // 3] = 0
    blurred = blur_coarsely(picture, sigma)
    assert blurred.shape == shape and blurred.dtype == np.float32
    np.testing.assert_allclose(blurred, cv2.GaussianBlur(picture, (0, 0), sigma), atol=0.01)
