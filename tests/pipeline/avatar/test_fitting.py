"""Outline, hat, collar and labels of an avatar, against synthetic heads whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.pipeline.avatar.clothes.collar import choose_collar
from portrait360.pipeline.avatar.from_portrait import DescribedHead, grow_scene, make_head_of
from portrait360.pipeline.avatar.hair.chosen import ChosenHair
from portrait360.pipeline.avatar.hair.search import HairFit
from portrait360.pipeline.avatar.person import name_glasses, settle_labels
from portrait360.pipeline.avatar.photo.overruled_photo import NO_CONFLICT
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo, soften_border
from portrait360.pipeline.avatar.skin.fit import SkinFit
from portrait360.pipeline.avatar.skin.outline_fit import fit_outline
from portrait360.pipeline.avatar.view.relight import EXTRA, TURN, relight
from portrait360.pipeline.avatar.view.render import LAYER_OF_LABEL, LAYERS
from portrait360.pipeline.avatar.worn.hat_search import HATS_OF_FAMILY, choose_hat
from portrait360.pipeline.reading.reading import Reading
from portrait360.synth.build import build_person
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.fitted_head import make_fitted_head
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.sampling.hairstyles import find_style
from portrait360.synth.sampling.parameters import Clothes, Facial, Hair, HeadParameters, Wear
from portrait360.synth.scene import Scene
from portrait360.utils.portrait_labels import SKIN_LABELS, Label
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

FAMILIES = {name: family for family, names in HATS_OF_FAMILY.items() for name in names}
CAMERA = Camera(look_at(12, 4), FOCAL)
SIDE = 256


def photograph(head: Head, parameters: HeadParameters) -> Photo:
    """Return a photo of a head with true labels."""
    geometry = build_person(head, parameters, np.random.default_rng(0))
    scene = Scene(tuple(geometry.meshes), tuple(s for s in geometry.strands if len(s.points)), WHITE)
    view = render(scene, CAMERA, SIDE)
    known = np.ones((SIDE, SIDE), np.float32)
    flow = np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(view.rgb, view.rgb, view.alpha, known, view.labels, known, flow, CAMERA)


@pytest.mark.parametrize("hat", ["beanie", "cap", "sun_hat", "top_hat", "beret", "turban", "hijab", "headphones"])
def test_a_hat_is_told_by_its_outline(head, hat):
    person = HeadParameters(hair=Hair(style="crew"), wear=Wear(hat=hat))
    uncertain = dict.fromkeys(HATS_OF_FAMILY, 1 / len(HATS_OF_FAMILY))
    assert (
        FAMILIES[choose_hat(head, photograph(head, person), person, uncertain).hat.partition(":")[0]] == FAMILIES[hat]
    )


@pytest.mark.parametrize(("collar", "drop"), [("crew", 0.0), ("crew", 0.12), ("v_neck", 0.08), ("scoop", 0.0)])
def test_a_collar_is_told_by_its_outline(head, collar, drop):
    person = HeadParameters(hair=Hair(style="bald"), clothes=Clothes(collar=collar, drop=drop))
    chosen = choose_collar(head, photograph(head, person), person, {})
    assert chosen.collar == collar and chosen.drop == pytest.approx(drop, abs=0.061)


def test_the_skins_outline_is_found(head):
    """Ears, jaw and shoulders of another shape than the fit's move to where the photo shows them."""
    rng = np.random.default_rng(3)
    other = make_fitted_head(rng.normal(0, 0.8, 60), np.zeros(52))
    photo = photograph(other, HeadParameters(hair=Hair(style="bald"), clothes=Clothes(collar="none")))
    fit = SkinFit(CAMERA, np.zeros(60), np.zeros(52), np.zeros((head.pack.body, 3), np.float32), 0.0)

    def overlap(skin: Head) -> float:
        drawn = rasterizer.rasterise(skin.body, skin.triangles, CAMERA, SIDE).ids >= 0
        true = photo.alpha > 0.5
        return float((drawn & true).sum() / (drawn | true).sum())

    fitted = fit_outline(fit, photo)
    before, after = overlap(head), overlap(make_head_of(fitted, 1))
    assert 1 - after < 0.5 * (1 - before)
    assert np.abs(fitted.offset @ CAMERA.cam2world[:3, 2]).max() < 1e-5  # parallel to the picture


def test_shoulders_meet_cloth_that_lies_far_above_them(head):
    """Who leans forward has shoulders at the height of the mouth."""
    fit = SkinFit(CAMERA, np.zeros(60), np.zeros(52), np.zeros((head.pack.body, 3), np.float32), 0.0)
    photo = photograph(head, HeadParameters(hair=Hair(style="bald"), clothes=Clothes(collar="crew")))
    high = np.roll(photo.labels, -round(0.16 * SIDE), 0) == Label.CLOTHES
    high[-round(0.16 * SIDE) :] = high[-round(0.16 * SIDE) - 1]
    added = high & (photo.labels == Label.BACKGROUND)
    labels = np.where(added, np.uint8(Label.CLOTHES), photo.labels)
    photo = replace(photo, labels=labels, alpha=np.maximum(photo.alpha, added).astype(np.float32))

    def uncovered(skin: Head) -> float:
        drawn = rasterizer.rasterise(skin.body, skin.triangles, CAMERA, SIDE).ids >= 0
        return float((added & ~drawn).sum() / added.sum())

    assert uncovered(head) > 0.9
    assert uncovered(make_head_of(fit_outline(fit, photo), 1)) < 0.3


