"""The curls of a photo, on hair that it does not show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.curls import TURNING, find_curls, lay_patches, look_up_curls, measure_turning
from portrait360.pipeline.avatar.hair.detail import Example
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.render.lights import sphere_directions
from portrait360.synth.render.strand_buffers import Curves, flatten
from portrait360.synth.scene import Material, Part, Strands
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE, PIXELS = 256, 400.0  # of a photo, and of it per canonical unit


def show(light: Floats) -> Example:
    """Return an example of curls that shows this (s, s) in its middle."""
    detail = np.dstack([*[light - light.mean()] * 3, np.ones_like(light)]).astype(np.float32)
    places = np.random.default_rng(1).uniform(0.4 * SIDE, 0.6 * SIDE, (200, 2))
    return Example(detail, places, np.tile([0.0, 1.0], (200, 1)), PIXELS, 1.0)


def make_spots() -> Floats:
    return 0.3 * np.random.default_rng(3).normal(size=(SIDE // 4, SIDE // 4)).repeat(4, 0).repeat(4, 1)


def look_around(example: Example, radius: float = 0.2, around: F64 | None = None) -> F32:
    outward = sphere_directions(4000).astype(np.float64) if around is None else around
    points = HEAD_CENTRE + radius * outward
    return look_up_curls(lay_patches(example), points, HEAD_CENTRE + 10 * outward, 1e-3)[:, 0]


def grow(turns: float) -> Curves:
    """Return strands over a round head, wound so many times."""
    angle, t = np.linspace(0.2, 1.5, 41), np.linspace(0, 1, 41)
    out = unit_arc(angle)
    wind = 0.015 * (np.cos(2 * np.pi * turns * t)[:, None] * out + np.sin(2 * np.pi * turns * t)[:, None] * [1, 0, 0])
    points = np.repeat((HEAD_CENTRE + 0.2 * out + (turns > 0) * wind)[None], 3, 0).astype(np.float32)
    part, material = np.full(3, Part.HAIR, np.uint8), np.full(3, Material.HAIR, np.uint8)
    width, albedo = np.full((3, 41), 0.002, np.float32), np.full((3, 41, 3), 0.1, np.float32)
    return flatten((Strands(points, width, albedo, part, material),), 0)


def unit_arc(angle: F64) -> F64:
    return np.stack([0 * angle, np.cos(angle), -np.sin(angle)], -1)


def test_strands_that_lie_above_one_another_show_the_same_curl():
    inner, outer = (look_around(show(make_spots()), radius) for radius in (0.198, 0.2))
    assert np.corrcoef(inner, outer)[0, 1] > 0.9


def test_curls_keep_the_contrast_of_the_photo():
    spots = make_spots()
    assert look_around(show(spots)).std() == pytest.approx(spots.std(), rel=0.2)


def test_curls_are_the_right_way_up():
    rows = 0.3 * np.sin(2 * np.pi * np.arange(SIDE) / 12)[:, None] * np.ones(SIDE)
    step = 0.01
    angle = np.random.default_rng(2).uniform(-np.pi, np.pi, 4000)
    at, aside, below = (
        np.stack([np.sin(a) * np.cos(b), np.sin(b) + 0 * a, np.cos(a) * np.cos(b)], -1)
        for a, b in ((angle, 0.0), (angle + step, 0.0), (angle, step))
    )
    here, side, down = (look_around(show(rows), around=around) for around in (at, aside, below))
    assert np.abs(down - here).mean() > 2 * np.abs(side - here).mean()


def test_curls_fade_where_they_are_seen_edge_on():
    outward = sphere_directions(500).astype(np.float64)
    edge = np.cross(outward, [0.3, 0.5, 0.8])
    curls = lay_patches(show(make_spots()))
    assert np.abs(look_up_curls(curls, HEAD_CENTRE + 0.2 * outward, HEAD_CENTRE + 50 * edge, 1e-3)).max() < 1e-6


def test_only_wound_strands_are_curled():
    low, high = TURNING
    assert measure_turning(grow(0)) < low < high < measure_turning(grow(8))


def photograph_spots() -> Photo:
    rgb, one = np.zeros((SIDE, SIDE, 3), np.float32), np.ones((SIDE, SIDE), np.float32)
    rgb += np.asarray(0.1 * np.exp(make_spots())[..., None], np.float32)
    labels, flow = np.full((SIDE, SIDE), Label.HAIR, np.uint8), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, rgb, one, one, labels, one, flow, Camera(look_at(0, 0), FOCAL))


def test_straight_strands_get_no_curls_whatever_the_photo_looks_like():
    photo = photograph_spots()
    assert find_curls(photo, grow(0)) is None
    found = find_curls(photo, grow(8))
    assert found is not None and found.strength > 0.5


def test_curls_are_the_same_each_time():
    example = show(make_spots())
    np.testing.assert_array_equal(look_around(example), look_around(replace(example)))
