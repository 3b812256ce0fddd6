"""Hats of an avatar: how they are worn, their outline, their one material, and what is read as a hat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.from_portrait import is_carved_hair
from portrait360.pipeline.avatar.hair.fit import tuck
from portrait360.pipeline.avatar.photo.exposure import expose
from portrait360.pipeline.avatar.photo.pixels import Photo, take_hats_off_chests
from portrait360.pipeline.avatar.view.relief import WITHIN, ease_steps
from portrait360.pipeline.avatar.view.relief_view import uncover_hat
from portrait360.pipeline.avatar.worn.hat_colours import (
    EDGES,
    FAIREST,
    Shown,
    bake_hat,
    find_bands,
    find_usual_colours,
    is_hat,
    limit_fairness,
)
from portrait360.pipeline.avatar.worn.hat_labels import settle_hat
from portrait360.pipeline.avatar.worn.hat_outline import fit_hat_outline
from portrait360.pipeline.avatar.worn.hat_search import HATS_OF_FAMILY, HatSearch, choose_hat
from portrait360.pipeline.reading.reading import Reading
from portrait360.synth.build import build_person
from portrait360.synth.head.bare_head import Head
from portrait360.synth.render.bake import DRAFT
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.sampling.hats import change_hat, find_hat
from portrait360.synth.sampling.parameters import Hair, HatFit, HeadParameters, Statue, Wear
from portrait360.synth.scene import Material, Mesh, Part, Scene, Strands
from portrait360.synth.wear.hat_fit import fit_hat
from portrait360.synth.wear.shells import RINGS, SPOKES
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

CAMERA = Camera(look_at(8, 2), FOCAL)
SIDE = 200
TILTED = HatFit(front=0.14, back=-0.2, brim=0.06, tilt=6.0)
UNCERTAIN = dict.fromkeys(HATS_OF_FAMILY, 1 / len(HATS_OF_FAMILY))


def dress(head: Head, wear: Wear) -> Scene:
    geometry = build_person(head, HeadParameters(hair=Hair(style="crew"), wear=wear), np.random.default_rng(0))
    return Scene(tuple(geometry.meshes), tuple(s for s in geometry.strands if len(s.points)), WHITE)


def photograph(scene: Scene) -> Photo:
    view = render(scene, CAMERA, SIDE)
    known, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(view.rgb, srgb_to_radiance(view.rgb), view.alpha, known, view.labels, known, flow, CAMERA)


def draw(meshes: list[Mesh]) -> np.ndarray:
    hat = [mesh for mesh in meshes if is_hat(mesh)]
    firsts = np.cumsum([0, *(len(mesh.vertices) for mesh in hat)])[:-1]
    triangles = np.concatenate([mesh.triangles + first for mesh, first in zip(hat, firsts, strict=True)])
    return rasterizer.rasterise(np.concatenate([mesh.vertices for mesh in hat]), triangles, CAMERA, SIDE).ids >= 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("hat", ["wide_brim", "felt_hat"])
def test_a_hat_is_worn_as_the_photo_shows_it(head, hat):
    worn = Wear(hat=hat, fit=TILTED)
    photo = photograph(dress(head, worn))
    found = choose_hat(head, photo, HeadParameters(hair=Hair(style="crew")), UNCERTAIN)
    scenes = [dress(head, wear) for wear in (worn, replace(worn, fit=HatFit()), found)]
    true, usual, fitted = (draw(list(scene.meshes)) for scene in scenes)
    assert overlap(fitted, true) > 0.85 and overlap(fitted, true) > overlap(usual, true) + 0.05
    label = render(scenes[2], CAMERA, SIDE).labels
    hair = photo.shows(Label.HAIR)
    assert (hair & (label == Label.HAT)).sum() < 0.15 * hair.sum()  # it does not sit on what is seen of the hair


def test_hats_have_only_the_parts_of_their_kind():
    assert change_hat(find_hat("cap"), HatFit(brim=0.3)).brim == 0
    assert change_hat(find_hat("fedora"), HatFit(brim=-0.6)).brim > 0
    assert change_hat(find_hat("fedora"), HatFit()) == find_hat("fedora")


def find_rim(head: Head, fit: HatFit) -> tuple[float, float]:
    """Return how low the rim of a turban is at the left temple and at the right one."""
    shell = fit_hat(head, "wound_turban", fit)
    ends = shell.directions(np.ones(2), np.radians([90.0, 270.0]))
    return float(ends[0, 1]), float(ends[1, 1])


def test_a_tilted_turban_may_be_as_low_on_both_temples(head):
    left, right = find_rim(head, HatFit(tilt=12.0))
    assert right - left > 0.3
    even = find_rim(head, HatFit(tilt=12.0, even=1.0))
    assert even == pytest.approx((left, left), abs=0.03)
    assert change_hat(find_hat("fedora"), HatFit(tilt=12.0, even=1.0)).even == 0


@pytest.mark.parametrize(("azimuth", "even"), [(50, 1.0), (0, 0.0)])
def test_a_turban_is_tilted_only_where_the_photo_shows_both_temples(head, monkeypatch, azimuth, even):
    monkeypatch.setattr("tests.pipeline.avatar.test_hat.CAMERA", Camera(look_at(azimuth, 2), FOCAL))
    fit = HatFit(tilt=12.0)
    photo = photograph(dress(head, Wear(hat="wound_turban", fit=fit)))
    search = HatSearch(head, photo, HeadParameters(hair=Hair(style="crew")), UNCERTAIN)
    assert search.even_out("wound_turban", fit).even == even


def test_the_outline_of_a_hat_is_found_in_the_plane_of_the_picture(head):
    scene = dress(head, Wear(hat="wide_brim"))
    photo = photograph(dress(head, Wear(hat="wide_brim", fit=HatFit(brim=0.07, rise=0.05))))
    true = draw(list(dress(head, Wear(hat="wide_brim", fit=HatFit(brim=0.07, rise=0.05))).meshes))
    moved = fit_hat_outline(scene.meshes, head, photo)
    before, after = overlap(draw(list(scene.meshes)), true), overlap(draw(moved), true)
    assert 1 - after < 0.5 * (1 - before)
    for old, new in zip(scene.meshes, moved, strict=True):
        step = new.vertices - old.vertices
        free = head.field.distance(old.vertices) > 0.1  # what would move into the skin moves out of it
        assert np.abs(step[free] @ CAMERA.cam2world[:3, 2]).max(initial=0) < 1e-4
        assert is_hat(old) or new is old


def test_no_outline_takes_a_hat_into_the_head(head):
    scene = dress(head, Wear(hat="beanie", fit=HatFit(rise=-0.05)))
    photo = photograph(scene)
    top = int(np.nonzero(photo.shows(Label.HAT))[0].min()) + 9  # of a matte that lacks much of the crown
    cut = np.arange(SIDE)[:, None] < top
    labels = np.where(cut, np.uint8(Label.BACKGROUND), photo.labels)
    photo = replace(photo, alpha=np.where(cut, np.float32(0), photo.alpha), labels=labels)
    before, after = (
        np.concatenate([head.field.distance(mesh.vertices) for mesh in meshes if is_hat(mesh)])
        for meshes in (scene.meshes, fit_hat_outline(scene.meshes, head, photo))
    )
    assert np.abs(after - before).max() > 0.01  # it does move
    assert (after > np.minimum(before, 0.01) - 0.004).all()


def test_a_hat_that_fits_hardly_moves(head):
    scene = dress(head, Wear(hat="bowler"))
    moved = fit_hat_outline(scene.meshes, head, photograph(scene))
    steps = [np.linalg.norm(a.vertices - b.vertices, axis=1) for a, b in zip(scene.meshes, moved, strict=True)]
    assert np.concatenate(steps).max() < 0.02


def test_a_hat_is_of_one_material_all_around(head):
    true = (0.5, 0.2, 0.1)
    photo = photograph(dress(head, Wear(hat="bowler", hat_colour=true, hat_trim=true)))
    scene = dress(head, Wear(hat="bowler", hat_colour=(0.3, 0.3, 0.3), hat_trim=(0.2, 0.2, 0.2)))
    baked = [mesh for mesh in bake_hat(scene.meshes, expose(scene, photo, DRAFT)) if is_hat(mesh)]
    for mesh in baked:
        back = mesh.vertices[:, 2] < -0.1
        hue = mesh.albedo / mesh.albedo.sum(1, keepdims=True)
        assert np.abs(hue[back] - np.array(true) / sum(true)).max() < 0.04
        assert np.abs(np.log(np.median(mesh.albedo[back], 0) / true)).max() < 0.45


def test_what_would_be_too_fair_keeps_its_hue():
    albedo = np.array([[1.4, 1.2, 0.9], [0.3, 0.2, 0.1]], np.float32)
    limited = limit_fairness(albedo)
    assert limited.max() <= FAIREST[1] + 1e-6 and (limited @ LUMINANCE <= FAIREST[0] + 1e-6).all()
    hues = (a / a.sum(1, keepdims=True) for a in (limited, albedo))
    np.testing.assert_allclose(*hues, atol=1e-6)
    np.testing.assert_array_equal(limited[1], albedo[1])


def test_a_pattern_on_the_chest_is_no_hat():
    labels = np.full((128, 128), Label.BACKGROUND, np.uint8)
    labels[10:40, 30:100] = Label.HAT
    labels[40:90, 45:85] = Label.FACE
    labels[96:, 20:110] = Label.CLOTHES
    clean = labels.copy()
    labels[100:120, 80:100], labels[100:115, 30:40] = Label.HAT, Label.HAIR
    np.testing.assert_array_equal(take_hats_off_chests(clean), clean)
    np.testing.assert_array_equal(take_hats_off_chests(labels), clean)
    labels[100:120, 80:100] = Label.CLOTHES  # without a hat on the chest, a lock there stays one
    np.testing.assert_array_equal(take_hats_off_chests(labels), labels)


def test_the_photos_hair_ends_over_a_hat_and_nowhere_else():
    photo, layers = np.array([Label.HAIR, Label.HAIR, Label.HAT]), np.array([Label.HAT, Label.HAIR, Label.HAT])
    clear = np.array([1.0, 1.0, 1.0])
    near, far = (uncover_hat(photo, layers, clear, np.full(3, angle)) for angle in (10.0, 60.0))
    np.testing.assert_array_equal(near, 1)
    np.testing.assert_array_equal(far, [0, 1, 1])


def test_cloth_that_the_layers_lack_is_not_torn_at_a_step():
    depth = np.where(np.arange(64)[None] < 32, 2.0, 2.25) * np.ones((64, 1))
    depth, region = depth.astype(np.float32), np.ones((64, 64), np.bool_)
    eased = ease_steps(depth, region, np.zeros_like(region))
    assert np.abs(np.diff(depth, axis=1)).max() > WITHIN > 1.5 * np.abs(np.diff(eased, axis=1)).max()
    np.testing.assert_allclose(eased[:, [0, 63]], depth[:, [0, 63]], atol=1e-4)
    np.testing.assert_array_equal(ease_steps(depth, region, region), depth)  # the layers' own steps stay


def test_a_blocked_hat_bulges_no_more_than_its_kind_does():
    wide = HatFit(flare=0.2)
    assert change_hat(find_hat("wide_brim"), wide).flare == 0.0
    assert change_hat(find_hat("top_hat"), wide).flare == find_hat("top_hat").flare
    assert change_hat(find_hat("beret"), wide).flare > find_hat("beret").flare  # soft cloth does


def test_a_statue_wears_the_hat_of_which_the_reader_is_sure(head):
    photo = photograph(dress(head, Wear(hat="beanie")))
    stone = HeadParameters(statue=Statue(stone="marble", colour=(0.8, 0.8, 0.8)))
    nothing = np.zeros((1, 1), np.float32)
    answers = ({"hat": {"beanie": 1 - odds, "none": odds}} for odds in (0.01, 0.5))
    sure, unsure = (Reading(nothing, nothing, nothing, nothing, said, {}) for said in answers)
    assert not is_carved_hair(head, photo, stone, sure)
    assert is_carved_hair(head, photo, stone, unsure)
    assert not is_carved_hair(head, photo, HeadParameters(), unsure)


def show_part(colour: tuple[float, float, float], seen: int) -> Shown:
    """Return what a photo shows of a part with 300 vertices."""
    weight = (np.arange(300) < seen).astype(np.float32)
    colours = np.broadcast_to(np.log(np.array(colour, np.float32)), (300, 3)).copy()
    return Shown(colours, weight, colours, 0.01)


@pytest.mark.parametrize(("colour", "is_band"), [((0.13, 0.03, 0.04), True), ((0.2, 0.17, 0.13), False)])
def test_a_ribbon_goes_all_around_a_crown_and_its_shade_does_not(colour, is_band):
    """The front shows rings 20 to 23 in another colour; below these, skin is too near for any to be known."""
    usual, rings = np.log(np.array([0.4, 0.35, 0.27], np.float32)), RINGS + EDGES
    sharp = np.broadcast_to(usual, (rings, SPOKES, 3)).copy()
    sharp[20:24] = np.log(colour)
    weight = np.zeros((rings, SPOKES), np.float32)
    weight[8:24, : SPOKES // 3] = 1
    shown = Shown(sharp.reshape(-1, 3), weight.ravel(), sharp.reshape(-1, 3), 0.01)
    found = find_bands(shown, usual).reshape(rings, SPOKES, 3)
    np.testing.assert_allclose(found[:20], np.broadcast_to(usual, found[:20].shape))
    np.testing.assert_allclose(found[20:], np.broadcast_to(np.log(colour) if is_band else usual, found[20:].shape))
    other = Shown(shown.colour[:300], shown.weight[:300], shown.sharp[:300], 0.01)
    assert (find_bands(other, usual) == usual).all()


@pytest.mark.parametrize("hat", ["cap", "bowler", "beanie"])
def test_hair_lies_beneath_a_hat_and_comes_out_below_it_without_a_kink(head, hat):
    """What stands off as far everywhere is held below the edge, and free further down."""
    shell = fit_hat(head, hat, HatFit())
    turn, share = np.meshgrid(np.linspace(0, 2 * np.pi, 40, endpoint=False), np.linspace(0.7, 2.2, 61), indexing="ij")
    share = np.minimum(share, 3.0 / np.interp(turn, np.linspace(0, 2 * np.pi, SPOKES, endpoint=False), shell.rim))
    away = shell.radius(shell.head, share, turn) + 0.09
    points = (shell.center + shell.directions(share, turn) * away[..., None]).astype(np.float32)
    ones = np.ones(points.shape[:2], np.float32)
    kinds = np.full(len(points), Part.HAIR), np.full(len(points), Material.HAIR)
    found = shell.polar(tuck(Strands(points, ones, np.repeat(ones[..., None], 3, 2), *kinds), shell).points)[0]
    below = share < 1
    assert (found[below] < shell.radius(shell.outer, share, turn)[below]).all()
    np.testing.assert_allclose(found[share > 1.9], away[share > 1.9], rtol=1e-4)
    assert np.abs(np.diff(found - away, axis=1)).max() < 0.012 and (found < away + 1e-5).all()


def test_crown_and_cuff_of_two_colours_keep_them_and_what_is_hidden_is_like_the_larger():
    crown, cuff, bobble = find_usual_colours(
        [show_part((0.08, 0.15, 0.08), 100), show_part((0.22, 0.07, 0.09), 200), show_part((0.5, 0.5, 0.5), 0)]
    )
    np.testing.assert_allclose(np.exp(crown), (0.08, 0.15, 0.08), rtol=1e-4)
    np.testing.assert_allclose(np.exp([cuff, bobble]), [(0.22, 0.07, 0.09)] * 2, rtol=1e-4)


def test_a_brim_in_the_shade_is_of_the_material_of_the_crown():
    crown, brim = find_usual_colours([show_part((0.6, 0.5, 0.4), 200), show_part((0.3, 0.25, 0.19), 100)])
    np.testing.assert_allclose(crown, brim)


def test_a_crown_of_badges_and_braid_goes_on_in_the_colour_of_the_cuff():
    """A median of their colours would be one that nothing has."""
    mixed = np.repeat([(0.5, 0.4, 0.1), (0.02, 0.02, 0.025), (0.8, 0.8, 0.8), (0.3, 0.05, 0.05)], 50, axis=0)
    colours = np.log(np.concatenate([mixed, mixed[:100]])).astype(np.float32)
    crown, cuff = find_usual_colours(
        [Shown(colours, np.ones(300, np.float32), colours, 0.01), show_part((0.02,) * 3, 200)]
    )
    np.testing.assert_allclose(np.exp([crown, cuff]), 0.02, rtol=1e-4)
    crown = find_usual_colours([Shown(colours, np.ones(300, np.float32), colours, 0.01)])[0]  # no other part tells
    np.testing.assert_allclose(crown, np.median(colours, 0))


def show_crown(top: float, band: float, below: float) -> Photo:
    """Show what is read as hair above a hat's band, the band and hair below it, of these brightnesses."""
    labels = np.full((SIDE, SIDE), Label.BACKGROUND, np.uint8)
    labels[20:60], labels[60:90], labels[90:120] = Label.HAIR, Label.HAT, Label.HAIR
    rgb = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    rgb[20:60], rgb[60:90], rgb[90:120] = top, band, below
    rgb += np.random.default_rng(0).normal(0, 0.01, rgb.shape).astype(np.float32)
    known, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(rgb, srgb_to_radiance(rgb), known, known, labels, known, flow, CAMERA)


