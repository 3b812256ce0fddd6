"""The unwrapped head: a bijection with space, closed, and true to analytic surfaces."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait360.geometry.numba_jit import njit_exact
from portrait360.pipeline.proxy.head_map import HeadMap

SMALL = HeadMap(columns=48, rows=40)


def sphere(radius: float, n: int = 40):
    """A triangulated sphere around the origin, subdivided along latitude and longitude."""
    theta, phi = np.meshgrid(
        np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, 2 * n, endpoint=False), indexing="ij"
    )
    points = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1) * radius
    here = np.arange(n * 2 * n).reshape(n, 2 * n)
    east = np.roll(here, -1, 1)
    a, b, c, d = here[:-1], east[:-1], east[1:], here[1:]
    faces = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    return points.reshape(-1, 3), faces.astype(np.int32)


@given(st.integers(0, 2**31))
def test_locate_is_the_inverse_of_points(seed):
    radius = np.random.default_rng(seed).uniform(0.05, 0.6, (SMALL.rows, SMALL.columns))
    column, row, distance = SMALL.locate(SMALL.points(radius))
    np.testing.assert_allclose(column, np.broadcast_to(np.arange(SMALL.columns) + 0.5, column.shape), atol=1e-9)
    np.testing.assert_allclose(row, np.broadcast_to(np.arange(SMALL.rows)[:, None] + 0.5, row.shape), atol=1e-9)
    np.testing.assert_allclose(distance, radius, atol=1e-12)


def test_columns_are_azimuths_and_row_zero_is_the_crown():
    column, row, _ = SMALL.locate([[0, 0, 0.3], [0.3, 0, 0], [0, 0, -0.3], [0, 0.4, 1e-9]])
    np.testing.assert_allclose(column[:3], [0, SMALL.columns / 4, SMALL.columns / 2], atol=1e-6)
    assert row[3] == pytest.approx(0, abs=1e-6)


def test_a_sphere_around_the_fans_centre_unwraps_to_its_radius():
    vertices, triangles = sphere(0.3)
    vertices = vertices + [0, SMALL.bend, 0]
    radius, ids, weights = SMALL.unwrap(vertices, triangles)
    cap = radius[: SMALL.cap_rows]
    np.testing.assert_allclose(cap, 0.3, rtol=5e-3)  # the facets lie a little inside
    _, height = SMALL.ray_at_row(np.arange(SMALL.rows) + 0.5)
    expected = np.sqrt(np.maximum(0.09 - (height - SMALL.bend) ** 2, 0))[SMALL.cap_rows :]
    inside = expected > 0.05
    np.testing.assert_allclose(radius[SMALL.cap_rows :][inside], np.repeat(expected[inside, None], 48, 1), rtol=2e-2)
    assert (radius[SMALL.cap_rows :][expected == 0] == 0).all() and (ids[radius == 0] == -1).all()
    hit = (vertices[triangles[ids]] * weights[..., None]).sum(-2)
    np.testing.assert_allclose(hit[radius > 0], SMALL.points(radius)[radius > 0], atol=1e-9)


def test_the_outermost_of_two_surfaces_wins_in_any_order():
    inner, triangles = sphere(0.2)
    outer, _ = sphere(0.3)
    both = np.concatenate([inner, outer]), np.concatenate([triangles, triangles + len(inner)])
    flipped = np.concatenate([outer, inner]), both[1]
    wanted = SMALL.unwrap(outer, triangles)[0]
    np.testing.assert_array_equal(SMALL.unwrap(*both)[0], wanted)
    np.testing.assert_array_equal(SMALL.unwrap(*flipped)[0], wanted)


def test_unwrapping_the_maps_own_mesh_gives_the_map_back():
    azimuth = (np.arange(SMALL.columns) + 0.5) * 2 * np.pi / SMALL.columns
    radius = 0.3 + 0.03 * np.sin(3 * azimuth)[None] + 0.02 * np.cos(np.arange(SMALL.rows) / 5)[:, None]
    radius[:3] = radius[:3].mean(1, keepdims=True)  # one value at the crown
    again = SMALL.unwrap(*SMALL.mesh(radius))[0]
    np.testing.assert_allclose(again[1:-1], radius[1:-1], rtol=1e-6)


def test_the_mesh_is_closed_but_for_its_lower_rim_and_faces_outward():
    vertices, triangles = SMALL.mesh(np.full((SMALL.rows, SMALL.columns), 0.3))
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, counts = np.unique(np.sort(edges, 1), axis=0, return_inverse=True, return_counts=True)
    rim = edges[counts[inverse.ravel()] == 1]
    assert len(rim) == SMALL.columns and (rim >= (SMALL.rows - 1) * SMALL.columns).all()
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    centre = (a + b + c) / 3
    outward = centre - np.stack([0 * centre[:, 0], np.minimum(centre[:, 1], SMALL.bend), 0 * centre[:, 0]], -1)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), outward) > 0).all()


@given(st.floats(-3, 60), st.floats(0.5, 39.5), st.floats(-2, 2), st.floats(-2, 2))
def test_sampling_is_bilinear_and_circular(column, row, slope, offset):
    values = np.broadcast_to(slope * (np.arange(SMALL.rows) + 0.5)[:, None] + offset, (SMALL.rows, SMALL.columns))
    assert SMALL.sample(values, column, row) == pytest.approx(slope * row + offset, abs=1e-9)
    rng = np.random.default_rng(0)
    noise = rng.random((SMALL.rows, SMALL.columns, 2))
    np.testing.assert_allclose(
        SMALL.sample(noise, column, row), SMALL.sample(noise, column + SMALL.columns, row), atol=1e-9
    )


def test_a_kernel_that_cannot_be_kept_on_disk_still_runs():
    place: dict[str, Any] = {}
    exec(compile("def double(x):\n    return 2 * x", "/nowhere/at/all.py", "exec"), place)  # no place beside it
    assert njit_exact(place["double"])(4) == 8
