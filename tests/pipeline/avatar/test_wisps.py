"""Fine strands at the edge of hair beside a face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.wisps import FACE, find_edges, fray_edges
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Material, Part, Strands
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.photos import FOCAL

SIDE = 96
CAMERA = Camera(look_at(0, 0, radius=2.7), FOCAL)


def photograph(label: Label) -> Photo:
    one, labels = np.ones((SIDE, SIDE), np.float32), np.full((SIDE, SIDE), label, np.uint8)
    picture, flow = np.ones((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE, 2), np.float32)
    return Photo(picture, picture, one, one, labels, one, flow, CAMERA)


@pytest.fixture(scope="module")
def curtain(head) -> Strands:
    """Hair that hangs beside the face on the head's left, from z 0.06 backwards."""
    rng, k = np.random.default_rng(3), 12
    z = rng.uniform(-0.08, 0.06, 4000)
    y = np.linspace(0.10, -0.10, k)
    points = np.stack(np.broadcast_arrays(np.float64(0.25), y[None], z[:, None]), -1)
    for _ in range(8):
        points = points - (head.field.distance(points) - 0.008)[..., None] * np.array([1, 0, 0])
    count = len(z)
    return Strands(
        points.astype(np.float32),
        np.full((count, k), 0.002, np.float32),
        np.full((count, k, 3), 0.1, np.float32),
        np.full(count, Part.HAIR, np.uint8),
        np.full(count, Material.HAIR, np.uint8),
    )


def ahead(points: F32) -> F32:
    """Return how far points lie before the edge of the curtain."""
    return points[..., 2] - 0.06


def test_the_edge_is_where_no_hair_lies_towards_the_face(head, curtain):
    (edge,) = find_edges([curtain.points], head)
    middle = edge.share[:, 6:-3]
    far = ahead(curtain.points)[:, 6:-3]
    assert middle[far > -0.004].mean() > 0.8
    assert middle[far < -0.03].mean() < 0.02
    way = edge.way[:, 5][far[:, 2] > -0.004]
    assert (way @ unit(FACE - np.array([0.25, 0.0, 0.06])) > 0.3).mean() > 0.9


def test_wisps_come_loose_before_the_edge_and_leave_skin_between_them(head, curtain):
    (frayed,) = fray_edges([curtain], head, photograph(Label.HAIR))
    count = len(curtain.points)
    wisps = replace(frayed, points=frayed.points[count:], widths=frayed.widths[count:])
    np.testing.assert_array_equal(frayed.points[:count], curtain.points)
    assert 0 < len(wisps.points) < 0.05 * count
    assert wisps.widths.max() < 0.001
    covers = []
    for low, high in ((0.001, 0.004), (0.012, 0.016)):
        inside = (ahead(wisps.points) > low) & (ahead(wisps.points) < high)
        step = 0.2 / (wisps.points.shape[1] - 1)
        covers.append(float((inside * wisps.widths).sum() * step / (0.2 * (high - low))))
    assert 0.002 < covers[1] < 0.7 * covers[0] and covers[0] < 0.9
    assert head.field.distance(wisps.points).min() > -0.001


def test_hair_is_finer_at_the_edge_alone(head, curtain):
    (frayed,) = fray_edges([curtain], head, photograph(Label.HAIR))
    widths, far = frayed.widths[: len(curtain.points)], ahead(curtain.points)
    assert widths[:, 6:-3][far[:, 6:-3] > -0.003].mean() < 0.7 * 0.002
    assert np.median(widths[:, 3:-3][far[:, 3:-3] < -0.03]) == np.float32(0.002)


def test_short_hair_does_not_fray(head, curtain):
    short = replace(curtain, points=curtain.points[:, :1] + 0.2 * (curtain.points - curtain.points[:, :1]))
    (frayed,) = fray_edges([short], head, photograph(Label.HAIR))
    np.testing.assert_array_equal(frayed.points, short.points)
    np.testing.assert_array_equal(frayed.widths, short.widths)


def test_hair_that_hangs_below_the_face_alone_does_not_fray(head, curtain):
    below = replace(curtain, points=curtain.points - np.array([0, 0.5, 0], np.float32))
    (frayed,) = fray_edges([below], head, photograph(Label.HAIR))
    np.testing.assert_array_equal(frayed.points, below.points)


def test_no_wisps_grow_where_the_photo_shows_bare_skin(head, curtain):
    (frayed,) = fray_edges([curtain], head, photograph(Label.FACE))
    (free,) = fray_edges([curtain], head, photograph(Label.HAIR))
    assert len(frayed.points) < len(free.points)


def test_carved_hair_does_not_fray(head, curtain):
    carved = replace(curtain, material=np.full_like(curtain.material, Material.STONE))
    assert fray_edges([carved], head, photograph(Label.HAIR)) == [carved]
