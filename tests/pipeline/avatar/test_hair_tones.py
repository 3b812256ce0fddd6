"""What a photo tells of the colour of hair: not its rim, not its shade, and all that it shows of roots and ends."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.detail import lay_detail, read_detail
from portrait360.pipeline.avatar.hair.level import level_hair, measure_locks
from portrait360.pipeline.avatar.hair.roots import find_root_shade
from portrait360.pipeline.avatar.hair.strand_colours import ShownHair, bake_strands, strand_ratio
from portrait360.pipeline.avatar.hair.tone import warm_shade
from portrait360.pipeline.avatar.hair.trusted import find_trusted_hair, trust_rim
from portrait360.pipeline.avatar.photo.exposure import expose
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.render.bake import DRAFT
from portrait360.synth.scene import Part, Scene
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

SIDE = 256
CAMERA = Camera(look_at(0, 0, radius=2.7), FOCAL)


def photograph(light: Floats, labels: Floats) -> Photo:
    """Return a photo of grey things, as bright as this (s, s), with these labels."""
    rgb, one = np.repeat(light[..., None], 3, -1).astype(np.float32), np.ones((SIDE, SIDE), np.float32)
    alpha = (labels != Label.BACKGROUND).astype(np.float32)
    return Photo(rgb, rgb, alpha, one, labels.astype(np.uint8), one, np.zeros((SIDE, SIDE, 2), np.float32), CAMERA)


def frame_hair(rim: float, light: float = 0.05, width: int = 3) -> Photo:
    """Return a photo of a disc of hair, whose outermost pixels are as bright as `rim`."""
    disc = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(disc, (SIDE // 2, SIDE // 2), 40, 1, -1)
    inner = cv2.erode(disc, np.ones((2 * width + 1, 2 * width + 1), np.uint8))
    return photograph(np.where(inner > 0, light, rim), np.where(disc > 0, Label.HAIR, Label.BACKGROUND))


def hang(lengths: Floats) -> F32:
    """Return strands that hang from one height, of these lengths."""
    roots = np.stack([np.linspace(-0.1, 0.1, len(lengths)), np.full(len(lengths), 0.2), np.zeros(len(lengths))], -1)
    way = lengths[:, None] * np.linspace(0, 1, 41)
    return (roots[:, None] - way[..., None] * np.array([0, 1, 0])).astype(np.float32)


def test_the_rim_of_hair_is_not_trusted():
    photo = frame_hair(rim=0.8)
    trusted = find_trusted_hair(photo)
    assert trusted.any() and photo.radiance[trusted].max() < 0.1
    rim = trust_rim(photo)
    assert rim[SIDE // 2, SIDE // 2] == 1 and rim[photo.shows(Label.HAIR)].min() < 0.3


def test_thin_hair_is_trusted_where_it_is_thickest():
    labels = np.full((SIDE, SIDE), Label.BACKGROUND)
    labels[100:108] = Label.HAIR
    trusted = find_trusted_hair(photograph(np.full((SIDE, SIDE), 0.1), labels))
    assert trusted[103:105].any() and not trusted[[100, 107]].any()


@pytest.mark.parametrize("rim", [0.005, 0.8])
def test_no_rim_of_the_photo_changes_how_light_hair_is_behind(head, rim):
    hair = grow(head, "afro_small")
    hair = replace(hair, albedo=np.full_like(hair.albedo, 0.1))
    plain, rimmed = (
        level_hair(Scene((), (hair,), WHITE), frame_hair(light)).strands[0].albedo[hair.points[..., 2] < -0.1]
        for light in (0.05, rim)
    )
    np.testing.assert_allclose(rimmed.mean(), plain.mean(), rtol=0.03)


def test_hair_that_gets_lighter_towards_its_ends_has_dark_roots_and_other_hair_has_none():
    points = hang(np.full(300, 0.6))
    way = np.linspace(0, 0.6, 41)
    weight, light = np.ones(points.shape[:2]), np.where(way < 0.12, -0.9, 0.0) + np.zeros((300, 41))
    shade = find_root_shade(points, weight, np.repeat(light[..., None], 3, -1))[..., 0]
    assert shade[:, 1].max() < -0.6 and shade[:, way > 0.3].min() > -0.05
    assert (np.diff(shade, axis=1) >= -1e-6).all()
    for other in (-light, 0 * light, 0.1 * light):
        assert np.abs(find_root_shade(points, weight, np.repeat(other[..., None], 3, -1))).max() < 1e-6
    short = hang(np.full(300, 0.12))
    assert np.abs(find_root_shade(short, weight, np.repeat(light[..., None], 3, -1))).max() < 1e-6


def test_hair_behind_has_the_dark_roots_that_the_photo_shows_before(head):
    hair = grow(head, "long")
    hair = replace(hair, albedo=np.full_like(hair.albedo, 0.3))
    photo = photograph(np.full((SIDE, SIDE), 0.3), np.full((SIDE, SIDE), Label.HAIR))
    view = expose(Scene((), (hair,), WHITE), photo, DRAFT)
    way = np.linalg.norm(np.diff(hair.points, axis=1, prepend=hair.points[:, :1]), axis=-1).cumsum(1)
    uv = CAMERA.project(hair.points.reshape(-1, 3))[0]
    behind, dark = hair.points[..., 2] < -0.03, []
    for darkness in (0.0, 1.2):
        ratio = np.zeros((SIDE, SIDE, 3), np.float32)
        shaded = uv[(way < 0.1).ravel() & (hair.points[..., 2] > 0.03).ravel()]
        row, column = np.clip((SIDE * shaded[:, ::-1]).astype(int), 0, SIDE - 1).T
        ratio[row, column] = -darkness
        soft = np.asarray(cv2.GaussianBlur(ratio, (0, 0), 1.0), np.float32)
        shown = ShownHair(np.ones((SIDE, SIDE), np.float32), soft, None)
        light = np.log(bake_strands(hair, view, shown).albedo).mean(-1)
        dark.append(light[behind & (way > 0.3)].mean() - light[behind & (way < 0.06)].mean())
    assert dark[1] > dark[0] + 0.2


def test_no_shade_is_cooler_than_lit_hair_and_blue_hair_stays_blue():
    red, blue = np.array([0.4, 0.0, -0.4]), np.array([-0.3, 0.0, 0.5])
    strength = np.array([-0.2, 0.0, 0.4, 0.6, 1.0, 0.7, 0.5])  # veiled in the shade, and pale where it gleams
    warmed = warm_shade(strength[:, None] * red)
    np.testing.assert_allclose(warmed[:4], np.tile(red, (4, 1)))
    np.testing.assert_array_equal(warmed[4:], strength[4:, None] * red)
    deep = np.linspace(1.5, 0.5, 7)[:, None]  # shade that deepens the hue stays
    for hue in (red, blue):
        np.testing.assert_array_equal(warm_shade(deep * hue), deep * hue)


def test_brown_hair_is_not_violet_in_the_shade_and_violet_hair_stays_violet():
    green = np.array([-0.5, -0.4, -0.35, -0.3, -0.2, 0.0, 0.2])  # against red and blue
    red = 1.1 - green  # against blue, all are as warm
    hues = np.stack([red, np.zeros(7), -green], 1)
    warmed = warm_shade(hues.copy())
    assert (warmed[:, 1] - warmed[:, 2]).min() >= 0.16 - 1e-9
    np.testing.assert_allclose(warmed[:, 0] - warmed[:, 1], hues[:, 0] - hues[:, 1], atol=1e-9)
    violet = hues + 0.25 * np.array([0, 0, 1])
    np.testing.assert_allclose(warm_shade(violet.copy()), violet, atol=1e-9)


def test_a_dark_moustache_stays_dark_and_the_light_on_a_beard_is_taken_off():
    labels, everywhere = np.full((SIDE, SIDE), Label.BEARD), np.ones((SIDE, SIDE), np.float32)
    upper = np.arange(SIDE)[:, None] < SIDE // 2
    kept = []
    for step in (0.2, 1.8):
        photo = photograph(np.where(upper, 0.5 * np.exp(-step), 0.5) + np.zeros((SIDE, SIDE)), labels)
        view = expose(Scene((), (), WHITE), photo, DRAFT)
        even = view.whole._replace(radiance=np.full((SIDE, SIDE, 3), 0.2, np.float32))
        ratio = strand_ratio(replace(view, whole=even), everywhere, Part.BEARD).mean(-1)
        kept.append((ratio[-60:].mean() - ratio[:60].mean()) / step)
    assert kept[0] < 0.5 and kept[1] > 0.7


def test_gold_beads_do_not_make_black_hair_olive():
    black = np.zeros((7, 3))
    black[-1] = 0.2, 0.0, -0.8  # the brightest pixels
    np.testing.assert_array_equal(warm_shade(black), black)


def make_stripes(period: int, low: float) -> Floats:
    return np.broadcast_to(np.where(np.arange(SIDE) % period < period // 2, 0.3, 0.3 * low), (SIDE, SIDE)).copy()


def test_black_gaps_in_deep_shade_make_no_locks():
    points = hang(np.linspace(0.4, 0.5, 600))
    lit = make_stripes(8, 0.7)
    shaded = lit.copy()
    shaded[: int(0.4 * SIDE)] *= 0.1
    shaded[: int(0.4 * SIDE), ::16] *= 0.02
    everywhere = np.ones((SIDE, SIDE), np.bool_)
    spreads = []
    for light in (lit, shaded):
        example = read_detail(photograph(light, np.full((SIDE, SIDE), Label.HAIR)), everywhere)
        assert example is not None
        spreads.append(lay_detail(points, example).std())
    assert spreads[1] == pytest.approx(spreads[0], rel=0.15)


def test_dark_and_light_locks_are_measured_apart():
    picture = np.full((SIDE, SIDE, 3), 0.2, np.float32)
    everywhere = np.ones((SIDE, SIDE), np.bool_)
    few = np.random.default_rng(2).choice(SIDE, SIDE // 10, replace=False)
    picture[:, few] = 0.6
    found = measure_locks(picture, everywhere)
    assert found is not None
    dark, light = found[0]
    assert light > 2 * dark > 0
    picture[:, few] = 0.02
    found = measure_locks(picture, everywhere)
    assert found is not None
    dark, light = found[0]
    assert dark > 2 * light > 0


def test_locks_behind_differ_no_more_than_those_of_the_photo(head):
    hair = grow(head, "bob")
    light = np.where(np.floor(hair.points[:, :1, :1] / 0.03) % 2 > 0, 1.7, 0.6).astype(np.float32)
    hair = replace(hair, albedo=np.full_like(hair.albedo, 0.1) * light)
    behind, spreads = hair.points[:, 0, 2] < -0.1, []
    for low in (1.0, 0.1):
        photo = photograph(make_stripes(24, low), np.full((SIDE, SIDE), Label.HAIR))
        albedo = level_hair(Scene((), (hair,), WHITE), photo).strands[0].albedo
        spreads.append(float(np.log(albedo[behind, :4].mean((1, 2))).std()))
    own = float(np.log(hair.albedo[behind, :4].mean((1, 2))).std())
    assert spreads[0] < 0.85 * own and spreads[0] < 0.9 * spreads[1]
