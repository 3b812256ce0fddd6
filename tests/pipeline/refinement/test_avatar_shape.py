"""The shape of an avatar, refined towards views of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import orbit
from portrait360.pipeline.refinement.avatar_shape import (
    HAIR,
    SKIN,
    Shifts,
    find_shifts,
    refine_shape,
    spread,
)
from portrait360.pipeline.views.view_set import View
from portrait360.synth.build import build
from portrait360.synth.render.bake import PORTRAIT, prepare_scene
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Scene
from tests.fixtures.scenes import see_all_round

SIZE = 96
CAMERAS = orbit(6)


def see(scene: Scene) -> list[View]:
    return see_all_round(scene, CAMERAS, SIZE)


def overlap(scene: Scene, views: list[View]) -> float:
    pairs = [(a.alpha > 0.5, b.alpha > 0.5) for a, b in zip(see(scene), views, strict=True)]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


@pytest.fixture(scope="module")
def scenes() -> tuple[Scene, Scene]:
    """A head, and the same 5 % larger: outlines are 2 pixels apart."""
    truth = build(sample(4, "human"))
    meshes = tuple(replace(mesh, vertices=np.float32(1.05) * mesh.vertices) for mesh in truth.meshes)
    strands = tuple(replace(group, points=np.float32(1.05) * group.points) for group in truth.strands)
    return truth, replace(truth, meshes=meshes, strands=strands)


def test_outlines_come_nearer_to_the_views_and_colours_stay(scenes):
    truth, other = scenes
    views = see(truth)
    refined = refine_shape(other, views, rounds=2)
    assert 1 - overlap(refined, views) < 0.5 * (1 - overlap(other, views))
    for before, after in zip(other.meshes, refined.meshes, strict=True):
        np.testing.assert_array_equal(before.albedo, after.albedo)


def test_a_head_that_is_right_stays(scenes):
    truth = scenes[0]
    refined = refine_shape(truth, see(truth))
    moved = np.abs(refined.meshes[0].vertices - truth.meshes[0].vertices)
    assert moved.max() < 0.01  # half a pixel of these views is 0.01


def test_an_outline_that_is_far_away_moves_nothing(scenes):
    truth = scenes[0]
    nothing = View(np.zeros((SIZE, SIZE, 3)), np.zeros((SIZE, SIZE)), CAMERAS[0])
    assert not len(find_shifts(prepare_scene(truth, quality=PORTRAIT), nothing).points)
    np.testing.assert_array_equal(refine_shape(truth, [nothing]).meshes[0].vertices, truth.meshes[0].vertices)


def test_hair_grows_thicker_and_its_roots_stay_on_the_skin():
    from portrait360.pipeline.refinement.avatar_shape import _move_strands

    points = np.linspace([0, 0.5, 0], [0, 0.8, 0], 12, dtype=np.float32)[None]
    around = np.array([[-1, -1, -1], [1, 1, 1]], np.float32)
    up = np.array([[0, 0.05, 0]], np.float32)
    hair = spread(Shifts(points[:, -1], up, np.array([HAIR], np.uint8)), around)
    still = spread(Shifts(points[:0, 0], up[:0], np.zeros(0, np.uint8)), around)
    moved = _move_strands(points, still, hair)
    np.testing.assert_array_equal(moved[:, 0], points[:, 0])
    assert 0.03 < moved[0, -1, 1] - points[0, -1, 1] <= 0.05
    assert Shifts(points[:, -1], up, np.array([HAIR], np.uint8)).of(SKIN).points.shape == (0, 3)
