"""Skin of an avatar seen from the side: what the photo shows of it, and what is carried on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.avatar.photo.exposure import log_ratio
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.colours import (
    SkinView,
    calm_and_even,
    invent_detail,
    level_patches,
    share_hue,
    take_from_better_side,
    tint_neck,
)
from portrait360.pipeline.avatar.skin.detail import make_detail
from portrait360.pipeline.avatar.skin.mesh import (
    coarse_count,
    find_features,
    mirror_fine_vertices,
    mirror_vertices,
    prolong,
    restrict,
)
from portrait360.pipeline.avatar.skin.patches import find_shade, keep_own
from portrait360.pipeline.avatar.view.face_light import fit_face_light, light_skin
from portrait360.pipeline.avatar.view.relief_trust import find_clear_skin
from portrait360.pipeline.avatar.view.relight import (
    DEEP,
    TURN,
    dim_glare,
    dim_whites,
    find_deep_shade,
    find_relight,
    find_rim,
    leave_deep_shade,
    level_light,
    relight,
)
from portrait360.pipeline.avatar.view.render import judge_facing
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.tone_mapping import srgb_to_radiance, tone_map
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

CAMERA = Camera(look_at(0, 0), FOCAL)
SIDE = 256
LIT = np.zeros((SIDE, SIDE), np.float32)  # 1 in the shade


def turn(degrees: np.ndarray) -> np.ndarray:
    """Return normals (1, n, 3) turned from the camera to the side."""
    angle = np.radians(degrees)[None]
    return np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1).astype(np.float32)


def test_skin_shows_the_photo_from_the_side_where_it_faced_it():
    normals = turn(np.array([0.0, 30.0, 60.0, 80.0]))
    labels = np.full((1, 4), Label.FACE, np.uint8)
    film = SimpleNamespace(normals=normals, labels=labels)
    aside = judge_facing(CAMERA, film, np.full((1, 4), 80.0))[0]
    assert aside[:2] == pytest.approx(1) and aside[3] == pytest.approx(0)
    assert (np.diff(aside) <= 0).all()
    assert judge_facing(CAMERA, film, np.zeros((1, 4))) == pytest.approx(1)  # the photo's own view is all its own
    hair = SimpleNamespace(normals=normals, labels=np.full((1, 4), Label.HAIR, np.uint8))
    assert judge_facing(CAMERA, hair, np.full((1, 4), 80.0)) == pytest.approx(1)


def make_differences(half_width: int, size: tuple[float, float, float]) -> np.ndarray:
    """Return differences (256, 256, 3) of a vertical bar to the skin around, in three channels."""
    over = np.zeros((SIDE, SIDE, 3), np.float32)
    over[:, SIDE // 2 - half_width : SIDE // 2 + half_width] = size
    return over


@pytest.mark.parametrize("sign", [-1, 1])
def test_patches_of_light_and_shade_do_not_travel_and_lines_stay(sign):
    facing, middle = np.ones((SIDE, SIDE), np.float32), SIDE // 2
    wide, narrow = (make_differences(width, (0.5 * sign,) * 3) for width in (20, 1))
    left = wide + level_light(wide, facing, LIT)
    assert np.abs(left).max() < 0.5 * 0.5  # at the edges, too
    np.testing.assert_allclose((narrow + level_light(narrow, facing, LIT))[:, middle], narrow[:, middle], atol=0.02)
    aslant = wide + level_light(wide, 0.3 * facing, LIT)  # there it is all the shade of the head's form
    assert np.abs(aslant[:, middle]).max() < 0.02


def test_a_blush_stays_and_the_colours_of_lamps_do_not():
    facing, middle = np.ones((SIDE, SIDE), np.float32), SIDE // 2
    blush, lamp = (make_differences(20, (s, 0, -s)) for s in (0.04, 0.4))
    blush, lamp = ((over + level_light(over, facing, LIT))[middle, middle, 0] for over in (blush, lamp))
    assert blush > 0.02 and lamp < 0.25 * 0.4


def test_shade_and_the_edges_of_light_have_no_hue_of_the_skin():
    freckle, lit = make_differences(1, (-0.05, -0.1, -0.15)), (slice(None), SIDE // 2)
    own = keep_own(freckle, LIT)
    np.testing.assert_allclose(own, freckle, atol=0.02)
    for shade, light in ((LIT + 1, 0.0), (LIT, 0.6)):
        beside = make_differences(12, (light,) * 3)
        beside[:, : SIDE // 2] *= -1  # an edge, and the freckle on it
        kept = keep_own(beside + freckle, shade)[lit]
        assert np.ptp(kept, axis=1).max() < 0.2 * np.ptp(freckle[lit], axis=1).max()


def test_spots_in_the_shade_are_faint_and_lines_stay():
    spot, line = (make_differences(1, (-0.4,) * 3) for _ in range(2))
    line[:, SIDE // 2 :] = 0  # one pixel
    middle = SIDE // 2 - 1
    for shade, kept in ((LIT, (0.35, 0.45)), (LIT + 1, (0.0, 0.08))):
        assert kept[0] < -keep_own(spot, shade)[middle, middle, 0] < kept[1]
    assert -keep_own(line, LIT + 1)[middle, middle, 0] > 0.15  # half of it may be grain


def test_shade_is_what_is_darker_than_usual_skin():
    light = np.where(np.arange(SIDE) < SIDE // 4, -1.2, 0.3)[None].repeat(SIDE, 0).astype(np.float32)
    shade = find_shade(light, np.ones_like(light))
    assert (shade[:, : SIDE // 4] == 1).all() and (shade[:, SIDE // 4 :] == 0).all()


@pytest.mark.parametrize(("strength", "kept"), [(0.3, (0.0, 0.4)), (0.04, (0.7, 1.0))])
def test_neck_and_nape_have_about_the_hue_of_the_face(strength, kept):
    points = load_average_head().fine[1]
    neck, face = points[:, 1] < -0.5, (points[:, 1] > -0.4) & (points[:, 2] > 0)
    yellow = strength * np.array([1.0, 1.0, -1.0])
    gain = np.where(neck[:, None], yellow, 0.0).astype(np.float32)
    nothing, source = np.zeros(len(points), bool), np.ones(len(points), np.float32)
    tinted = tint_neck(gain, source, neck, face, nothing)
    deep = points[:, 1] < -0.6
    share = np.ptp(tinted[deep], axis=1) / np.ptp(yellow)
    assert kept[0] <= share.min() <= share.max() <= kept[1]
    assert (np.abs(tinted[deep].mean(1)) < 0.2).all()  # a neck that is lighter stays so a little
    np.testing.assert_allclose(tinted[points[:, 1] > 0], 0, atol=1e-3)
    np.testing.assert_array_equal(tint_neck(gain, 0 * source, neck, face, nothing), gain)  # no face is seen


def test_skin_in_the_shade_of_a_collar_is_not_clear():
    labels = np.full((SIDE, SIDE), Label.SKIN, np.uint8)
    labels[SIDE // 2 :] = Label.CLOTHES
    clear = find_clear_skin(replace(photograph(0.0, 0.0), labels=labels))
    assert clear[SIDE // 2 - 2, 9] == 0 and clear[SIDE // 4, 9] == 1


def test_even_light_is_left_alone_on_every_side():
    facing = np.linspace(-1, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    assert (level_light(np.zeros((64, 64, 3), np.float32), facing, 0 * facing) == 0).all()


def test_dark_skin_takes_the_hue_of_the_layers():
    size = 64
    labels, uv = np.full((size, size), Label.FACE, np.uint8), pixel_centres(size, size)
    dark = np.broadcast_to(np.array([0.03, 0.01, 0.002], np.float32), (size, size, 3))
    fair = np.broadcast_to(np.array([0.3, 0.2, 0.15], np.float32), (size, size, 3))
    photo = replace(photograph(0.0, 0.0), rgb=0 * dark, radiance=dark, labels=labels)
    gains = np.repeat(log_ratio(fair, dark)[:, :, None], 3, 2)
    found = relight(photo, gains, np.zeros((size, size), np.int8), uv, np.full((size, size), TURN[1]))
    wanted = np.zeros_like(fair)
    tone_map(fair.copy(), wanted)
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_pupils_and_lashes_in_the_shade_stay_black():
    """What is added to the light of skin in the shade would make them grey."""
    size, far = 64, np.full((64, 64), TURN[1])
    uv, layer = pixel_centres(size, size), np.zeros((size, size), np.int8)
    gains = np.full((size, size, 3, 3), np.log(4.0), np.float32)
    for label, light in ((Label.EYE, 0.004), (Label.BROW, 0.015), (Label.FACE, 0.002)):
        radiance, labels = np.full((size, size, 3), light, np.float32), np.full((size, size), label, np.uint8)
        photo = replace(photograph(0.0, 0.0), rgb=0 * radiance, radiance=radiance, labels=labels)
        four_times, wanted = 4 * radiance, np.zeros((size, size, 3), np.float32)
        tone_map(four_times, wanted)
        np.testing.assert_allclose(relight(photo, gains, layer, uv, far), wanted, atol=0.055)


def test_drawn_eyes_keep_their_colour_where_the_layers_have_skin():
    skin, blue = np.array([0.5, 0.4, 0.35], np.float32), np.array([0.05, 0.1, 0.3], np.float32)
    labels, layer_of_label = np.full((SIDE, SIDE), Label.FACE, np.uint8), np.zeros(256, np.int8)
    film = SimpleNamespace(
        radiance=np.tile(skin, (SIDE, SIDE, 1)),
        normals=np.tile(np.array([0, 0, 1], np.float32), (SIDE, SIDE, 1)),
        labels=labels,
    )
    eye = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE // 2)) < SIDE // 12
    radiance = np.where(eye[..., None], blue, skin)
    shown = np.where(eye, np.uint8(Label.EYE), labels)
    photo = replace(photograph(0.0, 0.0), radiance=radiance, labels=shown, known=np.ones((SIDE, SIDE), np.float32))
    gains, _ = find_relight(photo, film, layer_of_label, 1)
    assert np.abs(gains[eye]).max() < 0.05
    blush = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE // 4)) < SIDE // 16
    photo = replace(photo, radiance=np.where(blush[..., None], 3 * skin, radiance))
    drawn, shot = (find_relight(replace(photo, painted=p), film, layer_of_label, 1)[0] for p in (True, False))
    assert np.abs(shot[:, :, -2] - drawn[:, :, -2]).max() > 0.1  # the light that moves with the eye is no drawing's


def test_a_bright_spot_in_the_shade_is_not_lifted_above_skin_in_the_light():
    spot, lift = np.full((4, 4, 3), 0.6, np.float32), np.full((4, 4, 3), 1.0, np.float32)
    assert (spot + dim_glare(spot, lift)).max() < 0.2
    for over, gain in ((spot, -lift), (0.1 * spot, lift), (-spot, lift)):  # in the light; a blemish; a mole
        assert (dim_glare(over, gain) == 0).all()
    assert dim_glare(spot, 0.1 * lift) == pytest.approx(-0.1)  # it is not made darker than it is shown


def test_the_rim_of_a_face_takes_the_light_within_it_and_only_aside():
    """Light from behind lies at the outline from wherever one looks; on a cheek it would be a stripe."""
    facing = np.clip((SIDE - np.arange(SIDE, dtype=np.float32)) / 40, 0, 1)[None].repeat(SIDE, 0)
    bright, ones = facing < 0.35, np.ones((SIDE, SIDE), np.float32)
    light = np.where(bright[..., None], 0.4, np.array([0.2, 0.2, 0.2])).astype(np.float32)
    broad = np.log(0.3 / light).astype(np.float32)
    rim = find_rim(broad, broad, facing, ones)
    np.testing.assert_allclose(rim[bright], np.log(0.5), atol=0.05)
    assert (rim[facing > 0.7] == 0).all()
    photo = replace(photograph(0.0, 0.0), rgb=light, radiance=light, labels=np.full_like(LIT, Label.FACE, np.uint8))
    gains, layer, uv = np.stack([broad] * 2 + [rim], 2), np.zeros((SIDE, SIDE), np.int8), pixel_centres(SIDE, SIDE)
    before, aside = (relight(photo, gains, layer, uv, np.full((SIDE, SIDE), a)) for a in (0.0, 15.0))
    np.testing.assert_allclose(before, light, atol=1e-6)
    within, outer = aside[:, 0].mean(), aside[:, -1].mean()
    assert abs(outer - within) < 0.05 * within


@pytest.mark.parametrize("dark", [0.25, 0.1, 0.02])
def test_the_light_of_a_face_turns_evenly_in_its_shade_as_in_its_light(dark):
    """What vanishes between two views that lie side by side is seen as a seam in time."""
    across = np.arange(SIDE)[None, :, None].repeat(SIDE, 0) / SIDE
    light = np.where(across >= 0.7, dark, np.where(across >= 0.6, 0.5 * (dark + 0.4), 0.4)).repeat(3, -1)
    light, gain = light.astype(np.float32), np.log(0.6 / light).astype(np.float32)
    photo = replace(photograph(0.0, 0.0), rgb=light, radiance=light, labels=np.full_like(LIT, Label.FACE, np.uint8))
    uv, layer = pixel_centres(SIDE, SIDE), np.zeros((SIDE, SIDE), np.int8)
    gains, shown = np.stack([gain, gain, 0 * gain], 2), []
    for angle in range(5, 86, 10):
        shown.append(relight(photo, gains, layer, uv, np.full((SIDE, SIDE), float(angle)))[0, [0, 165, 250], 0])
    steps = np.abs(np.diff(np.log(srgb_to_radiance(np.array(shown))), axis=0))
    assert (steps.max(0) < 0.25 * steps.sum(0)).all()
    assert steps[-1].max() < 1e-3, "in profile all light is that of the layers"


def bend(count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return normals (s, s, 3) of a band of a ball, and logarithms of a light on them from the left (s, s, 3)."""
    x, y = np.meshgrid(np.linspace(-0.86, 0.86, count), np.linspace(-0.4, 0.4, count))
    normals = np.stack([x, y, np.sqrt(1 - x**2 - y**2)], -1).astype(np.float32)
    return normals, (0.6 * normals[..., :1] * np.array([1.0, 1.1, 1.2]) - 0.2).astype(np.float32)


