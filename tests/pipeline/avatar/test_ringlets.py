"""Curly hair is wound into ringlets of the size that its photo shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.pipeline.avatar.hair.curl_size import CurlSize, measure_curls
from portrait360.pipeline.avatar.hair.curls import measure_turning
from portrait360.pipeline.avatar.hair.ringlets import wind
from portrait360.pipeline.reading.reading import Reading, Value
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.strand_buffers import flatten
from tests.fixtures.hair import LOCKS_SIDE, grow, photograph_locks, read
from tests.fixtures.photos import FOCAL

PIXELS = FOCAL / 2.7 * LOCKS_SIDE
SIZE = CurlSize(0.06, 0.01, 1.0)


def read_odds(curly: float) -> Reading:
    """Return what a reader says that finds curls so likely."""
    answers = read(0.5).answers | {"style": {"curly_short": curly, "bob": 1 - curly}}
    return replace(read(0.5), answers=answers, values={"coily": Value(0.2, 0.1)})


@pytest.mark.parametrize("length", [0.05, 0.08])
def test_curls_are_measured_as_long_as_they_are_and_wider_the_more_hair_turns(length: float):
    low, high = (measure_curls(photograph_locks(bend, length * PIXELS), read_odds(0.9)) for bend in (0.7, 1.0))
    assert low is not None and high is not None
    assert abs(low.length / length - 1) < 0.25 and abs(high.length / length - 1) < 0.25
    assert high.radius > 1.2 * low.radius > 0


def test_hair_is_curly_only_if_both_its_photo_and_the_reader_show_it():
    curly, straight = photograph_locks(1.0, 0.05 * PIXELS), photograph_locks(0.0)
    assert measure_curls(curly, read_odds(0.9)) is not None
    assert measure_curls(curly, read_odds(0.1)) is None
    assert measure_curls(straight, read_odds(0.9)) is None
    assert measure_curls(photograph_locks(1.0, 0.2 * PIXELS), read_odds(0.9)) is None  # waves


def test_ringlets_turn_outside_the_head_and_keep_their_roots(head: Head):
    hair = grow(head, "long")
    (wound,) = wind([hair], head, SIZE)
    assert wind([hair], head, None)[0] is hair
    np.testing.assert_allclose(wound.points[:, 0], hair.points[:, 0], atol=1e-6)
    straight, curly = (measure_turning(flatten((group,), 0)) for group in (hair, wound))
    assert curly > 25 > straight
    inside = [(head.field.distance(group.points[:, 2:]) < 0.003).mean() for group in (hair, wound)]
    assert inside[1] < inside[0] + 0.03


def test_strands_of_a_ringlet_turn_together(head: Head):
    hair = grow(head, "long")
    (wound,) = wind([hair], head, SIZE)
    place, middle = np.linspace(0, 1, wound.points.shape[1]), wound.points.shape[1] // 2
    before = np.linspace(0, 1, hair.points.shape[1])
    axis = np.stack([[np.interp(place, before, strand[:, a]) for a in range(3)] for strand in hair.points], 0)
    off = (wound.points - np.moveaxis(axis, 1, -1))[:, middle]
    near = np.linalg.norm(wound.points[:, middle, None] - wound.points[None, :, middle], axis=-1)
    rows = np.random.default_rng(0).choice(len(near), 300, replace=False)
    near = near[rows]
    near[np.arange(300), rows] = np.inf
    apart = np.linalg.norm(off[rows] - off[near.argmin(1)], axis=1)
    anyone = np.linalg.norm(off[rows] - off[np.roll(rows, 1)], axis=1)
    assert np.median(apart) < 0.5 * np.median(anyone)
