"""Hair has a form all round: no washboard, no pit on the crown, and shade between its locks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.contact import lift_contact_shade
from portrait360.pipeline.avatar.hair.crown import MIDDLE, cover_whorl, fill_crown
from portrait360.pipeline.avatar.hair.edges import taper_edges
from portrait360.pipeline.avatar.hair.grade import grade_back
from portrait360.pipeline.avatar.hair.outline import CENTRE, CHAIN, Shift, displace, make_frame
from portrait360.pipeline.avatar.hair.shade import shade_locks
from portrait360.pipeline.avatar.hair.top import hold_within_outline
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.hair.growth import CROWN
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Material, Part, Scene, Strands
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

SIDE = 256
CAMERA = Camera(look_at(0, 0, radius=2.7), FOCAL)


def make_group(points: F32, part: Part = Part.HAIR) -> Strands:
    count, k, _ = points.shape
    return Strands(
        points.astype(np.float32),
        np.full((count, k), 0.003, np.float32),
        np.full((count, k, 3), 0.1, np.float32),
        np.full(count, part, np.uint8),
        np.full(count, Material.HAIR, np.uint8),
    )


def hang(azimuth: float, radius: float = 0.2) -> F32:
    """Return a strand that hangs at an azimuth, degrees from the front, beside the head."""
    side, ahead = np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
    heights = np.linspace(0.0, -0.4, 60)
    path = np.stack([np.full(60, radius * side), heights, np.full(60, radius * ahead)], -1)
    return (CENTRE + path).astype(np.float32)[None]


def measure_waves(head: Head, azimuth: float) -> float:
    """Return how far a strand sways after it is moved to a wavy outline."""
    shift = Shift(0.03 * np.sin(2 * np.pi * CHAIN / 0.2), np.full(len(CHAIN), 0.03))
    moved = displace(make_group(hang(azimuth)), head, make_frame(CAMERA), shift).points[0, 15:-15]
    off = moved - CENTRE
    return float(np.hypot(off[:, 0], off[:, 2]).std())


def test_waves_of_the_outline_stay_at_the_outline(head):
    assert measure_waves(head, 90) > 0.015
    assert measure_waves(head, 50) < 0.3 * measure_waves(head, 90)
    assert measure_waves(head, 140) < 0.3 * measure_waves(head, 90)


def stand_round_crown(head: Head, height: float) -> Strands:
    """Return hair of a height around the whorl, with a pit over that, and one hair upright in it."""
    rng = np.random.default_rng(1)
    off = rng.uniform(-0.13, 0.13, (6000, 2))
    roots = np.stack([CROWN[0] + off[:, 0], np.full(6000, 0.2), CROWN[2] + off[:, 1]], -1)
    roots = head.field.push_out(roots, 0.0)
    roots = roots - head.field.distance(roots)[:, None] * head.field.gradient(roots)
    away = np.hypot(roots[:, 0] - CROWN[0], roots[:, 2] - CROWN[2])
    tall = height * np.where(away < 0.05, 0.3, 1.0)
    tall[np.argmin(away)] = 2 * height
    rise = np.linspace(0, 1, 8)[None, :, None] * tall[:, None, None]
    return make_group(np.asarray(roots[:, None] + rise * head.field.gradient(roots)[:, None], np.float32))


@pytest.mark.parametrize("height", [0.03, 0.06])
def test_hair_is_as_high_over_the_whorl_as_around_it(head, height):
    pit = stand_round_crown(head, height)
    full = fill_crown([pit], head)[0]
    roots = pit.points[:, 0]
    away = np.hypot(roots[:, 0] - CROWN[0], roots[:, 2] - CROWN[2])
    reach = head.field.distance(full.points).max(1)
    assert np.median(reach[away < 0.03]) > 0.7 * height
    assert reach[np.argmin(away)] < 1.4 * height
    np.testing.assert_array_equal(full.points[:, 0], roots)
    far = np.hypot(roots[:, 0] - MIDDLE[0], roots[:, 2] - MIDDLE[2]) > 0.15
    np.testing.assert_array_equal(full.points[far], pit.points[far])


def test_strands_lie_over_the_roots_at_the_whorl(head):
    hair = stand_round_crown(head, 0.04)
    covered = cover_whorl([hair], head)[0]
    np.testing.assert_array_equal(covered.points[: len(hair.points)], hair.points)
    added = covered.points[len(hair.points) :]
    height, steps = head.field.distance(added), np.diff(added, axis=1)
    near = np.hypot(added[..., 0] - CROWN[0], added[..., 2] - CROWN[2]) < 0.015
    lies = near[:, 1:] & near[:, :-1]
    assert near.any(1).mean() > 0.8
    assert np.median(height[near]) > 0.02
    assert np.median(np.abs(unit(steps)[..., 1][lies])) < 0.7  # they lie, and do not stand
    assert height[:, [0, -1]].max() < 0.01


def test_few_high_strands_on_the_crown_are_no_crest_above_the_rest(head):
    hair = stand_round_crown(head, 0.03)
    tall = np.arange(len(hair.points)) % 10 == 0
    roots = hair.points[:, :1]
    hair = replace(hair, points=np.where(tall[:, None, None], roots + 2 * (hair.points - roots), hair.points))
    before, after = (head.field.distance(g.points).max(1) for g in (hair, fill_crown([hair], head)[0]))
    near = np.hypot(roots[:, 0, 0] - MIDDLE[0], roots[:, 0, 2] - MIDDLE[2]) < 0.05
    crest = [np.median(reach[near & tall]) / np.median(reach[near & ~tall]) for reach in (before, after)]
    assert crest[1] < 0.8 * crest[0]


def test_hair_beyond_the_outline_lies_down_on_top_and_stays_whole(head):
    labels = np.full((SIDE, SIDE), Label.BACKGROUND, np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    top = CAMERA.project(CENTRE + np.array([[0.0, 0.25, 0.0]]))[0][0, 1]
    middle = CAMERA.project(CENTRE[None])[0][0]
    labels[np.hypot(rows - middle[1], columns - middle[0]) < middle[1] - top] = Label.HAIR
    one, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    rgb = np.full((SIDE, SIDE, 3), 0.2, np.float32)
    group = stand_round_crown(head, 0.10)
    held = hold_within_outline([group], head, Photo(rgb, rgb, one, one, labels, one, flow, CAMERA))[0]
    reach = [np.linalg.norm(CAMERA.project(g.points)[0] - middle, axis=-1).max() for g in (group, held)]
    assert reach[0] > 1.15 * (middle[1] - top) > 1.08 * reach[1]
    np.testing.assert_array_equal(held.points[:, 0], group.points[:, 0])


def test_hair_of_the_crown_ends_at_no_step_over_shorter_hair(head):
    group = grow(head, "side_part")
    graded = grade_back([group], head)[0].points
    height, end = group.points[:, 0, 1], group.points[:, -1]
    low = (height > 0.06) & (height < 0.14) & (end[:, 2] < -0.08)  # hair that is the longer the higher it grows
    assert graded[low, -1, 1].std() > 1.4 * end[low, 1].std()
    before = group.points[:, -1, 2] > 0
    np.testing.assert_allclose(graded[before], group.points[before], atol=1e-6)


def test_hair_of_one_length_stays_as_long_behind(head):
    group = grow(head, "buzz")
    ways = [np.linalg.norm(np.diff(g.points, axis=1), axis=2).sum(1) for g in (group, grade_back([group], head)[0])]
    assert np.median(ways[1] / ways[0]) > 0.95


def test_tips_at_the_back_lean_as_their_neighbours_do(head):
    group = grow(head, "caesar")
    tapered = taper_edges([group], head)[0]
    lean = unit(tapered.points[:, -1] - tapered.points[:, 0]) - unit(group.points[:, -1] - group.points[:, 0])
    rows = np.flatnonzero((group.points[:, 0, 1] < 0.04) & (group.points[:, 0, 2] < -0.08))
    lean = lean[rows] - lean[rows].mean(0)
    beside = np.asarray(KDTree(group.points[rows, 0]).query(group.points[rows, 0], k=2)[1])[:, 1]
    assert (lean * lean[beside]).sum() > 0.3 * (lean * lean).sum()


def shade_beside_face(depth: float, width: float = 0.03) -> tuple[F32, Photo, F32]:
    """Return logarithms of ratios of hair around a face, darker near it, their photo, and where they count."""
    off = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1) + 0.5 - SIDE / 2
    away = np.linalg.norm(off, axis=-1) / SIDE - 0.2
    labels = np.where(away < 0, Label.FACE, Label.HAIR).astype(np.uint8)
    one = np.ones((SIDE, SIDE), np.float32)
    rgb, flow = np.full((SIDE, SIDE, 3), 0.2, np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    ratio = np.where((away > 0) & (away < width), -depth, 0.0)[..., None] * np.ones(3)
    return (
        ratio.astype(np.float32),
        Photo(rgb, rgb, one, one, labels, one, flow, CAMERA),
        (away > 0).astype(np.float32),
    )


@pytest.mark.parametrize("width", [0.03, 0.05])
def test_shade_beside_the_face_is_no_colour_of_the_hair(width):
    ratio, photo, inside = shade_beside_face(0.8, width)
    lifted = lift_contact_shade(ratio, photo, inside)
    shaded = (ratio[..., 0] < 0) & (inside > 0)
    assert lifted[shaded].mean() > 0.6 * ratio[shaded].mean()
    assert (lifted >= ratio - 1e-6).all()
    np.testing.assert_array_equal(lifted[:8], ratio[:8])


def test_hair_that_is_lighter_beside_the_face_stays_so():
    ratio, photo, inside = shade_beside_face(-0.5)
    np.testing.assert_allclose(lift_contact_shade(ratio, photo, inside), ratio, atol=1e-3)


@pytest.mark.parametrize("part", [Part.HAIR, Part.BEARD])
def test_hair_under_hair_is_darker_and_what_is_seen_stays_as_light(part):
    turns = np.linspace(0, 360, 2000)
    outer, inner = (np.concatenate([hang(turn, radius) for turn in turns]) for radius in (0.22, 0.205))
    hair, brows = make_group(np.concatenate([outer, inner]), part), make_group(outer, Part.BROWS)
    shaded, same = shade_locks(Scene((), (hair, brows), WHITE)).strands
    light = shaded.albedo[:, 10:-10].mean((1, 2)) / 0.1
    assert 0.8 < light[: len(turns)].mean() < 1.25
    assert light[len(turns) :].mean() < 0.93 * light[: len(turns)].mean()
    np.testing.assert_array_equal(same.albedo, brows.albedo)
