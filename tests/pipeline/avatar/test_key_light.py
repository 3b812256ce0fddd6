"""The key light of an avatar."""

import numpy as np
import pytest

from portrait360.pipeline.avatar.photo.key_light import add_key_light, flatten_light
from portrait360.synth.render.lights import reflected_light, sphere_directions, uniform_environment
from portrait360.synth.scene import Light

NONE = np.zeros((0, 3), np.float32)
FRONT = np.array([0.0, 0.0, 1.0])


def make_light(sideways: float = 0.0) -> Light:
    ambient = uniform_environment((0.9, 0.8, 0.7))
    ambient[3] = sideways * ambient[0]
    return Light(ambient, NONE, NONE, np.zeros(0, np.float32))


def reflect(light: Light, normals: np.ndarray) -> np.ndarray:
    keys = np.maximum(normals @ light.key_directions.T, 0) @ light.key_colours
    return reflected_light(light.ambient, normals) + keys


def test_a_face_stays_as_bright_and_gains_form():
    before, after = make_light(), add_key_light(make_light())
    normals = sphere_directions(2000)
    facing = np.maximum(normals @ FRONT, 0)[:, None]  # as a camera before the face sees them
    mean = [(reflect(light, normals) * facing).sum(0) / facing.sum() for light in (before, after)]
    assert mean[1] == pytest.approx(mean[0], rel=0.06)
    assert np.ptp(reflect(before, normals)[:, 0]) < 1e-3 < 0.3 < np.ptp(reflect(after, normals)[:, 0])
    assert reflect(after, normals).min() > 0.4 * reflect(before, normals).min()  # nothing is black


@pytest.mark.parametrize("sideways", [-0.1, 0.1])
def test_the_key_stands_on_the_brighter_side(sideways):
    assert np.sign(add_key_light(make_light(sideways)).key_directions[0, 0]) == np.sign(sideways)


def test_lamps_stand_above_and_on_both_sides_of_the_head():
    key, fill, other, back = directions = add_key_light(make_light()).key_directions
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1)
    assert (directions[:, 1] > 0.2).all() and key[2] > 0.5 and back[2] < -0.5
    assert key[0] * fill[0] < 0 < key[0] * other[0]


@pytest.mark.parametrize("sideways", [-0.1, 0.0, 0.1])
def test_a_profile_gets_darker_from_face_to_nape(sideways):
    """Lit from where one looks, it would be flat."""
    light = add_key_light(make_light(sideways))
    for side in (-1, 1):
        azimuth = side * np.radians([50.0, 90.0, 130.0])
        face, cheek, nape = reflect(light, np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], 1))[:, 0]
        assert face > cheek > nape and face > 1.4 * nape


@pytest.mark.parametrize("sideways", [-0.3, 0.3])
def test_a_side_in_the_shade_is_less_dark_than_in_the_photo(sideways):
    sides = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    before, after = (
        reflect(light, sides)[:, 0] for light in (make_light(sideways), add_key_light(make_light(sideways)))
    )
    assert before.max() / before.min() > 3 > 2.3 > after.max() / after.min()


@pytest.mark.parametrize("sideways", [-0.3, -0.1, -0.05, 0.05, 0.1, 0.3])
def test_the_side_that_the_photo_shows_in_the_light_stays_the_brighter_one(sideways):
    aside = np.sqrt(0.5)
    for sides in ([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[-aside, 0.0, aside], [aside, 0.0, aside]]):
        before, after = (
            reflect(light, np.array(sides))[:, 0]
            for light in (make_light(sideways), add_key_light(make_light(sideways)))
        )
        assert np.argmax(after) == np.argmax(before) and after.max() > 1.1 * after.min()


def test_light_from_the_camera_leaves_the_sides_of_a_head_less_dark():
    light = make_light()
    light.ambient[2] = 0.6 * light.ambient[0]
    normals = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    flat = reflected_light(flatten_light(light.ambient.astype(np.float64)), normals)[:, 0]
    front, side = reflected_light(light.ambient, normals)[:, 0]
    assert flat[0] == pytest.approx(front, rel=1e-4)
    assert side < flat[1] < front
