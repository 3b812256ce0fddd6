"""Drawn eyes that close: a lid of the face's skin, and the drawn lashes at its edge."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.avatar import round_photo
from portrait360.pipeline.avatar.drawing.blink import DrawnEyes, find_drawn_eyes
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE, RADIUS = 256, 18
MIDDLES = (170, 120), (90, 120)  # of the subject's left and right eye in the picture
SKIN, IRIS, INK = (0.8, 0.7, 0.6), (0.2, 0.6, 0.9), (0.1, 0.1, 0.1)


def draw_eyes() -> Photo:
    """Return a drawing of a face with two round eyes, a line along the upper edge of each."""
    rgb, labels = np.full((SIDE, SIDE, 3), SKIN, np.float32), np.full((SIDE, SIDE), Label.FACE, np.uint8)
    eyes = np.zeros((SIDE, SIDE), np.uint8)
    for middle in MIDDLES:
        cv2.circle(eyes, middle, RADIUS, 1, -1)
        cv2.circle(rgb, middle, RADIUS, IRIS, -1)
        cv2.ellipse(rgb, middle, (RADIUS, RADIUS), 0, 180, 360, INK, 2)
    ones, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, rgb, ones, ones, labels, ones, flow, Camera(look_at(0, 0), FOCAL), True, eyes > 0)


def find(photo: Photo) -> DrawnEyes:
    found = find_drawn_eyes(photo)
    assert found is not None
    return found


def is_iris(rgb: np.ndarray, middle: tuple[int, int]) -> int:
    x, y = middle
    near = rgb[y - RADIUS : y + RADIUS, x - RADIUS : x + RADIUS]
    return int((np.abs(near - IRIS).max(-1) < 0.1).sum())


def test_a_lid_comes_down_over_a_drawn_eye_which_is_not_squeezed():
    photo = draw_eyes()
    eyes = find(photo)
    np.testing.assert_array_equal(eyes.close(np.zeros(2)), photo.rgb)
    left = MIDDLES[0]
    open_, half, shut = (is_iris(eyes.close(np.array([w, 0.0])), left) for w in (0.0, 0.5, 1.0))
    assert open_ > 900 and 0.3 < half / open_ < 0.8 and shut < 0.03 * open_
    column = eyes.close(np.array([0.5, 0.0]))[:, left[0]]
    unchanged = slice(left[1] + 4, left[1] + 10)  # below a lid that is half closed the eye is as drawn
    np.testing.assert_array_equal(column[unchanged], photo.rgb[unchanged, left[0]])
    lashes = eyes.close(np.array([1.0, 0.0]))[:, left[0]].mean(-1)
    assert lashes.min() < 0.35 and lashes.argmin() > left[1] + 0.3 * RADIUS  # the line lies low
    np.testing.assert_allclose(eyes.close(np.array([1.0, 0.0]))[left[1] - 8, left[0]], SKIN, atol=0.03)


@pytest.mark.parametrize("side", [0, 1])
def test_one_eye_blinks_by_itself(side):
    photo = draw_eyes()
    closed = find(photo).close(np.eye(2)[side])
    assert is_iris(closed, MIDDLES[side]) < 40 < is_iris(closed, MIDDLES[1 - side])
    x, half = MIDDLES[1 - side][0], SIDE // 2
    rest = np.s_[:, half:] if x > half else np.s_[:, :half]
    np.testing.assert_array_equal(closed[rest], photo.rgb[rest])


def test_hair_before_a_drawn_eye_stays():
    photo = draw_eyes()
    labels = photo.labels.copy()
    labels[:, 165:175] = Label.HAIR
    closed = find(replace(photo, labels=labels)).close(np.ones(2))
    np.testing.assert_array_equal(closed[:, 168:172], photo.rgb[:, 168:172])


def test_eyes_that_are_not_drawn_have_no_lids_of_pixels():
    photo = draw_eyes()
    assert find_drawn_eyes(replace(photo, eyes=None)) is None
    assert find_drawn_eyes(replace(photo, eyes=np.zeros((SIDE, SIDE), bool))) is None
    np.testing.assert_array_equal(round_photo(photo).eyes, photo.eyes)
