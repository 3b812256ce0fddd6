"""Bands on hair, whose colours are not the hair's."""

import numpy as np
import pytest

from portrait360.pipeline.avatar.photo.head_bands import find_band


def draw_hair(radiance: float, rows: slice, light: float) -> tuple[np.ndarray, np.ndarray]:
    """Return radiance and mask of hair with something in `rows` across it."""
    hair = np.zeros((200, 200), bool)
    hair[20:120, 40:160] = True
    picture = np.full((200, 200, 3), 0.9)
    picture[hair] = radiance
    picture[rows, 40:160] = light
    noise = np.random.default_rng(0).normal(0, 0.1, picture.shape)
    return (picture * np.exp(noise)).astype(np.float32), hair


def test_a_broad_white_band_on_dark_hair_is_found_with_its_edges():
    found = find_band(*draw_hair(0.03, slice(50, 75), 0.9))
    assert found[50:75, 42:158].mean() > 0.95
    assert not found[:46].any() and not found[79:].any()


@pytest.mark.parametrize(
    ("radiance", "rows", "light"),
    [
        (0.03, slice(60, 62), 0.9),  # a lock in the light
        (0.03, slice(50, 75), 0.25),  # gloss
        (0.5, slice(50, 75), 0.9),  # fair hair
        (0.03, slice(50, 50), 0.9),  # nothing
    ],
)
def test_locks_gloss_and_fair_hair_are_no_band(radiance, rows, light):
    assert not find_band(*draw_hair(radiance, rows, light)).any()


def test_a_picture_without_hair_has_no_band():
    assert not find_band(np.ones((50, 50, 3), np.float32), np.zeros((50, 50), bool)).any()
