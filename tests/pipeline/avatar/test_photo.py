"""Labels of the photo of an avatar, corrected by its colours."""

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.avatar.photo.cloth_matte import cut_wall, drop_haze
from portrait360.pipeline.avatar.photo.pixels import (
    blur_coarsely,
    correct_by_colour,
    find_colourless,
    find_shoulders,
    give_crumbs_away,
    give_strays_away,
    uncover_skin,
)
from portrait360.pipeline.avatar.photo.skin_tone import has_skin_tone, uncover_limbs
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


def test_a_strap_that_was_read_as_hair_is_cloth_and_hair_of_its_own_colour_stays():
    labels, rgb = draw(0.6, 0.8)
    labels[108:] = Label.CLOTHES
    rgb[108:] = 0.1 + np.random.default_rng(1).normal(0, 0.02, rgb[108:].shape)
    labels[100:112, 80:100] = Label.HAIR  # the shoulder beside the hair
    rgb[100:112, 80:100] = rgb[112:124, 80:100]
    corrected = correct_by_colour(labels, rgb.clip(0, 1), CAMERA)
    assert (corrected[102:110, 84:98] == Label.CLOTHES).mean() > 0.9
    assert (corrected[22:34] == labels[22:34]).all()


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


def draw_collar(read: Label, colour: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and picture of a warm face and neck between leaves of a collar, which are read as something."""
    rng = np.random.default_rng(0)
    labels = np.zeros((200, 200), np.uint8)
    rgb = np.full((200, 200, 3), 0.1)
    for rows, columns, label, tone in (
        (slice(20, 90), slice(60, 140), Label.FACE, (0.75, 0.55, 0.45)),
        (slice(90, 130), slice(80, 120), Label.SKIN, (0.75, 0.55, 0.45)),
        (slice(130, 200), slice(20, 180), Label.CLOTHES, (0.05, 0.06, 0.1)),
        (slice(100, 150), slice(60, 85), read, colour),
        (slice(100, 150), slice(115, 140), read, colour),
    ):
        labels[rows, columns], rgb[rows, columns] = int(label), tone
    return labels, (rgb + rng.normal(0, 0.01, rgb.shape)).clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("read", [Label.CLOTHES, Label.SKIN])
@pytest.mark.parametrize(("colour", "true"), [((0.92, 0.93, 0.95), Label.CLOTHES), ((0.75, 0.55, 0.45), Label.SKIN)])
def test_a_white_collar_is_cloth_and_a_bright_neck_is_skin_however_they_are_read(read, colour, true):
    labels, rgb = draw_collar(read, colour)
    corrected = correct_by_colour(labels, rgb, CAMERA)
    for columns in (slice(64, 80), slice(120, 136)):
        assert (corrected[108:126, columns] == true).mean() > 0.97
    assert (corrected[92:125, 90:110] == Label.SKIN).all() and (corrected[155:, 25:175] == Label.CLOTHES).all()


def test_skin_that_is_over_exposed_within_a_chest_is_skin():
    labels, rgb = draw_collar(Label.CLOTHES, (0.75, 0.55, 0.45))
    labels[130:] = Label.CLOTHES
    rgb[130:190, 40:160] = (0.75, 0.55, 0.45)
    rgb[155:165, 95:105] = 0.97
    white = find_colourless(labels, rgb)
    assert white[157:163, 97:103].all()
    uncovered = uncover_skin(labels, rgb, white)
    assert (uncovered[140:180, 70:130] == Label.SKIN).mean() > 0.97


def test_skin_in_the_shade_may_be_deeper_in_hue_and_skin_in_the_light_may_not():
    rng, rgb = np.random.default_rng(0), np.full((60, 90, 3), (0.78, 0.66, 0.57), np.float32)
    rgb[:, 30:60], rgb[:, 60:] = (0.60, 0.47, 0.36), (0.87, 0.68, 0.48)
    skin = np.zeros((60, 90), bool)
    skin[:, :30] = True
    light = 1 + 0.12 * rng.standard_normal((60, 90, 1))
    alike = has_skin_tone((rgb * light + 0.02 * rng.standard_normal(rgb.shape)).astype(np.float32), skin)
    assert alike[:, :30].mean() > 0.9 and alike[:, 30:60].mean() > 0.7 and alike[:, 60:].mean() < 0.2


@pytest.mark.parametrize(
    ("hand", "cloth", "is_skin"),
    [
        ((0.78, 0.66, 0.57), (0.2, 0.25, 0.3), True),
        ((0.78, 0.62, 0.40), (0.2, 0.25, 0.3), False),  # ochre cloth
        ((0.78, 0.66, 0.57), (0.76, 0.66, 0.55), False),  # a pale patch of cloth like skin
        ((0.66, 0.66, 0.66), (0.2, 0.2, 0.2), False),
    ],
)
def test_a_hand_before_cloth_is_skin_and_cloth_of_another_tone_or_without_an_edge_is_not(hand, cloth, is_skin):
    rng, labels = np.random.default_rng(0), np.zeros((200, 200), np.uint8)
    rgb = np.full((200, 200, 3), 0.5, np.float32)
    face = (0.66, 0.66, 0.66) if hand[0] == hand[2] else (0.78, 0.66, 0.57)
    labels[20:100, 60:140], rgb[20:100, 60:140] = Label.FACE, face
    labels[110:], rgb[110:], rgb[140:170, 20:60] = Label.CLOTHES, cloth, hand
    light = cv2.GaussianBlur(rng.standard_normal(rgb.shape), (0, 0), 8)  # in this, nearby pixels are alike
    found = uncover_limbs(labels, (rgb * (1 + light * 0.03 / light.std())).clip(0, 1).astype(np.float32))
    changed = np.zeros(labels.shape, bool)
    changed[139:171, 19:61] = True
    assert (found == labels)[~changed].all()
    assert (found[145:165, 25:55] == (Label.SKIN if is_skin else Label.CLOTHES)).mean() > 0.97


def test_colours_of_a_grey_face_say_nothing_of_a_collar():
    labels, rgb = draw_collar(Label.SKIN, (0.9, 0.9, 0.9))
    assert find_colourless(labels, rgb).any()
    assert not find_colourless(labels, rgb.mean(-1, keepdims=True).repeat(3, -1)).any()


def draw_wall(wall: float, beside: float, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return picture, matte and labels of clothes before a wall, and of something beside them that is half there."""
    labels = np.zeros((200, 200), np.uint8)
    labels[100:, 60:140] = labels[120:, 140:190] = Label.CLOTHES
    rgb, matte = np.full((200, 200, 3), wall, np.float32), (labels > 0).astype(np.float32)
    rgb[100:, 60:140], rgb[120:, 140:190] = 0.2, beside
    matte[120:, 140:190] = alpha
    return rgb, matte, labels


@pytest.mark.parametrize(("alpha", "kept"), [(1.0, 1.0), (0.6, 0.0)])
def test_clothes_are_solid_and_haze_beside_them_is_none_of_them(alpha, kept):
    _, matte, labels = draw_wall(0.8, 0.3, alpha)
    found = drop_haze(matte, labels)
    assert (found[130:, 150:185] == kept).all()
    assert (found[102:, 62:138] == 1).all() and (found <= matte).all()


@pytest.mark.parametrize(("shirt", "is_wall"), [(0.8, True), (0.65, False), (0.95, False)])
def test_clothes_without_an_edge_towards_the_wall_are_wall(shirt, is_wall):
    rgb, matte, labels = draw_wall(0.8, 0.8, 0.0)
    rgb[100:, 60:140], labels[:, 140:] = shirt, Label.BACKGROUND
    found = cut_wall(rgb, matte, labels)
    assert (found[105:, 65:135] == (not is_wall)).all()


@pytest.mark.parametrize(("neck", "kept"), [(0.5, 1.0), (0.8, 0.0)])
def test_a_shirt_like_the_wall_is_none_where_it_lies_against_a_neck(neck, kept):
    rgb, matte, labels = draw_wall(0.8, 0.8, 0.0)
    labels[:, 140:] = Label.BACKGROUND
    rgb[100:], rgb[20:110, 75:125], labels[20:150, 75:125], matte[20:110, 75:125] = 0.8, neck, Label.SKIN, 1
    rgb[110:150, 75:125] = neck
    found = cut_wall(rgb, matte, labels)
    assert (found[155:, 65:135] == kept).all() and (found[25:145, 80:120] == 1).all()


def test_dark_cloth_apart_from_fair_hair_that_was_read_as_hair_is_cloth():
    labels, rgb = draw(0.8, 0.6)
    labels[110:], rgb[110:] = Label.CLOTHES, 0.1
    for columns, colour in ((slice(10, 30), 0.1), (slice(100, 120), 0.8)):
        labels[112:124, columns], rgb[112:124, columns] = Label.HAIR, colour
    found = give_strays_away(labels, rgb)
    assert (found[112:124, 10:30] == Label.CLOTHES).all() and (found[112:124, 100:120] == Label.HAIR).all()
    assert (found[:110] == labels[:110]).all()


def test_dark_hair_beside_a_face_is_hair_and_dark_hair_on_the_shoulders_may_be_a_strap():
    labels = np.full((SIDE, SIDE), Label.BACKGROUND, np.uint8)
    labels[40:100, 40:90] = Label.FACE
    below = find_shoulders(labels)
    assert not below[:80].any() and below[101:].all()
    assert not find_shoulders(np.full_like(labels, Label.HAIR)).any()
