"""Hair that is drawn to a knot: taut and thin at the nape, with curls that lie flat."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.pipeline.avatar.hair.drawn import measure_from_edge, tauten_edge
from portrait360.pipeline.avatar.hair.texture import curl_tied
from portrait360.synth.scene import Strands
from tests.fixtures.hair import grow


@pytest.fixture(scope="module")
def drawn(head) -> Strands:
    return grow(head, "low_bun")


def test_drawn_hair_is_thin_at_the_nape_and_as_thick_elsewhere(head, drawn):
    thick = np.asarray(drawn.points + 0.03 * head.field.gradient(drawn.points), np.float32)
    thick[:, 0] = drawn.points[:, 0]
    raised = Strands(thick, drawn.widths, drawn.albedo, drawn.part, drawn.material)
    taut, away = tauten_edge(raised, head).points, measure_from_edge(raised, head)
    before, after = head.field.distance(thick[:, 1:]), head.field.distance(taut[:, 1:])
    x, y, z = np.moveaxis(thick[:, 1:], -1, 0)
    nape = (z < -0.10) & (y < 0.02) & (away[:, 1:] < 0.02)
    assert np.median(after[nape]) < 0.6 * np.median(before[nape])
    assert after[nape].min() > 0
    side = (z > -0.03) | (y > 0.09)
    assert np.quantile(np.abs(after - before)[side], 0.99) < 1e-3
    np.testing.assert_array_equal(taut[:, 0], thick[:, 0])


def test_curls_of_drawn_hair_lie_flat_and_end_at_the_hairline(head, drawn):
    curled = curl_tied(drawn, head, 0.26)
    count = curled.points.shape[1]
    place = np.linspace(0, drawn.points.shape[1] - 1, count)
    low = np.minimum(place.astype(int), drawn.points.shape[1] - 2)
    share = (place - low)[None, :, None]
    straight = drawn.points[:, low] * (1 - share) + drawn.points[:, low + 1] * share
    off, up = curled.points - straight, head.field.gradient(straight)
    height = (off * up).sum(-1)
    aside = np.linalg.norm(off - height[..., None] * up, axis=-1)
    away = measure_from_edge(curled, head)
    far = (away > 0.09) & (straight[..., 2] < 0.05)
    assert height[far].std() < 0.6 * np.sqrt((aside[far] ** 2).mean())
    steps = np.linalg.norm(np.diff(curled.points, axis=1), axis=2) / np.linalg.norm(np.diff(straight, axis=1), axis=2)
    near, behind = away[:, 1:] < 0.02, straight[:, 1:, 2] < 0.05
    assert np.median(steps[near & behind]) < np.median(steps[(away[:, 1:] > 0.09) & behind])
