"""The loose hair of a photo becomes strands: where it shows them, and their likes all around."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.loose_locks import find_faint_hair, grow_loose_locks
from portrait360.pipeline.avatar.hair.loose_paths import POINTS, follow_loose_hair, leave_lone, spread_evenly
from portrait360.pipeline.avatar.hair.outline import bare_skin
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.render.label_view import draw_backdrop, see_labels
from portrait360.synth.scene import Material, Strands
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label
from tests.fixtures.hair import grow
from tests.fixtures.photos import FOCAL

SIDE = 256
CAMERA = Camera(look_at(0, 0, radius=2.7), FOCAL)
TIP = (0.74, 0.72)  # of a lock, where it hangs from the hair beside the face


def draw_line(picture: F32, points: list[tuple[float, float]], width: int = 3) -> None:
    ends = (np.array(points) * len(picture)).round().astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(picture, [ends], False, 1.0, width)


@pytest.fixture(scope="module")
def disc() -> F32:
    """A matte with a round mass of hair."""
    picture = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(picture, (SIDE // 2, SIDE // 3), SIDE // 5, 1.0, -1)
    return picture


def test_paths_follow_a_lock_from_the_mass_to_its_tip(disc):
    matte = disc.copy()
    draw_line(matte, [(0.5, 0.5), (0.54, 0.65), (0.5, 0.8)])
    uv = follow_loose_hair(matte, matte, matte > 0).uv
    assert len(uv) > 20
    assert (uv[:, 0, 1] < 0.56).all() and np.median(uv[:, -1, 1]) > 0.75
    x = np.interp(uv[..., 1], [0.5, 0.65, 0.8], [0.5, 0.54, 0.5])
    assert np.abs(uv[..., 0] - x).max() < 0.02


def test_neither_a_smooth_mass_nor_what_does_not_come_from_it_is_loose(disc):
    assert len(follow_loose_hair(disc, disc, disc > 0).uv) == 0
    matte = disc.copy()
    draw_line(matte, [(0.2, 0.8), (0.8, 0.8)])
    assert len(follow_loose_hair(matte, matte, matte > 0).uv) == 0


def test_points_of_a_path_become_equally_far_apart():
    path = np.array([[[0.0, 0.0], [0.1, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0], [0.0, 3.0]]])
    even = spread_evenly(path, 5)
    assert np.allclose(even[0, :, 0], np.linspace(0, 1, 5), atol=1e-3)
    assert np.allclose(even[1, :, 1], np.linspace(1, 3, 5), atol=1e-3)


def test_a_path_without_company_is_no_strand():
    down = np.stack([np.full(POINTS, 0.5), np.linspace(0.4, 0.7, POINTS)], -1)
    tuft = down + np.array([[[0.0, 0.0]], [[0.003, 0.0]], [[-0.003, 0.002]]])
    lone = down + np.array([[[0.1, 0.0]]])
    assert np.array_equal(leave_lone(np.concatenate([lone, tuft])), tuft)
    assert len(leave_lone(lone)) == 0


@pytest.fixture(scope="module")
def hair(head) -> Strands:
    return grow(head, "crew")


@pytest.fixture(scope="module")
def tied(head) -> Strands:
    """Long hair that lies as close to the head."""
    return grow(head, "low_bun")


def photograph(head, hair: Strands, *lines: list[tuple[float, float]]) -> Photo:
    """Return a photo of hair with loose locks."""
    labels = see_labels(draw_backdrop([bare_skin(head)], CAMERA, SIDE), [hair]).labels.copy()
    locks = np.zeros(labels.shape, np.float32)
    for line in lines:
        draw_line(locks, line)
    labels[locks > 0] = Label.HAIR
    alpha, one = (labels != Label.BACKGROUND).astype(np.float32), np.ones(labels.shape, np.float32)
    rgb, flow = np.repeat(alpha[..., None], 3, 2), np.zeros((*labels.shape, 2), np.float32)
    return Photo(rgb, rgb, alpha, one, labels, one, flow, CAMERA, loose=alpha)


def test_a_lock_hangs_where_the_photo_shows_it_before_the_ear_and_free_of_the_skin(head, hair, tied):
    photo = photograph(head, hair, [(0.64, 0.34), (0.74, 0.4), TIP])
    points = np.concatenate([group.points for group in grow_loose_locks([hair, tied], head, photo)])
    low = points[points[:, -1, 1] < hair.points[..., 1].min() - 0.02]
    assert len(low) > 10
    assert np.abs(CAMERA.project(low[:, -1])[0] - TIP).max() < 0.05
    ear = head.body[head.mask("ears") > 0.35]
    assert (low[:, -1, 2] > np.median(ear[:, 2])).all()
    assert head.field.distance(low[:, 3:]).min() > 0


def test_no_lock_hangs_from_hair_that_is_shorter_than_it(head, hair):
    """What looks like one is dark and lies behind the head."""
    photo = photograph(head, hair, [(0.64, 0.34), (0.74, 0.4), TIP])
    points = [group.points for group in grow_loose_locks([hair], head, photo)]
    assert not points or np.concatenate(points)[..., 1].min() > hair.points[..., 1].min() - 0.02


def test_hair_that_runs_into_a_beard_is_no_lock(head, hair):
    photo = photograph(head, hair, [(0.64, 0.34), (0.74, 0.4), TIP])
    labels = photo.labels.copy()
    x, y = (round(at * SIDE) for at in TIP)
    labels[y - 4 : y + 8, x - 4 : x + 8] = Label.BEARD
    points = [group.points for group in grow_loose_locks([hair], head, replace(photo, labels=labels))]
    assert not points or np.concatenate(points)[..., 1].min() > hair.points[..., 1].min() - 0.02


def test_short_wisps_of_the_outline_also_stick_out_behind(head, hair):
    top = float(CAMERA.project(hair.points.reshape(-1, 3))[0][:, 1].min())
    wisps = [[(x, top + 0.02), (x + 0.01, top - 0.02)] for x in np.linspace(0.4, 0.6, 9)]
    groups = grow_loose_locks([hair], head, photograph(head, hair, *wisps))
    behind = [group.points for group in groups if (group.points[:, 0, 2] < -0.05).any()]
    points = np.concatenate(behind)
    assert head.field.distance(points[:, -1]).max() > head.field.distance(hair.points.reshape(-1, 3)).max()


def raise_wisps(hair: Strands, height: float) -> list[list[tuple[float, float]]]:
    """Return upright wisps in the picture, `height` above the top of the hair."""
    top = float(CAMERA.project(hair.points.reshape(-1, 3))[0][:, 1].min()) - height
    return [[(x, top + 0.04), (x, top - 0.03)] for x in np.linspace(0.4, 0.6, 9)]


def test_wisps_on_top_lean_before_and_behind(head, hair):
    own = grow_loose_locks([hair], head, photograph(head, hair, *raise_wisps(hair, 0.0)))[0].points
    along = own[:, -1] - own[:, 0]
    lean = along[:, 2] / np.linalg.norm(along, axis=1)
    assert lean.std() > 0.25
    assert lean.min() < -0.2 < 0.2 < lean.max()


def test_loose_hair_far_from_all_strands_does_not_float(head, hair):
    photo = photograph(head, hair)
    low = photo.labels.copy()
    cv2.circle(low, (40, 60), 30, int(Label.HAIR), -1)  # hair that the strands lack
    lines = np.zeros(low.shape, np.float32)
    for x in (0.1, 0.13, 0.16, 0.19):
        draw_line(lines, [(x, 0.15), (x, 0.06)])
    low[lines > 0] = Label.HAIR
    alpha = (low != Label.BACKGROUND).astype(np.float32)
    rgb = np.repeat(alpha[..., None], 3, 2)
    assert not grow_loose_locks([hair], head, replace(photo, rgb=rgb, alpha=alpha, labels=low, loose=alpha))


def test_hair_that_falls_has_no_wisps_on_top(head, hair):
    wisp = photograph(head, hair, [(0.5, 0.3), (0.52, 0.1)])
    fallen = replace(hair, points=hair.points.copy())
    fallen.points[0, -1, 1] = -0.4
    assert not grow_loose_locks([fallen], head, wisp)


def test_tidy_carved_and_drawn_hair_has_no_loose_locks(head, hair):
    assert not grow_loose_locks([hair], head, photograph(head, hair))
    wisp = photograph(head, hair, *raise_wisps(hair, 0.0))
    stone = replace(hair, material=np.full_like(hair.material, Material.SKIN))
    assert grow_loose_locks([hair], head, wisp)
    assert not grow_loose_locks([stone], head, wisp)
    assert not grow_loose_locks([hair], head, replace(wisp, painted=True))


def test_the_soft_edge_of_a_face_is_no_loose_hair(head, hair):
    photo = photograph(head, hair)
    soft = cv2.GaussianBlur(photo.alpha, (0, 0), 2.0)
    found = find_faint_hair(replace(photo, alpha=soft, loose=None)) & photo.shows(Label.BACKGROUND)
    rows = np.nonzero(found)[0]
    assert len(rows) > 20
    assert rows.max() < np.nonzero(photo.shows(Label.HAIR))[0].max() + 4