def read_hat(**answers: float) -> Reading:
    probabilities = np.zeros((len(Label), 2, 2), np.float32)
    return Reading(probabilities, probabilities[0], np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), {"hat": answers}, {})


@pytest.mark.parametrize(
    ("brightness", "answers", "top", "band"),
    [
        ((0.2, 0.2, 0.2), {"none": 0.6, "cap": 0.4}, Label.HAIR, Label.HAIR),  # dark hair in the shade
        ((0.2, 0.2, 0.2), {"knit": 0.9, "none": 0.1}, Label.HAIR, Label.HAT),  # a sure hat of the hair's colour
        ((0.2, 0.6, 0.2), {"none": 0.6, "band": 0.4}, Label.HAIR, Label.HAT),  # a bright band in hair
        ((0.8, 0.1, 0.4), {"cap": 0.9, "none": 0.1}, Label.HAT, Label.HAT),  # the bright crown of a cap
    ],
)
def test_hats_and_hair_are_told_apart_by_their_colours(brightness, answers, top, band):
    photo = settle_hat(show_crown(*brightness), read_hat(**answers))
    assert (photo.labels[25:55] == top).all()
    assert (photo.labels[65:85] == band).all()
    assert (photo.labels[95:115] == Label.HAIR).all()


@pytest.mark.parametrize(("brim", "found"), [(0.05, True), (0.4, False)])
def test_a_hat_ends_where_its_colour_does_if_hair_has_another(brim, found):
    """Half of a hat's brim is read as hair. Hair beside the face is hair; where both look alike, nothing changes."""
    photo = show_crown(0.4, brim, 0.4)
    rgb, labels = photo.rgb.copy(), np.full_like(photo.labels, Label.BACKGROUND)
    rgb[30:60] = brim + (rgb[30:60] - rgb[30:60].mean())
    labels[30:90], labels[90:170] = Label.HAIR, Label.HAIR
    labels[30:60, :100], labels[94:160, 60:140] = Label.HAT, Label.FACE
    rgb[60:170] = 0.4 + (rgb[60:170] - rgb[60:170].mean(1, keepdims=True))
    settled = settle_hat(replace(photo, rgb=rgb, radiance=srgb_to_radiance(rgb), labels=labels), read_hat(brim=1.0))
    assert (settled.labels[35:55, 110:190] == (Label.HAT if found else Label.HAIR)).all()
    assert (settled.labels[35:55, 10:90] == Label.HAT).all()
    assert (settled.labels[65:85] == Label.HAIR).all() and (settled.labels[94:160, 60:140] == Label.FACE).all()


@pytest.mark.parametrize(
    ("answers", "expected"), [({"none": 0.8, "hood": 0.2}, Label.CLOTHES), ({"hood": 1.0}, Label.HAT)]
)
def test_what_is_read_as_a_hat_beside_and_below_the_face_alone_is_clothes(answers, expected):
    photo = show_crown(0.2, 0.6, 0.2)
    labels = photo.labels.copy()
    labels[20:120], labels[30:80, 80:120], labels[125:150, 20:70] = Label.HAIR, Label.FACE, Label.HAT
    settled = settle_hat(replace(photo, labels=labels), read_hat(**answers))
    assert (settled.labels[125:150, 20:70] == expected).all()
    assert (settled.labels[20:25] == Label.HAIR).all()
