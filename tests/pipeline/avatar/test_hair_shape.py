"""Shape of an avatar's hair: its profile from the side, its edges, how fine its strands are, and its gloss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.hair.depth import find_side_reach
from portrait360.pipeline.avatar.hair.edges import drop_islands, taper_edges
from portrait360.pipeline.avatar.hair.gloss import add_gloss
from portrait360.pipeline.avatar.hair.profile import round_profile
from portrait360.pipeline.avatar.hair.split import split_strands
from portrait360.pipeline.avatar.hair.wave_size import Waves
from portrait360.pipeline.avatar.hair.waves import find_waves, sway
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.bake import BakeQuality, prepare_scene
from portrait360.synth.sampling.hairstyles import find_style
from portrait360.synth.scene import Material, Part, Scene, Strands
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

CAMERA = Camera(look_at(0, 0), FOCAL)


def stand_before_forehead(points: F32, head: Head) -> F32:
    """Return how far the points over the forehead's hairline stand before its skin, in head heights."""
    x, y, z = points.reshape(-1, 3).T
    skin = head.body[(np.abs(head.body[:, 0]) < 0.05) & (np.abs(head.body[:, 1] - 0.145) < 0.006)]
    over = (np.abs(x) < 0.05) & (y > 0.145) & (y < 0.19)
    return (z[over] - skin[:, 2].max()) / HEAD_HEIGHT


def photograph(label: Label) -> Photo:
    """Return a grey photo that shows one thing everywhere."""
    one, flow = np.ones((64, 64), np.float32), np.zeros((64, 64, 2), np.float32)
    grey = np.full((64, 64, 3), 0.2, np.float32)
    return Photo(grey, grey, one, one, np.full((64, 64), label, np.uint8), one, flow, CAMERA)


def lengths(group: Strands) -> F32:
    return np.linalg.norm(np.diff(group.points, axis=1), axis=2).sum(1)


def thicken(group: Strands, head: Head, factor: float) -> Strands:
    """Return hair that stands off the head further in all directions, as an outline that is too high asks for."""
    distance = np.maximum(head.field.distance(group.points), 0)[..., None]
    outward = group.points / np.linalg.norm(group.points, axis=-1, keepdims=True)
    return replace(group, points=(group.points + factor * distance * outward).astype(np.float32))


def test_a_ball_of_curls_has_no_shelf_behind(head):
    """What stands off far below the centre of the head does so above it, too."""
    group = grow(head, "afro_big")
    rounded = round_profile([group], head, CAMERA, find_side_reach([group], head))[0].points.reshape(-1, 3)
    x, y, z = rounded.T
    reach = []
    for low in (-0.02, 0.10):
        row = (np.abs(x) < 0.06) & (y > low) & (y < low + 0.03) & (z < 0)
        reach.append(float(np.quantile(head.field.distance(rounded[row]), 0.95)))
    assert reach[0] > 0.12
    assert reach[1] > 0.75 * reach[0]


@pytest.mark.parametrize(("name", "most"), [("crew", 0.05), ("spiky", 0.11), ("afro_small", 0.11)])
def test_hair_without_a_fringe_rises_from_the_forehead_and_not_forwards(head, name, most):
    group = thicken(grow(head, name), head, 2.0)
    rounded = round_profile([group], head, CAMERA, find_side_reach([group], head))[0]
    assert stand_before_forehead(group.points, head).max() > 0.1  # like a visor
    assert stand_before_forehead(rounded.points, head).max() < most
    np.testing.assert_array_equal(rounded.points[:, 0], group.points[:, 0])
    assert head.field.distance(rounded.points).min() > head.field.distance(group.points).min() - 0.004


@pytest.mark.parametrize("name", ["crew", "afro_small"])
def test_a_round_profile_keeps_the_outline_that_the_photo_shows(head, name):
    group = thicken(grow(head, name), head, 2.0)
    rounded = round_profile([group], head, CAMERA, find_side_reach([group], head))[0]
    seen, after = (CAMERA.project(g.points.reshape(-1, 3))[0] for g in (group, rounded))
    for low in np.arange(0.40, 0.60, 0.04):
        tops = [points[(points[:, 0] > low) & (points[:, 0] < low + 0.04), 1].min() for points in (seen, after)]
        assert abs(tops[0] - tops[1]) < 0.004


