"""Splats that hang on an avatar's mesh: what they hang on, and how far they move with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait360.pipeline.export.avatar_glb.document import pack_pieces
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from portrait360.pipeline.export.avatar_rig.binding import (
    MILLIMETRE,
    NEAR,
    bind,
    find_moved,
    is_painted,
    spread_points,
)
from portrait360.pipeline.export.avatar_rig.inside import LIDS, Light, _drop_nostrils, draw_inside
from portrait360.pipeline.export.avatar_rig.lid_colours import FEW, Spots, colour_lids, shade_lids
from portrait360.pipeline.export.avatar_rig.moving_mesh import read_moving_mesh
from portrait360.pipeline.export.avatar_rig.packing import make_rig
from portrait360.pipeline.export.avatar_splats.shapes import draw_discs
from tests.fixtures.tiny_avatar import AXES, EYES, MOUTH, NECK, SMILE, ball, near, pack_tiny_avatar

DOWN = np.float32([0, -0.05, 0])  # how the tiny avatar opens its jaw


@pytest.fixture(scope="module")
def mesh():
    return read_moving_mesh(pack_tiny_avatar())


@pytest.fixture(scope="module")
def splats(mesh):
    """On the skin in the photo's expression, all around."""
    part = mesh.parts[0]
    points = mesh.pose(mesh.weights)
    triangles, places = spread_points(points[mesh.triangles[part.triangles]].astype(float), 8 * MILLIMETRE)
    corners = points[mesh.triangles[triangles]]
    spots = (corners * places[..., None]).sum(1)
    return draw_discs(spots, spots / AXES**2, np.full(len(spots), 3 * MILLIMETRE), np.ones(len(spots)))


def move(binding, mesh, weights):
    """How far bound splats move with these weights, as the page does it."""
    way = (mesh.pose(weights) - mesh.pose(mesh.weights))[mesh.triangles[binding.triangles]]
    return binding.weights[:, None] * (way * binding.places[..., None]).sum(1)


def test_the_mesh_is_read_as_it_was_written(mesh):
    skin = mesh.parts[0]
    assert [part.name for part in mesh.parts] == ["skin", "eye_left", "eye_right"]
    expected = ball(np.zeros(3), AXES, 40, 64)[0]
    assert mesh.neutral[skin.vertices] == pytest.approx(expected, abs=1e-6)
    eye = mesh.neutral[mesh.parts[1].vertices]
    assert (eye.min(0) + eye.max(0)) / 2 == pytest.approx(EYES["left"], abs=1e-3)
    moved = mesh.pose({"jawOpen": 1.0})[skin.vertices] - expected
    assert moved == pytest.approx(near(expected, MOUTH, 0.05) * DOWN, abs=1e-4)
    assert mesh.weights["mouthSmileLeft"] == pytest.approx(SMILE)


def test_splats_of_the_chin_move_as_the_jaw_does(splats, mesh):
    binding = bind(splats, mesh)
    moved = move(binding, mesh, mesh.weights | {"jawOpen": 1.0})
    expected = near(splats.means, MOUTH, 0.05) * DOWN
    front = np.linalg.norm(splats.means - MOUTH, axis=1) < 0.06
    assert front.sum() > 50
    assert np.abs(moved - expected)[front].max() < 0.15 * np.linalg.norm(DOWN)


def test_nothing_moves_without_a_change_of_weights(splats, mesh):
    assert not move(bind(splats, mesh), mesh, mesh.weights).any()


def test_what_does_not_lie_on_moving_skin_stays(splats, mesh):
    off = replace(splats, means=splats.means * 1.4)  # hair before the face
    assert not bind(off, mesh).weights.any()
    moved = find_moved(bind(splats, mesh), mesh)
    assert moved[np.linalg.norm(splats.means - MOUTH, axis=1) < 0.04].all()
    assert not moved[np.linalg.norm(splats.means - NECK, axis=1) < 0.05].any()


