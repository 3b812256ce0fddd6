"""The compiled geometry of whole pictures is that of `Camera` and of plain numpy."""

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at, pixel_centres
from portrait360.geometry.pixel_points import measure_angles, measure_resolution, project_points, unproject_pixels

FIRST, SECOND = Camera(look_at(20, 5), 1.9, (0.48, 0.53)), Camera(look_at(-35, -10), 2.3)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def points(rng):
    return rng.normal(0, 0.2, (7, 9, 3))


def test_pixels_are_unprojected_as_by_the_camera(rng):
    depth = rng.uniform(2.4, 3.0, (7, 9)).astype(np.float32)
    np.testing.assert_allclose(
        unproject_pixels(FIRST, depth), FIRST.unproject(pixel_centres(7, 9), depth), atol=1e-12
    )


def test_points_are_projected_as_by_the_camera(points):
    for found, expected in zip(project_points(FIRST, points), FIRST.project(points), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("moved", [False, True], ids=["one eye", "an eye for each"])
def test_angles_are_those_between_the_directions(points, moved):
    eyes = SECOND.position + (0.01 * points if moved else 0)
    a, b = FIRST.position - points, eyes - points
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(measure_angles(points, FIRST.position, eyes), np.degrees(np.arccos(cosine)), rtol=1e-5)


def test_a_camera_twice_as_long_has_four_times_the_pixels(points, rng):
    normals = rng.normal(size=points.shape).astype(np.float32)
    longer = Camera(FIRST.cam2world, 2 * FIRST.focal)
    both = measure_resolution(points, normals, (longer, FIRST), (0.05, 0.05))
    np.testing.assert_allclose(both, 4, rtol=1e-5)


def test_what_is_seen_aslant_has_fewer_pixels_but_never_less_than_the_least():
    points = np.zeros((1, 3, 3))
    normals = np.array([[[0, 0, 2], [0, 0.8, 0.6], [1, 0, 0]]], np.float32)
    side = Camera(look_at(90), 2.0)
    found = measure_resolution(points, normals, (Camera(look_at(0), 2.0), side), (0.02, 1.0))
    np.testing.assert_allclose(found, [[1, 0.6, 0.02]], rtol=1e-5)
