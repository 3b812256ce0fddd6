"""Ears of an avatar: their folds, the light that reaches these, their colour, and the hair around them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.ears import clear_ears
from portrait360.pipeline.avatar.photo.beneath_ears import find_beneath_ears
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.colours import calm_and_even
from portrait360.pipeline.avatar.skin.ear_colours import find_ears, redden_ears, shade_ears
from portrait360.pipeline.avatar.skin.mesh import find_features
from portrait360.pipeline.avatar.view.ears import keep_ears
from portrait360.pipeline.avatar.view.relief_trust import find_clear_skin
from portrait360.pipeline.avatar.worn.tucked_ears import POKE, tuck_ears
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.ear_folds import find_fold_heights, fold_ears
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.bake import PORTRAIT, BakeQuality, prepare_scene
from portrait360.synth.render.ear_occlusion import open_ears
from portrait360.synth.render.mesh_buffers import AMBIENT, flatten
from portrait360.synth.scene import Material, Mesh, Part, Scene
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE, ball, quad, strands

SIDE = 128
CAMERA = Camera(look_at(0, 0, radius=2.7), FOCAL)


def bare_skin(head) -> Mesh:
    """Return the skin of a head of which only ears and face have labels."""
    grey = np.full_like(head.body, 0.5)
    ears = (head.mask("ears") > 0.35)[head.triangles].all(1)
    material, part = (np.full(len(head.triangles), kind, np.uint8) for kind in (Material.SKIN, Part.SKIN))
    solid = np.ones(len(head.body), np.float32)
    mesh = Mesh(head.body, head.triangles, grey, material, part, solid, head.rest)
    return replace(mesh, normals=head.normals, labels=np.where(ears, Label.EAR, Label.FACE).astype(np.uint8))


def photograph(label: Label) -> Photo:
    rgb = np.full((SIDE, SIDE, 3), 0.2, np.float32)
    one, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, rgb, one, one, np.full((SIDE, SIDE), label, np.uint8), one, flow, CAMERA)


def comb_over_ear(head, count: int = 200):
    """Return strands that lie over the left ear from front to back."""
    rows = (head.mask("ears") > 0.35) & (head.rest[:, 0] > 0)
    low, high = head.body[rows].min(0), head.body[rows].max(0)
    t = np.linspace(0, 1, 12)
    height = np.linspace(0.1, 0.95, count)[:, None]
    z = np.tile(high[2] + 0.03 + (low[2] - high[2] - 0.06) * t, (count, 1))
    points = np.stack([np.full_like(z, high[0] + 0.004), low[1] + (high[1] - low[1]) * height + 0 * t, z], -1)
    return strands(points.astype(np.float32), 0.003, (0.2, 0.1, 0.05))


def before_ear(head, groups) -> int:
    """Return the number of points of strands beside the middle of the left ear."""
    rows = (head.mask("ears") > 0.35) & (head.rest[:, 0] > 0)
    centre, half = head.body[rows].mean(0), np.ptp(head.body[rows], axis=0) / 2
    points = np.concatenate([np.zeros((0, 3)), *(group.points.reshape(-1, 3) for group in groups)])
    inside = np.hypot(*((points - centre) / half)[:, 1:].T) < 0.7
    return int((inside & (points[:, 0] > centre[0])).sum())


def test_folds_move_the_outer_side_of_ears_and_nothing_else(head):
    folded = fold_ears(head)
    moved = np.linalg.norm(folded.body - head.body, axis=1)
    assert moved[head.mask("ears") == 0].max() == 0
    assert 0.003 < moved.max() < 0.012
    outward = (folded.body - head.body)[:, 0] * np.sign(head.rest[:, 0])
    assert outward.max() > 0.001  # rims
    assert outward.min() < -0.003  # hollows


@pytest.mark.parametrize("level", [1, 2])
def test_folds_of_both_ears_are_alike(level):
    rest, heights = load_average_head().fine[level], find_fold_heights(level)
    left, right = (np.sort(heights[rest[:, 0] * side > 0.25]) for side in (1, -1))
    np.testing.assert_allclose(left[:300], right[:300], atol=4e-4)
    np.testing.assert_allclose(left[-300:], right[-300:], atol=4e-4)


def test_folds_keep_off_light_and_the_rim_does_not(head):
    folded = fold_ears(head)
    surface, solid, _ = flatten((bare_skin(folded),))
    share, heights = open_ears(surface, solid, WHITE).mean(1), find_fold_heights(1)
    assert share.min() > 0
    assert share.max() <= 1
    assert np.median(share[heights < -0.008]) < 0.6 * np.median(share[heights > 0.004])
    np.testing.assert_array_equal(
        share[head.mask("ears") == 0][np.abs(head.rest[head.mask("ears") == 0, 0]) < 0.2], 1
    )


def test_the_skin_behind_an_ear_lies_in_its_shade(head):
    surface, solid, _ = flatten((bare_skin(head),))
    share, rest = open_ears(surface, solid, WHITE).mean(1), head.rest
    behind = (head.mask("ears") == 0) & (np.abs(rest[:, 0]) > 0.25) & (np.abs(rest[:, 1] + 0.1) < 0.06)
    near, far = behind & (rest[:, 2] > -0.09) & (rest[:, 2] < -0.04), behind & (rest[:, 2] < -0.2)
    assert share[near].mean() < 0.85
    assert share[far].min() > 0.99


def test_an_ear_without_folds_keeps_its_light():
    smooth = ball()
    smooth = replace(smooth, labels=np.full(len(smooth.triangles), Label.EAR, np.uint8))
    surface, solid, _ = flatten((smooth,))
    assert open_ears(surface, solid, WHITE).min() > 0.9


def test_a_portrait_has_that_shade_and_other_renders_have_none(head):
    scene = Scene((bare_skin(fold_ears(head)),), (), WHITE)
    plain, fine = (
        prepare_scene(scene, quality=quality).surface.values[:, AMBIENT]
        for quality in (replace(PORTRAIT, ears=False), PORTRAIT)
    )
    assert not BakeQuality().ears
    assert (fine <= plain + 1e-6).all()
    assert fine[find_fold_heights(1) < -0.008].mean() < 0.8 * plain[find_fold_heights(1) < -0.008].mean()


def test_ears_are_redder_than_the_face_and_most_so_at_their_rims():
    count = len(load_average_head().fine[1])
    tint, ears, heights = redden_ears(count), load_pack().mask("ears", 1), find_fold_heights(1)
    redness = tint[:, 0] - tint[:, 1:].mean(1)
    assert redness.min() > -1e-6
    assert redness[ears < 0.01].mean() < 1e-3
    rest = load_average_head().fine[1]
    inner = (ears > 0.9) & (rest[:, 2] < 0.02)
    assert redness[inner].min() > 0.08
    assert redness[inner & (heights > 0.005)].mean() > redness[inner & (np.abs(heights) < 0.001)].mean() + 0.04


def test_folds_of_ears_are_darker_in_their_own_colour_too_and_redder(head):
    gain, heights = shade_ears(bare_skin(fold_ears(head))), find_fold_heights(1)
    assert np.median(gain[heights < -0.008]) < np.median(gain[heights > 0.004]) - 0.2
    assert gain.max() <= 0
    assert (gain[:, 0] >= gain[:, 2]).all()
    np.testing.assert_array_equal(gain[np.abs(head.rest[:, 0]) < 0.2], 0)


def test_ears_take_the_broad_colour_of_the_photos_but_not_its_folds():
    count = len(load_average_head().fine[1])
    nothing, seen = np.zeros(count, np.float32), np.ones(count, np.float32)
    spots = np.where(np.arange(count) % 5 == 0, -0.4, 0.0)[:, None] * np.ones(3)
    out = calm_and_even(spots + (0.3, 0.1, 0.0), seen, nothing > 0, nothing, nothing)
    ears, cheeks = find_ears(count) > 0.9, find_features(count) > 0.9
    assert out[ears].std(0).max() < 0.3 * out[cheeks].std(0).max()
    assert (out[ears, 0] > out[ears, 2] + 0.1).all()


def test_an_ear_that_the_photo_saw_aslant_is_soon_all_the_layers():
    ears, place = np.zeros((64, 64), bool), np.ones((64, 64, 3))
    ears[20:40, 20:40] = True

    def keep(turn: float, angle: float, side: int = 1, *, painted: bool = False):
        photo = cast(Photo, SimpleNamespace(camera=Camera(look_at(turn, 0), FOCAL), painted=painted))
        return keep_ears(ears, photo, side * place, np.full((64, 64), angle))

    assert keep(0, 20)[30, 30] < 0.01
    assert keep(0, 20)[60, 60] == 1
    assert keep(0, 5).min() == 1
    assert keep(0, 20, painted=True).min() == 1
    assert keep(40, 30).min() == 1  # the left ear of a head that turns to its right
    assert keep(40, 30, -1).min() < 0.01


def test_hair_goes_round_an_ear_that_the_photo_shows_bare(head):
    comb = comb_over_ear(head)
    assert before_ear(head, [comb]) > 200
    left = clear_ears([comb], head, photograph(Label.EAR))
    assert before_ear(head, left) == 0
    assert sum(len(group.points) for group in left) > 100  # they begin before the ear


def test_short_hairs_fill_the_gaps_of_hair_that_goes_round_an_ear(head):
    comb = comb_over_ear(head)
    points = comb.points.copy()
    points[..., 1] += 0.6 * np.ptp(points[..., 1])
    off = head.field.distance(points)[..., None]
    comb = replace(comb, points=np.asarray(points + (0.008 - off) * head.field.gradient(points), np.float32))
    left = clear_ears([comb], head, photograph(Label.EAR))
    short = np.concatenate([group.points for group in left if group.points.shape[1] != comb.points.shape[1]])
    assert len(short) > 100
    assert before_ear(head, left) == 0
    assert 0 < head.field.distance(short).max() < 0.012
    stone = replace(comb, material=np.full_like(comb.material, Material.SKIN))
    assert len(clear_ears([stone], head, photograph(Label.EAR))) == 1


def test_hair_stays_over_an_ear_that_the_photo_shows_covered(head):
    comb = comb_over_ear(head)
    kept = clear_ears([comb], head, photograph(Label.HAIR))
    np.testing.assert_array_equal(kept[0].points, comb.points)


def test_a_face_beside_hair_that_hangs_is_no_ear(head):
    comb = comb_over_ear(head)
    assert before_ear(head, clear_ears([comb, grow(head, "long")], head, photograph(Label.FACE))) >= before_ear(
        head, [comb]
    )
    assert before_ear(head, clear_ears([comb], head, photograph(Label.FACE))) == 0


def test_a_few_strands_over_an_ear_are_no_cover(head):
    comb = comb_over_ear(head, 3)
    assert before_ear(head, clear_ears([comb], head, photograph(Label.HAIR))) == 0


def test_hair_far_from_ears_stays(head):
    group = grow(head, "crew")
    far = np.abs(group.points[..., 1] - 0.2).max(1) < 0.08
    crown = replace(group, points=group.points[far])
    kept = clear_ears([crown], head, photograph(Label.EAR))
    np.testing.assert_array_equal(kept[0].points, crown.points)


def test_hair_that_goes_round_an_ear_stays_over_the_skin(head):
    comb = comb_over_ear(head)
    points = comb.points.copy()
    points[..., 1] += 0.5 * (points[..., 1].max() - points[..., 1].min())  # it lies over ear and head
    points = head.field.push_out(points, 0.0)
    off = head.field.distance(points)[..., None]
    comb = replace(comb, points=np.asarray(points + (0.006 - off) * head.field.gradient(points), np.float32))
    left = clear_ears([comb], head, photograph(Label.EAR))
    assert min(head.field.distance(group.points).min() for group in left) > -0.001


def test_what_hangs_from_an_ear_is_not_the_skin_of_the_neck():
    labels = np.full((SIDE, SIDE), Label.SKIN, np.uint8)
    labels[:40] = Label.FACE
    labels[30:50, 60:70] = Label.EAR
    photo = replace(photograph(Label.SKIN), labels=labels)
    beneath = find_beneath_ears(photo)
    assert beneath[60, 65] > 0.9  # where a pearl hangs
    assert beneath[60, 30] == 0
    assert beneath[100, 65] == 0
    assert beneath[20:35].max() == 0
    assert find_clear_skin(photo)[60, 65] < 0.1 < find_clear_skin(photo)[60, 30]
    assert find_beneath_ears(photograph(Label.SKIN)).max() == 0


@pytest.mark.parametrize("poke", [0.5 * POKE, 2 * POKE])
def test_an_ear_pokes_through_no_cloth_unless_it_is_worn_outside(head, poke):
    skin, rows = bare_skin(head), (head.mask("ears") > 0) & (head.rest[:, 0] > 0)
    x, (_, y, _) = head.body[rows, 0].max() - poke, head.body[rows].mean(0)
    cloth = quad(-1.0, 1.0)
    points = np.stack([np.full(4, x), cloth.vertices[:, 1] + y + 1.0, cloth.vertices[:, 0]], -1)  # its upper half
    hat = replace(cloth, vertices=points.astype(np.float32), labels=np.full(2, Label.HAT, np.uint8))
    tucked = tuck_ears([skin, hat], head)[0].vertices
    covered, below = rows & (head.body[:, 1] > y + 0.003), ~rows | (head.body[:, 1] < y - 0.003)
    assert head.body[covered, 0].max() > x
    assert (tucked[covered, 0].max() < x) == (poke < POKE)
    np.testing.assert_array_equal(tucked[below], head.body[below])
    assert tuck_ears([skin], head)[0] is skin