def test_weights_fall_smoothly_off_the_skin(mesh):
    heights = np.linspace(0, 8, 41) * MILLIMETRE
    points = (MOUTH / np.sqrt((MOUTH**2 / AXES**2).sum()))[None] + heights[:, None] * [[0, 0, 1.0]]
    dots = draw_discs(points, np.tile([[0, 0, 1.0]], (41, 1)), np.full(41, 1e-3), np.ones(41))
    weights = bind(dots, mesh).weights
    assert weights[0] == pytest.approx(1) and weights[-1] == 0
    assert (np.diff(weights) <= 1e-6).all() and np.abs(np.diff(weights)).max() < 0.15


def test_lips_that_touch_do_not_bind_what_lies_on_the_other():
    """Two slabs meet in a line; behind it, each has an inner wall that lies at the other's edge."""
    x, z = np.linspace(-0.05, 0.05, 21), 0.1
    pieces, corners = [], []
    for side in (1, -1):
        rows = np.array(
            [[y * side, z] for y in np.linspace(0, 0.04, 9)[::-1]] + [[-0.001 * side, z - 0.004 * k] for k in (1, 2)]
        )
        points = np.stack([np.tile(x, len(rows)), np.repeat(rows[:, 0], 21), np.repeat(rows[:, 1], 21)], 1)
        here = np.arange(len(points)).reshape(len(rows), 21)
        a, b, c, d = (v.ravel() for v in (here[:-1, :-1], here[:-1, 1:], here[1:, 1:], here[1:, :-1]))
        corners.append(np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)]) + len(points) * (side < 0))
        pieces.append(points)
    points = np.concatenate(pieces).astype(np.float32)
    opening = np.where(np.arange(len(points))[:, None] < len(pieces[0]), [[0, 0, 0]], [[0, -0.03, 0]]).astype(
        np.float32
    )
    normals = np.tile(np.float32([0, 0, 1]), (len(points), 1))
    skin = Piece("skin", Look("skin"), points, normals, np.concatenate(corners).astype(np.int32),
                 colours=np.ones((len(points), 3), np.float32), moves={"jawOpen": opening})  # fmt: skip
    mesh = read_moving_mesh(pack_pieces([skin], {}, np.zeros(3, np.float32), {}))
    height = np.array([-3, -1, -0.5, 0.5, 1, 3]) * MILLIMETRE
    spots = np.stack([np.full(6, 0.013), height, np.full(6, z)], 1)
    dots = draw_discs(spots, np.tile([[0, 0, 1.0]], (6, 1)), np.full(6, 1e-3), np.ones(6))
    moved = move(bind(dots, mesh), mesh, {"jawOpen": 1.0})
    assert moved[:3, 1] == pytest.approx(-0.03, abs=2e-3) and moved[3:] == pytest.approx(0, abs=1e-6)


def test_a_blink_brings_lids_before_the_eyes(splats, mesh):
    binding = bind(splats, mesh)
    inside = draw_inside(splats, binding, mesh, LIDS)
    skin = inside.binding.triangles < mesh.parts[0].triangles.stop
    assert skin.any() and (~skin).sum() > 100
    for place in EYES.values():
        over = np.linalg.norm((inside.splats.means - place)[skin][:, :2], axis=1) < 0.01
        eye = mesh.pose(mesh.weights)[mesh.parts[1].vertices]
        assert over.any() and inside.splats.means[skin][over][:, 2].min() > eye[:, 2].max() - 0.02
    assert inside.weights["eyeBlinkLeft"] == 1


def test_closed_lids_have_the_colour_of_the_skin_around_in_its_light():
    """Brows, lashes and folds around an eye say nothing of it; the light that falls from aside does."""
    rng = np.random.default_rng(0)
    at, towards = rng.uniform(-12, 12, (900, 2)) * MILLIMETRE, np.array([0, 0, 1.0])
    colours = np.array([0.6, 0.4, 0.3]) * np.exp(0.2 * at[:, :1] / (12 * MILLIMETRE))
    brow = at[:, 1] > 8 * MILLIMETRE
    around = Spots(np.column_stack([at, 0 * at[:, 0]]), np.tile(towards, (900, 1)))
    shown = np.where(brow[:, None], 0.05, colours).astype(np.float32)
    middle = np.abs(at).max(1) < 4 * MILLIMETRE
    found = colour_lids(around.select(middle), around, shown)
    assert found is not None and found == pytest.approx(colours[middle], rel=0.08)
    few = np.arange(900) < FEW // 2
    assert colour_lids(around.select(middle), around.select(few), shown[few]) is None


