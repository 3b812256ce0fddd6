"""Scenes in files: what is packed comes back, and nothing else is accepted."""

from __future__ import annotations

import numpy as np
import pytest

from portrait360.pipeline.avatar.scene_file import pack_scene, unpack_scene
from portrait360.synth.scene import Scene
from tests.fixtures.scenes import WHITE, quad

HOSTILE = {
    "a triangle of no vertex": ("mesh0_triangles", np.array([[0, 1, 4], [0, 2, 3]], np.int32)),
    "a negative corner": ("mesh0_triangles", np.array([[0, 1, -1], [0, 2, 3]], np.int32)),
    "a material that there is not": ("mesh0_material", np.full(2, 200, np.uint8)),
    "too few parts": ("mesh0_part", np.zeros(1, np.uint8)),
    "not a number": ("mesh0_albedo", np.full((4, 3), np.nan, np.float32)),
    "far away": ("mesh0_vertices", np.full((4, 3), 1e9, np.float32)),
    "another type": ("mesh0_vertices", np.zeros((4, 3), np.float64)),
    "another shape": ("light_ambient", np.zeros((4, 3), np.float32)),
    "endless layers": ("layers", np.array([10**9, 0])),
}


@pytest.fixture
def packed() -> dict[str, np.ndarray]:
    return pack_scene(Scene((quad(),), (), WHITE, landmarks={"chin": np.ones(3, np.float32)}))


def test_a_scene_comes_back(packed):
    scene = unpack_scene(packed)
    again = pack_scene(scene)
    assert again.keys() == packed.keys()
    for name, values in packed.items():
        np.testing.assert_array_equal(again[name], values)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused(packed, name):
    key, values = HOSTILE[name]
    with pytest.raises(ValueError):
        unpack_scene(packed | {key: values})


def test_missing_arrays_are_refused(packed):
    for key in packed:
        if not key.endswith(("normals", "roughness", "labels")):
            with pytest.raises(KeyError):
                unpack_scene({name: values for name, values in packed.items() if name != key})
