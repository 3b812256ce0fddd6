"""Beards of avatars: where a photo shows whiskers, and how they grow on the fitted head."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial import KDTree

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.beard.area import (
    correct_beard,
    find_rear,
    limit_beard,
    measure_evidence,
    measure_whiskers,
    shave,
    trace_skin,
)
from portrait360.pipeline.avatar.beard.colours import FAR, meet_hair
from portrait360.pipeline.avatar.beard.fit import (
    BURNS,
    HIDDEN,
    carry,
    find_jaw_rim,
    fit_growth,
    measure_reach,
    trim_whiskers,
)
from portrait360.pipeline.avatar.person import confirm_beard
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.build import build_person
from portrait360.synth.hair.beard_brows import (
    BeardGrowth,
    find_last_before_mouth,
    make_beard,
    measure_way_to_lips,
)
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.fitted_head import make_fitted_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.sampling.parameters import Facial, Hair, HeadParameters
from portrait360.synth.scene import Material, Part, Scene, Strands
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import read
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

CAMERA = Camera(look_at(0, 0), FOCAL)
SIDE = 384


@pytest.fixture(scope="module")
def head() -> Head:
    return make_fitted_head(np.zeros(60), np.zeros(52), level=1)


def photograph(head: Head, beard: str, length: float = 1.0) -> Photo:
    """Return a photo of a head with dark whiskers, and its true labels."""
    dark = (0.02, 0.015, 0.01)
    person = HeadParameters(
        hair=Hair(style="crew", colour=dark), facial=Facial(beard=beard, beard_length=length, beard_colour=dark)
    )
    geometry = build_person(head, person, np.random.default_rng(0))
    scene = Scene(tuple(geometry.meshes), tuple(s for s in geometry.strands if len(s.points)), WHITE)
    view = render(scene, CAMERA, SIDE)
    known = np.ones((SIDE, SIDE), np.float32)
    rgb = view.rgb.astype(np.float32)
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, srgb_to_radiance(rgb), view.alpha, known, view.labels, known, flow, CAMERA)


@pytest.fixture(scope="module")
def bearded(head: Head) -> Photo:
    return photograph(head, "short")


def grow(head: Head, growth: BeardGrowth) -> Strands:
    person = HeadParameters(facial=Facial(beard="short"))
    (strands,), _ = make_beard(head, person, np.random.default_rng(0), growth)
    return strands


def measure_length(strands: Strands) -> np.ndarray:
    return np.linalg.norm(np.diff(strands.points, axis=1), axis=2).sum(1)


def overlap(labels: np.ndarray, truth: np.ndarray) -> float:
    found, true = labels == Label.BEARD, truth == Label.BEARD
    return float((found & true).sum() / (found | true).sum())


def test_no_beard_grows_on_neck_ears_nose_and_brow():
    bare = [[0, -0.75, 0.15], [0.12, -0.62, 0.1], [0.2, -0.1, -0.05], [0, -0.1, 0.4], [0.1, 0.1, 0.3]]
    bare += [[0, -0.3, -0.3]]
    covered = [[0.0, -0.45, 0.36], [0.15, -0.38, 0.2], [0.19, -0.2, 0.1], [0.05, -0.23, 0.35]]
    assert limit_beard(np.array(bare, np.float32)).max() == 0
    assert limit_beard(np.array(covered, np.float32)).min() > 0.9


def test_shade_read_as_beard_is_called_neck_again_and_stubble_read_as_skin_is_called_beard(head, bearded):
    skin = trace_skin(head, bearded)
    y = skin.rest[..., 1]
    labels = bearded.labels.copy()
    labels[(labels == Label.SKIN) & skin.seen & (y > -0.68)] = Label.BEARD  # below the chin
    labels[(labels == Label.BEARD) & (y > -0.33) & (np.abs(skin.rest[..., 0]) > 0.1)] = Label.FACE  # on the cheeks
    wrong = replace(bearded, labels=labels)
    right = correct_beard(wrong, skin, measure_whiskers(skin, wrong))
    assert overlap(labels, bearded.labels) < 0.8
    assert overlap(right.labels, bearded.labels) > overlap(labels, bearded.labels) + 0.1
    below = bearded.shows(Label.SKIN) & skin.seen & (y < -0.58)
    assert (right.labels[below] == Label.BEARD).mean() < 0.1


def test_a_longer_beard_reaches_further(head, bearded):
    chin = np.argmin(np.linalg.norm(head.rest - [0, -0.49, 0.34], axis=1))
    short, long = (measure_reach(head, photo)[0][chin] for photo in (bearded, photograph(head, "full", 1.5)))
    assert short < 0.65 * long
    assert long > 0.03


def test_whiskers_root_where_they_are_shown_and_stay_near_the_skin(head, bearded):
    skin = trace_skin(head, bearded)
    growth = fit_growth(head, bearded, skin, measure_whiskers(skin, bearded))
    strands = trim_whiskers(grow(head, growth), head, bearded)
    nearest = np.linalg.norm(head.body[:, None] - strands.points[:200, 0], axis=2).argmin(0)
    assert (limit_beard(head.rest, BURNS)[nearest] > 0).all()
    assert head.rest[nearest, 1].min() > -0.62
    away = head.field.distance(strands.points).max(1) / HEAD_HEIGHT
    assert np.quantile(away, 0.99) < growth.reach.max() + growth.least
    uv, depth = bearded.camera.project(strands.points.reshape(-1, 3).astype(np.float64))
    x, y = (uv * SIDE).astype(int).T
    assert bearded.shows(Label.BEARD)[y, x].mean() > 0.5
    assert len(strands.points) > 1000


def test_a_side_that_looks_bare_has_the_beard_of_the_other(head, bearded):
    labels = bearded.labels.copy()
    half = np.s_[:, : SIDE // 2]
    labels[half] = np.where(labels[half] == Label.BEARD, Label.FACE, labels[half])
    rgb = bearded.rgb.copy()
    rgb[half] = np.where(
        bearded.shows(Label.BEARD)[half][..., None], rgb[bearded.shows(Label.FACE)].mean(0), rgb[half]
    )
    photo = replace(bearded, labels=labels, rgb=rgb, radiance=srgb_to_radiance(rgb))
    skin = trace_skin(head, photo)
    share = fit_growth(head, photo, skin, measure_whiskers(skin, photo)).share
    left, right = (share[side * head.rest[:, 0] > 0.16].sum() for side in (1, -1))
    assert min(left, right) > 0.7 * max(left, right) > 1


def test_a_fitted_beard_is_as_dense_and_as_long_as_it_is_told(head):
    area = limit_beard(head.rest) * (head.mask("inside_mouth") < 0.05)
    flat, far = np.zeros(len(area), np.float32), np.full(len(area), 0.1, np.float32)
    stubble, full = grow(head, BeardGrowth(area, flat, 0.012)), grow(head, BeardGrowth(area, far, 0.012))
    sparse = grow(head, BeardGrowth(0.2 * area, flat, 0.012))
    assert np.quantile(head.field.distance(stubble.points).max(1), 0.99) < 0.02 * HEAD_HEIGHT
    assert np.quantile(head.field.distance(full.points).max(1), 0.9) > 0.05 * HEAD_HEIGHT
    assert measure_length(sparse).sum() < 0.5 * measure_length(stubble).sum()
    assert len(grow_nothing(head)) == 0


def grow_nothing(head: Head) -> list[Strands]:
    none = np.zeros(len(head.body), np.float32)
    person = HeadParameters(facial=Facial(beard="short"))
    strands, shade = make_beard(head, person, np.random.default_rng(0), BeardGrowth(none, none, 0.012))
    assert not shade.any()
    return strands


def test_what_the_photo_does_not_show_follows_what_it_shows_beside_it_or_opposite():
    places = np.array([[x, 0, 0] for x in np.linspace(-1, 1, 41)])
    weight = (places[:, 0] > 0.2).astype(np.float32)
    values = np.where(places[:, 0] > 0.5, 1, 0).astype(np.float32)
    found = carry(places, weight, values, 0.02, 4)
    assert found[places[:, 0] < -0.7].min() > 0.99  # opposite
    assert np.abs(found[np.abs(places[:, 0]) < 0.15]).max() < 0.01  # beside


def test_no_whisker_hangs_before_the_neck_that_the_photo_shows(head, bearded):
    growth = BeardGrowth(limit_beard(head.rest), np.full(len(head.rest), 0.15, np.float32), 0.02)
    strands = grow(head, growth)
    trimmed = trim_whiskers(strands, head, bearded)

    beside = bearded.shows(Label.SKIN, Label.CLOTHES).astype(np.uint8)
    beside = cv2.erode(beside, np.ones((5, 5), np.uint8)) > 0
    buffers = rasterizer.rasterise(head.body, head.triangles, CAMERA, SIDE)

    def count_astray(group: Strands) -> int:
        uv, depth = CAMERA.project(group.points[:, -1].astype(np.float64))
        x, y = np.clip((uv * SIDE).astype(int), 0, SIDE - 1).T
        return int((beside[y, x] & (depth < buffers.depth[y, x] - HIDDEN)).sum())

    assert int(strands.part[0]) == Part.BEARD
    assert count_astray(strands) > 100
    assert count_astray(trimmed) < 0.2 * count_astray(strands)  # a few hang out
    assert (measure_length(trimmed) > 0).all()


@pytest.fixture(scope="module")
def smiling() -> Head:
    expression = np.zeros(52)
    units = {"jawOpen": 0.25, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}
    for name, value in units.items():
        expression[load_pack().units.index(name)] = value
    return make_fitted_head(np.zeros(60), expression, level=1)


@pytest.mark.parametrize("azimuth", [0, 60, 90])
def test_a_beard_leaves_the_mouth_free_from_the_front_and_the_side(smiling, azimuth):
    free = (1 - smiling.mask("lips")) * (1 - smiling.mask("inside_mouth"))
    thick = np.full(len(free), 0.06, np.float32)
    whiskers = grow(smiling, BeardGrowth(limit_beard(smiling.rest) * free, thick, 0.03))
    geometry = build_person(smiling, HeadParameters(hair=Hair(style="bald")), np.random.default_rng(0))
    camera = Camera(look_at(azimuth, 0), FOCAL)
    bare, bearded = (
        np.isin(render(Scene(tuple(geometry.meshes), strands, WHITE), camera, SIDE).labels, (Label.LIPS, Label.MOUTH))
        for strands in ((), (whiskers,))
    )
    assert bare.sum() > 60
    assert (bare & bearded).sum() > 0.7 * bare.sum()


def test_whiskers_beside_the_lips_lie_on_the_skin(head):
    area = limit_beard(head.rest) * (head.mask("lips") < 0.1) * (head.mask("inside_mouth") < 0.05)
    strands = grow(head, BeardGrowth(area, np.full(len(area), 0.12, np.float32), 0.03))
    nearest = np.asarray(KDTree(head.body).query(strands.points[:, 0])[1])
    way, away = measure_way_to_lips(head, head.rest)[nearest], head.field.distance(strands.points).max(1)
    assert np.median(away[way < 0.03]) < 0.3 * np.median(away[way > 0.2])


def test_the_opening_of_the_mouth_is_no_outline_of_the_jaw(smiling):
    photo = photograph(smiling, "full")
    uv, _ = photo.camera.project(smiling.body)
    rows = find_jaw_rim(uv, smiling.normals @ photo.camera.cam2world[:3, :2], smiling, photo)
    x, y, _ = smiling.rest[rows].T
    assert len(rows) > 30
    assert not ((np.abs(x) < 0.1) & (y > -0.42)).any()


def test_lips_and_teeth_that_were_read_as_beard_are_called_what_they_are(smiling):
    photo = photograph(smiling, "short")
    mouth = photo.shows(Label.LIPS, Label.MOUTH)
    wrong = replace(photo, labels=np.where(mouth, np.uint8(Label.BEARD), photo.labels))
    skin = trace_skin(smiling, wrong)
    right = correct_beard(wrong, skin, measure_whiskers(skin, wrong))
    found = right.shows(Label.LIPS, Label.MOUTH)
    assert (found & mouth).sum() > 0.6 * mouth.sum()
    assert (found & ~mouth).sum() < 0.1 * mouth.sum()


def test_a_beard_thins_out_before_the_ears(head, bearded):
    skin = trace_skin(head, bearded)
    share = fit_growth(head, bearded, skin, measure_whiskers(skin, bearded)).share
    x, y, z = head.rest.T
    before = z - find_rear(head.rest)
    side = (np.abs(x) > 0.12) & (y > -0.3) & (y < -0.15) & (head.mask("ears") < 0.05)
    behind, ahead = side & (before > 0.0) & (before < 0.03), side & (before > 0.1) & (before < 0.15)
    assert 0.05 < share[behind].mean() < 0.6 * share[ahead].mean()


def test_the_cheek_of_a_beard_thins_out_over_a_wide_edge(head, bearded):
    skin = trace_skin(head, bearded)
    share = fit_growth(head, bearded, skin, measure_whiskers(skin, bearded)).share
    x, y, z = head.rest.T
    cheek = (np.abs(x) > 0.14) & (z > 0.13) & (z < 0.22) & (y > -0.4) & (y < 0)
    dense, gone = y[cheek & (share > 0.8)], y[cheek & (share > 0.05)]
    assert np.quantile(gone, 0.98) - np.quantile(dense, 0.98) > 0.065


def test_a_dense_beard_meets_the_hair_before_the_ear_and_no_hair_no_sideburn(head, bearded):
    skin = trace_skin(head, bearded)
    high = bearded.shows(Label.BEARD) & skin.seen & (skin.rest[..., 1] > -0.19)
    rgb = np.where(high[..., None], bearded.rgb[bearded.shows(Label.FACE)].mean(0), bearded.rgb)
    low = replace(
        bearded,
        labels=np.where(high, np.uint8(Label.FACE), bearded.labels),
        rgb=rgb.astype(np.float32),
        radiance=srgb_to_radiance(rgb).astype(np.float32),
    )
    bald = replace(low, labels=np.where(low.shows(Label.HAIR), np.uint8(Label.BACKGROUND), low.labels))
    whiskers = measure_whiskers(skin, low)
    joined, apart = (fit_growth(head, photo, skin, whiskers).share for photo in (low, bald))
    x, y, z = head.rest.T
    strip = (np.abs(x) > 0.1) & (y > -0.15) & (y < -0.08) & (z > 0.09) & (z < 0.11) & (head.mask("ears") < 0.1)
    assert joined[strip].mean() > 0.3
    assert joined[strip].mean() > 1.3 * apart[strip].mean()


def test_some_whiskers_stand_out_of_the_outline(head):
    area = limit_beard(head.rest) * (head.mask("inside_mouth") < 0.05)
    strands = grow(head, BeardGrowth(area, np.zeros(len(area), np.float32), 0.02))
    away = head.field.distance(strands.points).max(1)
    assert np.quantile(away, 0.97) > 2.5 * np.median(away)


def lay(part: Part, y: np.ndarray, albedo: float) -> Strands:
    """Return upright strands with roots in a column at these heights."""
    points = np.zeros((len(y), 4, 3), np.float32)
    points[..., 1] = y[:, None] + 0.01 * np.linspace(0, 1, 4)
    ones, kind = np.ones((len(y), 4), np.float32), np.full(len(y), part, np.uint8)
    colour, material = albedo * np.repeat(ones[..., None], 3, -1), np.full(len(y), Material.HAIR, np.uint8)
    return Strands(points, 0.001 * ones, colour, kind, material)


def test_whiskers_have_the_colour_of_the_hair_where_they_meet_it_alone():
    hair, beard = lay(Part.HAIR, np.linspace(0, 0.1, 200), 0.1), lay(Part.BEARD, np.linspace(-0.4, 0, 800), 0.6)
    same, mixed = meet_hair([hair, beard])
    np.testing.assert_array_equal(same.albedo, hair.albedo)
    y = beard.points[:, 0, 1]
    assert mixed.albedo[y > -0.002].max() < 0.12
    assert mixed.albedo[(y > -0.04) & (y < -0.03)].std() > 0.02  # light and dark ones beside each other
    np.testing.assert_allclose(mixed.albedo[y < -4 * FAR], 0.6, rtol=1e-5)
    assert meet_hair([beard])[0] is beard


def test_a_moustache_that_covers_the_lip_ends_unevenly_below_and_evenly_above_a_bare_lip(head):
    top, bottom = head.landmarks["lip_top"], head.landmarks["lip_bottom"]
    path = top + np.linspace(1, -1, 41)[:, None] * (top - bottom) * np.array([0, 1, 0])
    points = np.repeat(path[None] + np.array([0, 0, 0.01]), 200, axis=0).astype(np.float32)
    bare, covered = (find_last_before_mouth(head, points, overhang) for overhang in (0.0, 1.0))
    assert np.ptp(bare) == 0
    assert covered.min() >= bare.max()
    assert len(np.unique(covered)) > 3


@pytest.mark.parametrize(("beard", "least", "most"), [("full", 0.6, 1.0), ("none", 0.0, 0.2)])
def test_the_shade_beneath_a_chin_is_no_evidence_of_a_beard(head, beard, least, most):
    photo = photograph(head, beard)
    skin = trace_skin(head, photo)
    y = skin.rest[..., 1]
    shade = skin.seen & (y < -0.46) & (y > -0.56)
    rgb = np.where(shade[..., None], 0.5 * photo.rgb, photo.rgb).astype(np.float32)
    photo = replace(photo, rgb=rgb, labels=np.where(shade, np.uint8(Label.BEARD), photo.labels))
    assert least <= measure_evidence(skin, photo, measure_whiskers(skin, photo)) <= most


def test_a_shaven_photo_has_no_beard(head, bearded):
    skin = trace_skin(head, bearded)
    shaven = shave(bearded, skin)
    was = bearded.shows(Label.BEARD)
    assert np.isin(shaven.labels[was], (Label.FACE, Label.SKIN)).all()
    assert (shaven.labels[~was] == bearded.labels[~was]).all()


@pytest.mark.parametrize(
    ("bearded", "covered", "expected"), [(0.46, 0.0, False), (0.46, 0.02, True), (0.7, 0.0, True)]
)
def test_where_no_whiskers_are_seen_a_beard_must_be_likelier_than_not(bearded, covered, expected):
    reading = read(woman=0.0)
    reading.answers["beard"] = {"none": 1 - bearded}
    assert confirm_beard(reading, covered) == expected
