"""Teeth give way to skin that an expression draws back over them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from portrait360.pipeline.animate.openings import WHITEST, find_whiteness
from portrait360.pipeline.animate.teeth import MOST, make_teeth_row
from portrait360.utils.portrait_labels import Label

FRONT = 0.01  # canonical depth of the skin before the teeth


def sheet(side: float, step: float, depth: float) -> np.ndarray:
    x, y = np.meshgrid(*[np.arange(-side, side, step)] * 2)
    return np.stack([x, y, np.full_like(x, depth)], -1).reshape(-1, 3).astype(np.float32)


@pytest.fixture
def row():
    teeth, skin = sheet(0.04, 0.003, 0), sheet(0.06, 0.003, FRONT)
    triangles = np.arange(len(skin) // 3 * 3).reshape(-1, 3)
    labels = np.full(len(triangles), Label.FACE, np.uint8)
    mesh = SimpleNamespace(vertices=skin, triangles=triangles, labels=labels)
    return make_teeth_row(SimpleNamespace(vertices=teeth), slice(0, len(teeth)), mesh, len(teeth), 1.0)


def move_skin(row, way) -> np.ndarray:
    moves = np.zeros((row.skin.max() + 1, 3), np.float32)
    moves[row.skin] = way
    return moves


def test_teeth_stay_behind_skin_that_is_drawn_back(row):
    assert row.find_retreat(move_skin(row, 0)) == 0
    for way in (0.012, 0.018):
        back = row.find_retreat(move_skin(row, [0, 0, -way]))
        assert way - FRONT < back < way  # they pierce nothing, and stay near
    assert row.find_retreat(move_skin(row, [0, 0, -0.1])) == pytest.approx(MOST)


def test_teeth_stay_where_they_are_when_lips_part_or_come_forward(row):
    assert row.find_retreat(move_skin(row, [0, 0.3, 0])) == 0
    assert row.find_retreat(move_skin(row, [0, 0, 0.02])) == 0


@pytest.mark.parametrize(("tone", "gain"), [(0.6, 1.5), (0.2, 1.0), (0.9, WHITEST)])
def test_moved_teeth_are_as_white_as_those_of_the_photo(tone, gain):
    labels = np.full((60, 60), Label.FACE, np.uint8)
    labels[20:40, 10:50] = Label.MOUTH
    film, photo = np.full((60, 60, 3), 0.05, np.float32), np.full((60, 60, 3), 0.05, np.float32)
    film[20:34, 10:50], photo[20:34, 10:50] = 0.4, tone  # below is the dark of the mouth
    film = SimpleNamespace(labels=labels, radiance=film)
    photo = SimpleNamespace(radiance=photo, shows=lambda *names: np.isin(labels, names))
    assert find_whiteness(photo, film) == pytest.approx(gain)
    assert find_whiteness(SimpleNamespace(radiance=photo.radiance, shows=lambda *_: labels > 200), film) == 1
