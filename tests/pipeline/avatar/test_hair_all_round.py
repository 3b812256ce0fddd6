"""Hair seen from where the photo does not see it: its brightness and hue, the nape, the temples, curls in a tie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.bridge import bridge_gap
from portrait360.pipeline.avatar.hair.depth import drape
from portrait360.pipeline.avatar.hair.level import (
    HEIGHTS,
    MOST_CONTRAST,
    ROUNDS,
    find_shown,
    level_hair,
    spread_around,
    stress_locks,
)
from portrait360.pipeline.avatar.hair.nape import grow_nape
from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.pipeline.avatar.hair.sheen import MOST, find_gloss
from portrait360.pipeline.avatar.hair.texture import curl_tied
from portrait360.pipeline.avatar.photo.exposure import FAIR_HAIR, HEAD_CENTRE, expose, to_hair_albedo
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.creatures.carved_hair import carve_shell
from portrait360.synth.creatures.statue import carve
from portrait360.synth.hair.hairdo import make_hair
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.render.bake import DRAFT
from portrait360.synth.sampling.hairstyles import find_style
from portrait360.synth.sampling.parameters import Hair, HeadParameters
from portrait360.synth.scene import Part, Scene, Strands
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

SIDE = 128
CAMERA = Camera(look_at(0, 0, radius=2.7), FOCAL)


def photograph(label: Label, colour: tuple[float, float, float] = (0.2, 0.2, 0.2)) -> Photo:
    """Return a photo that shows one thing everywhere, in one colour."""
    rgb = np.broadcast_to(np.array(colour, np.float32), (SIDE, SIDE, 3)).copy()
    one, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, rgb, one, one, np.full((SIDE, SIDE), label, np.uint8), one, flow, CAMERA)


def colour(group: Strands, albedo: tuple[float, float, float]) -> Strands:
    return replace(group, albedo=np.broadcast_to(np.array(albedo, np.float32), group.points.shape).copy())


def mean_behind(group: Strands) -> F32:
    return group.albedo[group.points[:, 0, 2] < -0.1].mean((0, 1))


def find_gains(group: Strands, photo: Photo) -> tuple[F32, F32]:
    """Return the gains of hair behind and before."""
    level = level_hair(Scene((), (group,), WHITE), photo).strands[0]
    gain = np.log(level.albedo / group.albedo).mean(-1)
    off = (group.points - HEAD_CENTRE) / np.linalg.norm(group.points - HEAD_CENTRE, axis=-1, keepdims=True)
    return gain[off[..., 2] < -0.8], gain[off[..., 2] > 0.6]


def test_hair_becomes_as_light_as_the_photo_shows_it(head):
    hair = grow(head, "afro_small")
    behind, before = find_gains(colour(hair, (0.05, 0.05, 0.05)), photograph(Label.HAIR))
    assert min(behind.min(), before.mean()) > 0.4
    behind, before = find_gains(colour(hair, (0.6, 0.6, 0.6)), photograph(Label.HAIR, (0.05, 0.05, 0.05)))
    assert max(behind.max(), before.mean()) < -0.35


def test_locks_behind_differ_more_beside_a_photo_whose_locks_do(head):
    even, uneven = photograph(Label.HAIR), photograph(Label.HAIR)
    uneven.radiance[:, np.arange(SIDE) % 12 < 6] *= 0.3
    hair = colour(grow(head, "bob"), (0.1, 0.1, 0.1))
    light = np.where(np.floor(hair.points[:, :1, :1] / 0.02) % 2 > 0, 1.1, 0.9).astype(np.float32)
    hair = replace(hair, albedo=hair.albedo * light)
    behind, spreads = hair.points[:, 0, 2] < -0.1, []
    for photo in (even, uneven):
        albedo = level_hair(Scene((), (hair,), WHITE), photo).strands[0].albedo
        spreads.append(float(np.log(albedo[behind, :4].mean((1, 2))).std()))
    assert (
        1.1 * spreads[0]
        < spreads[1]
        < MOST_CONTRAST[0][0] ** ROUNDS * np.log(hair.albedo[behind, :4].mean((1, 2))).std()
    )
    more, off = np.zeros((2, len(MOST_CONTRAST), 2)), hair.points - HEAD_CENTRE
    before, more[0] = off[..., 2] > 0.96 * np.linalg.norm(off[..., ::2], axis=-1), 1  # where the photo shows its own
    changes = [
        np.abs(stress_locks(hair.points, hair.albedo, part, CAMERA)[before]).max() for part in (more, more[::-1])
    ]
    assert changes[0] == 0 < changes[1]


def test_hair_before_stays_where_the_photo_shows_none_of_it(head):
    photo = photograph(Label.HAIR)
    photo.labels[20:] = Label.BACKGROUND  # what hair it shows lies elsewhere
    behind, before = find_gains(colour(grow(head, "afro_small"), (0.05, 0.05, 0.05)), photo)
    assert before.mean() < 0.6 * behind.min() and behind.min() > 0.4


def test_hair_behind_takes_the_hue_of_the_photo(head):
    grey = colour(grow(head, "afro_small"), (0.1, 0.1, 0.1))
    red = mean_behind(level_hair(Scene((), (grey,), WHITE), photograph(Label.HAIR, (0.2, 0.05, 0.03))).strands[0])
    assert red[0] > 1.2 * red[1] > 1.2 * red[2]


@pytest.mark.parametrize(("share", "light"), [(0.3, 0.01), (0.15, 0.9)])
def test_neither_shade_nor_gloss_in_the_photo_changes_how_light_hair_is(head, share, light):
    """Deep shade, as beside a neck, on a third of the hair, and gloss on a sixth of it."""
    hair, photo = colour(grow(head, "afro_small"), (0.1, 0.1, 0.1)), photograph(Label.HAIR)
    even = mean_behind(level_hair(Scene((), (hair,), WHITE), photo).strands[0])
    photo.radiance[:, : int(share * SIDE)] = light
    partly = mean_behind(level_hair(Scene((), (hair,), WHITE), photo).strands[0])
    np.testing.assert_allclose(partly, even, rtol=0.1)


def test_black_hair_gets_no_hue_from_its_photo(head):
    """What little light it sends is the wall's."""
    black = colour(grow(head, "afro_small"), (0.01, 0.01, 0.01))
    behind = mean_behind(
        level_hair(Scene((), (black,), WHITE), photograph(Label.HAIR, (0.006, 0.003, 0.002))).strands[0]
    )
    np.testing.assert_allclose(behind, behind.mean(), rtol=0.02)