def test_hair_is_round_behind_the_crown(head):
    group = thicken(grow(head, "afro_small"), head, 1.0)
    rounded = round_profile([group], head, CAMERA, 0.04)[0]
    corner = [np.quantile(g.points[..., 1] - g.points[..., 2], 0.999) for g in (group, rounded)]  # up and back
    assert corner[1] < corner[0] - 0.02


def test_a_cut_gets_shorter_and_finer_towards_its_edges(head):
    group = grow(head, "crew")
    tapered = taper_edges([group], head)[0]
    np.testing.assert_array_equal(tapered.points[:, 0], group.points[:, 0])
    left, thin = lengths(tapered) / lengths(group), tapered.widths.max(1) / group.widths.max(1)
    root = group.points[:, 0]
    nape, crown = (root[:, 2] < -0.05) & (root[:, 1] < -0.10), root[:, 1] > 0.19
    assert np.median(left[nape]) < 0.6
    last = nape & (root[:, 1] < np.quantile(root[nape, 1], 0.2))
    assert np.median(thin[last]) < 0.7
    assert np.median(left[crown]) > 0.95
    hem = tapered.points[nape][:, -1, 1].min()
    assert root[:, 1].min() - hem < 0.012  # the hem lies where the last roots are


def test_hair_that_covers_the_ears_may_be_cut_short_at_the_nape(head):
    group = grow(head, "crew")
    x, y, z = group.points[:, 0].T
    side, nape = (np.abs(x) > 0.09) & (y > -0.02), (z < -0.05) & (y < -0.10)
    longer = np.where(side, 4.0, 1.0)[:, None, None]
    points = group.points[:, :1] + longer * (group.points - group.points[:, :1])
    group = replace(group, points=np.asarray(points, np.float32))
    left = lengths(taper_edges([group], head)[0]) / lengths(group)
    assert np.median(left[nape]) < 0.6
    assert np.median(left[side & (z > 0.03)]) > 0.8


def test_longer_hair_keeps_its_length_at_the_forehead(head):
    group = grow(head, "bob")
    tapered = taper_edges([group], head)[0]
    front = (group.points[:, 0, 1] > 0.15) & (group.points[:, 0, 2] > 0.05)
    assert np.median(lengths(tapered)[front] / lengths(group)[front]) > 0.9


def test_strands_are_split_into_finer_ones_beside_them(head):
    group = grow(head, "bob")
    fine = split_strands(group, 0)
    assert len(fine.points) == 2 * len(group.points)
    assert fine.widths.max() < group.widths.max()
    away = np.linalg.norm(fine.points[:, 0] - np.repeat(group.points[:, 0], 2, 0), axis=1)
    assert away.max() < 0.01
    assert (lengths(fine) < np.repeat(lengths(group), 2) * 1.3 + 0.01).all()
    thin = replace(group, widths=0.1 * group.widths)
    assert split_strands(thin, 0) is thin


def comb(count: int, rng: np.random.Generator, wild: float) -> F32:
    """Return strands that hang down the back of a head, each in a direction of its own by `wild`."""
    around = rng.uniform(np.pi - 0.8, np.pi + 0.8, count)
    height = np.linspace(0.2, -0.2, 12)
    radius = np.sqrt(np.maximum(0.21**2 - height**2, 0.001))
    points = np.stack(
        [np.outer(np.sin(around), radius), np.tile(height, (count, 1)), np.outer(np.cos(around), radius)], -1
    )
    return (points + wild * rng.normal(0, 1, (count, 12, 3)).cumsum(1)).astype(np.float32)


def test_hair_that_lies_alike_gleams_in_a_band_and_tangled_hair_does_not():
    rng = np.random.default_rng(0)
    albedo = np.full((3000, 12, 3), 0.04, np.float32)
    smooth, tangled = (add_gloss(comb(3000, rng, wild), albedo).mean((0, 2)) for wild in (0.0, 0.05))
    assert (smooth >= 0).all()
    assert smooth.max() > 0.005
    assert smooth.max() < 0.06  # a sheen, no glare
    assert smooth.max() > 3 * smooth[-3:].max()
    assert tangled.max() < 0.35 * smooth.max()


def test_gloss_keeps_the_order_of_the_hairs_own_colours():
    points = comb(2000, np.random.default_rng(1), 0.0)
    red = np.broadcast_to(np.array([0.2, 0.06, 0.02], np.float32), (2000, 12, 3))
    r, g, b = add_gloss(points, red).reshape(-1, 3).sum(0)
    assert r > g > b > 0


