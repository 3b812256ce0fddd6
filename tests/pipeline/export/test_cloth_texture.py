"""The texture of what is worn: colours come back where the mesh looks them up, with what the photo adds to them."""

from typing import cast

import numpy as np
import pytest

from portrait360.pipeline.export.avatar_glb.cloth_texture import (
    SIDE,
    bake_cloth,
    looks_back,
    make_charts,
    split_charts,
)
from portrait360.pipeline.export.avatar_glb.photo_detail import PhotoDetail
from portrait360.utils.portrait_labels import Label
from tests.fixtures.tiny_avatar import ball


class Gain:
    """Everything is seen, and this much brighter."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def on_things(self, points, normals, labels):
        assert labels == (Label.CLOTHES,) and np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
        return np.full_like(points, np.log(self.factor)), np.ones(len(points), np.float32)


@pytest.fixture(scope="module")
def values() -> tuple[np.ndarray, np.ndarray]:
    points, normals, triangles, _ = ball(np.array([0.1, -0.4, 0.0]), np.array([0.3, 0.2, 0.1]), 40, 80)
    colours = 0.2 + 0.1 * normals  # what is behind has other colours than what is before it
    return np.concatenate([points, normals, colours], 1).astype(np.float32), triangles


def test_every_triangle_lies_in_one_chart_with_its_own_corners(values):
    points, triangles = values[0][:, :3], values[1]
    behind = looks_back(values[0][:, 3:6], triangles)
    assert 0.4 < behind.mean() < 0.6
    split, back, rows = split_charts(triangles, behind)
    assert np.array_equal(rows[split], triangles) and np.array_equal(back[split].all(1), behind)
    assert np.array_equal(back[split].any(1), behind)
    uv = make_charts(points).place(points[rows], back)
    assert (uv[~back, 0] < 0.5).all() and (uv[back, 0] > 0.5).all() and uv.min() > 0 and uv.max() < 1


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_mesh_looks_up_the_colours_that_it_had(values, factor):
    given, triangles = values
    charts = make_charts(given[:, :3])
    texture = bake_cloth(charts, given, triangles, (Label.CLOTHES,), cast("PhotoDetail", Gain(factor)), shown=True)
    assert texture.shape == (SIDE, 2 * SIDE, 3) and texture.dtype == np.uint8
    split, back, rows = split_charts(triangles, looks_back(given[:, 3:6], triangles))
    corners = given[rows][split]
    facing = np.abs(corners[:, :, 5].mean(1)) > 0.3  # at the outline a texel sees many colours
    uv = charts.place(given[rows, :3], back)[split].mean(1)[facing]
    found = texture[(uv[:, 1] * SIDE).astype(int), (uv[:, 0] * 2 * SIDE).astype(int)] / 255
    assert np.abs(found - factor * corners[facing, :, 6:].mean(1)).max() < 0.01
