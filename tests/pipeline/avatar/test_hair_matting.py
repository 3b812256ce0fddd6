"""Single hairs in a matte, and the background between locks."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from portrait360.pipeline.avatar.photo.closed_form_matting import solve_alpha
from portrait360.pipeline.avatar.photo.foreground import colour_loose_hair
from portrait360.pipeline.avatar.photo.loose_hair import CRISP, measure_width, refine_hair
from portrait360.pipeline.avatar.photo.pixels import find_loose_hair
from portrait360.utils.portrait_labels import Label

SIDE = 192
HAIR, WALL = np.array([0.62, 0.3, 0.12], np.float32), np.array([0.35, 0.6, 0.68], np.float32)


def draw_curls() -> np.ndarray:
    """Return the alpha of a disc of hair from which single curls stand off."""
    rng, large = np.random.default_rng(4), np.zeros((4 * SIDE, 4 * SIDE), np.uint8)
    middle = np.array([2 * SIDE, 2 * SIDE])
    cv2.circle(large, (2 * SIDE, 2 * SIDE), 210, 255, -1)
    for turn in np.linspace(0, 2 * np.pi, 60, endpoint=False):
        way = np.array([np.cos(turn), np.sin(turn)])
        along = np.linspace(200, 210 + rng.uniform(8, 26), 20)[:, None]
        wave = 6 * np.sin(np.linspace(0, rng.uniform(2, 5), 20))[:, None]
        points = middle + along * way + wave * np.array([-way[1], way[0]])
        cv2.polylines(large, [np.round(points).astype(np.int32)], False, 255, 3, cv2.LINE_AA)
    return cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def see_through_networks(alpha: np.ndarray) -> np.ndarray:
    """Return what a network sees of a matte: the gaps are closed, and the edge is a haze."""
    closed = cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return cv2.GaussianBlur(closed, (0, 0), 2.0)


def photograph(alpha: np.ndarray, hair: np.ndarray, wall: np.ndarray) -> np.ndarray:
    rng, share = np.random.default_rng(6), alpha[..., None]
    locks = 1 + 0.25 * cv2.GaussianBlur(rng.normal(0, 2, alpha.shape), (0, 0), 1.5)[..., None]
    noise = rng.normal(0, 0.008, (SIDE, SIDE, 3))
    return np.clip(share * hair * locks + (1 - share) * wall + noise, 0, 1).astype(np.float32)


def refine(rgb: np.ndarray, seen: np.ndarray) -> np.ndarray:
    return refine_hair(rgb, seen, seen, np.zeros_like(seen), np.ones(seen.shape, np.bool_))


@pytest.mark.parametrize("wall", [WALL, 0.9 * np.ones(3), np.array([0.1, 0.12, 0.3])])
def test_curls_before_an_even_wall_are_single_hairs(wall):
    true = draw_curls()
    seen = see_through_networks(true)
    found = refine(photograph(true, HAIR, wall), seen)
    band = (cv2.GaussianBlur(true, (0, 0), 4) > 0.02) & (seen < 0.99)
    before, after = (np.abs(alpha - true)[band].mean() for alpha in (seen, found))
    assert after < 0.4 * before
    steps = [
        np.abs(np.subtract(*(np.hypot(*np.gradient(a)) for a in (alpha, true))))[band].mean()
        for alpha in (seen, found)
    ]
    assert steps[1] < 0.6 * steps[0]
    assert (found[true > 0.99].mean()) > 0.98


def test_hair_in_the_colours_of_its_background_keeps_its_matte():
    true = draw_curls()
    seen = see_through_networks(true)
    rng = np.random.default_rng(8)
    wall = HAIR * (1 + 0.5 * cv2.GaussianBlur(rng.normal(0, 2, (SIDE, SIDE)), (0, 0), 1.5)[..., None])
    found = refine(photograph(true, HAIR, wall), seen)
    assert np.abs(found - seen).mean() < 0.03
    assert np.quantile(found[seen > 0.99], 0.01) > 0.8


def test_hair_that_ends_crisply_keeps_its_edge_whatever_shines_on_it():
    """A gloss in the colour of the wall is no hole."""
    disc = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (96, 96), 60, 1, -1).astype(np.float32)
    crisp = cv2.GaussianBlur(disc, (0, 0), 0.4)
    rgb = photograph(crisp, HAIR, WALL)
    rgb[38:44, 90:100] += 0.7 * (WALL - rgb[38:44, 90:100])
    hazy = see_through_networks(draw_curls())
    assert measure_width(crisp)[36, 96] < CRISP[0] < CRISP[1] < measure_width(hazy)[36, 96]
    np.testing.assert_allclose(refine(rgb, crisp), crisp, atol=0.02)


def test_other_edges_stay_as_they_are():
    true = draw_curls()
    seen = see_through_networks(true)
    rgb = photograph(true, HAIR, WALL)
    found = refine_hair(rgb, seen, np.zeros_like(seen), seen, np.ones(seen.shape, np.bool_))
    np.testing.assert_array_equal(found, seen)


def test_an_alpha_that_is_linear_in_the_colours_is_found_from_what_is_known():
    y, x = np.indices((48, 48)) / 48
    true = (0.5 + 0.5 * np.sin(9 * x) * np.cos(7 * y)).astype(np.float32)
    rgb = (true[..., None] * HAIR + (1 - true[..., None]) * WALL).astype(np.float32)
    free = np.zeros(true.shape, np.bool_)
    free[10:38, 12:36] = True
    found = solve_alpha(rgb, np.where(free, np.float32(0.5), true), free, true, np.zeros_like(true))
    error = np.abs(found - true)
    assert error.max() < 0.2
    assert error.mean() < 0.02
    np.testing.assert_array_equal(found[~free], true[~free])


def test_what_is_cut_out_stays_cut_out_and_a_picture_with_its_own_matte_keeps_it():
    true = draw_curls()
    seen = see_through_networks(true)
    rgb = photograph(true, HAIR, WALL)
    shares = np.zeros((len(Label), SIDE, SIDE), np.float32)
    shares[Label.HAIR], shares[Label.BACKGROUND] = seen, 1 - seen
    portrait = SimpleNamespace(rgb=rgb, alpha=np.where(seen < 0.004, 0, seen), inside_photo=np.ones_like(seen))
    cut = seen.copy()
    cut[90:110, 90:110] = 0
    found = find_loose_hair(portrait, shares, seen, cut)
    assert found is not None
    assert (found[90:110, 90:110] == 0).all()
    assert found[70:85, 70:120].min() > 0.9
    portrait.rgb = np.where(portrait.alpha[..., None] == 0, np.float32(0.5), rgb)
    assert find_loose_hair(portrait, shares, seen, cut) is None


def test_loose_hair_has_the_hue_of_the_hair_beside_it():
    alpha = draw_curls()
    seen = alpha[..., None] * HAIR + (1 - alpha[..., None]) * WALL  # as if no background had been taken out
    hair = alpha > 0.3
    none = np.zeros_like(hair)
    found = colour_loose_hair(seen.astype(np.float32), alpha, hair, none)
    hue, true = found / found.sum(-1, keepdims=True), HAIR / HAIR.sum()
    loose = hair & (alpha < 0.6)
    before = np.abs(seen / seen.sum(-1, keepdims=True) - true).max(-1)[loose]
    assert loose.sum() > 50 and np.abs(hue - true).max(-1)[loose].mean() < 0.2 * before.mean()
    np.testing.assert_array_equal(found[alpha > 0.98], seen.astype(np.float32)[alpha > 0.98])
    np.testing.assert_array_equal(colour_loose_hair(seen, alpha, none, none), seen)
    faint = (alpha > 0.02) & (alpha < 0.2)  # where hardly anything is known of the light of the hair
    assert np.abs(found - HAIR).max(-1)[faint].mean() < 0.15 * np.abs(seen - HAIR).max(-1)[faint].mean()
