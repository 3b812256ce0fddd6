"""The colours of an avatar, refined towards views of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.evaluation.image_metrics import psnr
from portrait360.geometry.cameras import orbit
from portrait360.pipeline.refinement.avatar_colours import find_gain, refine_colours
from portrait360.pipeline.views.view_set import View
from portrait360.synth.build import build
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Material, Part, Scene
from tests.fixtures.scenes import see_all_round

SIZE = 96
CAMERAS = orbit(4)


def see(scene: Scene) -> list[View]:
    return see_all_round(scene, CAMERAS, SIZE)


def likeness(scene: Scene, views: list[View]) -> float:
    return float(np.mean([psnr(a.rgb, b.rgb, b.alpha > 0.9) for a, b in zip(see(scene), views, strict=True)]))


@pytest.fixture(scope="module")
def scenes() -> tuple[Scene, Scene]:
    """A head, and the same with other colours of skin and hair."""
    truth = build(sample(4, "human"))
    meshes = tuple(replace(m, albedo=0.7 * m.albedo) if m.part[0] == Part.SKIN else m for m in truth.meshes)
    strands = tuple(replace(s, albedo=(2.0 * s.albedo).astype(np.float32)) for s in truth.strands)
    return truth, replace(truth, meshes=meshes, strands=strands)


def test_colours_come_nearer_to_the_views_and_nothing_else_moves(scenes):
    truth, other = scenes
    views = see(truth)
    refined = refine_colours(other, views, rounds=2)
    assert likeness(refined, views) > likeness(other, views) + 3
    for before, after in zip(other.strands, refined.strands, strict=True):
        np.testing.assert_array_equal(before.points, after.points)
    for before, after in zip(other.meshes, refined.meshes, strict=True):
        np.testing.assert_array_equal(before.vertices, after.vertices)
        if before.material[0] in (Material.EYE, Material.METAL):
            np.testing.assert_array_equal(before.albedo, after.albedo)


def test_what_no_view_shows_keeps_its_colour(scenes):
    points = scenes[0].meshes[0].vertices
    assert not find_gain(points, ()).any()
    same = refine_colours(scenes[1], (), rounds=1)
    np.testing.assert_allclose(same.meshes[0].albedo, scenes[1].meshes[0].albedo, atol=1e-6)
