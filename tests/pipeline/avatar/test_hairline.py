"""The hairline of an avatar: fine hairs, a fringe where the photo shows one, and no colour but hair's and skin's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.avatar.hair.cover import cover_skin
from portrait360.pipeline.avatar.hair.evening import even_groups
from portrait360.pipeline.avatar.hair.line import measure_from_line, soften_line
from portrait360.pipeline.avatar.hair.line_hairs import grow_line_hairs
from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.pipeline.avatar.hair.stains import find_clear_hair, find_dense_strands
from portrait360.pipeline.avatar.photo.exposure import View
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.compositing import Film
from portrait360.synth.scene import Material, Strands
from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL

SIDE = 192
CAMERA = Camera(look_at(0, 0, radius=2.7), FOCAL)
CROWN, RADIUS = np.array([0.0, 0.24, -0.02], np.float32), 0.09


def photograph(labels: Bytes, radiance: F32) -> Photo:
    one, flow = np.ones(labels.shape, np.float32), np.zeros((*labels.shape, 2), np.float32)
    return Photo(radiance, radiance, one, one, labels, one, flow, CAMERA)


def colour(group: Strands, albedo: tuple[float, float, float]) -> Strands:
    return replace(group, albedo=np.broadcast_to(np.array(albedo, np.float32), group.points.shape).copy())


def take(group: Strands, keep: np.ndarray) -> Strands:
    return take_strands(group, keep, group.points[keep])


@pytest.fixture(scope="module")
def cap(head) -> Strands:
    """Hair that grows within a circle on the crown, twice as dense on its left."""
    group = grow(head, "crew")
    near = np.linalg.norm(group.points[:, 0] - CROWN, axis=1) < RADIUS
    sparse = (group.points[:, 0, 0] > 0) & (np.arange(len(near)) % 2 > 0)
    return take(group, near & ~sparse)


def test_the_distance_from_the_hairline_does_not_depend_on_density(head, cap):
    roots = cap.points[:, 0]
    inside = RADIUS - np.linalg.norm(roots - CROWN, axis=1)
    found = measure_from_line(roots, head)
    assert np.median(found[inside < 0.004]) < 0.006
    deep = inside > 0.06
    for half in (roots[:, 0] < 0, roots[:, 0] > 0):
        assert np.quantile(found[deep & half], 0.1) > 0.03


def test_few_roots_are_all_at_the_hairline(head, cap):
    assert not measure_from_line(cap.points[:20, 0], head).any()


def test_strands_are_fine_at_the_hairline_alone(head, cap):
    cap = replace(cap, widths=np.full_like(cap.widths, 0.003))
    soft = soften_line([cap], head)[0]
    away = measure_from_line(cap.points[:, 0], head)
    assert soft.widths[away == 0, 0].max() < 0.4 * 0.003
    np.testing.assert_array_equal(soft.widths[away > 0.02], cap.widths[away > 0.02])
    assert soft.widths.max() <= 0.0030001
    assert (np.diff(soft.widths[away == 0], axis=1) >= 0).all()


def test_hair_drawn_back_leaves_the_skin_finer_still(head, cap):
    loose, drawn = (soften_line([cap], head, drawn=is_drawn)[0].widths for is_drawn in (False, True))
    line = measure_from_line(cap.points[:, 0], head) < 0.004
    assert drawn[line, 0].mean() < 0.6 * loose[line, 0].mean()
    inner = measure_from_line(cap.points[:, 0], head) > 0.02
    np.testing.assert_array_equal(drawn[inner], loose[inner])


def test_fine_hairs_lie_on_the_skin_along_the_hairline(head, cap):
    hairs = grow_line_hairs([cap], head)[0]
    height = head.field.distance(hairs.points)
    assert -0.004 < height.min() < height.max() < 0.012
    assert (np.abs(np.linalg.norm(hairs.points[:, 0] - CROWN, axis=1) - RADIUS) < 0.025).mean() > 0.95
    assert hairs.widths.max() < 0.0012
    assert grow_line_hairs([], head) == []


def cover_ring(hairs: Strands, inner: float, outer: float) -> float:
    """Return the area of hairs over that of the skin in a ring around the cap, from so far to so far beyond it."""
    middle = (hairs.points[:, 1:] + hairs.points[:, :-1]) / 2
    beyond = np.linalg.norm(middle - CROWN, axis=2) - RADIUS
    area = np.linalg.norm(np.diff(hairs.points, axis=1), axis=2) * (hairs.widths[:, 1:] + hairs.widths[:, :-1]) / 2
    inside = (beyond > inner) & (beyond < outer)
    return float((area * inside).sum() / (np.pi * ((RADIUS + outer) ** 2 - (RADIUS + inner) ** 2)))


def comb(cap: Strands, way: float) -> Strands:
    """Return the cap's strands, straight and lying down, from its middle outward or, with `way` -1, inward."""
    roots = cap.points[:, :1]
    out = (roots - CROWN) * np.array([1, 0, 1], np.float32)
    along = np.linspace(0, 0.03 * way, cap.points.shape[1], dtype=np.float32)[None, :, None]
    return replace(cap, points=roots + along * out / np.linalg.norm(out, axis=2, keepdims=True))


