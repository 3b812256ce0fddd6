"""The subject's own colours at its soft edges, cloth that is no hair, and where layers go beyond the matte."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from portrait360.pipeline.avatar.photo.foreground import estimate_foreground, open_gaps
from portrait360.pipeline.avatar.photo.pixels import clear_background, find_stained_hair
from portrait360.pipeline.avatar.skin.eye_shade import shade_eyes
from portrait360.pipeline.avatar.view.relief_view import HOLE, close_holes
from portrait360.pipeline.avatar.view.render import BESIDE, GROWN, LAYER_OF_LABEL, find_beyond
from portrait360.pipeline.avatar.worn.enclosed_background import cut_enclosed_background
from portrait360.pipeline.avatar.worn.head_cloth import find_two_colours, uncover_head_cloth
from portrait360.utils.portrait_labels import Label

SIDE = 128
RED, TEAL = np.array([0.8, 0.25, 0.1], np.float32), np.array([0.2, 0.7, 0.75], np.float32)
BLUE, STRAW, SKIN = (0.25, 0.4, 0.75), (0.8, 0.65, 0.35), (0.85, 0.7, 0.62)


def draw_disc(radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((SIDE, SIDE), np.float32), (SIDE // 2, SIDE // 2), radius, 1.0, -1)


def test_no_background_is_left_in_the_colours_of_a_soft_edge():
    alpha = cv2.GaussianBlur(draw_disc(36), (0, 0), 4.0)
    found = estimate_foreground(RED * alpha[..., None] + TEAL * (1 - alpha[..., None]), alpha)
    assert np.abs(found - RED)[alpha > 0.1].max() < 0.05


def test_what_is_opaque_keeps_its_colours():
    alpha, rgb = draw_disc(36), np.random.default_rng(0).uniform(0, 1, (SIDE, SIDE, 3)).astype(np.float32)
    found = estimate_foreground(rgb, alpha)
    np.testing.assert_array_equal(found[alpha == 1], rgb[alpha == 1])


def test_gaps_between_locks_open_to_the_outside_only():
    alpha, hair = draw_disc(50), draw_disc(50) > 0
    pure = np.ones_like(alpha)
    pure[62:66, 108:116] = 0  # at the edge
    pure[60:63, 30:33] = 0  # within
    opened = open_gaps(alpha, pure, hair)
    assert (opened[63:65, 109:113] == 0).all()
    assert (opened[60:63, 30:33] == 1).all()


def test_hair_in_the_colours_of_its_background_has_no_gaps():
    alpha = draw_disc(50)
    pure = (np.random.default_rng(1).uniform(0, 1, alpha.shape) > 0.2).astype(np.float32)
    np.testing.assert_array_equal(open_gaps(alpha, pure, alpha > 0), alpha)


def test_cracks_in_hair_keep_no_background_at_its_edge():
    alpha, rng = draw_disc(50), np.random.default_rng(3)
    rgb = (TEAL + rng.normal(0, 0.02, (SIDE, SIDE, 1))).astype(np.float32)
    cracks = rng.uniform(0, 1, alpha.shape) < 0.05
    rgb[(alpha > 0) & ~cracks] = RED
    rgb[58:70, 100:114] = TEAL  # at the edge, where the matte takes it for hair
    labels = np.where(alpha > 0, np.uint8(Label.HAIR), np.uint8(Label.BACKGROUND))
    cleared = clear_background(rgb, alpha, labels)
    assert cleared[62:66, 106:110].max() < 0.1
    assert (cleared[50:80, 30:90] == 1).all()


def draw_enclosed(shade: float, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is left of a hat's matte with a hole of a shade before a background, the matte, and the hole."""
    alpha, hole = draw_disc(50), draw_disc(12) > 0
    rng = np.random.default_rng(5)
    rgb = (0.05 + rng.normal(0, spread, (SIDE, SIDE, 1)) * np.ones(3)).astype(np.float32)
    rgb[alpha > 0] = STRAW
    rgb[hole] = shade
    labels = np.where(alpha > 0, Label.HAT, Label.BACKGROUND).astype(np.uint8)
    return cut_enclosed_background(rgb.clip(0, 1), alpha, labels), alpha, hole


def test_background_that_a_hat_encloses_is_cut_out_of_its_matte():
    found, alpha, hole = draw_enclosed(0.05, 0.002)
    inside = cv2.erode(hole.astype(np.uint8), np.ones((3, 3))) > 0
    assert found[inside].max() < 0.1
    away = cv2.dilate(hole.astype(np.uint8), np.ones((9, 9))) == 0
    np.testing.assert_array_equal(found[away], alpha[away])


@pytest.mark.parametrize(("shade", "spread"), [(0.25, 0.002), (0.05, 0.4)])
def test_other_shades_of_a_hat_and_those_before_an_uneven_background_stay(shade, spread):
    found, alpha, _ = draw_enclosed(shade, spread)
    np.testing.assert_array_equal(found, alpha)


