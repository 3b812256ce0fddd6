"""Simplified meshes: what must hold, by trimesh's own measures."""

import numpy as np
import trimesh

from portrait360.geometry.surfaces.simplification import simplify


def sphere() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4, radius=1.0)


def test_a_closed_surface_stays_closed_and_keeps_its_volume():
    ball = sphere()
    for target in (2000, 500, 100):
        faces = simplify(ball.vertices, np.asarray(ball.faces, np.int32), target)
        small = trimesh.Trimesh(ball.vertices, faces)
        assert 0.9 * target < len(faces) <= target
        assert small.is_watertight and small.is_winding_consistent and small.euler_number == 2
        assert 1 - 40 / target < small.volume / ball.volume < 1.001


def test_flat_surfaces_cost_nothing_and_their_outline_stays():
    """A plane becomes few triangles with the area that it had, whose normals are the plane's."""
    x, y = np.meshgrid(np.linspace(0, 2, 31), np.linspace(0, 1, 21), indexing="ij")
    points = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    i = (np.arange(30)[:, None] * 21 + np.arange(20)).ravel()
    faces = np.concatenate([np.stack([i, i + 21, i + 22], 1), np.stack([i, i + 22, i + 1], 1)]).astype(np.int32)
    flat = trimesh.Trimesh(points, simplify(points, faces, 20), process=False)
    assert len(flat.faces) <= 20
    assert abs(flat.area - 2) < 1e-6
    np.testing.assert_allclose(flat.face_normals, np.tile([0, 0, 1.0], (len(flat.faces), 1)), atol=1e-9)


def test_a_small_mesh_is_returned_as_it_is():
    ball = sphere()
    faces = np.asarray(ball.faces, np.int32)
    np.testing.assert_array_equal(simplify(ball.vertices, faces, len(faces)), faces)
