"""Laws of the colours that strands get from a photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.colours import bake_photo
from portrait360.pipeline.avatar.hair import strand_colours
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.fitted_head import make_fitted_head
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.scene import Scene
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

SIDE = 128


def test_groups_of_hair_share_one_comparison_with_the_photo_and_all_get_its_brightness(
    monkeypatch: pytest.MonkeyPatch,
):
    hair = grow(make_fitted_head(np.zeros(60), np.zeros(52)), "crew")
    camera = Camera(look_at(0, 0), FOCAL)
    view = render(Scene((), (replace(hair, albedo=0.5 * hair.albedo),), WHITE), camera, SIDE)
    ones, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    photo = Photo(view.rgb, srgb_to_radiance(view.rgb), view.alpha, ones, view.labels, ones, flow, camera)
    calls, compare = [], strand_colours.strand_ratio
    monkeypatch.setattr(strand_colours, "strand_ratio", lambda *given: calls.append(given) or compare(*given))
    for group in bake_photo(Scene((), (hair, hair), WHITE), photo).strands:
        assert group.albedo.mean() < 0.8 * hair.albedo.mean()  # as dark as the photo shows it
    assert len(calls) == 1


def test_hair_of_the_crown_does_not_end_as_a_cap_over_that_of_the_sides():
    heights = np.linspace(0.2, 0.0, 9)
    at = np.linspace(-0.1, 0.1, 400)[:, None] * np.array([1.0, 0.0, 0.0])
    whole = at[:, None] + heights[None, :, None] * np.array([0.0, 1.0, 0.0])
    low = whole * np.array([1.0, 0.5, 1.0])  # of the sides
    points = np.concatenate([whole, low]).astype(np.float32)
    gain = np.where(np.arange(800)[:, None, None] < 400, 0.4, -0.4) * np.ones((800, 9, 3), np.float32)
    evened = gain + strand_colours.lack_of_neighbours(points, gain)
    beside = points[..., 1] < 0.08
    crown, sides = evened[:400][beside[:400]].mean(), evened[400:][beside[400:]].mean()
    assert 0 <= crown - sides < 0.4 * 0.8
    high = evened[:400][points[:400, :, 1] > 0.17].mean()
    assert high > 0.35  # what lies alone keeps its colour
