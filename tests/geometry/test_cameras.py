"""The laws of the camera conventions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at, orbit

azimuths = st.floats(-720, 720)
elevations = st.floats(-89, 89)
cameras = st.builds(
    lambda a, e, roll, f: Camera(look_at(a, e, roll=roll), f),
    azimuths,
    elevations,
    st.floats(-30, 30),
    st.floats(1, 6),
)
points = st.lists(st.tuples(*[st.floats(-0.6, 0.6)] * 3), min_size=1, max_size=8).map(np.array)


@given(cameras, points)
def test_project_then_unproject_is_identity(camera, xyz):
    uv, depth = camera.project(xyz)
    np.testing.assert_allclose(camera.unproject(uv, depth), xyz, atol=1e-12)


@given(cameras)
def test_pose_is_a_rigid_motion_looking_at_the_head(camera):
    rotation = camera.cam2world[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    uv, depth = camera.project(np.zeros(3))
    np.testing.assert_allclose(uv, [0.5, 0.5], atol=1e-12)
    assert depth == pytest.approx(2.7)


@given(azimuths, elevations)
def test_azimuth_and_elevation_are_read_back(azimuth, elevation):
    camera = Camera(look_at(azimuth, elevation))
    assert abs(azimuth_between(camera.azimuth, azimuth)) < 1e-6
    assert camera.elevation == pytest.approx(elevation, abs=1e-9)


@given(azimuths, elevations, st.floats(-179, 179))
def test_roll_is_read_back(azimuth, elevation, roll):
    assert Camera(look_at(azimuth, elevation, roll=roll)).roll == pytest.approx(roll, abs=1e-6)


def test_signs_of_the_conventions():
    front = Camera(look_at(0))
    np.testing.assert_allclose(front.position, [0, 0, 2.7])
    (u, v), _ = front.project([0.1, 0.2, 0])  # the subject's left, up
    assert u > 0.5 and v < 0.5  # is on the right of the image, above the middle
    np.testing.assert_allclose(Camera(look_at(90)).position, [2.7, 0, 0], atol=1e-12)  # the subject's left side
    assert Camera(look_at(0, 30)).position[1] > 0  # positive elevation: from above
    (u, v), _ = Camera(look_at(0, roll=90)).project([0, 0.2, 0])
    assert u > 0.5 and v == pytest.approx(0.5)  # a positive roll turns the image clockwise: up goes right


@given(st.integers(1, 72), elevations)
def test_an_orbit_closes(n, elevation):
    ring = orbit(n, elevation=elevation)
    step = look_at(360 / n)[:3, :3] @ look_at(0)[:3, :3].T  # the turn about y from one view to the next
    for camera, following in zip(ring, [*ring[1:], ring[0]], strict=True):
        np.testing.assert_allclose(step @ camera.cam2world[:3, :3], following.cam2world[:3, :3], atol=1e-9)
        np.testing.assert_allclose(step @ camera.position, following.position, atol=1e-9)
    assert ring[0].azimuth == 0
    assert len(ring) == n


@given(cameras)
def test_label_round_trip(camera):
    assert Camera.from_label(camera.label()) == camera


@given(cameras)
def test_rays_pass_through_their_pixels(camera):
    origin, directions = camera.rays(3, 5)
    uv, _ = camera.project(origin + 2.0 * directions)
    np.testing.assert_allclose(uv[1, 2], [0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(uv[0, 0], [0.1, 1 / 6], atol=1e-12)


def test_the_orbit_is_that_of_panohead():
    """panohead.md's look-at formula, written out independently: yaw pi/2 + azimuth, pitch pi/2 - elevation."""
    for azimuth, elevation in [(0, 0), (30, 10), (200, -20)]:
        theta, phi = math.pi / 2 + math.radians(azimuth), math.pi / 2 - math.radians(elevation)
        x = math.sin(phi) * math.cos(math.pi - theta)
        z = math.sin(phi) * math.sin(math.pi - theta)
        eye = 2.7 * np.array([x, math.cos(phi), z])
        forward = -eye / np.linalg.norm(eye)
        right = -np.cross([0, 1, 0], forward)
        right /= np.linalg.norm(right)
        expected = np.stack([right, np.cross(forward, right), forward], 1)
        pose = look_at(azimuth, elevation)
        np.testing.assert_allclose(pose[:3, :3], expected, atol=1e-12)
        np.testing.assert_allclose(pose[:3, 3], eye, atol=1e-12)


@given(st.floats(5, 90))
def test_focal_from_fov(fov):
    assert 2 * math.degrees(math.atan(0.5 / focal_from_fov(fov))) == pytest.approx(fov)


def test_sd15_field_of_view_is_that_of_the_papers():
    assert focal_from_fov(13.373) == pytest.approx(4.2647, abs=1e-3)


def test_moved_keeps_the_lens():
    camera = Camera(look_at(10, 5), focal=3.0).orbit_to(azimuth=90)
    assert camera.focal == 3.0 and camera.azimuth == pytest.approx(90) and camera.elevation == pytest.approx(5)


@pytest.mark.parametrize("pose", [np.eye(3), np.full((4, 4), np.nan)])
def test_a_broken_pose_is_refused(pose):
    with pytest.raises(ValueError, match="4 x 4"):
        Camera(pose)


def test_half_a_turn_is_told_as_180_and_arrays_turn_too():
    assert azimuth_between(0, 180) == azimuth_between(90, -90) == 180
    np.testing.assert_array_equal(azimuth_between(10, np.array([10.0, 350.0, 200.0])), [0, -20, -170])
