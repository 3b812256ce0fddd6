"""Outlines from aside: no haze, no wall's colours, no specks, no ghosts."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.matte_edges import (
    CLEAR_ANGLES,
    SPECK,
    clear_edges,
    drop_specks,
    even_outline,
    find_cleared,
    measure_turn,
    mix_photos,
)
from portrait360.pipeline.avatar.view.relief_view import (
    ALONE,
    THREAD,
    Colours,
    close_holes,
    find_lone_strands,
    find_small,
    thin_out,
)
from portrait360.pipeline.avatar.view.render import BESIDE, LEFT, RIM, leave_matte
from portrait360.synth.render.compositing import Film
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE = 256
RED, TEAL = np.array([0.8, 0.25, 0.1], np.float32), np.array([0.2, 0.7, 0.75], np.float32)


def draw_photo(reach: float) -> Photo:
    """Return a photo of a red disc, stained by a teal wall up to `reach` pixels within its matte."""
    disc = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (128, 128), 80, 1, -1)
    alpha = np.asarray(cv2.GaussianBlur(disc.astype(np.float32), (0, 0), 1.5), np.float32)
    inside = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rgb = np.where((inside < reach)[..., None], TEAL, RED).astype(np.float32)
    labels, ones = np.where(disc, Label.HAIR, Label.BACKGROUND).astype(np.uint8), np.ones((SIDE, SIDE), np.float32)
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, rgb, alpha, ones, labels, ones, flow, Camera(look_at(0, 0), FOCAL))


def test_edges_have_the_colours_within_them_and_the_rest_its_own():
    photo = draw_photo(3.0)
    clear = clear_edges(photo)
    assert np.abs(clear.rgb - RED)[clear.alpha > 0.1].max() < 0.1
    photo = replace(photo, rgb=np.random.default_rng(0).uniform(0, 1, photo.rgb.shape).astype(np.float32))
    np.testing.assert_allclose(clear_edges(photo).rgb[100:150, 100:150], photo.rgb[100:150, 100:150], atol=1e-6)


def test_haze_of_hair_goes_and_what_is_solid_stays():
    rising = np.linspace(0, 1, SIDE, dtype=np.float32)[None].repeat(SIDE, 0)
    photo = replace(draw_photo(0.0), alpha=rising, labels=np.full((SIDE, SIDE), Label.HAIR, np.uint8))
    alpha = clear_edges(photo).alpha[0]
    assert alpha[rising[0] < 0.15].max() == 0
    assert alpha[rising[0] > 0.9].min() == 1
    assert (np.diff(alpha) >= 0).all()


def test_edges_of_cloth_stay_as_soft_as_they_are():
    photo = draw_photo(3.0)
    cloth = replace(photo, labels=np.where(photo.labels == Label.HAIR, np.uint8(Label.CLOTHES), photo.labels))
    np.testing.assert_array_equal(clear_edges(cloth).alpha, cloth.alpha)


def test_near_its_own_camera_the_photo_is_itself_and_aside_the_clear_one():
    photo = draw_photo(4.0)
    clear, seen = clear_edges(photo), np.ones((8, 8))
    own, aside = (
        mix_photos(photo, clear, measure_turn(np.full((8, 8), a), seen, tuple(CLEAR_ANGLES[1]))) for a in (5.0, 13.0)
    )
    assert own is photo
    assert aside is clear


def test_a_soft_edge_in_the_hue_of_hair_is_haze_and_cleared_at_once():
    """Where the wall shows through loose hair, its rim has the wall's hue."""
    size = 64
    y, x = np.mgrid[:size, :size] / size - 0.5
    alpha = np.clip((0.3 - np.hypot(x, y)) * 12, 0, 1).astype(np.float32)
    labels, one = np.full((size, size), Label.HAIR, np.uint8), np.ones((size, size), np.float32)
    picture, flow = np.zeros((size, size, 3), np.float32), np.zeros((size, size, 2), np.float32)
    for pure, wanted in ((one, CLEAR_ANGLES[0]), (alpha * alpha, CLEAR_ANGLES[1])):
        photo = Photo(picture, picture, alpha, one, labels, pure, flow, Camera(look_at(0), 3.0))
        np.testing.assert_allclose(find_cleared(photo), wanted, atol=0.01)


def test_specks_go_and_what_hangs_on_something_stays():
    alpha = draw_photo(0.0).alpha.copy()
    alpha[128, 200:250] = 0.9  # a single lock that hangs on the head
    speckled = alpha.copy()
    speckled[10:13, 10:13] = 0.9
    assert SPECK[1] * alpha.size > 9
    np.testing.assert_array_equal(drop_specks(speckled), alpha)


