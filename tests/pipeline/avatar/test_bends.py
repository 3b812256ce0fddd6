"""Hair that a photo does not show bends as that which it shows."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.pipeline.avatar.hair.bends import bend_locks, measure_bends
from portrait360.pipeline.avatar.hair.donors import measure_along
from portrait360.pipeline.avatar.hair.fit import fit_strands
from portrait360.pipeline.avatar.hair.outline import bare_skin
from portrait360.pipeline.avatar.hair.wave_size import measure_waves
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.render.label_view import draw_backdrop, see_labels
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import LOCKS_SIDE as SIDE
from tests.fixtures.hair import grow, photograph_locks
from tests.fixtures.photos import FOCAL


def turn_of(before: Strands, after: Strands) -> F32:
    """Return by how many radians the middle of each strand has turned (s,)."""
    ways = [unit(group.points[:, group.points.shape[1] // 2 + 1] - group.points[:, 0]) for group in (before, after)]
    return np.asarray(np.arccos(np.clip((ways[0] * ways[1]).sum(-1), -1, 1)), np.float32)


def test_the_more_locks_run_aside_the_more_hair_bends():
    bends = [measure_bends(photograph_locks(bend)) for bend in (0.0, 0.5, 1.0)]
    assert bends[0] == 0
    assert 0.05 < bends[1] < bends[2]
    assert measure_bends(replace(photograph_locks(1.0), painted=True)) == 0


@pytest.mark.parametrize("length", [0.14, 0.20])
def test_waves_are_measured_as_long_as_they_are_and_higher_the_more_hair_turns(length: float):
    pixels = FOCAL / 2.7 * SIDE
    low, high = (measure_waves(photograph_locks(bend, length * pixels)) for bend in (0.4, 0.8))
    assert low is not None and high is not None
    assert abs(low.length / length - 1) < 0.2 and abs(high.length / length - 1) < 0.2
    assert high.height > 1.3 * low.height > 0
    assert measure_waves(photograph_locks(0.0, length * pixels)) is None
    assert measure_waves(replace(photograph_locks(0.8, length * pixels), painted=True)) is None


def test_locks_bend_behind_together_and_keep_their_lengths_and_what_lies_before(head: Head):
    hair = grow(head, "bob")
    bent = bend_locks(hair, head, 0.3, 0)
    assert bend_locks(hair, head, 0.0, 0) is hair
    turned, z = turn_of(hair, bent), hair.points[..., 2]
    before, behind = z.min(1) > 0.11, z.max(1) < 0.0
    assert before.sum() > 20 and turned[before].max() < 0.05
    assert np.median(turned[behind]) > 0.1
    lengths = [measure_along(group.points)[:, -1] for group in (hair, bent)]
    assert np.abs(np.log(lengths[1] / lengths[0])).mean() < 0.05
    np.testing.assert_allclose(bent.points[:, 0], hair.points[:, 0], atol=1e-6)
    inside = [(head.field.distance(group.points[behind, 2:]) < 0.003).mean() for group in (hair, bent)]
    assert inside[1] < inside[0] + 0.03
    # neighbours move alike
    last = (bent.points[:, -1] - hair.points[:, -1])[behind]
    roots = hair.points[behind, 0]
    order = np.argsort(roots[:, 1] + 10 * np.floor(roots[:, 0] / 0.01))
    apart = np.linalg.norm(np.diff(roots[order], axis=0), axis=1) < 0.006
    near = np.linalg.norm(np.diff(last[order], axis=0), axis=1)[apart]
    assert np.median(near) < 0.6 * np.median(np.linalg.norm(last - last.mean(0), axis=1))


def test_hair_that_bends_still_meets_the_outline_of_the_photo(head: Head):
    hair, wavy = grow(head, "short_bob"), photograph_locks(1.0)
    backdrop = draw_backdrop([bare_skin(head)], wavy.camera, SIDE)
    labels = see_labels(backdrop, [hair]).labels
    shown = labels == Label.HAIR
    photo = replace(wavy, labels=labels, alpha=(labels != Label.BACKGROUND).astype(np.float32))
    assert measure_bends(photo) > 0.1
    found = see_labels(backdrop, fit_strands([hair], head, photo)).labels == Label.HAIR
    rim = shown & (cv2.erode((labels != Label.BACKGROUND).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0)
    rim[SIDE * 45 // 100 :] = False  # below, hair ends, however it bends
    assert (found & rim).sum() / rim.sum() > 0.95