def test_gloss_does_not_wash_out_the_hue_of_hair(head):
    hair, photo = colour(grow(head, "afro_small"), (0.1, 0.06, 0.05)), photograph(Label.HAIR, (0.2, 0.05, 0.03))
    photo.radiance[:, : int(0.18 * SIDE)] = 0.5
    glossy = mean_behind(level_hair(Scene((), (hair,), WHITE), photo).strands[0])
    photo.radiance[:] = (0.2, 0.05, 0.03)
    matt = mean_behind(level_hair(Scene((), (hair,), WHITE), photo).strands[0])
    np.testing.assert_allclose(glossy / glossy.sum(), matt / matt.sum(), rtol=0.05)


def shine(hair: tuple[float, float, float], light: tuple[float, float, float]) -> Photo:
    """Return a photo of hair whose lower five sixths reflect ever more light in one hue."""
    photo = photograph(Label.HAIR, hair)
    photo.radiance[SIDE // 6 :] += np.linspace(0, 1, SIDE - SIDE // 6)[:, None, None] * np.array(light, np.float32)
    return photo


def find_gloss_of(photo: Photo) -> float:
    return find_gloss(photo.radiance, np.ones((SIDE, SIDE), bool))


def test_dark_hair_is_glossy_where_bright_hair_is_paler_than_dark_hair():
    assert 0.3 < find_gloss_of(shine((0.015, 0.009, 0.006), (0.05, 0.05, 0.05))) <= MOST
    assert find_gloss_of(shine((0.015, 0.009, 0.006), (0.075, 0.045, 0.03))) < 0.05  # in better light


def test_bright_places_of_black_hair_are_gloss_and_fair_hair_has_little():
    assert find_gloss_of(shine((0.005, 0.005, 0.005), (0.06, 0.06, 0.06))) == MOST  # or it lies between locks
    assert find_gloss_of(shine((0.3, 0.2, 0.1), (0.05, 0.05, 0.05))) == 0


def test_gloss_of_dark_hair_in_the_photo_makes_hair_behind_no_lighter(head):
    scene = Scene((), (colour(grow(head, "afro_small"), (0.03, 0.02, 0.014)),), WHITE)
    hair = (0.015, 0.009, 0.006)
    glossy, lit = (
        mean_behind(level_hair(scene, shine(hair, light)).strands[0]).mean()
        for light in ((0.05, 0.05, 0.05), (0.075, 0.045, 0.03))
    )
    assert glossy < 0.75 * lit


def test_without_hair_in_the_photo_nothing_is_levelled(head):
    scene = Scene((), (grow(head, "crew"),), WHITE)
    assert level_hair(scene, photograph(Label.FACE)) is scene


def test_sides_have_their_values_and_the_crown_their_mean():
    around = np.repeat(np.arange(8.0).reshape(4, 1, 2), len(HEIGHTS), 1)
    sides = HEAD_CENTRE + np.array([[[0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0], [0, 1, 0]]], np.float32)
    np.testing.assert_allclose(spread_around(sides, around)[0, :4], around[:, 0], atol=1e-5)
    np.testing.assert_allclose(spread_around(sides, around)[0, 4], around[:, 0].mean(0), atol=1e-5)
    nearly = HEAD_CENTRE + np.array([[[0.3, 0, 1], [-0.3, 0, 1]]], np.float32)
    np.testing.assert_allclose(spread_around(nearly, around)[0], around[[0, 0], 0], atol=1e-5)


def test_sides_turn_with_the_camera_and_what_hangs_low_has_one():
    around = np.repeat(np.arange(8.0).reshape(4, 1, 2), len(HEIGHTS), 1)
    sides = HEAD_CENTRE + np.array([[[1, 0, 1], [1, 0, -1], [-1, 0, -1], [-1, 0, 1]]], np.float32)
    np.testing.assert_allclose(spread_around(sides, around, np.pi / 4)[0], around[:, 0], atol=1e-5)
    low = sides - np.array([0, 2, 0], np.float32)
    np.testing.assert_allclose(spread_around(low, around, np.pi / 4)[0], around[:, 0], atol=1e-5)


def test_hair_behind_hair_and_on_the_other_side_is_not_shown(head):
    hair = grow(head, "afro_small")
    film = expose(Scene((), (hair,), WHITE), photograph(Label.HAIR), DRAFT).whole
    shown, depth = find_shown(hair.points, film, CAMERA), CAMERA.project(hair.points.reshape(-1, 3))[1]
    first = depth.reshape(shown.shape) < np.quantile(depth, 0.05)
    assert shown[first].mean() > 0.9
    assert shown[hair.points[..., 2] < -0.12].max() == 0


def test_shade_of_another_hue_tells_no_gloss():
    photo = photograph(Label.HAIR, (0.06, 0.03, 0.02))
    photo.radiance[: SIDE // 4] = 0.01, 0.004, 0.002  # shade that is deeper in the same hue
    assert find_gloss_of(photo) > 0.1
    photo.radiance[: SIDE // 4] = 0.003, 0.002, 0.011  # violet
    assert find_gloss_of(photo) == 0


def test_hair_that_is_too_fair_keeps_its_hue():
    fair = to_hair_albedo(np.array([[3.0, 2.5, 2.0], [0.4, 0.2, 0.1]]))
    assert fair.max() <= FAIR_HAIR[1]
    np.testing.assert_allclose(fair[0] / fair[0, 0], [1, 2.5 / 3, 2 / 3], rtol=1e-5)
    np.testing.assert_allclose(fair[1], [0.4, 0.2, 0.1], rtol=1e-6)


def test_fine_hairs_lie_on_the_nape_below_the_hairline(head):
    group = grow(head, "crew")
    hairs = grow_nape([group], head)[0]
    height = head.field.distance(hairs.points)
    assert -0.004 < height.min() < height.max() < 0.012
    assert hairs.points[:, 0, 2].max() < 0.06
    assert np.median(hairs.points[..., 1]) < np.quantile(group.points[:, 0, 1], 0.1)
    assert hairs.widths.max() < np.median(group.widths.max(1)) / 2
    assert grow_nape([], head) == []


def recede_at_temples(head: Head) -> tuple[Strands, F32]:
    """Return hair without what grows at the temples, and the roots of that."""
    group = grow(head, "crew")
    root = group.points[:, 0]
    temple = (root[:, 2] > 0.03) & (np.abs(root[:, 0]) > 0.08) & (root[:, 1] > 0.07)
    return take_strands(group, ~temple, group.points[~temple]), root[temple]


def test_hair_fills_the_temples_that_the_photo_shows_covered(head):
    rest, gone = recede_at_temples(head)
    bridge = bridge_gap([rest], head, photograph(Label.HAIR))[0]
    assert len(bridge.points) > 50
    assert np.abs(head.field.distance(bridge.points[:, 0])).max() < 0.01
    assert (KDTree(gone).query(bridge.points[:, 0])[0] < 0.02).mean() > 0.5
    tips = KDTree(rest.points[:, -1]).query(bridge.points[:, -1])[0]
    assert np.median(tips) < 0.003  # they join the hair that is there


def test_no_hair_grows_at_temples_that_the_photo_shows_bare(head):
    rest, _ = recede_at_temples(head)
    assert bridge_gap([rest], head, photograph(Label.FACE)) == []


@pytest.mark.parametrize(("shown", "moves"), [(0.05, False), (0.26, True)])
def test_tied_hair_is_wavy_only_where_the_photo_shows_curls(head, shown, moves):
    group = grow(head, "low_bun")
    curled = curl_tied(group, head, shown)
    assert (curled is not group) == moves
    if moves:
        ways = [np.linalg.norm(np.diff(g.points, axis=1), axis=2).sum(1).mean() for g in (group, curled)]
        assert ways[1] > 1.05 * ways[0]
        assert np.abs(curled.points[:, 0] - group.points[:, 0]).max() < 0.012
        assert curled.points.shape[:2] == curled.widths.shape == curled.albedo.shape[:2]


def test_closed_locks_of_stone_cover_more(head):
    group, areas = grow(head, "long"), []
    for closed in (False, True):
        (mesh,) = carve([group], np.random.default_rng(0), closed=closed)
        a, b, c = (mesh.vertices[column] for column in mesh.triangles.T)
        areas.append(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
    assert areas[1] > 1.5 * areas[0]


@pytest.mark.parametrize("style", ["space_buns", "buzz"])
def test_hair_of_stone_is_a_closed_shell_with_grooves_and_smooth_buns(head, style):
    found = find_style(style)
    hair = make_hair(head, HeadParameters(hair=Hair(style=style)), np.random.default_rng(0), found)
    solids, leaving = carve_shell(head, hair, np.random.default_rng(0))
    assert not leaving and len(solids) >= 1 + len(found.ties)
    shell = solids[0]
    scalp = head.body[hair.tint > 0.9]
    away, nearest = KDTree(shell.vertices).query(scalp)
    out = ((shell.vertices[nearest] - scalp) * head.normals[hair.tint > 0.9]).sum(1)
    assert away.max() < 0.07 and (out > 0.002).mean() > 0.95  # no scalp shines through
    fold = np.abs((unit(shell.normals) * unit(shell.vertices - shell.vertices.mean(0))).sum(1))
    assert (shell.albedo.std() > 0.02) == (style != "buzz") and fold.std() > 0.05  # stubble has no locks
    for bun in [mesh for mesh in solids[1:] if mesh.part[0] == Part.HAIR]:
        reach = np.linalg.norm(bun.vertices - bun.vertices.mean(0), axis=1)
        assert np.ptp(reach) < 0.08 * reach.mean()
        assert ((bun.vertices - bun.vertices.mean(0)) * bun.normals).sum(1).min() > 0


def test_hair_of_stone_that_leaves_the_head_keeps_its_locks(head):
    hair = make_hair(head, HeadParameters(hair=Hair(style="long")), np.random.default_rng(0), find_style("long"))
    solids, leaving = carve_shell(head, hair, np.random.default_rng(0))
    assert len(solids) == 1 and sum(len(group.points) for group in leaving) > 100


def test_no_hair_of_stone_stands_on_end(head):
    hair = make_hair(head, HeadParameters(hair=Hair(style="long")), np.random.default_rng(0), find_style("long"))
    _, hanging = carve_shell(head, hair, np.random.default_rng(0))
    up = [
        replace(
            g,
            points=g.points * np.array([1, 0, 1], np.float32)
            + (2 * g.points[:, :1] - g.points) * np.array([0, 1, 0], np.float32),
        )
        for g in hair.strands
    ]
    _, standing = carve_shell(head, replace(hair, strands=up), np.random.default_rng(0))
    assert sum(len(g.points) for g in standing) < 0.02 * sum(len(g.points) for g in hanging)


def test_hair_that_parts_over_a_shoulder_also_lies_on_it(head):
    hair, right = grow(head, "long"), np.array([1.0, 0.0, 0.0])
    open_, closed = (drape(hair, head, (True, True), right, between=share) for share in (0.0, 0.5))
    count = len(hair.points)
    assert len(open_.points) == count
    np.testing.assert_array_equal(closed.points[:count], open_.points)
    fallen = closed.points[count:]
    assert 20 < len(fallen) < count / 2
    height = head.field.distance(fallen[fallen[..., 1] < -0.32])
    assert height.min() > -0.004 and np.median(height) < 0.03  # neither in the shoulders nor in the air
    lengths, whole = (np.linalg.norm(np.diff(p, axis=1), axis=2).sum(1) for p in (fallen, hair.points))
    assert np.median(lengths) > 0.9 * np.median(whole)  # they go on over it
    along = np.linalg.norm(np.diff(fallen, axis=1), axis=2)
    assert along.max() < 1.5 * np.linalg.norm(np.diff(hair.points, axis=1), axis=2).max()  # and are nowhere torn