def test_an_outline_that_fits_moves_nothing(head):
    photo = photograph(head, HeadParameters(hair=Hair(style="bald"), clothes=Clothes(collar="none")))
    fit = SkinFit(CAMERA, np.zeros(60), np.zeros(52), np.zeros((head.pack.body, 3), np.float32), 0.0)
    moves = np.linalg.norm(fit_outline(fit, photo).offset, axis=1)
    assert np.quantile(moves, 0.9) < 0.003 and moves.max() < 0.015


def test_labels_of_what_is_not_worn_go_to_what_lies_beneath(head):
    worn = HeadParameters(hair=Hair(style="crew"), facial=Facial(beard="full"), wear=Wear(hat="cap", glasses="round"))
    photo = photograph(head, worn)
    assert photo.shows(Label.BEARD, Label.HAT, Label.GLASSES).any()
    bare = settle_labels(photo, replace(worn, facial=Facial(), wear=Wear()))
    assert not bare.shows(Label.BEARD, Label.HAT, Label.GLASSES).any()
    assert bare.shows(*SKIN_LABELS).sum() > photo.shows(*SKIN_LABELS).sum()
    np.testing.assert_array_equal(settle_labels(photo, worn).labels, photo.labels)


def read_glasses(answers: dict[str, float]) -> Reading:
    nothing = np.zeros((1, 1, 3), np.float32)
    return Reading(nothing, nothing, nothing, nothing, {"glasses": answers}, {})


@pytest.mark.parametrize(("glasses", "likelier"), [("sun_aviator", "clear"), ("wayfarer", "clear"), ("none", "sun")])
def test_lenses_that_hide_the_eyes_are_sunglasses(head, glasses, likelier):
    """What the labels show of glasses decides, for the reader often calls sunglasses clear."""
    photo = photograph(head, HeadParameters(hair=Hair(style="bald"), wear=Wear(glasses=glasses)))
    expected = {"sun_aviator": "sun_square", "wayfarer": "round", "none": "none"}[glasses]
    assert name_glasses(photo, read_glasses({likelier: 0.6})) == expected


def test_dark_lenses_are_sunglasses_even_if_eyes_are_read_in_them(head):
    """A reader that guesses eyes in reflections makes no lens clear: those show skin."""
    photo = photograph(head, HeadParameters(hair=Hair(style="bald"), wear=Wear(glasses="sun_aviator")))
    labels = photo.labels.copy()
    rows, columns = np.nonzero(photo.shows(Label.GLASSES))
    labels[rows[::9], columns[::9]] = Label.EYE
    dark = replace(photo, labels=labels, radiance=srgb_to_radiance(photo.rgb))
    clear = replace(dark, radiance=np.full_like(photo.radiance, 0.3))
    assert [name_glasses(p, read_glasses({"clear": 0.6})) for p in (dark, clear)] == ["sun_square", "round"]


def test_a_sure_reader_needs_few_pixels_of_wire(head):
    photo = photograph(head, HeadParameters(hair=Hair(style="bald"), wear=Wear(glasses="round")))
    where = np.flatnonzero(photo.shows(Label.GLASSES))
    labels = photo.labels.copy()
    labels.flat[where[len(where) // 6 :]] = Label.FACE
    worn = replace(photo, labels=labels)
    named = [name_glasses(worn, read_glasses({"clear": p, "none": 1 - p})) for p in (0.95, 0.6)]
    assert named == ["round", "none"]


def test_a_photo_fades_at_its_own_edge_but_not_at_the_crops():
    inside = np.zeros((100, 100), np.float32)
    inside[:60] = 1
    soft = soften_border(inside)
    assert soft[0].min() == 1 and soft[59].max() < 0.2 and soft[60:].max() == 0
    assert (np.diff(soft[:, 50]) <= 1e-6).all()
    assert soften_border(np.ones((8, 8))).min() == 1


def test_void_is_no_label():
    assert VOID not in list(Label)


def test_light_changes_with_the_angle_from_the_photo():
    """At the photo's direction its colours stay; far from it they have the light of the layers."""
    side, rng = 64, np.random.default_rng(5)
    rgb = rng.uniform(0.2, 0.6, (side, side, 3)).astype(np.float32)
    labels = np.full((side, side), Label.FACE, np.uint8)
    ones = np.ones((side, side), np.float32)
    photo = Photo(rgb, srgb_to_radiance(rgb), ones, ones, labels, ones, np.zeros((side, side, 2)), CAMERA)
    gains = np.full((side, side, len(LAYERS) + EXTRA, 3), np.log(0.5), np.float32)
    layer, uv = LAYER_OF_LABEL[labels], pixel_centres(side, side)
    near = relight(photo, gains, layer, uv, np.zeros((side, side)))
    far = relight(photo, gains, layer, uv, np.full((side, side), TURN[1]))
    np.testing.assert_allclose(near, rgb, atol=1e-5)
    np.testing.assert_allclose(srgb_to_radiance(far), 0.5 * srgb_to_radiance(rgb), rtol=2e-2)


@pytest.mark.parametrize("beard", ["none", "short", "goatee", "moustache"])
def test_hair_where_the_photo_shows_bare_skin_leaves_no_empty_layer(head, beard):
    """Renderers and bakers take every layer to have strands."""
    photo = photograph(head, HeadParameters(hair=Hair(style="bald")))
    wanted = HeadParameters(hair=Hair(style="crew"), facial=Facial(beard=beard))
    fit = HairFit(wanted.hair, find_style("crew"), 0.7)
    person = DescribedHead(wanted, WHITE, photo, ChosenHair(fit, agrees=True), NO_CONFLICT)
    scene = grow_scene(head, head, person)
    assert all(len(group.points) for group in scene.strands)
