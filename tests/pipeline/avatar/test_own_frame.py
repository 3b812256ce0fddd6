"""A photo's own frame of glasses, cut out of it: it keeps its shape from aside, whatever shape has been fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.own_frame import END, OwnFrame, cut_out_frame
from portrait360.pipeline.avatar.view.render import mix_views
from portrait360.pipeline.avatar.worn.glasses_photo import find_front, mark_frames, measure_thickness, take_frames_off
from portrait360.pipeline.avatar.worn.rims import bend_rims, follow_line
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.bake import DRAFT, prepare_scene
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.sampling.parameters import GlassesFit, HeadParameters, Wear
from portrait360.synth.scene import Scene
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import Label
from tests.fixtures.glasses import CAMERA, SIDE, dress, photograph
from tests.fixtures.photos import FOCAL

BLACK = (0.01, 0.01, 0.012)
SQUARE = Wear(glasses="thick_round", glasses_fit=GlassesFit(power=1.5, cat=0.012), glasses_colour=BLACK)
ROUND = Wear(glasses="thick_round", glasses_fit=GlassesFit(width=-0.006, rise=-0.006), glasses_colour=BLACK)


def cut_out(head: Head, photo: Photo, wear: Wear) -> OwnFrame | None:
    marked, scene = mark_frames(photo, head, HeadParameters(wear=wear)), dress(head, wear)
    prepared = prepare_scene(scene, occlusion=False, quality=DRAFT)
    thick = measure_thickness(photo, HeadParameters(wear=wear))
    return cut_out_frame(marked, take_frames_off(marked, wear.glasses), scene.meshes, prepared, thick)


@pytest.fixture(scope="module")
def frame(head: Head) -> OwnFrame:
    found = cut_out(head, photograph(dress(head, SQUARE)), ROUND)
    assert found is not None
    return found


@pytest.mark.parametrize("turn", [-20.0, 36.0])
def test_from_aside_a_cutout_is_more_like_the_photos_frame_than_the_fitted_one(
    head: Head, frame: OwnFrame, turn: float
) -> None:
    camera, size = Camera(look_at(turn, 2), FOCAL), (SIDE, SIDE)

    def show(wear: Wear) -> Bools:
        film = render_linear(prepare_scene(dress(head, wear), occlusion=False, quality=DRAFT), camera, SIDE)
        front = np.abs(film.depth - np.median(film.depth[film.labels == Label.GLASSES])) < 0.06
        return (film.labels == Label.GLASSES) & front

    true, fitted = show(SQUARE), show(ROUND)
    nothing, far = np.zeros((*size, 3)), np.full(size, 30.0, np.float32)
    _, drawn = frame.lay_over(nothing, np.zeros(size), np.zeros(size), far, camera)
    alike = [(mask & true).sum() / (mask | true).sum() for mask in (drawn > 0.5, fitted)]
    assert alike[0] > alike[1] + 0.1


def test_a_cutout_is_shown_as_far_round_as_it_looks_right_and_not_at_the_photo_itself(frame: OwnFrame) -> None:
    shares = [frame.measure_share(Camera(look_at(8 + turn, 2), FOCAL)) for turn in (0, END[0], 43, END[1] + 1)]
    assert shares[:2] == [1, 1] and 0 < shares[2] < 1 and shares[3] == 0
    size = (SIDE, SIDE)
    rgb, alpha = frame.lay_over(np.ones((*size, 3)), np.ones(size), np.zeros(size), np.zeros(size), frame.camera)
    assert np.array_equal(rgb, np.ones((*size, 3))) and np.array_equal(alpha, np.ones(size))


def test_where_a_cutout_ends_it_fades() -> None:
    one, half, full = np.ones((4, 4), np.float32), np.full((4, 4), 0.5, np.float32), np.full((4, 4, 3), 0.8)
    first = ProxyView(np.zeros((4, 4, 3), np.float32), one, one, one, full)
    second = replace(first, rgb=full, mask=half)
    mixed = mix_views(first, second, 0.5)
    np.testing.assert_allclose(mixed.mask, 0.75)
    np.testing.assert_allclose(mixed.rgb * mixed.mask[..., None], 0.5 * full * 0.5, rtol=1e-5)


def test_what_lies_before_a_cutout_hides_it(frame: OwnFrame) -> None:
    size = (SIDE, SIDE)
    near, far = np.full(size, 0.1, np.float32), np.full(size, 30.0, np.float32)
    _, alpha = frame.lay_over(np.ones((*size, 3)), np.zeros(size), near, far, frame.camera)
    assert not alpha.any()


def test_the_layers_beneath_have_no_rims_but_temples(head: Head, frame: OwnFrame) -> None:
    whole = prepare_scene(dress(head, ROUND), occlusion=False, quality=DRAFT)
    labels = [scene.surface.labels[scene.solid] == Label.GLASSES for scene in (whole, frame.bare)]
    assert 0 < labels[1].sum() < 0.6 * labels[0].sum()
    assert (~labels[1]).sum() == (~labels[0]).sum()


def test_frames_that_the_photo_does_not_show_clearly_are_none(head: Head) -> None:
    pale = replace(SQUARE, glasses_colour=(0.4, 0.3, 0.25))
    assert cut_out(head, photograph(dress(head, pale)), ROUND) is None
    assert cut_out(head, photograph(dress(head, Wear())), ROUND) is None


@pytest.mark.parametrize("colour", [BLACK, (0.6, 0.55, 0.5)])
def test_fitted_rims_take_the_shape_that_the_photo_shows(head: Head, colour: tuple[float, float, float]) -> None:
    """Whether they are darker or brighter than the face; without lines they stay."""

    def show(scene: Scene) -> Bools:
        film = render_linear(prepare_scene(scene, occlusion=False, quality=DRAFT), CAMERA, SIDE)
        return film.labels == Label.GLASSES

    photo, parameters = photograph(dress(head, replace(SQUARE, glasses_colour=colour))), HeadParameters(wear=ROUND)
    fitted = dress(head, ROUND)
    bent = bend_rims(fitted, mark_frames(photo, head, parameters), parameters)
    true = show(dress(head, SQUARE))
    before, after = ((show(scene) & true).sum() / (show(scene) | true).sum() for scene in (fitted, bent))
    assert after > before + 0.1
    rims = [np.concatenate([mesh.vertices for mesh in find_front(scene.meshes)]) for scene in (fitted, bent)]
    assert head.field.distance(rims[1]).min() > min(head.field.distance(rims[0]).min(), 0.0)  # none crosses the face
    assert bend_rims(fitted, photograph(dress(head, Wear())), parameters) is fitted


def test_a_closed_line_follows_what_it_finds_without_steps() -> None:
    way = np.round(4 * np.sin(np.linspace(0, 2 * np.pi, 57)[:-1])).astype(int) + 12
    gains = np.zeros((56, 25))
    gains[np.arange(56), way] = 1
    gains[10:16] = 0  # hidden there
    found = follow_line(gains)
    assert np.abs(np.diff(found, append=found[:1])).max() <= 1
    shown = np.r_[:10, 16:56]
    assert (np.abs(found - way)[shown] <= 1).all()