def test_skin_shows_between_fine_hairs_the_more_the_further_they_are_before_the_hairline(head, cap):
    hairs = grow_line_hairs([comb(cap, -1)], head)[0]
    near, far = cover_ring(hairs, 0.003, 0.009), cover_ring(hairs, 0.010, 0.016)
    assert 0.005 < far < 0.6 * near
    assert near < 0.7


def test_more_fine_hairs_grow_where_hair_ends_at_the_hairline_than_where_it_begins(head, cap):
    counts = [len(grow_line_hairs([comb(cap, way)], head)[0].points) for way in (1, -1)]
    assert counts[0] > 1.5 * counts[1]


def test_carved_hair_has_no_fine_hairs(head, cap):
    carved = replace(cap, material=np.full_like(cap.material, Material.STONE))
    assert grow_line_hairs([carved], head) == []


def test_a_lesser_group_takes_the_colour_of_the_hair_beside_it(head):
    group = colour(grow(head, "crew"), (0.05, 0.04, 0.03))
    front = group.points[:, 0, 2] > 0.08
    orange = colour(take(group, front), (0.3, 0.12, 0.05))
    main, even = even_groups([take(group, ~front), orange])
    np.testing.assert_array_equal(main.albedo, group.albedo[~front])
    near = even.points[:, 0, 2] < 0.09
    assert np.abs(np.log(even.albedo[near] / np.array([0.05, 0.04, 0.03]))).mean() < 0.6
    assert (even.albedo[near] < orange.albedo[near]).all()


def test_hair_far_from_all_other_keeps_its_colour(head):
    group = colour(grow(head, "crew"), (0.05, 0.04, 0.03))
    far = colour(replace(take(group, np.arange(len(group.points)) < 50)), (0.3, 0.1, 0.05))
    far = replace(far, points=far.points + np.array([0, 1, 0], np.float32))
    np.testing.assert_allclose(even_groups([group, far])[1].albedo, far.albedo, rtol=1e-4)


def make_fringe(hair: tuple[float, float, float]) -> tuple[Photo, np.ndarray]:
    """Return a photo with hair above skin, and the rows of a band of hair through which half of the skin shines."""
    y = np.arange(SIDE)
    skin, hair_colour = np.array([0.5, 0.3, 0.2], np.float32), np.array(hair, np.float32)
    share = np.select([y < 90, y < 96], [1.0, 0.4], 0.0)[:, None, None]
    radiance = np.broadcast_to(skin + share * (hair_colour - skin), (SIDE, SIDE, 3)).astype(np.float32)
    labels = np.broadcast_to(np.where(y < 96, Label.HAIR, Label.FACE)[:, None], (SIDE, SIDE)).astype(np.uint8)
    return photograph(labels, radiance), (y >= 90) & (y < 96)


def test_hair_through_which_skin_shines_does_not_tell_its_colour():
    photo, band = make_fringe((0.03, 0.02, 0.02))
    clear = find_clear_hair(photo)
    assert clear[band].max() < 0.2
    assert clear[:88].min() > 0.99


