"""Glasses of an avatar: found by the lines of their rims, worn before the face, and not painted on it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.worn.glasses_fit import find_glasses, fit_dark_lenses, shows_dark_lenses
from portrait360.pipeline.avatar.worn.glasses_photo import (
    REFLECTS,
    choose_glasses,
    find_frame_colour,
    find_frames_before,
    mark_frames,
    match_frame,
    put_glasses_on,
    show_own_frame,
    take_frames_off,
    take_glasses_off,
)
from portrait360.synth.build import build_person
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.sampling.parameters import GlassesFit, Hair, HeadParameters, Wear
from portrait360.synth.scene import Material, Scene
from portrait360.synth.wear.glasses import FRAMES, find_frame, make_glasses
from portrait360.utils.portrait_labels import Label
from tests.fixtures.glasses import CAMERA, SIDE, dress, photograph
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

WIRE = Wear(
    glasses="wire_large", glasses_fit=GlassesFit(width=-0.01, height=-0.02, rise=-0.01, aside=0.005, tilt=2.0)
)
LIKELY = {"clear": 0.45, "none": 0.5, "sun": 0.05}


@pytest.fixture(scope="module")
def worn(head: Head) -> Photo:
    return photograph(dress(head, WIRE))


@pytest.fixture(scope="module")
def bare(head: Head) -> Photo:
    return photograph(dress(head, Wear()))


def test_the_lenses_that_a_photo_shows_are_found(head: Head, worn: Photo) -> None:
    found, frame = find_glasses(head, worn), find_frame("wire_large")
    fit, true = found.fit("wire_large"), WIRE.glasses_fit
    assert found.rating > 0.2
    assert abs(fit.width - true.width) < 0.1 * frame.width
    assert abs(fit.height - true.height) < 0.1 * frame.height
    assert abs(fit.rise - true.rise) < 0.02 and abs(fit.aside - true.aside) < 0.01 and abs(fit.tilt - true.tilt) < 3


@pytest.mark.parametrize("azimuth", [-50, 35])
def test_a_turned_face_tells_how_far_lenses_stand_off(head: Head, worn: Photo, azimuth: float) -> None:
    def measure(fit: GlassesFit) -> float:
        meshes = make_glasses(head, HeadParameters(wear=replace(WIRE, glasses_fit=fit)))
        return float(next(mesh for mesh in meshes if mesh.material[0] == Material.METAL).vertices[:, 2].mean())

    true = replace(WIRE.glasses_fit, aside=0.0, forward=0.06)
    photo = photograph(dress(head, replace(WIRE, glasses_fit=true)), Camera(look_at(azimuth, 2), FOCAL))
    far, near = measure(true), measure(replace(true, forward=0.0))
    assert far > near + 0.01
    assert abs(measure(find_glasses(head, photo).fit("wire_large")) - far) < 0.4 * (far - near)
    assert find_glasses(head, worn).fit("wire_large").forward == 0  # the photo of a face from the front does not


def test_many_pixels_of_glasses_are_as_good_as_a_sure_answer(head: Head, worn: Photo, bare: Photo) -> None:
    doubtful = {"none": 0.65, "clear": 0.35}
    faint = replace(worn, radiance=(bare.radiance + 0.2 * (worn.radiance - bare.radiance)))
    assert choose_glasses(head, faint, Wear(), doubtful).glasses == "none"
    lens = np.zeros(worn.labels.shape, np.bool_)
    lens[150:170, 150:170] = True
    named = [replace(p, labels=np.where(lens, np.uint8(Label.GLASSES), p.labels)) for p in (faint, bare)]
    assert [choose_glasses(head, p, Wear(), doubtful).glasses != "none" for p in named] == [True, False]


@pytest.mark.parametrize("kind", ["sun_round", "sun_aviator", "sun_cat"])
def test_dark_lenses_are_as_large_and_lie_where_the_photo_shows_them(head: Head, kind: str) -> None:
    """Their outlines decide: whatever shape sunglasses have, squares before the face cover the same."""

    def show(wear: Wear) -> np.ndarray:
        film = render_linear(prepare_scene(dress(head, wear), occlusion=False, quality=DRAFT), CAMERA, SIDE)
        return film.labels == Label.GLASSES

    true = show(Wear(glasses=kind, glasses_fit=GlassesFit(aside=0.01, rise=-0.01)))
    photo = photograph(dress(head, Wear()))
    photo = replace(photo, labels=np.where(true, np.uint8(Label.GLASSES), photo.labels))
    fit = fit_dark_lenses(head, photo, "sun_square")
    assert fit is not None
    found, usual = (show(Wear(glasses="sun_square", glasses_fit=f)) for f in (fit, GlassesFit()))
    overlap, before = ((mask & true).sum() / (mask | true).sum() for mask in (found, usual))
    assert overlap > 0.8 and overlap > before
    assert fit_dark_lenses(head, photograph(dress(head, Wear())), "sun_square") is None


@pytest.mark.parametrize("kind", FRAMES)
def test_only_lenses_that_hide_lit_skin_are_dark(head: Head, kind: str) -> None:
    """However thick and black the frame is, one sees skin through a clear lens."""
    wear = Wear(glasses=kind, glasses_fit=GlassesFit(rim=0.012, upper=0.01))
    geometry = build_person(head, HeadParameters(hair=Hair(style="bald"), wear=wear), np.random.default_rng(0))
    photo = photograph(Scene(tuple(geometry.meshes), (), WHITE))
    assert shows_dark_lenses(head, photo) == kind.startswith("sun")


def test_clear_glasses_that_the_reader_takes_for_sunglasses_are_clear(head: Head, worn: Photo) -> None:
    assert choose_glasses(head, worn, Wear(glasses="sun_square"), {"sun": 0.9, "none": 0.1}).glasses == "wire_large"


@pytest.mark.parametrize("upper", [0.0, 0.012])
@pytest.mark.parametrize("rim", [0.007, 0.013, 0.019])
def test_rims_are_as_thick_as_the_photo_shows_them(head: Head, rim: float, upper: float) -> None:
    frame = find_frame("thick_round")
    fit = GlassesFit(rim=rim - frame.rim, upper=upper, rise=-0.02)
    found = find_glasses(head, photograph(dress(head, Wear(glasses="thick_round", glasses_fit=fit))))
    assert abs(found.rim - rim) < 0.35 * rim
    assert abs(found.upper - rim - upper) < 0.4 * (rim + upper)


def test_glasses_are_worn_where_reader_and_photo_say_so(head: Head, worn: Photo, bare: Photo) -> None:
    assert choose_glasses(head, worn, Wear(), LIKELY).glasses == "wire_large"
    assert choose_glasses(head, bare, Wear(), LIKELY).glasses == "none"
    assert choose_glasses(head, worn, Wear(), {"none": 0.9, "clear": 0.1}).glasses == "none"


def test_a_frame_taken_off_leaves_skin_as_it_is_beside_it(head: Head, worn: Photo, bare: Photo) -> None:
    marked = mark_frames(worn, head, HeadParameters(wear=WIRE))
    off, frame = take_frames_off(marked, WIRE.glasses), marked.shows(Label.GLASSES)
    assert frame.sum() > 300 and not off.shows(Label.GLASSES).any()
    assert np.array_equal(off.rgb[~frame], worn.rgb[~frame])
    before, after = (np.abs(photo.rgb - bare.rgb).mean(-1)[frame].mean() for photo in (worn, off))
    assert after < 0.4 * before


def test_eyes_seen_through_lenses_stay_eyes(head: Head, worn: Photo) -> None:
    read = replace(worn, labels=np.where(worn.shows(Label.BROW), np.uint8(Label.GLASSES), worn.labels))
    marked = mark_frames(read, head, HeadParameters(wear=WIRE))
    assert np.array_equal(marked.shows(Label.EYE), worn.shows(Label.EYE))
    assert marked.shows(Label.GLASSES).sum() < 0.2 * worn.shows(Label.FACE).sum()


def test_frames_give_way_to_the_photos_near_its_direction_alone(head: Head) -> None:
    film = render_linear(prepare_scene(dress(head, WIRE), occlusion=False, quality=DRAFT), CAMERA, 200)
    frame = film.labels == Label.GLASSES
    near, far = (find_frames_before(film, np.full(frame.shape, angle, np.float32)) for angle in (2.0, 30.0))
    assert not near.any() and far[frame].min() > 0.5 and far.mean() < 0.1
    added = np.ones((*frame.shape, 3), np.float32)
    assert np.array_equal(show_own_frame(added, np.zeros(frame.shape)), added)
    assert not show_own_frame(added, np.full(frame.shape, 30.0)).any()


def test_glasses_come_back_to_their_places(head: Head) -> None:
    scene = dress(head, WIRE)
    without = take_glasses_off(scene)
    assert len(without.meshes) < len(scene.meshes)
    assert [id(mesh) for mesh in put_glasses_on(without, scene).meshes] == [id(mesh) for mesh in scene.meshes]


@pytest.mark.parametrize("kind", ["wire_large", "wayfarer"])
def test_a_frame_is_as_bright_as_in_the_photo(head: Head, worn: Photo, kind: str) -> None:
    colour = (0.12, 0.08, 0.06)
    wear = replace(WIRE, glasses=kind, glasses_fit=GlassesFit(), glasses_colour=colour)
    scene = match_frame(dress(head, wear), worn, wear)
    film = render_linear(prepare_scene(scene, occlusion=False, quality=DRAFT), CAMERA, SIDE)
    shown = np.median(film.radiance[(film.labels == Label.GLASSES) & (film.alpha > 0.5)], 0)
    np.testing.assert_allclose(shown, np.array(colour) / REFLECTS, rtol=0.3)


@pytest.mark.parametrize("colour", [0.012, 0.6])
def test_a_frame_has_the_colour_of_the_lines_along_its_rims(head: Head, bare: Photo, colour: float) -> None:
    """What lies near it, a brow or a hinge, may be a clearer line of the other kind."""
    wear = replace(WIRE, glasses="thick_round", glasses_fit=GlassesFit(), glasses_colour=(colour,) * 3)
    photo = photograph(dress(head, wear))
    rim = np.abs(photo.radiance - bare.radiance).max(-1) > 0.02
    reach = cv2.dilate(rim.astype(np.uint8), np.ones((9, 9))) - cv2.dilate(rim.astype(np.uint8), np.ones((5, 5)))
    other = (reach > 0) & (np.arange(SIDE)[:, None] < np.nonzero(rim)[0].min() + 8)
    radiance = np.where(other[..., None], 1.0 if colour < 0.1 else 0.0, photo.radiance)
    found = find_frame_colour(head, replace(photo, radiance=radiance), wear)
    assert found is not None and (max(found) < 0.08 if colour < 0.1 else min(found) > 0.2)


def test_added_measures_move_the_rims(head: Head) -> None:
    def rim(fit: GlassesFit) -> np.ndarray:
        meshes = make_glasses(head, HeadParameters(wear=replace(WIRE, glasses_fit=fit)))
        return next(mesh.vertices for mesh in meshes if mesh.material[0] == Material.METAL)

    usual = rim(GlassesFit())
    assert np.ptp(rim(GlassesFit(width=-0.02)), 0)[0] < np.ptp(usual, 0)[0]
    assert rim(GlassesFit(rise=0.02))[:, 1].mean() > usual[:, 1].mean()
    assert rim(GlassesFit(aside=0.02))[:, 0].mean() > usual[:, 0].mean()
    assert rim(GlassesFit(tilt=5.0))[:, 1].mean() > usual[:, 1].mean()