def test_layers_leave_the_matte_from_its_edge_outwards_and_opaque():
    beside = np.linspace(0, 0.05, 400)
    matte = (beside == 0).astype(float)
    cut = np.stack([leave_matte(matte, beside, np.full(400, angle)) for angle in np.linspace(0, LEFT[1] - 0.01, 9)])
    assert (cut[0][beside > 0] == 1).all()
    assert (np.diff(cut, axis=0) <= 1e-9).all()
    assert (np.diff(cut, axis=1) >= -1e-9).all()
    assert ((cut > 0.02) & (cut < 0.98)).mean() < 3 * RIM / 0.05
    assert cut[-1][beside < BESIDE - RIM].max() < 0.02
    assert (leave_matte(matte, beside, np.full(400, LEFT[1])) == 0).all()


def test_hair_in_the_air_gets_thinner_not_fainter():
    lock = np.array([[0.0, 0.3, 1.0, 0.3, 0.0]])
    kept, air = np.full_like(lock, 0.5), np.ones_like(lock)
    np.testing.assert_allclose(thin_out(lock, kept, air), [[0, 0, 1, 0, 0]])
    np.testing.assert_allclose(thin_out(lock, kept, 0 * air), 0.5 * lock)
    np.testing.assert_allclose(thin_out(lock, 0 * kept + 1, air), lock, atol=1e-6)
    assert (thin_out(lock, 0 * kept, air) == 0).all()


def test_lone_strands_of_the_layers_beside_the_photo_are_found_and_broad_hair_is_not():
    alpha, whole = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    alpha[40:120, 40:120], alpha[160, 40:120], alpha[40:120, 200], whole[38:122, 190:212] = 1, 1, 1, 1
    layers = Colours(np.zeros((SIDE, SIDE, 3)), alpha, *np.zeros((4, SIDE, SIDE)))
    film = cast(Film, SimpleNamespace(labels=np.where(alpha > 0, Label.HAIR, Label.BACKGROUND)))
    lone = find_lone_strands(layers, film, whole, 5.0)
    assert (lone[160, 40:120] == 1).all()
    assert lone[45:115, 40:210].max() < 1e-6, "broad hair, and a strand within what the photo shows"
    assert not any(find_lone_strands(layers, film, whole, turned).any() for turned in (0.0, ALONE[1]))


def test_no_threads_are_left_around_a_hole_that_cannot_be_closed():
    layers, whole = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
    layers[120:128, 100:108] = 0
    whole[120:128, 102:104] = 1  # the photo shows a thread across it alone
    assert THREAD * SIDE > 1
    assert (close_holes(np.zeros_like(layers), whole, layers)[122:126, 100:108] == 0).all()


def test_ragged_outlines_are_evened_in_their_own_colours_where_nothing_is_fine():
    size, rng = 256, np.random.default_rng(4)
    alpha = np.zeros((size, size), np.float32)
    ends = 128 + rng.integers(-1, 2, size)
    alpha[np.arange(size)[None] < ends[:, None]] = 1
    rgb = np.where(alpha[..., None] > 0, np.float32(0.6), np.float32(0.0)).repeat(3, -1)
    out, even = even_outline(rgb, alpha, np.zeros_like(alpha), 1.0)
    ragged, smooth = (np.abs(np.diff(a[8:-8].sum(1))).mean() for a in (alpha, even))
    assert smooth < 0.4 * ragged
    np.testing.assert_allclose(out[even > 0.05], 0.6, atol=0.02)
    np.testing.assert_array_equal(even_outline(rgb, alpha, np.zeros_like(alpha), 0.0)[1], alpha)


def test_the_hue_of_a_stained_pixel_is_not_carried_outwards():
    photo = draw_photo(3.0)
    photo.rgb[120:137, 198:205] = 0.5 * RED + 0.5 * TEAL  # within, where the matte says that nothing shines through
    clear = clear_edges(photo)
    beyond = clear.rgb[124:133, 206:212]
    apart = TEAL - RED
    assert ((beyond - RED) @ apart / (apart @ apart)).max() < 0.25


def test_stained_hair_within_the_matte_takes_the_hue_of_the_hair_around():
    photo = draw_photo(0.0)
    stain = (slice(120, 137), slice(160, 177))
    photo.rgb[stain], photo.pure[stain] = 0.5 * RED + 0.5 * TEAL, 0
    assert np.abs(clear_edges(photo).rgb[stain] - RED).max() < 0.15


def test_small_parts_of_a_mask_are_found_and_large_ones_are_not():
    mask = np.zeros((100, 100), bool)
    assert find_small(mask).max() == 0
    mask[10:16, 10:16], mask[50:90, 50:90] = True, True  # a curl, and the hair of a cheek
    found = find_small(mask)
    assert found[12, 12] > 0.9 and found[70, 70] == 0 and found[30, 30] == 0
