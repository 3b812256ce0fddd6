"""Long hair: its hue by its brightness, its dyes, its waves before the head, and where the photo cuts it off."""

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.pixel_points import unproject_pixels
from portrait360.pipeline.avatar.hair.behind import lead_behind
from portrait360.pipeline.avatar.hair.donors import borrow_colours
from portrait360.pipeline.avatar.hair.ends import fray_ends
from portrait360.pipeline.avatar.hair.outline import find_bareness, make_frame, trim_strands
from portrait360.pipeline.avatar.hair.strand_colours import HANGING, face_outward
from portrait360.pipeline.avatar.hair.tone import find_tone, tone_hair
from portrait360.pipeline.avatar.hair.wave_size import Waves
from portrait360.pipeline.avatar.hair.waves import sway
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.photo_border import UNEVEN, fray_border
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.lights import LUMINANCE
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import CAMERA, grow
from tests.fixtures.hair import photograph as photograph_style
from tests.fixtures.photos import FOCAL

SIDE = 128
LIGHT = np.linspace(np.log(0.03), np.log(0.5), SIDE)


def photograph(label: Label) -> Photo:
    """Return a grey photo that shows one thing everywhere."""
    grey, one = np.full((SIDE, SIDE, 3), 0.2, np.float32), np.ones((SIDE, SIDE), np.float32)
    labels, flow = np.full((SIDE, SIDE), label, np.uint8), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(grey, grey, one, one, labels, one, flow, Camera(look_at(0, 0, radius=2.7), FOCAL))


def hang_ring(count: int) -> F32:
    """Return straight strands that hang in a ring."""
    around = np.linspace(-np.pi, np.pi, count, endpoint=False)
    roots = np.stack([0.2 * np.sin(around), np.full(count, 0.1), 0.2 * np.cos(around)], -1)
    return (roots[:, None] - np.linspace(0, 0.4, 9)[None, :, None] * np.array([0, 1, 0])).astype(np.float32)


def paint(hue: F32, light: F32 = LIGHT) -> F32:
    """Return rows of a luminance (s,) that rises to the right, whose channels differ by a hue (s, 3)."""
    colours = np.exp(light[:, None] + hue)
    colours *= (np.exp(light) / (colours @ LUMINANCE))[:, None]
    return np.repeat(colours[None], SIDE, 0).astype(np.float32)


def render(radiance: F32) -> Film:
    one, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    labels, depth = np.full((SIDE, SIDE), Label.HAIR, np.uint8), 2.7 * one
    return Film(radiance, one, depth, np.zeros_like(radiance), labels, labels, flow)


def pale(saturation: float) -> F32:
    """Return a warm hue that is weaker, the lighter (s, 3)."""
    strength = 0.4 - saturation * (LIGHT - LIGHT.mean())
    return (strength[:, None] * np.array([1.0, 0.0, -1.0])).astype(np.float32)


def tone(film: Film, photo: Photo) -> F32:
    """Return the radiance of a render from a photo's camera, toned by that photo."""
    heights = unproject_pixels(photo.camera, film.depth)[..., 1]
    return tone_hair(film, find_tone(photo, film), heights).radiance


def test_lit_hair_is_as_pale_as_the_photo_shows_it():
    photo, film = replace(photograph(Label.HAIR), radiance=paint(pale(0.15))), render(paint(pale(0.0)))
    toned = tone(film, photo)
    inner = slice(10, -10)
    before, after = (np.abs(np.log(a / photo.radiance))[10:-10, inner].max() for a in (film.radiance, toned))
    assert before > 0.15 and after < 0.35 * before
    np.testing.assert_allclose(toned @ LUMINANCE, film.radiance @ LUMINANCE, rtol=1e-3)


def test_a_strand_that_is_grey_takes_the_hue_of_natural_hair_as_bright():
    photo, film = replace(photograph(Label.HAIR), radiance=paint(pale(0.15))), render(paint(pale(0.15)))
    film.radiance[:8] = (film.radiance[:8] @ LUMINANCE)[..., None]  # a lock without a hue
    toned = tone(film, photo)
    inner = slice(10, -10)
    before, after = (np.abs(np.log(a / photo.radiance))[:8, inner].max() for a in (film.radiance, toned))
    assert after < 0.6 * before
    np.testing.assert_allclose(toned @ LUMINANCE, film.radiance @ LUMINANCE, rtol=1e-3)