def test_skin_that_the_photo_does_not_show_lies_in_the_photos_light_as_long_as_that_which_it_shows():
    normals, gain = bend()
    forward = np.array([0.0, 0.0, 1.0])
    light = fit_face_light(gain.reshape(-1, 3), normals.reshape(-1, 3), forward)
    labels, ones = np.full(normals.shape[:2], Label.EAR, np.uint8), np.ones(normals.shape[:2], np.float32)
    labels[:, :20] = Label.HAIR
    film = make_film(np.full_like(normals, 0.3), normals, labels)
    near, half, far = (light_skin(film, light, forward, share * ones).radiance for share in (1.0, 0.5, 0.0))
    skin = np.s_[8:-8, 28:-8]
    np.testing.assert_allclose(np.log(near / 0.3)[skin], -gain[skin], atol=0.06)
    np.testing.assert_allclose(np.log(half / 0.3)[skin], -0.5 * gain[skin], atol=0.03)
    np.testing.assert_array_equal(far, film.radiance)
    np.testing.assert_allclose(near[:, :12], film.radiance[:, :12], rtol=1e-5)  # hair has its own light


def test_skin_that_faces_away_from_the_photo_has_the_light_of_the_edge_of_what_it_shows():
    normals, gain = bend()
    forward = np.array([0.0, 0.0, 1.0])
    light = fit_face_light(gain.reshape(-1, 3), normals.reshape(-1, 3), forward)
    side = np.zeros_like(normals)
    side[..., 0], side[..., 2] = 0.98, -0.2
    labels, ones = np.full(side.shape[:2], Label.FACE, np.uint8), np.ones(side.shape[:2], np.float32)
    lit = light_skin(make_film(np.full_like(side, 0.3), side, labels), light, forward, ones).radiance
    np.testing.assert_allclose(np.log(lit / 0.3).mean((0, 1)), 0.2 - 0.6 * 0.866 * np.array([1, 1.1, 1.2]), atol=0.12)
    few = fit_face_light(gain[:2, :2].reshape(-1, 3), normals[:2, :2].reshape(-1, 3), forward)
    assert not few.any(), "too few pixels tell no light"


