"""The third-party models find what is there: one photo of a person may be shipped, so laws do the rest."""

import cv2
import numpy as np
import pytest

from portrait360.pipeline.portrait.face_detection import LEFT_EYE, OUTLINE, RIGHT_EYE, find_faces, find_landmarks
from portrait360.pipeline.portrait.matting_network import find_matte, guided_filter
from portrait360.utils.images import load_picture
from tests.fixtures.paths import ASTRONAUT


@pytest.fixture(scope="module")
def photo():
    return load_picture(ASTRONAUT).rgb


def test_the_astronauts_face_is_found_where_it_is(photo):
    (face,) = find_faces(photo)
    x, y, w, h = face.box
    assert 170 < x < 190 and 50 < y < 75 and 80 < w < 105 and 100 < h < 125
    right, left, nose, *_ = face.points
    assert right[0] < nose[0] < left[0]  # the subject's right eye is on the left of the picture


@pytest.mark.parametrize("scale", [0.25, 0.6, 2.0])
def test_landmarks_follow_the_picture_scaled(photo, scale):
    base = find_landmarks(photo, find_faces(photo)[0])
    other = cv2.resize(
        photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    found = find_landmarks(other, find_faces(other)[0])
    error = np.linalg.norm(found.points[:, :2] / scale - base.points[:, :2], axis=1)
    assert np.median(error) < 2 and found.presence > 0.9  # on a face 90 pixels wide


@pytest.mark.parametrize("side", [40, 60])
def test_a_face_of_twenty_pixels_is_found(photo, side):
    tiny = cv2.resize(photo[5:175, 140:310], (side, side), interpolation=cv2.INTER_AREA)
    (face,) = find_faces(tiny)
    points = find_landmarks(tiny, face).points[:, :2] * 170 / side + (140, 5)
    base = find_landmarks(photo, find_faces(photo)[0]).points[:, :2]
    assert np.median(np.linalg.norm(points - base, axis=1)) < 5


@pytest.mark.parametrize("angle", [-25, 15])
def test_landmarks_follow_the_picture_turned(photo, angle):
    base = find_landmarks(photo, find_faces(photo)[0]).points[:, :2]
    matrix = cv2.getRotationMatrix2D((222, 110), angle, 1.0)
    turned = cv2.warpAffine(photo, matrix, photo.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    found = find_landmarks(turned, find_faces(turned)[0]).points[:, :2]
    expected = (base - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5  # OpenCV counts from pixel centres
    error = np.linalg.norm(found - expected, axis=1)
    assert np.median(error) < 2


def test_named_points_are_where_their_names_say(photo):
    points = find_landmarks(photo, find_faces(photo)[0]).points
    left, right = points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0)
    assert 40 < left[0] - right[0] < 50
    outline = points[list(OUTLINE), :2].astype(np.float32)
    assert len(set(OUTLINE)) == 36 and cv2.contourArea(outline) > 0.95 * cv2.contourArea(cv2.convexHull(outline))


def test_no_face_in_noise_and_on_the_cats_side_of_things():
    noise = np.random.default_rng(0).random((200, 200, 3)).astype(np.float32)
    assert find_faces(noise) == []


def test_two_faces_the_larger_first(photo):
    small = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    both = np.zeros((512, 800, 3), np.float32)
    both[:, :512], both[:256, 512:768] = photo, small
    faces = find_faces(both)
    assert len(faces) == 2 and faces[0].box[0] < 512 < faces[1].box[0]


def test_the_matte_holds_the_head_and_not_the_wall(photo):
    matte = find_matte(photo, (222, 110))
    assert matte.shape == photo.shape[:2] and matte.min() >= 0 and matte.max() <= 1
    assert matte[60:170, 190:260].mean() > 0.97  # face and hair
    assert matte[5:120, 320:360].mean() < 0.03  # the wall
    edge = (matte > 0.05) & (matte < 0.95)
    assert edge[:200, 100:350].mean() < 0.06  # soft at the hair, no fog


def test_a_guided_filter_of_a_linear_function_of_the_guide_is_the_identity():
    rng = np.random.default_rng(1)
    guide = rng.random((40, 50, 3)).astype(np.float32)
    values = guide @ np.array([0.3, -0.5, 0.9], np.float32) + 0.1
    np.testing.assert_allclose(guided_filter(guide, values, 5, 1e-8), values, atol=2e-3)


def test_a_guided_filter_agrees_with_solving_each_window():
    rng = np.random.default_rng(2)
    guide, values = rng.random((9, 9, 3)).astype(np.float32), rng.random((9, 9)).astype(np.float32)
    window = guide.reshape(-1, 3).astype(np.float64)
    design = np.c_[window, np.ones(len(window))]
    penalty = np.diag([1e-2 * len(window)] * 3 + [0])
    coefficients = np.linalg.solve(design.T @ design + penalty, design.T @ values.reshape(-1))
    # one window covers everything only at the centre when radius is 4; the second mean is over all windows, so
    # compare with a guide that repeats: tile it and every window holds each pixel once
    tiled, repeated = np.tile(guide, (3, 3, 1)), np.tile(values, (3, 3))
    out = guided_filter(tiled, repeated, 4, 1e-2)[9:18, 9:18]
    np.testing.assert_allclose(out, (design @ coefficients).reshape(9, 9), atol=1e-4)
