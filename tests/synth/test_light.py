"""Laws of light: none is lost, shadows, skin, cel shading, lights, tones and backgrounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.geometry.cameras import Camera, look_at
from portrait360.synth.render import backgrounds, lights, tone_mapping
from portrait360.synth.render.bake import prepare_scene
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.scene import Light, Material, Scene
from tests.fixtures.scenes import FOCAL, FRONT, WHITE, ball, quad
from tests.oracles.lights import sphere_luminance

seeds = st.integers(0, 2**31)


MATT = [
    Material.SKIN,
    Material.EYE,
    Material.ENAMEL,
    Material.CLOTH,
    Material.PLASTIC,
    Material.STONE,
    Material.FUR,
    Material.METAL,
]


@pytest.mark.parametrize("material", MATT)
def test_white_furnace(material):
    """Albedo 1 in light 1 from everywhere: whatever is mirrored or scattered, 1 comes back."""
    scene = Scene((quad(colour=(1, 1, 1), material=material),), (), WHITE)
    prepared = prepare_scene(scene, occlusion=False)
    prepared = replace(prepared, rig=prepared.rig._replace(glint=np.zeros(3, np.float32)))
    for azimuth in (0, 50):
        film = render_linear(prepared, Camera(look_at(azimuth, 10), FOCAL), 16)
        np.testing.assert_allclose(film.radiance[film.alpha > 0.99], 1.0, atol=1e-4)


def test_nothing_hides_the_sky_from_a_wall():
    film = render_linear(prepare_scene(Scene((quad(colour=(1, 1, 1)),), (), WHITE)), FRONT, 16)
    np.testing.assert_allclose(film.radiance, 1.0, atol=2e-3)


def test_a_key_throws_a_shadow_and_a_soft_one_a_soft_edge():
    """A ball before a wall, lit from the front: dark behind it, with a wide edge from a wide source."""

    def edge(softness: float) -> float:
        key = (
            np.array([[0.0, 0.0, 1.0]], np.float32),
            np.ones((1, 3), np.float32),
            np.array([softness], np.float32),
        )
        light = Light(lights.uniform_environment([0.1, 0.1, 0.1]), *key)
        meshes = (ball(0.1, material=Material.CLOTH), quad(-0.4, 0.4, z=-0.25))
        view = render_linear(
            prepare_scene(Scene(meshes, (), light)), Camera(look_at(60, 0, target=(0, 0, -0.25)), FOCAL), 128
        )
        row = view.radiance[64, :, 0] * (view.normals[64, :, 2] > 0.99) * (view.depth[64] > 0)
        wall = row[row > 0]
        assert wall.min() < 0.25 * wall.max()
        return float(((wall > 0.35 * wall.max()) & (wall < 0.8 * wall.max())).sum())

    assert edge(0.12) > edge(0.005)


def test_a_wall_in_grazing_light_has_no_stripes():
    """The texels of a shadow map must not be seen where the wall rises by several of them from one to the next."""
    towards = np.array([[0.6, 0.78, 0.17]])
    key = ((towards / np.linalg.norm(towards)).astype(np.float32), np.ones((1, 3), np.float32))
    light = Light(lights.uniform_environment([0.1] * 3), *key, np.array([0.3], np.float32))
    film = render_linear(prepare_scene(Scene((quad(material=Material.CLOTH),), (), light)), FRONT, 96)
    row = film.radiance[24:72, 24:72, 0]
    assert np.abs(row - row.mean()).max() < 0.02 * row.mean()


def test_red_light_reaches_further_into_the_shade_of_skin():
    key = (np.array([[1.0, 0.0, 0.0]], np.float32), np.ones((1, 3), np.float32), np.array([0.05], np.float32))
    scene = Scene(
        (ball(material=Material.SKIN, colour=(0.5, 0.5, 0.5)),), (), Light(lights.uniform_environment([0] * 3), *key)
    )
    film = render_linear(prepare_scene(scene), FRONT, 128)
    shade = (film.normals[..., 0] < -0.05) & (film.normals[..., 0] > -0.3) & (film.alpha == 1)
    red, blue = film.radiance[shade][:, 0].mean(), film.radiance[shade][:, 2].mean()
    assert red > 3 * blue and red > 0.01


def test_cel_shading_has_few_levels():
    light = Light(lights.uniform_environment([0.2] * 3), *lit_from_the_side())
    smooth, cel = (
        render_linear(prepare_scene(Scene((ball(colour=(0.5, 0.5, 0.5)),), (), light, steps=n)), FRONT, 128)
        for n in (0, 2)
    )

    def levels(film):
        values = film.radiance[..., 1][film.alpha == 1]
        return np.sort(np.histogram(values, 40)[0])[-3:].sum() / len(values)

    assert levels(cel) > 0.6 > levels(smooth)


def lit_from_the_side():
    return np.array([[0.8, 0.0, 0.6]], np.float32), np.ones((1, 3), np.float32), np.array([0.02], np.float32)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_lights_are_neither_dark_nor_glaring(seed):
    light = lights.sample_light(np.random.default_rng(seed))
    assert 0.5 < sphere_luminance(light) < 0.9
    directions = lights.sphere_directions(128)
    ambient = lights.reflected_light(light.ambient, directions)
    facing = np.clip(directions @ light.key_directions.T, 0, None)
    white = (ambient + facing @ light.key_colours) @ lights.LUMINANCE
    assert ambient.min() > 0 and white.max() < 3.0 and white.min() > 0.05
    np.testing.assert_allclose(white.mean(), sphere_luminance(light), rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(light.key_directions, axis=1), 1, atol=1e-5)
    assert 1 <= len(light.key_directions) <= 3


def test_an_environment_comes_back_from_its_coefficients():
    directions = lights.sphere_directions(2000)
    values = 0.5 + 0.3 * directions[:, 1:2] * np.ones(3) + 0.1 * directions[:, :1] * directions[:, 1:2]
    np.testing.assert_allclose(
        lights.radiance(lights.project_environment(values, directions), directions), values, atol=0.01
    )
    clamped = (
        np.clip(directions @ directions[:1].T, 0, None) * 4
    )  # matt: mean of the radiance, weighted by the cosine
    expected = (clamped * values).mean(0)
    np.testing.assert_allclose(
        lights.reflected_light(lights.project_environment(values, directions), directions[:1])[0], expected, atol=0.01
    )


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([32, 65]))
def test_backgrounds_are_pictures_and_repeat(seed, size):
    one, two = (backgrounds.random_background(np.random.default_rng(seed), size) for _ in range(2))
    assert one.shape == (size, size, 3) and one.dtype == np.float32
    assert one.min() >= 0 and one.max() <= 1 and one.tobytes() == two.tobytes()


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_blending_is_linear_in_light(front, back, alpha):
    blended = tone_mapping.composite_over(np.full((1, 1, 3), front), np.full((1, 1), alpha), np.full((1, 1, 3), back))
    light = tone_mapping.srgb_to_linear(front) * alpha + tone_mapping.srgb_to_linear(back) * (1 - alpha)
    np.testing.assert_allclose(tone_mapping.srgb_to_linear(blended), light, atol=1e-5)


@given(st.floats(0, 8), st.floats(0, 8))
def test_the_tone_curve_keeps_the_order_of_light_and_leaves_the_dark_alone(a, b):
    low, high = sorted((a, b))
    assert 0 <= tone_mapping.shoulder.py_func(low) <= tone_mapping.shoulder.py_func(high) + 1e-12 <= 1 + 1e-9
    if high <= tone_mapping.KNEE:
        assert tone_mapping.shoulder.py_func(high) == high