def make_film(radiance: np.ndarray, normals: np.ndarray, labels: np.ndarray) -> Film:
    ones = np.ones(labels.shape, np.float32)
    flow = np.zeros((*labels.shape, 2), np.float32)
    return Film(radiance.astype(np.float32), ones, ones, normals, labels, labels, flow)


def test_the_white_of_an_eye_in_the_shade_does_not_glare():
    lift, skin = np.full((4, 4, 3), 1.0, np.float32), np.full((9, 3), 0.5, np.float32)
    face = photograph(0.0, 0.0)
    for label, light, wanted in ((Label.EYE, 0.4, 0.5), (Label.EYE, 0.05, None), (Label.FACE, 0.4, None)):
        radiance = np.full((4, 4, 3), light, np.float32)
        photo = replace(face, radiance=radiance, labels=np.full((4, 4), label, np.uint8))
        lit = radiance * np.exp(dim_whites(lift, photo, skin))
        np.testing.assert_allclose(lit, light * np.e if wanted is None else wanted, rtol=1e-4)
        assert (dim_whites(-lift, photo, skin) == -lift).all()


def test_layers_show_no_shadow_with_edges():
    photo = photograph(0.0, 0.0)
    inside, shadow = (photo.labels == Label.FACE).astype(np.float32), make_differences(6, (-0.6, -0.6, -0.6))
    shadow = cv2.GaussianBlur(shadow, (0, 0), 1.5)
    steepest = np.abs(np.diff(shadow[SIDE // 2, :, 0])).max()
    left = level_patches(shadow, inside, photo)[SIDE // 2, :, 0]
    middle = SIDE // 2
    assert abs(left[middle] - left[middle + 30]) < 0.75 * 0.6
    assert np.abs(np.diff(left)).max() < 0.6 * steepest


def test_the_shadow_on_a_brow_is_that_beside_it_and_the_brow_stays():
    photo, brow = photograph(0.0, 0.0), make_differences(2, (-0.5, -0.5, -0.5)).swapaxes(0, 1)
    shadow = cv2.GaussianBlur(make_differences(6, (-0.6, -0.6, -0.6)), (0, 0), 1.5)
    inside, middle = (photo.labels == Label.FACE).astype(np.float32), SIDE // 2
    labels = np.where(brow[..., 0] < 0, np.uint8(Label.BROW), photo.labels)
    bare, browed = (
        level_patches(gain, inside, replace(photo, labels=shown))[middle]
        for gain, shown in ((shadow, photo.labels), (shadow + brow, labels))
    )
    np.testing.assert_allclose(browed[middle] - bare[middle], -0.5, atol=0.12)


def test_features_have_the_hue_of_the_side_that_lies_in_the_light():
    mirror, points = mirror_vertices(), load_average_head().fine[1]
    left = points[:, 0] > 0
    ochre = np.array([0.3, 0.0, -0.3])
    gain = np.where(left[:, None], -0.5 + ochre, 0.0) + np.zeros((len(points), 3))
    shared = share_hue(gain, np.where(left, 0.05, 1.0), mirror)
    pairs = left & ~left[mirror]
    np.testing.assert_allclose(shared.mean(1), gain.mean(1), atol=1e-9)
    assert np.abs(shared[pairs] + 0.5).max() < 0.03


def find_cheek() -> int:
    """Return a vertex in the middle of a cheek, beside all features."""
    points, free = load_average_head().fine[1], find_features(coarse_count()) == 0
    away = np.linalg.norm(points - np.array([0.16, -0.2, 0.3]), axis=1) + 10 * ~free
    return int(away.argmin())


@pytest.mark.parametrize("strength", [-0.2, 0.2])
def test_a_blotch_stays_as_far_as_it_is_well_seen(strength):
    count, spot = coarse_count(), find_cheek()
    points = load_average_head().fine[1]
    near = np.exp(-((np.linalg.norm(points - points[spot], axis=1) / 0.025) ** 2))
    gain = strength * near[:, None] * np.ones(3)
    nothing = np.zeros(count, np.float32)
    kept = []
    for seen in (1.0, 0.3):
        source = np.full(count, seen, np.float32)
        out = calm_and_even(gain, source, np.zeros(count, bool), nothing, nothing)
        kept.append((out[spot] - out[mirror_vertices()[spot]]).mean() / strength)
    well, hardly = kept
    assert 0.5 < well < 1.1
    assert hardly < 0.7 * well


def photograph(grain: float, folds: float) -> Photo:
    """Return a photo of a square face with grain, and with wide folds."""
    random = np.random.default_rng(3)
    labels = np.full((SIDE, SIDE), Label.BACKGROUND, np.uint8)
    labels[20:-20, 20:-20] = Label.FACE
    y, x = np.indices((SIDE, SIDE))
    wave = np.sin(2 * np.pi * x / 24) * np.sin(2 * np.pi * y / 24)  # 24 pixels are 0.08 of the head's units
    light = 0.4 * np.exp(grain * random.normal(0, 1, (SIDE, SIDE)) + folds * wave)
    picture = np.repeat(light[..., None], 3, 2).astype(np.float32)
    ones, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(picture, picture, ones, ones, labels, ones, flow, CAMERA)


def test_folds_are_not_laid_over_smooth_skin():
    plain, folded = (make_detail(photograph(0.04, folds)) for folds in (0.0, 0.25))
    assert plain is not None and folded is not None
    assert (folded.coarse + folded.fine).std() < 2 * (plain.coarse + plain.fine).std()
    assert folded.fine.std() == pytest.approx(plain.fine.std(), rel=0.3)


def test_grain_is_that_of_skin_in_the_light():
    lit, dark = photograph(0.04, 0.0), photograph(0.25, 0.0)
    left = (np.indices((SIDE, SIDE))[1] < SIDE // 2)[..., None]
    both = np.where(left, lit.radiance, 0.3 * dark.radiance)
    wanted, found = make_detail(lit), make_detail(replace(lit, radiance=both))
    assert wanted is not None and found is not None
    assert found.fine.std() < 1.5 * wanted.fine.std()


def test_a_brow_that_is_seen_aslant_is_as_dark_as_the_other():
    mirror, points = mirror_vertices(), load_average_head().fine[1]
    brow, weight = (points[:, 0] > 0.1).astype(np.float32), (points[:, 0] > 0).astype(np.float32)
    found = take_from_better_side(brow, weight)
    np.testing.assert_array_equal(found[points[:, 0] > 0], brow[points[:, 0] > 0])
    far = (points[:, 0] < 0) & (points[mirror, 0] > 0)
    np.testing.assert_array_equal(found[far], brow[mirror[far]])
    np.testing.assert_array_equal(take_from_better_side(brow, np.ones_like(brow)), brow)


def test_skin_in_deep_shade_of_a_false_hue_is_the_photos_only_near_its_direction():
    gain = np.zeros((128, 128, 3), np.float32)
    gain[:, :48] = DEEP[1] + 0.1  # of the left, which is to be lightened that much
    uv, ones = pixel_centres(128, 128), np.ones((128, 128))
    left, right = np.indices((128, 128))[1] < 40, np.indices((128, 128))[1] > 56
    grey = np.full((128, 128, 3), 0.2, np.float32)
    orange = np.where(left[..., None], np.array([0.2, 0.1, 0.04], np.float32), grey)
    face = np.full((128, 128), Label.FACE, np.uint8)
    photo = SimpleNamespace(radiance=orange, labels=face)
    np.testing.assert_array_equal(leave_deep_shade(find_deep_shade(photo, gain), uv, 15 * ones), 1)
    aside = leave_deep_shade(find_deep_shade(photo, gain), uv, 50 * ones)
    assert aside[left].max() < 0.01 and aside[right].min() > 0.99
    neutral = SimpleNamespace(radiance=grey, labels=face)
    assert leave_deep_shade(find_deep_shade(neutral, gain), uv, 50 * ones).min() > 0.99


def test_the_hairs_of_a_brow_are_drawn_on_the_side_that_is_not_seen():
    points, mirror = load_average_head().fine[2], mirror_fine_vertices()
    at_brow, side = np.abs(points - np.array([0.2, 0.1, 0.4])).max(1) < 0.1, (points[:, 0] > 0).astype(np.float32)
    hairs = np.where(at_brow | at_brow[mirror], np.sin(400 * points[:, 0] * np.sign(points[:, 0])), 0)
    gain = -(hairs * side)[:, None] * np.ones(3, np.float32)
    brow = (at_brow | at_brow[mirror]).astype(np.float32)
    seen = SkinView(side, side, gain.astype(np.float32), brow, 0 * gain)
    mesh = SimpleNamespace(vertices=points.astype(np.float32))
    detail = invent_detail(
        mesh, np.tile(np.array([0, 0, 1], np.float32), (len(points), 1)), seen, photograph(0.04, 0.0)
    )
    there = at_brow & (points[:, 0] > 0.02)
    fine = gain - prolong(restrict(gain, len(gain)), len(gain))
    assert there.sum() > 50 and fine[there].std() > 0.1
    np.testing.assert_allclose(detail[mirror[there]], fine[there], atol=0.02)
