"""Patterns that go on, edges of cloth and their shadow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.clothes.neck_shade import REACH, shade_neck
from portrait360.pipeline.avatar.clothes.pattern import (
    count_apart,
    find_clean_cloth,
    find_cut,
    find_shown_cloth,
    lay_pattern,
    make_pattern,
    quilt,
)
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.meshes import make_mesh
from portrait360.synth.sampling.parameters import Clothes, HeadParameters
from portrait360.synth.scene import Material, Part
from portrait360.synth.wear.clothes import make_clothes
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

CAMERA, SIDE = Camera(look_at(0, 0), FOCAL), 256


def photograph_cloth(radiance: np.ndarray) -> tuple[Photo, np.ndarray]:
    """Return a photo of a flat cloth all over it, and its depth."""
    ones, none = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    labels = np.full((SIDE, SIDE), int(Label.CLOTHES), np.uint8)
    return Photo(radiance, radiance, ones, ones, labels, ones, none, CAMERA), CAMERA.radius * ones


def draw_dots(period: float) -> np.ndarray:
    y, x = np.indices((SIDE, SIDE))
    dots = np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period) > 0.3
    return np.where(dots[..., None], [0.05, 0.05, 0.1], [0.6, 0.5, 0.4]).astype(np.float32)


def test_a_print_goes_on_at_its_own_scale_with_its_own_colours():
    pattern = make_pattern(*photograph_cloth(draw_dots(12.0)))
    assert pattern is not None
    power = np.abs(np.fft.rfft(pattern.tile.mean(-1) - pattern.tile.mean(), axis=1)).mean(0)
    frequency = power.argmax() / len(pattern.tile)
    assert frequency == pytest.approx(1 / 12, rel=0.12)
    true = np.log(draw_dots(12.0) + 0.03)
    np.testing.assert_allclose(pattern.tile.std((0, 1)), true.std((0, 1)), rtol=0.25)


def test_folds_are_no_print():
    x = np.indices((SIDE, SIDE))[1] / SIDE
    folds = 0.3 * np.exp(0.6 * np.sin(2 * np.pi * (2 * x + 1.5 * x * x)))
    pattern = make_pattern(*photograph_cloth(np.repeat(folds[..., None], 3, -1).astype(np.float32)))
    assert pattern is None or np.abs(pattern.tile).max() < 0.05


def test_a_check_of_uneven_strength_is_neither_print_nor_weave():
    y, x = np.indices((SIDE, SIDE)) // 4
    check = np.exp(np.linspace(0.5, 1.6, SIDE) * ((x + y) % 2))
    assert make_pattern(*photograph_cloth(np.repeat(0.1 * check[..., None], 3, -1).astype(np.float32))) is None


def test_a_buttonhole_that_all_patches_of_a_place_show_is_no_print():
    rng = np.random.default_rng(0)
    cloth = 0.3 * np.exp(0.02 * rng.normal(size=(SIDE, SIDE, 1))) * np.ones(3)
    cloth[96:100, 100:120] = 0.02
    photo, depth = photograph_cloth(cloth.astype(np.float32))
    labels = np.full_like(photo.labels, int(Label.OBJECT))
    labels[75:125, 85:135] = Label.CLOTHES  # hardly more than one patch
    few = make_pattern(replace(photo, labels=labels), depth)
    assert few is None or np.abs(few.tile).max() < 0.2


@pytest.mark.parametrize(("rows", "columns", "apart"), [((0, 1), (0, 1), 1.0), ((0, 30), (0, 15), 3.0)])
def test_patches_that_lie_over_one_another_are_one_place(rows, columns, apart):
    row, column = (a.ravel() for a in np.meshgrid(np.arange(*rows), np.arange(*columns), indexing="ij"))
    assert count_apart(np.stack([row, column], 1), 30) == pytest.approx(apart, rel=0.05)


def test_stripes_around_the_body_are_no_print():
    """The colours of the garment hold them, at their own heights."""
    y = np.indices((SIDE, SIDE))[0]
    stripes = np.where((y % 14 < 7)[..., None], [0.05, 0.05, 0.1], [0.6, 0.5, 0.4]).astype(np.float32)
    assert make_pattern(*photograph_cloth(stripes)) is None
    assert make_pattern(*photograph_cloth(np.ascontiguousarray(stripes.transpose(1, 0, 2)))) is not None


def test_skin_in_a_gap_beneath_a_collar_is_no_pattern_of_the_cloth():
    rng = np.random.default_rng(0)
    cloth = np.array([0.05, 0.3, 0.35]) * np.exp(0.02 * rng.normal(size=(SIDE, SIDE, 1)))
    cloth[:60] = cloth[80:86] = [0.7, 0.4, 0.25]
    photo, depth = photograph_cloth(cloth.astype(np.float32))
    labels = photo.labels.copy()
    labels[:60] = Label.FACE
    sure = find_clean_cloth(replace(photo, labels=labels), depth)
    assert not sure[80:86].any()
    assert sure[100:-5, :60].all()
    dots = cloth.copy()
    dots[60:][draw_dots(12.0)[60:, :, 0] > 0.3] = [0.7, 0.4, 0.25]  # what all of the cloth has is its print
    dotted = find_clean_cloth(replace(photo, labels=labels, rgb=dots.astype(np.float32)), depth)
    assert dotted[100:-5, :60].all() and dotted[66:76, 5:60].mean() > 0.9


def test_no_cloth_no_pattern():
    photo, depth = photograph_cloth(draw_dots(12.0))
    bare = replace(photo, labels=np.full((SIDE, SIDE), int(Label.FACE), np.uint8))
    assert make_pattern(bare, depth) is None


def test_a_tile_goes_over_into_itself():
    rng = np.random.default_rng(0)
    picture = np.cumsum(np.cumsum(rng.normal(size=(120, 120, 3)), 0), 1).astype(np.float32)
    places = np.argwhere(np.ones((88, 88)))
    tile = quilt(picture, places, 32)
    within = np.abs(np.diff(tile, axis=0)).mean()
    across = np.abs(tile[0] - tile[-1]).mean()
    assert across < 3 * within


def test_a_cut_runs_where_there_is_no_difference():
    error = np.ones((20, 8))
    line = 3 + np.round(np.sin(np.arange(20) / 3)).astype(int)
    error[np.arange(20), line] = 0
    share = find_cut(error, 12)
    assert (share.argmax(1) == line).all() and set(np.unique(share)) == {0.0, 1.0}


def test_no_pattern_is_laid_over_what_the_photo_shows():
    photo, depth = photograph_cloth(draw_dots(12.0))
    points = CAMERA.unproject(pixel_centres(8, 8), np.full((8, 8), CAMERA.radius)).reshape(-1, 3)
    inner = (np.abs(points[:, :2]) < 0.25).all(1)
    towards = np.tile([0.0, 0.0, 1.0], (64, 1))
    assert find_shown_cloth(photo, points, towards, np.zeros(64))[inner].min() > 0.95
    assert find_shown_cloth(photo, points, -towards, np.zeros(64)).max() == 0
    assert find_shown_cloth(photo, points, towards, np.full(64, 0.1)).max() == 0
    pattern = make_pattern(photo, depth)
    assert pattern is not None
    assert np.ptp(lay_pattern(pattern, points, towards, 1.0)) > 0.5


def test_a_neckline_has_a_band_that_stands_off_the_skin(head):
    heights = tuple([-0.75] * 120)
    garment, band = make_clothes(head, HeadParameters(), heights)[0]
    off = head.field.distance(band.vertices) / HEAD_HEIGHT
    assert off.min() < 0.01 and 0.012 < off.max() < 0.029  # no tube
    assert band.vertices[:, 1].max() > garment.vertices[:, 1].max()
    rows = band.vertices.reshape(-1, 240, 3)
    assert np.linalg.norm(rows - np.roll(rows, 1, 1), axis=-1).max() < 0.03  # it closes, and nowhere jumps


def test_a_collar_rises_and_falls_at_the_nape_and_ends_before_the_front(head):
    person = HeadParameters(clothes=Clothes(collar="shirt"))
    _, collar = make_clothes(head, person, tuple([-0.68] * 120))[0]
    rows = collar.vertices.reshape(-1, 240, 3) / HEAD_HEIGHT
    nape, front = rows[:, rows[0, :, 2].argmin()], rows[:, rows[0, :, 2].argmax()]
    assert nape[:, 1].max() - nape[0, 1] > 0.04 and nape[:, 1].max() - nape[:, 1].min() > 0.1
    assert np.ptp(front, axis=0).max() < 0.02


def test_only_skin_beside_cloth_is_darker():
    y = np.linspace(0, 0.1, 50, dtype=np.float32)
    points, triangle = np.stack([0 * y, y, 0 * y], 1), np.array([[0, 1, 2]])
    skin = make_mesh(points, triangle, 0.5, Material.SKIN, Part.SKIN, normals=points)
    cloth = make_mesh(points[:3] - [0, 0.001, 0], triangle, 0.5, Material.CLOTH, Part.CLOTHES, normals=points[:3])
    shaded, same = shade_neck([skin, cloth])
    assert same is cloth and (np.diff(shaded.albedo[:, 0]) >= -1e-6).all()
    assert shaded.albedo[0].max() < 0.35 and (np.abs(shaded.albedo[y > 3.5 * REACH] - 0.5) < 1e-3).all()