def draw_head(upper, lower, *, strands: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and picture of a face below hair in two colours, through which strands run."""
    rng = np.random.default_rng(3)
    labels, rgb = np.full((SIDE, SIDE), Label.HAIR, np.uint8), np.empty((SIDE, SIDE, 3), np.float32)
    rgb[:40], rgb[40:80], rgb[80:] = upper, lower, SKIN
    labels[80:] = Label.FACE
    rgb += rng.normal(0, 0.02, (SIDE, SIDE, 1)) + strands * rng.normal(0, 1, (1, SIDE, 1))
    return labels, rgb.clip(0, 1).astype(np.float32)


def test_two_unlike_materials_without_strands_are_cloth_whose_main_colour_is_at_the_face():
    labels, rgb = draw_head(STRAW, BLUE)
    found = uncover_head_cloth(labels, rgb, 0.1)
    assert (found[labels == Label.HAIR] == Label.HAT).all()
    assert (found[labels != Label.HAIR] == labels[labels != Label.HAIR]).all()
    two = find_two_colours(rgb, rgb, found)
    assert two is not None
    assert np.abs(two.main - BLUE).max() < 0.05
    assert np.abs(two.second - STRAW).max() < 0.05


@pytest.mark.parametrize(
    ("head", "drawn"),
    [
        (draw_head(STRAW, BLUE, strands=0.12), 0.1),  # dyed hair
        (draw_head(STRAW, BLUE), 0.9),  # a drawing
        (draw_head((0.3, 0.2, 0.12), STRAW), 0.1),  # fair tips
        (draw_head(BLUE, BLUE), 0.1),  # of one hue
    ],
)
def test_what_may_be_hair_stays_hair(head, drawn):
    labels, rgb = head
    np.testing.assert_array_equal(uncover_head_cloth(labels, rgb, drawn), labels)


def test_coloured_light_on_skin_says_nothing_of_cloth():
    labels, rgb = draw_head(STRAW, BLUE)
    rgb[100:] = BLUE
    np.testing.assert_array_equal(uncover_head_cloth(labels, rgb, 0.1), labels)


def test_a_body_beside_the_matte_grows_from_its_edge_and_is_opaque():
    beside = np.linspace(0, 0.4, 400)
    cloth = np.full(400, LAYER_OF_LABEL[Label.CLOTHES])
    cut = np.stack([find_beyond(beside, np.full(400, angle), cloth) for angle in np.linspace(0, GROWN[1], 9)])
    assert (np.diff(cut, axis=0) <= 0).all()
    assert (np.diff(cut, axis=1) >= 0).all()
    assert ((cut > 0.01) & (cut < 0.99)).mean() < 0.03
    assert (cut[0][beside > 2 * BESIDE] == 1).all()
    assert (cut[-1] == 0).all()


def test_small_holes_show_the_photo_and_the_open_does_not():
    layers, width = np.ones((SIDE, SIDE), np.float32), round(HOLE * SIDE)
    layers[60 : 60 + width, 60 : 60 + width] = 0
    layers[:, 100:] = 0
    nothing, whole = np.zeros_like(layers), np.ones_like(layers)
    found = close_holes(nothing, whole, layers)
    assert (found[60 : 60 + width, 60 : 60 + width] == 1).all()
    assert (found[:, 110:] == 0).all()
    assert (close_holes(nothing, nothing, layers) == 0).all()


def test_lids_shade_eyes_most_at_the_top_and_nothing_else():
    labels = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(labels, (64, 64), (30, 16), 0, 0, 360, int(Label.EYE), -1)
    radiance = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    shade = shade_eyes(SimpleNamespace(labels=labels, radiance=radiance), 0.001)
    assert (shade[labels != Label.EYE] == 1).all()
    column = shade[49:80, 64, 0]
    assert column[0] < 0.7
    assert column[0] < column[-1]
    assert column[15] > 0.95
    dark = shade_eyes(SimpleNamespace(labels=labels, radiance=0 * radiance), 0.001)
    assert (dark == 1).all()


def test_only_hair_through_which_the_wall_shines_has_its_hue():
    alpha, light = draw_disc(56), np.random.default_rng(5).uniform(0.4, 1.0, (SIDE, SIDE, 1)).astype(np.float32)
    rgb = np.where(alpha[..., None] > 0, light * RED, TEAL).astype(np.float32)
    through, gleam = (slice(60, 68), slice(113, 118)), (slice(60, 68), slice(10, 15))
    rgb[through] = 0.4 * RED + 0.4 * TEAL
    rgb[gleam] = np.minimum(1.2 * RED + 0.3, 1)
    stain = find_stained_hair(rgb, alpha, alpha > 0)
    assert stain[through].min() > 0.9
    rest = stain.copy()
    rest[through] = 0
    assert rest.max() < 0.05
    assert (find_stained_hair(np.where(alpha[..., None] > 0, rgb, RED), alpha, alpha > 0) == 0).all()
