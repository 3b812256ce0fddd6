"""The outline of a head in a matte, and the crop out of a photo."""

import cv2
import numpy as np
import pytest

from portrait360.pipeline.portrait.crop import CropPadding, CropSquare, cut
from portrait360.pipeline.portrait.silhouette import find_head_in_matte

# the outline


def person(head_width: int, neck_width: int, body_width: int, head_height: int = 120) -> np.ndarray:
    matte = np.zeros((300, 300), np.float32)
    cv2.ellipse(matte, (140, 20 + head_height // 2), (head_width // 2, head_height // 2), 0, 0, 360, 1.0, -1)
    matte[20 + head_height // 2 : 180, 140 - neck_width // 2 : 140 + neck_width // 2] = 1
    matte[170:, 140 - body_width // 2 : 140 + body_width // 2] = 1
    return matte


def test_a_head_ends_at_its_neck():
    found = find_head_in_matte(person(90, 45, 220))
    assert found is not None and found.height == pytest.approx(120, abs=12)
    np.testing.assert_allclose(found.center, (140, 80), atol=7)


def test_ears_do_not_end_a_head_and_without_a_neck_its_width_says_how_tall_it_is():
    matte = person(90, 90, 100)
    matte[:40, 100:110] = matte[:40, 170:180] = 1  # ears or horns
    found = find_head_in_matte(matte)
    assert found is not None and found.height == pytest.approx(1.25 * 90, abs=8)
    assert found.center[0] == pytest.approx(140, abs=1)


def test_what_lies_above_the_eyes_is_no_head():
    matte = np.zeros((300, 300), np.float32)
    cv2.circle(matte, (150, 200), 60, 1.0, -1)
    matte[40:180, 90:130] = matte[40:180, 170:210] = 1  # tall ears, narrower at their roots
    matte[120:150, 90:110] = matte[120:150, 190:210] = 0
    with_eyes, without = find_head_in_matte(matte, 190.0), find_head_in_matte(matte)
    assert with_eyes is not None and with_eyes.height == pytest.approx(220, abs=12)
    assert without is not None and without.height < 140


def test_a_ball_is_a_head_and_a_speck_is_none():
    matte = np.zeros((200, 200), np.float32)
    cv2.circle(matte, (120, 90), 50, 1.0, -1)
    found = find_head_in_matte(matte)
    assert found is not None and found.height == pytest.approx(100, abs=4)
    np.testing.assert_allclose(found.center, (120.5, 90.5), atol=2)
    assert find_head_in_matte(matte * 0.4) is None
    assert find_head_in_matte(np.pad(np.ones((5, 5), np.float32), 100)) is None


# the crop


def test_a_crop_of_whole_pixels_is_that_part_of_the_photo(photo):
    np.testing.assert_allclose(cut(photo.rgb, CropSquare((100, 30), 64), 64), photo.rgb[30:94, 100:164], atol=1e-6)
    means = photo.rgb[30:94, 100:164].reshape(16, 4, 16, 4, 3).mean((1, 3))
    np.testing.assert_allclose(cut(photo.rgb, CropSquare((100, 30), 64), 16), means, atol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(37.3, 128), (300.7, 64), (500, 333)])
def test_a_crop_of_a_slope_is_the_slope(side, size):
    y, x = (np.indices((600, 600)) + 0.5) / 600
    square = CropSquare((40.25, 60.75), side)
    along = (np.arange(size) + 0.5) / size * side
    found = cut(np.stack([x, y], -1).astype(np.float32), square, size)
    np.testing.assert_allclose(found[:, :, 0], np.broadcast_to((40.25 + along) / 600, (size, size)), atol=1e-4)
    np.testing.assert_allclose(found[:, :, 1].T, np.broadcast_to((60.75 + along) / 600, (size, size)), atol=1e-4)


def test_beyond_the_photo_the_subject_and_the_wall_keep_their_colours():
    matte = np.zeros((128, 128), np.float32)
    matte[:, 40:90] = 1
    rgb = np.where(matte[..., None] > 0, [0.9, 0.1, 0.1], [0.1, 0.2, 0.9]).astype(np.float32)
    beyond = CropPadding(CropSquare((0, 0), 128), (80, 128), 128)
    damaged = rgb.copy()
    damaged[80:] = 0
    np.testing.assert_allclose(beyond.fill(damaged, matte), rgb, atol=0.02)
    assert beyond.inside_photo[:78].min() > 0.99 and beyond.inside_photo[82:].max() < 0.01
    whole = CropPadding(CropSquare((3, 4), 100), (128, 128), 64)
    assert whole.inside_photo.min() == 1 and whole.fill(rgb[:64, :64], matte[:64, :64]) is not None
