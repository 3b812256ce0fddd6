"""What an open mouth shows is called so, whatever the reader takes it for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.photo.openings import EYES, mark_openings
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.lip_edges import LOWER, UPPER
from portrait360.pipeline.avatar.skin.mouth import ENAMEL, light_teeth
from portrait360.utils.array_types import F64
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE, WIDTH = 200, 0.3  # of a photo, and of the mouth in its middle, crop sides
EYE = (0.08, 0.03)  # half the width and height of eyes above it


def photograph(label: Label) -> Photo:
    labels, ones = np.full((SIDE, SIDE), label, np.uint8), np.ones((SIDE, SIDE), np.float32)
    grey, flow = np.full((SIDE, SIDE, 3), 0.5, np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(grey, grey, ones, ones, labels, ones, flow, Camera(look_at(0, 0), FOCAL))


def part_lips(opening: float) -> F64:
    """Return landmarks of open eyes, and of lips whose opening is so high in the middle, in widths of the mouth."""
    landmarks = np.zeros((478, 2))
    for edge, x in zip(EYES, (0.3, 0.7), strict=True):
        angle = np.linspace(0, 2 * np.pi, len(edge), endpoint=False)
        landmarks[list(edge)] = np.stack([x + EYE[0] * np.cos(angle), 0.3 + EYE[1] * np.sin(angle)], 1)
    across = np.linspace(-1, 1, len(UPPER))
    for edge, side in ((UPPER, -1), (LOWER, 1)):
        y = 0.5 + side * 0.5 * opening * WIDTH * (1 - across**2)
        landmarks[list(edge)] = np.stack([0.5 + 0.5 * WIDTH * across, y], 1)
    return landmarks


@pytest.mark.parametrize("label", [Label.LIPS, Label.FACE, Label.BEARD])
@pytest.mark.parametrize("opening", [0.1, 0.2, 0.5])
def test_all_between_parted_lips_is_mouth_and_nothing_else_is(label, opening):
    found = mark_openings(photograph(label), part_lips(opening)).shows(Label.MOUTH)
    y, x = (np.indices((SIDE, SIDE)) + 0.5) / SIDE - 0.5
    edge = 0.5 * opening * WIDTH * (1 - (2 * x / WIDTH) ** 2)
    assert found[np.abs(y) < edge - 1.5 / SIDE].all()
    assert not found[np.abs(y) > edge + 1.5 / SIDE].any()


def test_an_eye_ends_where_lids_do_and_lies_before_nothing():
    landmarks = part_lips(0.0)
    y, x = (np.indices((SIDE, SIDE)) + 0.5) / SIDE
    away = np.minimum(*(np.hypot((x - middle) / EYE[0], (y - 0.3) / EYE[1]) for middle in (0.3, 0.7)))
    read = mark_openings(photograph(Label.EYE), landmarks)
    assert read.shows(Label.EYE)[away < 0.75].all() and read.shows(Label.FACE)[away > 1.3].all()
    assert (mark_openings(photograph(Label.GLASSES), landmarks).labels == Label.GLASSES).all()


def test_lips_that_meet_and_what_is_held_before_a_mouth_stay():
    for label, opening in ((Label.LIPS, 0.02), (Label.OBJECT, 0.3)):
        photo = photograph(label)
        assert (mark_openings(photo, part_lips(opening)).labels == photo.labels).all()


def test_a_mouth_that_is_drawn_is_what_its_own_lines_say():
    photo = replace(photograph(Label.LIPS), painted=True)
    assert mark_openings(photo, part_lips(0.3)) is photo


@pytest.mark.parametrize("light", [0.2, 0.5, 0.8, 1.2])
def test_teeth_in_an_open_mouth_are_never_dark_and_light_ones_stay(light):
    shades = np.linspace(0.4, 1, 200)[:, None].astype(np.float32)
    albedo = (light * shades * ENAMEL).astype(np.float32)
    found = light_teeth(albedo)
    assert found.max() >= 0.59 * ENAMEL.max()
    assert light < 0.6 or (found == albedo).all()
    assert np.allclose(found / found.max(0), albedo / albedo.max(0), atol=1e-5)  # gaps between them stay as deep