def test_lids_are_shaded_softly_where_they_fold_and_end():
    ways = np.array([0, 1.8, 6, 10, 10]) * MILLIMETRE
    edge = np.array([0, 8, 4, 0, 3]) * MILLIMETRE
    still, crease, middle, lashes, above = shade_lids(ways, edge)[:, 0]
    assert still == pytest.approx(1) and middle == pytest.approx(1, abs=0.01)
    assert lashes < 0.6 < crease < 0.95 and above == pytest.approx(1, abs=0.01)


def test_a_face_whose_eyes_are_painted_on_it_stays_still(mesh):
    assert not is_painted(mesh)
    neutral = mesh.neutral.copy()
    neutral[mesh.parts[1].vertices.start :] *= 0.5  # behind the skin
    hidden = replace(mesh, neutral=neutral)
    assert is_painted(hidden)
    assert not is_painted(replace(hidden, weights=mesh.weights | {"eyeBlinkLeft": 1.0}))  # closed eyes are none


def test_a_mouth_gets_darker_with_depth(splats, mesh):
    grey = replace(splats, colours=np.full_like(splats.colours, 0.5))
    light = Light(grey, bind(grey, mesh), mesh, np.zeros(len(mesh.triangles), bool))
    front = MOUTH + np.linspace(0, 30, 16)[:, None] * [[0, 0, -MILLIMETRE]]
    found = light.find_inner(front)[:, 0]
    assert (np.diff(found) <= 0).all() and found[4] < 0.7 * found[0]
    assert found[-1] < 0.15 * found[0]


def test_nostrils_are_no_part_of_the_mouth(mesh):
    """A piece on one side that reaches higher than the teeth is left out; a corner of the lips is not."""
    teeth = replace(mesh, parts=[mesh.parts[0], replace(mesh.parts[1], name="upper_teeth")])
    middle = teeth.neutral[teeth.triangles].mean(1)
    mouth, corner, nostril = (
        np.linalg.norm(middle - place, axis=1) < 0.03 for place in (MOUTH, [0.12, -0.11, 0.09], [0.07, 0.15, 0.11])
    )
    assert mouth.any() and corner.any() and nostril.any()
    assert (_drop_nostrils(mouth | corner | nostril, teeth) == (mouth | corner)).all()


def test_a_rig_keeps_all_splats_and_reads_back(splats):
    glb = pack_tiny_avatar()
    rig = make_rig(splats, glb)
    assert rig is not None
    counts = [group["count"] for group in rig.about["groups"]]
    bound, all_of_it = sum(counts), len(rig.splats)
    assert all_of_it - sum(counts[1:]) == len(splats)
    kept = np.concatenate([rig.splats.means[: counts[0]], rig.splats.means[bound:]])
    assert (np.sort(kept, 0) == np.sort(splats.means, 0)).all()
    assert len(rig.data) == 5 * bound + all_of_it
    mesh = read_moving_mesh(glb)
    triangles = np.frombuffer(rig.data, "<u2", bound)[: counts[0]]
    places = np.frombuffer(rig.data, np.uint8, 2 * bound, 2 * bound).reshape(-1, 2)[: counts[0]] / 255
    places = np.column_stack([1 - places.sum(1), places])
    spots = (mesh.pose(mesh.weights)[mesh.triangles[triangles]] * places[..., None]).sum(1)
    whole = np.frombuffer(rig.data, np.uint8, counts[0], 4 * bound) == 255
    assert whole.any()
    assert np.linalg.norm(spots - rig.splats.means[: counts[0]], axis=1)[whole].max() < NEAR + 0.2 * MILLIMETRE


def test_a_mesh_without_expressions_moves_nothing(splats):
    points, normals, triangles, _ = ball(np.zeros(3), AXES, 8, 8)
    plain = Piece("skin", Look("skin"), points, normals, triangles, colours=np.ones_like(points))
    assert make_rig(splats, pack_pieces([plain], {}, np.zeros(3, np.float32), {})) is None
