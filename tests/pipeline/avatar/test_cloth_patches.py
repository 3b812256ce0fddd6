"""Large areas of a second colour on cloth, which go on around the body."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.pipeline.avatar.clothes.colours import Unwrapped, carry_cloth
from portrait360.pipeline.avatar.clothes.patches import carry_patches, look_up_colours, mirror

RED = np.array([0.8, -0.2, -0.2], np.float32)


@pytest.fixture
def places() -> tuple[np.ndarray, np.ndarray]:
    azimuth, down = np.meshgrid(np.arange(-179.0, 180.0), np.arange(0.0, 0.6, 0.01))
    return azimuth.ravel().astype(np.float32), down.ravel().astype(np.float32)


def paint(azimuth: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return 1 in round patches, else 0 (n,)."""
    return (np.hypot((azimuth + 7) % 40 - 20, 200 * (down % 0.2 - 0.1)) < 12).astype(np.float32)


def test_patches_go_on_all_around_mirrored_at_the_edge_of_what_is_shown(
    places: tuple[np.ndarray, np.ndarray],
) -> None:
    azimuth, down = places
    shown, painted = (np.abs(azimuth) > 20) & (np.abs(azimuth) < 80), paint(azimuth, down)
    left = (painted[shown, None] - painted[shown].mean()) * RED
    found = carry_patches(azimuth, down, left, shown)[:, 0].reshape(60, -1)
    front, behind = found[:, 120:240], np.concatenate([found[:, :60], found[:, -60:]], 1)
    assert behind.std() > 0.5 * front.std() > 0.05
    edge = 179 + 78  # the quantile of 80 degrees
    assert np.corrcoef(found[:, edge + 20], found[:, edge - 20])[0, 1] > 0.8
    assert np.abs(found[:, 0] - found[:, -1]).max() < 0.1  # no seam down the back


def test_patches_have_no_colour_that_cloth_has_not(places: tuple[np.ndarray, np.ndarray]) -> None:
    """Tan patches on a tan band would be orange."""
    azimuth, down = places
    wavy = (down + 0.04 * np.sin(np.radians(3 * azimuth))) % 0.2 < 0.1
    colours = np.where(wavy[:, None], np.log([0.5, 0.3, 0.15]), np.log([0.05, 0.25, 0.35])).astype(np.float32)
    weight = ((np.abs(azimuth) > 20) & (np.abs(azimuth) < 80)).astype(np.float32)
    carried = carry_cloth(Unwrapped(azimuth, down), colours, weight)
    assert carried is not None and carried[np.abs(azimuth) > 120].std(0).max() > 0.1
    assert (carried < colours.max(0) + 0.05).all() and (carried > colours.min(0) - 0.05).all()


@pytest.mark.parametrize("white", [0.1, 0.5, 0.8])
def test_patches_have_the_hues_of_the_cloth_however_much_there_is_of_each(white: float) -> None:
    """Along a line through both colours, and beyond, white stripes beside teal ones would be pink."""
    random = np.random.default_rng(0)
    share = (random.random(4000) < white)[:, None] * random.uniform(0.6, 1.0, (4000, 1))
    both = np.log([[0.03, 0.12, 0.13], [0.55, 0.54, 0.46]])
    colours = np.log(np.exp(both[0]) + share * (np.exp(both[1]) - np.exp(both[0])))
    axis = np.array([0.88, 0.37, 0.29])  # not quite the way from one to the other
    found = look_up_colours(np.linspace(-9, 9, 200), colours @ axis, colours)
    mixed = np.exp(found) - np.exp(both[0])
    part = mixed @ (np.exp(both[1]) - np.exp(both[0])) / ((np.exp(both[1]) - np.exp(both[0])) ** 2).sum()
    assert part.min() > -0.01 and part.max() < 1.01
    assert np.abs(mixed - part[:, None] * (np.exp(both[1]) - np.exp(both[0]))).max() < 0.05


def test_cloth_of_one_colour_stays_plain(places: tuple[np.ndarray, np.ndarray]) -> None:
    azimuth, down = places
    shown, random = (np.abs(azimuth) > 20) & (np.abs(azimuth) < 80), np.random.default_rng(0)
    folds = 0.4 * np.sin(azimuth / 5)[shown, None] * np.ones(3, np.float32)
    weave = 0.5 * random.normal(size=(shown.sum(), 3)).astype(np.float32)
    flowers = paint(azimuth, down)[shown, None] * np.array([-1.3, -1.05, -0.8], np.float32)
    for left in (folds, weave, flowers):
        assert not carry_patches(azimuth, down, left.astype(np.float32), shown).any()


def test_mirrored_places_are_shown_ones() -> None:
    aside = np.linspace(0, 180, 721)
    found = mirror(aside, 25.0, 70.0)
    assert np.array_equal(found[aside <= 70], aside[aside <= 70])
    assert found[aside > 70].min() >= 25 and found.max() <= 70
    assert np.abs(np.diff(found)).max() < 0.3
