"""Brightness and light of skin and lips that a photo does not show."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.colours import calm_and_even
from portrait360.pipeline.avatar.skin.level import FAIREST, RANGE, level_skin
from portrait360.pipeline.avatar.skin.lip_shade import lighten_lips
from portrait360.pipeline.avatar.skin.mesh import coarse_count, find_features
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import make_mesh, with_label
from portrait360.synth.render.lights import uniform_environment
from portrait360.synth.scene import Light, Material, Part, Scene
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE = 128


def make_head_scene(albedo: float) -> Scene:
    points = np.asarray(load_average_head().fine[1] * HEAD_HEIGHT, np.float32)
    skin = make_mesh(points, load_pack().subdivision(1).triangles, albedo, Material.SKIN, Part.SKIN)
    nothing = np.zeros((0, 3), np.float32)
    light = Light(uniform_environment((1.0, 1.0, 1.0)), nothing, nothing, np.zeros(0, np.float32))
    return Scene(tuple(with_label([skin], Label.FACE)), (), light)


def photograph(colour: tuple[float, float, float], label: Label = Label.FACE) -> Photo:
    picture = np.broadcast_to(np.array(colour, np.float32), (SIDE, SIDE, 3)).copy()
    labels, ones = np.full((SIDE, SIDE), label, np.uint8), np.ones((SIDE, SIDE), np.float32)
    return Photo(
        picture,
        picture,
        ones,
        ones,
        labels,
        ones,
        np.zeros((SIDE, SIDE, 2), np.float32),
        Camera(look_at(0, 0), FOCAL),
    )


def find_gain(photo: Photo) -> np.ndarray:
    scene = make_head_scene(0.4)
    return np.log(level_skin(scene, photo).meshes[0].albedo / scene.meshes[0].albedo).mean(0)


def test_skin_in_profile_becomes_as_bright_as_the_photo_s_within_bounds():
    dark, bright = find_gain(photograph((0.01,) * 3)), find_gain(photograph((2.0,) * 3))
    assert (dark.mean(), bright.mean()) == pytest.approx(RANGE, abs=1e-3)
    gain = find_gain(photograph((0.4, 0.38, 0.36)))
    assert gain[0] > gain[1] > gain[2]  # and of its hue


def test_shade_on_a_face_does_not_make_its_unseen_skin_dark():
    lit = photograph((0.45, 0.3, 0.25))
    radiance = lit.radiance.copy()
    radiance[:, : SIDE // 3] *= np.array([0.3, 0.15, 0.1], np.float32)
    np.testing.assert_allclose(find_gain(replace(lit, radiance=radiance)), find_gain(lit), atol=0.02)


def test_over_exposed_skin_is_as_fair_as_skin_can_be():
    white, fair = (find_gain(photograph((light,) * 3)) for light in (3.0, FAIREST))
    assert white == pytest.approx(fair, abs=0.01) and fair.mean() < RANGE[1] + 1e-3


def test_a_photo_without_a_face_changes_no_skin():
    assert find_gain(photograph((2.0,) * 3, Label.CLOTHES)) == pytest.approx(0)


def test_very_broad_differences_of_skin_are_light():
    count = coarse_count()
    height = load_average_head().fine[1][:, 1:2]
    gain, nothing = 0.8 * height * np.ones(3), np.zeros(count, np.float32)
    out = calm_and_even(gain, np.ones(count, np.float32), np.zeros(count, bool), nothing, nothing)
    assert 0.2 * np.ptp(gain) < np.ptp(out) < 0.6 * np.ptp(gain)
    assert np.corrcoef(out[:, 0], gain[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("hue", [(0.0, 0.15, 0.25), (0.4, -0.1, 0.1), (-0.1, -0.6, -0.3)])
def test_lips_keep_their_hue_whether_they_are_lighter_or_darker_than_skin(hue):
    count = coarse_count()
    lips, free = load_pack().mask("lips", 1), find_features(count)
    gain, own = lips[:, None] * np.array(hue), lips > 0.9
    out = calm_and_even(gain, np.ones(count, np.float32), np.zeros(count, bool), free, lips)
    apart = (out[own] - out[own].mean(1, keepdims=True)).mean(0)
    assert apart == pytest.approx(np.array(hue) - np.mean(hue), abs=0.25 * np.ptp(hue))


def test_lips_in_the_shade_of_lips_are_no_gap():
    labels = np.full((60, 60), Label.FACE, np.uint8)
    labels[20:40, 10:50] = Label.LIPS
    labels[28:32, 20:50] = Label.MOUTH
    radiance = np.full((60, 60, 3), 0.4, np.float32)
    radiance[20:40, 10:16] = 0.05  # the far corner
    radiance[28:32, 20:50] = 0.8  # teeth
    film = SimpleNamespace(labels=labels, radiance=radiance, alpha=np.ones((60, 60), np.float32))
    gain = lighten_lips(film, 0.002)
    assert (gain[25:35, 11:15] > 3).all()
    assert gain[20:40, 18:] == pytest.approx(1) and gain[:10] == pytest.approx(1)
    without = SimpleNamespace(labels=np.zeros_like(labels), radiance=radiance, alpha=film.alpha)
    assert (lighten_lips(without, 0.002) == 1).all()


def test_the_inside_of_a_cheek_is_dark_and_not_black():
    labels = np.full((60, 60), Label.LIPS, np.uint8)
    labels[20:40, 20:40] = Label.MOUTH
    radiance = np.full((60, 60, 3), 0.4, np.float32)
    radiance[20:40, 20:40] = 0.01
    film = SimpleNamespace(labels=labels, radiance=radiance, alpha=np.ones((60, 60), np.float32))
    inside = (radiance * lighten_lips(film, 0.002))[29:31, 29:31]
    assert inside.min() > 0.03 and inside.max() < 0.06