def test_hair_of_the_colour_of_skin_is_clear():
    photo, _ = make_fringe((0.45, 0.28, 0.2))
    assert find_clear_hair(photo).min() > 0.9


def test_strands_are_dense_where_they_hide_the_skin():
    x = np.linspace(0.02, 0.2, 400)
    top = np.stack([x, np.full(400, 0.2), np.full(400, 0.05)], -1)
    points = (top[:, None] - np.linspace(0, 0.4, 12)[None, :, None] * np.array([0, 1, 0])).astype(np.float32)
    group = Strands(
        points,
        np.full((400, 12), 0.002, np.float32),
        np.full(points.shape, 0.1, np.float32),
        np.full(400, 2, np.uint8),
        np.full(400, 2, np.uint8),
    )
    one, blank = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 3), np.float32)
    labels = np.full((SIDE, SIDE), Label.FACE, np.uint8)
    film = Film(blank, one, 2.7 * one, blank, labels, labels, blank[..., :2])
    dense = find_dense_strands([group], View(photograph(labels, blank), film, film))
    at = CAMERA.unproject(pixel_centres(SIDE, SIDE), 2.65 * one)
    inside = np.abs(at[..., 1]) < 0.15
    assert dense[inside & (at[..., 0] > 0.04) & (at[..., 0] < 0.18)].min() > 0.9
    assert dense[inside & (at[..., 0] < 0.0)].max() < 0.1


def lay_cover(head: Head, lies: bool, label: Label = Label.HAIR) -> list[Strands]:
    """Return what covers the forehead below hair that grows further back, in a photo without any flow of hair."""
    group = grow(head, "afro_small")
    labels, blank = np.full((SIDE, SIDE), label, np.uint8), np.zeros((SIDE, SIDE, 3), np.float32)
    return cover_skin([take(group, group.points[:, 0, 2] < 0.05)], head, photograph(labels, blank), lies=lies)


def test_a_fringe_lies_on_the_bare_skin_that_the_photo_shows_covered(head):
    cover = lay_cover(head, lies=True)[0]
    assert len(cover.points) > 200
    height = head.field.distance(cover.points)
    assert height.min() > -0.002 and np.quantile(height, 0.9995) < 0.03  # here even eyes are hair, and hollow
    length = np.linalg.norm(np.diff(cover.points, axis=1), axis=2).sum(1)
    assert np.quantile(length, 0.1) < 0.85 * np.quantile(length, 0.9)  # no hem like a cut's
    assert cover.widths[:, -1].max() < 0.5 * cover.widths.max()


def test_hair_laid_beside_a_parting_falls_away_from_it(head):
    """Walked up one side of a parting and down the other, strands would lie across each other."""
    group = grow(head, "afro_small")
    group = take(group, group.points[:, 0, 2] < 0.05)
    labels, blank = np.full((SIDE, SIDE), Label.HAIR, np.uint8), np.zeros((SIDE, SIDE, 3), np.float32)
    photo = photograph(labels, blank)
    side = np.where(np.arange(SIDE) < SIDE / 2, 1.0, -1.0) * np.radians(150.0)  # to the left, to the right; downwards
    photo.flow[:] = np.stack([np.cos(2 * side), np.sin(2 * side)], -1)
    points = cover_skin([group], head, photo, lies=True)[0].points
    x, _ = np.moveaxis(CAMERA.project(points.reshape(-1, 3))[0].reshape(*points.shape[:2], 2), -1, 0)
    outward = np.sign(x[:, 9:10] - 0.5) * np.diff(x[:, ::3])
    assert len(x) > 200 and (outward > 0).mean() > 0.95


def test_a_fringe_of_curls_is_as_thick_as_the_curls_beside_it(head):
    group, cover = grow(head, "afro_small"), lay_cover(head, lies=False)[0]
    assert np.abs(head.field.distance(cover.points[:, 0])).max() < 0.006
    thickness = np.median(head.field.distance(group.points).max(1))
    assert 0.6 * thickness < np.median(head.field.distance(cover.points).max(1)) < 1.4 * thickness


def test_no_fringe_grows_where_the_photo_shows_bare_skin(head):
    assert lay_cover(head, lies=False, label=Label.FACE) == []
