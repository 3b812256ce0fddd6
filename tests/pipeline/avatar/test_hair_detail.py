"""The locks of a photo, laid over hair that it does not show."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.detail import find_bulges, lay_detail, read_detail, share_tones, tone_locks
from portrait360.pipeline.avatar.hair.strand_colours import GREY, compare_hues
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE = 256
ALL = np.ones((SIDE, SIDE), np.bool_)


def photograph(light: Floats, angle: float = np.pi / 2) -> Photo:
    """Return a photo that is all hair, as bright as this (s, s), combed at this angle."""
    rgb, one = np.repeat(light[..., None], 3, -1).astype(np.float32), np.ones((SIDE, SIDE), np.float32)
    flow = np.broadcast_to(np.array([np.cos(2 * angle), np.sin(2 * angle)], np.float32), (SIDE, SIDE, 2))
    labels = np.full((SIDE, SIDE), Label.HAIR, np.uint8)
    return Photo(rgb, rgb, one, one, labels, one, flow, Camera(look_at(0, 0), FOCAL))


def make_stripes(period: float) -> Floats:
    """Return stripes from top to bottom."""
    wave = np.exp(0.5 * np.sin(2 * np.pi * np.arange(SIDE) / period))
    return 0.1 * np.broadcast_to(wave, (SIDE, SIDE))


@pytest.fixture(scope="module")
def curtain() -> F32:
    """Straight strands that hang in a ring."""
    around = np.linspace(-np.pi, np.pi, 1500, endpoint=False)
    roots = np.stack([0.2 * np.sin(around), np.full(1500, 0.1), 0.2 * np.cos(around)], -1)
    return (roots[:, None] - np.linspace(0, 0.4, 41)[None, :, None] * np.array([0, 1, 0])).astype(np.float32)


def test_even_hair_has_no_locks(curtain):
    example = read_detail(photograph(np.full((SIDE, SIDE), 0.2)), ALL)
    np.testing.assert_allclose(lay_detail(curtain, example), 0, atol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_locks_run_along_the_strands_however_the_photo_is_combed(curtain, turned):
    stripes = make_stripes(9.0)
    photo = photograph(stripes.T, 0.0) if turned else photograph(stripes)
    gains = lay_detail(curtain, read_detail(photo, ALL))[..., 0]
    along, across = np.abs(np.diff(gains, axis=1)).mean(), np.abs(np.diff(gains[::3], axis=0)).mean()
    assert across > 3 * along


def test_locks_keep_the_contrast_of_the_photo(curtain):
    rng = np.random.default_rng(3)
    light = 0.1 * np.exp(0.4 * rng.normal(size=(SIDE // 4, SIDE // 4)).repeat(4, 0).repeat(4, 1))
    example = read_detail(photograph(light), ALL)
    assert lay_detail(curtain, example)[..., 1].std() == pytest.approx(example.detail[..., 1].std(), rel=0.25)


def test_locks_are_the_same_each_time(curtain):
    example = read_detail(photograph(make_stripes(7.0)), ALL)
    np.testing.assert_array_equal(lay_detail(curtain, example), lay_detail(curtain, example))


def test_curls_are_not_drawn_out_and_straight_locks_are():
    rng = np.random.default_rng(5)
    curls = 0.1 * np.exp(0.5 * rng.normal(size=(SIDE // 4, SIDE // 4)).repeat(4, 0).repeat(4, 1))
    assert read_detail(photograph(curls), ALL).stretch < 1.5
    assert read_detail(photograph(make_stripes(9.0)), ALL).stretch > 4


def test_no_locks_are_spots(curtain):
    rng = np.random.default_rng(5)
    spots = 0.1 * np.exp(0.5 * rng.normal(size=(SIDE // 8, SIDE // 8)).repeat(8, 0).repeat(8, 1))
    gains = lay_detail(curtain, read_detail(photograph(spots), ALL))[..., 0]
    step = np.linalg.norm(curtain[0, 1] - curtain[0, 0]) / np.linalg.norm(curtain[1, 0] - curtain[0, 0])
    along, across = np.abs(np.diff(gains, axis=1)).mean() / step, np.abs(np.diff(gains, axis=0)).mean()
    assert across > 3 * along


def test_hair_above_other_hair_has_its_tone(curtain):
    under = HEAD_CENTRE + 0.9 * (curtain - HEAD_CENTRE) * np.array([1.0, 1 / 0.9, 1.0], np.float32)
    np.testing.assert_allclose(tone_locks(under.astype(np.float32)), tone_locks(curtain), atol=0.01)
    assert tone_locks(curtain).std() > 0.3


def test_locks_are_set_off_from_one_another(curtain):
    tones = tone_locks(curtain)
    assert np.abs(np.diff(tones[::3], axis=0)).mean() > 0.1 * tones.std()
    assert tones.mean() == pytest.approx(0, abs=1e-5)


def test_short_hair_has_no_seams_from_crown_to_nape(curtain):
    """Its tones differ as much from row to row as along a row."""
    short = curtain[:, :1] + 0.1 * (curtain - curtain[:, :1])
    rows = [tone_locks((short - np.array([0, drop, 0])).astype(np.float32)) for drop in np.linspace(0, 0.3, 12)]
    tones = np.stack(rows)[..., 20, 0]
    assert tones.std(0).mean() > 0.7 * tones.std()
    assert np.ptp(rows[0], axis=1).max() < 1e-5


def test_strands_that_lie_together_have_most_of_their_tone_in_common(curtain):
    rng = np.random.default_rng(11)
    lock = np.sin(20 * np.arctan2(curtain[..., 0], curtain[..., 2]))
    gains = np.repeat((lock + rng.normal(size=(len(curtain), 1)))[..., None], 3, -1).astype(np.float32)
    shared = share_tones(curtain, gains)
    assert shared.std() == pytest.approx(gains.std(), rel=1e-3)
    apart = [np.diff(each[:, 20, 0]).std() for each in (gains, shared)]
    assert apart[1] < 0.8 * apart[0]
    assert np.corrcoef(shared[..., 0].ravel(), lock.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("turns", [3, 6])
def test_curls_gleam_once_a_turn_where_they_face_outwards(curtain, turns):
    angle = 2 * np.pi * turns * np.linspace(0, 1, 41)
    out = 0.01 * np.cos(angle)[None, :, None] * np.array([1.0, 0.0, 1.0]) * curtain / 0.2
    found = find_bulges((curtain + out).astype(np.float32))[..., 0]
    inner = slice(5, -5)
    correlation = np.corrcoef(found[:, inner].mean(0), np.cos(angle)[inner])[0, 1]
    assert correlation > 0.9
    assert np.abs(found).max() <= 1


def test_straight_hair_on_a_round_head_has_no_curls():
    along = np.linspace(0.2, 2.0, 30)
    arc = HEAD_CENTRE + 0.2 * np.stack([0 * along, np.cos(along), -np.sin(along)], -1)
    assert np.abs(find_bulges(np.repeat(arc[None], 5, 0).astype(np.float32))).mean() < 0.2


def test_a_few_pixels_of_hair_say_nothing():
    few = np.zeros((SIDE, SIDE), np.bool_)
    few[:10, :10] = True
    assert read_detail(photograph(make_stripes(9.0)), few) is None


def test_hair_in_the_dark_keeps_its_hue():
    auburn = np.broadcast_to(np.array([0.2, 0.06, 0.02], np.float32), (4, 4, 3))
    np.testing.assert_allclose(compare_hues(0.02 * auburn, auburn), 0, atol=1e-5)
    tinted = compare_hues(auburn * np.array([2.0, 1.0, 1.0], np.float32), auburn)
    assert tinted[0, 0, 0] > tinted[0, 0, 1] + np.log(2) - GREY / 0.06
