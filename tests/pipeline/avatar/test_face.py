"""Skin, brows and teeth of an avatar, against photos of synthetic heads."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.colours import bake_photo
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.colours import average_sides, find_loss, find_usual_gain
from portrait360.pipeline.avatar.skin.mesh import mirror_vertices
from portrait360.pipeline.avatar.skin.mouth import find_rim, is_teeth, lies_above, seat_teeth
from portrait360.synth.build import build_person
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.fitted_head import make_fitted_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.render.renderer import render
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.sampling.parameters import Facial, Hair, HeadParameters, Skin
from portrait360.synth.scene import Material, Mesh, Part, Scene
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL
from tests.fixtures.scenes import WHITE

CAMERA = Camera(look_at(0, 0), FOCAL)
SIDE = 256
BROWN, PALE = (0.30, 0.17, 0.11), (0.55, 0.40, 0.33)


@lru_cache(maxsize=4)
def build(tone: tuple[float, float, float], brows: float = 0.6, smile: float = 0.0) -> Scene:
    expression = np.zeros(52)
    for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen"):
        expression[load_pack().units.index(name)] = smile
    person = HeadParameters(
        hair=Hair(style="crew"),
        skin=Skin(tone=tone),
        facial=Facial(brow_weight=brows, brow_colour=(0.01, 0.01, 0.01)),
    )
    geometry = build_person(make_fitted_head(np.zeros(60), expression), person, np.random.default_rng(0))
    return Scene(tuple(geometry.meshes), tuple(s for s in geometry.strands if len(s.points)), WHITE)


def photograph(scene: Scene, darker_side: float = 0.0) -> Photo:
    """Return a photo with true labels, whose right half may lie in shade."""
    view = render(scene, CAMERA, SIDE)
    radiance = srgb_to_radiance(view.rgb) * np.exp(-darker_side * np.linspace(0, 1, SIDE))[None, :, None]
    known, flow = np.ones((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(view.rgb, radiance.astype(np.float32), view.alpha, known, view.labels, known, flow, CAMERA)


def skin_of(scene: Scene) -> Mesh:
    return max((m for m in scene.meshes if m.part[0] == Part.SKIN), key=lambda mesh: len(mesh.vertices))


def brow_widths(scene: Scene) -> float:
    return max(float(s.widths.max()) for s in scene.strands if s.part[0] == Part.BROWS)


@pytest.fixture(scope="module")
def baked() -> Scene:
    return bake_photo(build(PALE, brows=0.3), photograph(build(BROWN), darker_side=0.8))


def test_skin_that_the_photo_does_not_show_has_the_tone_of_what_it_shows(baked):
    x, y, z = load_average_head().fine[1].T
    albedo = skin_of(baked).albedo
    cheeks = albedo[(np.abs(np.abs(x) - 0.2) < 0.04) & (np.abs(y + 0.2) < 0.06) & (z > 0.1)].mean(0)
    nape = albedo[(y < -0.3) & (y > -0.5) & (z < -0.1)].mean(0)
    np.testing.assert_allclose(nape, cheeks, rtol=0.3)  # cheeks are redder
    assert np.abs(np.log(cheeks / np.array(BROWN))).max() < 0.6  # and not PALE


def test_light_from_one_side_does_not_stay_in_the_skin(baked):
    x, y, z = load_average_head().fine[1].T
    cheek = (np.abs(x - 0.2) < 0.05) & (np.abs(y + 0.15) < 0.08) & (z > 0.1)
    albedo = skin_of(baked).albedo
    left, right = albedo[cheek].mean(0), albedo[mirror_vertices()[cheek]].mean(0)
    assert np.abs(np.log(left / right)).max() < 0.12


def test_skin_in_shade_counts_by_the_light_it_sends():
    gain = np.zeros((1000, 3), np.float32)
    gain[::2] = -2.0  # half of a face in deep shade
    usual, loss = find_usual_gain(gain, np.ones(1000)), find_loss(gain, np.full_like(gain, -1.0), np.ones(1000))
    np.testing.assert_allclose(usual, np.log((1 + np.exp(-2)) / 2), atol=0.02)
    np.testing.assert_allclose(usual, loss - 1, atol=0.02)


def test_both_sides_have_their_mean_light():
    gain, mirror = np.array([[0.0], [-2.0]]), np.array([1, 0])
    np.testing.assert_allclose(np.exp(average_sides(gain, mirror)), np.exp(gain).mean())


def test_brows_that_the_photo_shows_are_in_the_skin(baked):
    assert brow_widths(baked) == 0
    x, y, z = load_average_head().fine[1].T
    rows = (np.abs(np.abs(x) - 0.13) < 0.02) & (z > 0.15)
    brow, above = (skin_of(baked).albedo[rows & (np.abs(y - h) < 0.01)].mean() for h in (0.09, 0.2))
    assert brow < 0.6 * above
    assert (skin_of(baked).labels != Label.BROW).all()


def test_brows_that_it_does_not_show_are_grown():
    photo = photograph(build(BROWN, brows=0.0))
    scene = build(PALE, brows=0.3)
    assert brow_widths(bake_photo(scene, photo)) == brow_widths(scene) > 0


def teeth_of(meshes: tuple[Mesh, ...] | list[Mesh]) -> list[Mesh]:
    is_mouth = [m.labels is not None and (m.labels == Label.MOUTH).all() for m in meshes]
    return [m for m, mouth in zip(meshes, is_mouth, strict=True) if mouth and is_teeth(m)]


def test_teeth_stand_close_behind_the_lips_and_face_outward():
    scene = build(BROWN, smile=0.5)
    seated = seat_teeth(scene.meshes)
    rim, old = find_rim(skin_of(scene)), teeth_of(scene.meshes)
    middle = rim[np.abs(rim[:, 0]) < 0.01]
    is_upper = middle[:, 1] > middle[:, 1].mean()
    for teeth, before, lip in zip(teeth_of(seated), old, (middle[is_upper], middle[~is_upper]), strict=True):
        front, edge = teeth.vertices[:, 2].max(), float(np.median(lip[:, 2]))
        assert edge - 0.012 < front < edge and front > before.vertices[:, 2].max()
        assert np.ptp(teeth.vertices[:, 0]) > np.ptp(rim[:, 0])  # as far as the corners
        ahead = teeth.vertices[:, 2] > front - 0.006
        assert teeth.normals is not None and (teeth.normals[ahead, 2] > 0).mean() > 0.7
        assert np.abs(teeth.vertices.mean(0) - before.vertices.mean(0)).max() < 0.06
    upper, lower = (teeth.vertices[:, 1] for teeth in teeth_of(seated))
    assert upper.mean() > lower.mean()


def test_cheeks_shade_the_teeth_at_the_corners_of_the_mouth():
    for teeth in teeth_of(seat_teeth(build(BROWN, smile=0.5).meshes)):
        aside = np.abs(teeth.vertices[:, 0]) / np.abs(teeth.vertices[:, 0]).max()
        front, back = (float(np.quantile(teeth.albedo[rows].mean(1), 0.9)) for rows in (aside < 0.4, aside > 0.9))
        assert front > 0.6 and back < 0.4 * front


def test_lower_teeth_go_with_a_lip_that_has_dropped_and_stay_in_the_chin():
    scene = build(BROWN, smile=0.3)
    skin, drop = skin_of(scene), 0.02
    rim = find_rim(skin)
    low = rim[~lies_above(rim)]
    near = np.exp(-((skin.vertices[:, 1] - low[:, 1].mean()) ** 2) / 2e-4)
    lower_lip = near * (skin.vertices[:, 1] < low[:, 1].max())
    fallen = replace(skin, vertices=skin.vertices - np.float32(drop) * lower_lip[:, None] * np.array([0, 1, 0], "f4"))
    before, after = (
        min(teeth_of(seat_teeth([mesh, *scene.meshes[1:]])), key=lambda teeth: float(teeth.vertices[:, 1].mean()))
        for mesh in (skin, fallen)
    )
    assert after.vertices[:, 1].max() < before.vertices[:, 1].max() - 0.3 * drop
    assert after.vertices[:, 1].min() > before.vertices[:, 1].min() - 1e-4


def test_without_a_mouth_nothing_is_seated():
    meshes = [mesh for mesh in build(BROWN).meshes if mesh is not teeth_of(build(BROWN).meshes)[0]]
    assert seat_teeth(meshes) == meshes
    stone = [replace(m, material=np.full_like(m.material, Material.STONE)) for m in build(BROWN).meshes]
    assert seat_teeth(stone) == stone