def test_softer_shade_brightens_deep_hair_and_only_that(head):
    group = grow(head, "afro_small")
    plain, soft = (
        prepare_scene(Scene((), (group,), WHITE), quality=BakeQuality(12, 96, 64, hair_shade=shade)).curves.ambient
        for shade in (1.0, 0.8)
    )
    assert (soft >= plain - 1e-6).all()
    dark = plain.mean(1) <= np.quantile(plain.mean(1), 0.1)
    assert (soft[dark] / plain[dark]).mean() > 1.1
    np.testing.assert_allclose(soft.max(), plain.max(), rtol=0.02)


def test_tufts_that_grow_apart_from_the_hair_go_and_nothing_else():
    rng = np.random.default_rng(5)
    mass, tuft = rng.uniform(0, 0.1, (3000, 3)) * (1, 1, 0), rng.uniform(0, 0.008, (20, 3)) + (0.2, 0, 0)
    mixed = np.concatenate([tuft, mass[:50] + (0, 0, 0.001)])
    groups = [_stand(np.float32(roots)) for roots in (mass, mixed, tuft + (0, 0.1, 0))]
    left = drop_islands(groups)
    assert [len(group.points) for group in left] == [3000, 50]
    assert np.array_equal(left[1].points, groups[1].points[20:]) and np.array_equal(left[0].widths, groups[0].widths)


def test_a_tuft_at_the_nape_is_where_hair_is_thin():
    rng = np.random.default_rng(5)
    mass, tuft = rng.uniform(0, 0.1, (3000, 3)) * (1, 1, 0), rng.uniform(0, 0.008, (20, 3)) + (0.2, 0, 0)
    for z, count in ((0.05, 3000), (-0.1, 3020)):
        left = drop_islands([_stand(np.float32(np.concatenate([mass, tuft]) + (0, 0, z)))])
        assert len(left[0].points) == count


def test_hair_that_grows_in_tufts_keeps_all_of_them():
    """Each loc is a tuft apart from all others, and there are many: none of them is lost beside denser hair."""
    rng = np.random.default_rng(5)
    dense = rng.uniform(0, 0.1, (3000, 3)) * (1, 1, 0) + (0, 0.3, 0)
    tufts = rng.uniform(0, 0.004, (60, 16, 3)) + 0.03 * np.stack(np.divmod(np.arange(60), 8), -1)[:, None, [0, 1, 1]]
    locs = _stand(np.float32(tufts.reshape(-1, 3)))
    left = drop_islands([_stand(np.float32(dense)), locs])
    assert [len(group.points) for group in left] == [3000, 960]


def _stand(roots: np.ndarray) -> Strands:
    count = len(roots)
    points = roots[:, None] + np.float32([[0, 0, 0], [0, 0, 0.01]])
    part, material = (np.full(count, int(value), np.uint8) for value in (Part.HAIR, Material.HAIR))
    widths, albedo = np.full((count, 2), 0.002, np.float32), np.full((count, 2, 3), 0.2, np.float32)
    return Strands(points, widths, albedo, part, material)


def test_locks_beside_each_other_sway_alike(head):
    turns = np.linspace(90, 270, 400)
    side, ahead = np.sin(np.radians(turns)), np.cos(np.radians(turns))
    drop = np.linspace(0, 0.5, 50)
    line = np.stack(np.broadcast_arrays(0.2 * side[:, None], 0.05 - drop, 0.2 * ahead[:, None]), -1)
    group = replace(grow(head, "long"), points=(HEAD_CENTRE + line).astype(np.float32))
    waves = Waves(0.15, 0.02)
    moved = (sway([group], head, waves)[0].points - group.points)[:, 15:]
    size = np.linalg.norm(moved, axis=-1)
    assert 0.005 < np.median(size) < 0.03
    assert np.linalg.norm(np.diff(moved, axis=0), axis=-1).mean() < 0.2 * size.mean()
    length = round(waves.length / (drop[1] - drop[0]))
    same, half = (np.linalg.norm(moved[:, n:] - moved[:, :-n], axis=-1).mean() for n in (length, length // 2))
    assert same < 0.4 * half
    assert sway([group], head, None)[0] is group


def test_only_wavy_hair_sways():
    even = photograph(Label.HAIR)
    assert find_waves(find_style("long"), even) is None
    assert find_waves(find_style("long_wavy"), even) is not None
    assert find_waves(find_style("long_curly"), even) is None