def test_hair_has_the_hue_that_the_photo_shows_at_each_height():
    rows = np.linspace(0.0, 1.0, SIDE)[:, None, None]
    dull, warm = (paint(np.full((SIDE, 1), hue) * np.array([1.0, 0.0, -1.0])) for hue in (0.15, 0.4))
    radiance = (dull + rows * (warm - dull)).astype(np.float32)  # dull roots, and tips that the sun has bleached
    photo, film = replace(photograph(Label.HAIR), radiance=radiance), render(warm)
    before, after = (np.log(a[..., 0] / a[..., 2]).mean(1) for a in (film.radiance, tone(film, photo)))
    shown = np.log(radiance[..., 0] / radiance[..., 2]).mean(1)
    inner = slice(SIDE // 5, -SIDE // 5)
    assert np.abs(after - shown)[inner].max() < 0.4 * np.abs(before - shown)[inner].max()


def test_the_sheen_of_a_window_does_not_make_warm_hair_grey():
    film = render(paint(pale(0.0)))
    photo = replace(photograph(Label.HAIR), radiance=film.radiance.copy())
    photo.radiance[4::12], photo.radiance[5::12], photo.radiance[6::12] = (
        paint(-0.5 * pale(0.0))[row] for row in (4, 5, 6)
    )
    before, after = (np.log(a[..., 0] / a[..., 2]).mean() for a in (film.radiance, tone(film, photo)))
    assert after > 0.93 * before


@pytest.mark.parametrize("case", ["dyed", "black"])
def test_hues_of_dyed_and_black_hair_stay(case):
    film, radiance = render(paint(pale(0.0))), paint(pale(0.15))
    if case == "dyed":
        radiance = paint(3 * pale(0.0))
        radiance[: SIDE // 2] = radiance[: SIDE // 2, :, ::-1]
    else:
        radiance, film = 0.005 * radiance, render(0.005 * film.radiance)
    toned = tone(film, replace(photograph(Label.HAIR), radiance=radiance))
    np.testing.assert_allclose(toned, film.radiance, rtol=0.02)


def test_locks_of_dyed_hair_have_one_colour_each():
    points = hang_ring(2000)
    known = np.repeat((points[:, 0, 2] > 0.0)[:, None], 9, 1).astype(np.float32)
    profile = np.random.default_rng(0).normal(0, 0.5, (20, 1, 3)).repeat(100, 0).repeat(9, 1).astype(np.float32)
    behind = points[:, 0, 2] < -0.05
    steps = []
    for dyed in (0.0, 1.0):
        gain = borrow_colours(points, known, profile, dyed)
        assert gain is not None
        steps.append(np.abs(np.diff(gain[behind], axis=0)).max((1, 2)) > 0.2)
    assert steps[1].mean() < 0.5 * steps[0].mean()  # fewer borders between colours


def test_hair_that_hangs_before_the_shoulders_is_seen_as_well_as_hair_beside_the_eyes():
    beside, low = np.array([[0.1, 0.02, 0.08]]), np.array([[0.1, -0.4, 0.08]])
    before = np.array([0.0, 0.0, 1.0])
    facing = [float((face_outward(points.astype(np.float32), HANGING) @ before)[0]) for points in (beside, low)]
    assert facing[1] > 0.75 * facing[0] > 0.5
    assert float((face_outward(low.astype(np.float32), 1.0) @ before)[0]) < 0.4 * facing[1] + 0.1
    above = np.array([[0.05, 0.2, 0.1]], np.float32)
    np.testing.assert_allclose(face_outward(above, HANGING), face_outward(above, 1.0))


def test_wavy_hair_before_the_head_sways_away_from_the_camera(head):
    drop = np.linspace(0, 0.5, 50)
    line = np.stack(np.broadcast_arrays(np.array([[-0.16], [0.16]]), 0.05 - drop, 0.2), -1)
    group = replace(grow(head, "long"), points=(HEAD_CENTRE + line).astype(np.float32))
    moved = sway([group], head, Waves(0.15, 0.02))[0].points - group.points
    assert np.abs(moved[..., :2]).max() < 1e-4 and moved[..., 2].max() < 1e-4
    assert np.ptp(moved[:, 25:, 2], axis=1).min() > 0.015


def test_hair_of_a_bare_side_goes_behind_the_neck_and_is_not_cut(head):
    group, worn, bare = grow(head, "long"), photograph_style(head, "long"), photograph_style(head, "crew")
    rows, columns = np.indices(worn.labels.shape) / len(worn.labels)
    low_right = (rows > 0.55) & (columns > 0.5)
    photo = replace(worn, labels=np.where(low_right, bare.labels, worn.labels).astype(np.uint8))
    shows = find_bareness(head, photo).shows
    (led,) = lead_behind([group], head, photo)
    assert shows(led.points).sum() < 0.5 * shows(group.points).sum()
    cut, kept = (trim_strands([each], head, photo)[0].points for each in (group, led))
    low, right = -0.3, make_frame(CAMERA).axes[0]
    ends = [((points[:, -1, 1] < low) & (points[:, 0] @ right > 0.05)).sum() for points in (cut, kept)]
    assert ends[1] > 1.5 * ends[0]
    np.testing.assert_array_equal(led.points[:, 0], group.points[:, 0])
    neck = led.points[led.points[..., 1] > low]
    assert (head.field.distance(neck) < -0.01).mean() < 0.01  # lower down it is draped later
    free = ~shows(group.points).any(1)
    np.testing.assert_array_equal(led.points[free], group.points[free])


def test_locks_of_long_hair_end_unevenly_and_a_cut_at_the_jaw_stays(head):
    hair, bob = grow(head, "lob"), grow(head, "short_bob")
    for group in (hair, bob):
        (frayed,) = fray_ends([group])
        np.testing.assert_array_equal(frayed.points[:, 0], group.points[:, 0])
        assert (frayed.points[:, -1, 1] >= group.points[:, -1, 1].min() - 1e-6).all()
    (ragged,) = fray_ends([hair])
    low = hair.points[:, -1, 1] < np.quantile(hair.points[:, -1, 1], 0.1) + 0.005
    assert ragged.points[low, -1, 1].std() > 2 * hair.points[low, -1, 1].std()
    np.testing.assert_allclose(fray_ends([bob])[0].points, bob.points, atol=0.02)


def test_a_photo_ends_lock_by_lock_in_the_hair_that_it_cuts_off():
    known = np.ones((SIDE, SIDE), np.float32)
    known[-16:] = 0
    hair, cloth = (fray_border(replace(photograph(label), known=known)) for label in (Label.HAIR, Label.CLOTHES))
    np.testing.assert_array_equal(cloth.known, known)
    ends = (hair.known > 0.5).sum(0)
    assert np.ptp(ends) > 0.3 * UNEVEN * SIDE and (hair.known <= known).all()
    whole = photograph(Label.HAIR)
    assert fray_border(whole) is whole
