"""Other people beside the one whose portrait it is."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.pipeline.portrait.matting import Matte
from portrait360.pipeline.portrait.other_people import leave_out_others

WHOLE = Matte(np.ones((120, 200), np.float32), (20.0, 10.0), 0.5)  # of the photo's pixels 20 to 420 and 10 to 250


def place_face(x: float, y: float, size: float = 80) -> np.ndarray:
    return np.array([[x - size / 2, y - size / 2, 0], [x + size / 2, y + size / 2, 0]])


@pytest.mark.parametrize("side", [1, -1])
def test_what_is_nearer_to_another_face_is_no_part_of_the_matte(side):
    own, other = place_face(220 - 80 * side, 90), place_face(220 + 80 * side, 90)
    values = leave_out_others(WHOLE, own[:, :2], [other]).values[:, ::side]
    assert (values[:, :96] == 1).all()
    assert (values[:, 104:] == 0).all()


def test_a_smaller_face_takes_less():
    own = place_face(140, 90)
    left = [leave_out_others(WHOLE, own, [place_face(300, 90, size)]).values.mean() for size in (80, 60, 40, 20)]
    assert left == sorted(left)
    assert left[0] < left[-1] == 1


def test_a_face_that_is_printed_on_the_clothes_takes_nothing():
    assert leave_out_others(WHOLE, place_face(220, 90), [place_face(240, 200)]) is WHOLE
    assert leave_out_others(WHOLE, place_face(220, 90), [place_face(300, 200)]) is not WHOLE


def test_the_body_below_another_face_is_left_out_too():
    values = leave_out_others(WHOLE, place_face(140, 60), [place_face(330, 50, 50)]).values
    assert (values[-1, 160:] == 0).all()
    assert (values[-1, :80] == 1).all()


def test_the_border_between_two_people_follows_the_photo():
    own, other = place_face(140, 90, 100), place_face(300, 90, 100)
    rgb = np.zeros((260, 440, 3), np.float32)
    border = 240  # one's own hair reaches over the middle, at 220
    rgb[:, :border], rgb[:, border:] = (0.7, 0.5, 0.3), (0.1, 0.1, 0.2)
    rgb[60:120, 110:170] = rgb[60:120, 270:330] = (0.9, 0.7, 0.6)
    values = leave_out_others(WHOLE, own, [other], rgb).values
    column = int((border - WHOLE.corner[0]) * WHOLE.scale)
    assert (values[20:60, : column - 4] > 0.95).mean() > 0.98
    assert (values[20:60, column + 4 :] < 0.05).all()
