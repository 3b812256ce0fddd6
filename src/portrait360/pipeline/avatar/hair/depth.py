"""Give hair the depth that a photo does not show: behind the face's side, close to the forehead, over the shoulders.

All moves but those over the shoulders follow the photo's rays, so that the hair's outline in the photo stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.vectors import measure_length

BEHIND_EYE, FACE_SOFT = 0.045, 0.06  # canonical: hair beside the face stays this far behind the eye's outer corner
PARTED, GAP, CLOSED, MIXED_GAP = 0.03, 0.045, 0.75, 0.02  # z of the gap over the ears, its width, how it closes
BESIDE = (0.080, 0.108)  # |x| from which hair lies beside the face, not before it
FOREHEAD = (0.016, 0.14, 0.13, 0.24)  # canonical: reach of hair before the skin, low and high, and these two heights
NEAREST, LAYERS = 0.006, 0.012  # canonical; how close to the skin hair may come, and how thick it lies there
MARCH = 6
NECK = -0.20  # height below which hair may lie on the shoulders
RIDGES = (-0.01, 0.12)  # z from which hair falls before the shoulders, where the photo shows such hair and where not
MIXED = 0.05  # canonical; so far about it strands mix
PARTING = 0.08  # canonical: how far before and behind the ridge of the shoulders hair parts
DRAPE_STEPS, MOST_DRAPED, LEAD = 24, 0.2, 0.24  # the latter two canonical; hair leans over for such a length before
STIFF, LEAN = 0.6, 0.7  # how straight hair falls on a shoulder, and how far forward or back against down at most
NAPE = (-0.075, -0.125)  # heights over which short hair comes close to the neck
NAPE_THICKNESS = (0.08, 0.012)
EAR_LOBES, BESIDE_NECK, HANGS = (-0.05, -0.02), (-0.10, -0.07), (0.2, 0.5)  # heights; share of the hair over the one
# that goes on to the other, from which it is a bob, and surely one
BOB = (0.05, -0.02)  # heights over which a bob comes to hang straight down behind
SIDES, LEAST_REACH = (0.0, 0.12), 0.028  # heights of the sides; least thickness of hair behind
CROWN, CROWN_REACH = (0.09, 0.22), 0.12  # heights over which hair may stand off further, and how much
FEWEST, BESIDE_ROOT, LOOP = 100, 24, 1.25  # strands; those around one; height against theirs that makes a loop
CELL, LONELY = 0.02, 0.10  # canonical; share of the usual number of points about a point


def close_gap(group: Strands) -> Strands:
    """Draw hair together over the ears, where growth combs it apart: forward on the one side, back on the other."""
    points = group.points.astype(np.float64)
    if len(points) == 0:
        return group
    x, y, z = np.moveaxis(points, -1, 0)
    off = z - PARTED
    near = np.exp(-np.abs(off) / GAP) * smoothstep(0.08, 0.12, np.abs(x)) * smoothstep(0.16, 0.08, y)
    near[:, 0] = 0.0
    mixed = MIXED_GAP * (2 * _layers(len(points))[:, None] - 1)
    moved = gaussian_filter1d(near * (mixed - CLOSED * off), 1.0, axis=1, mode="nearest")
    moved[:, 0] = 0.0
    points[..., 2] += moved
    return replace(group, points=points.astype(np.float32))


def recede(group: Strands, head: Head, camera: Camera) -> Strands:
    """Move hair away from the camera where it would hide the face from the side, or stand off the forehead."""
    points = group.points.astype(np.float64)
    if len(points) == 0:
        return group
    away = -unit(camera.position - points)
    distance = head.field.distance(points)
    excess = np.maximum(_beside_face(points, head), _before_forehead(points, distance, head))
    excess = gaussian_filter1d(excess, 1.0, axis=1, mode="nearest")
    excess[:, 0] = 0.0
    moved = march(points, away * (excess / np.maximum(-away[..., 2], 0.3))[..., None], distance, head)
    return replace(group, points=moved.astype(np.float32))


def _beside_face(points: F64, head: Head) -> F64:
    """Return how far points beside the face must go back."""
    x, y, z = np.moveaxis(points, -1, 0)
    corners = [head.landmarks[f"{side}_eye_outer"] for side in ("left", "right")]
    plane = min(corner[2] for corner in corners) - BEHIND_EYE - FACE_SOFT
    beyond = np.maximum(z - plane, 0)
    weight = smoothstep(*BESIDE, np.abs(x)) * smoothstep(0.12, 0.06, y) * smoothstep(-0.46, -0.26, y)
    return weight * (beyond - FACE_SOFT * (1 - np.exp(-beyond / FACE_SOFT)))


def _before_forehead(points: F64, distance: np.ndarray, head: Head) -> F64:
    """Return how far points before the forehead stand too far off it."""
    x, y, z = np.moveaxis(points, -1, 0)
    near, far, low, high = FOREHEAD
    reach = near + (far - near) * smoothstep(low, high, y)
    over = np.maximum(distance - 0.5 * reach, 0)
    excess = over - 0.5 * reach * (1 - np.exp(-2 * over / reach))
    return excess * smoothstep(0.05, 0.11, z) * smoothstep(-0.06, -0.02, y) * smoothstep(0.15, 0.10, np.abs(x))


def march(points: F64, move: F64, distance: np.ndarray, head: Head, layers: float = LAYERS) -> F64:
    """Move points as far as the skin, and hair of a thickness of `layers` on it, lets them."""
    layer = NEAREST + layers * _layers(len(points))[:, None]
    least = np.minimum(distance, layer)
    is_free, share = np.ones(distance.shape, bool), np.zeros(distance.shape)
    for step in range(1, MARCH + 1):
        is_free &= head.field.distance(points + move * (step / MARCH)) >= least
        share[is_free] = step / MARCH
    share = gaussian_filter1d(share, 1.0, axis=1, mode="nearest")
    share[:, 0] = 0.0
    return points + move * share[..., None]


def _layers(count: int) -> F64:
    """Return a number from 0 to 1 for each strand: how far outside it lies."""
    return np.random.default_rng(count).random(count)


def drape(
    group: Strands, head: Head, in_front: tuple[bool, bool], right: np.ndarray, *, between: float = 0.0
) -> Strands:
    """Let hair that comes into the shoulders fall before or behind them, as the photo shows it on either side.

    `in_front` is for the left and right of the picture, `right` the direction to its right. Where hair parts over
    the shoulders, a share `between` of it also falls there, and lies on them.
    """
    points = group.points.astype(np.float64)
    low = points[..., 1] < NECK
    if not low.any():
        return group
    is_right = points[:, -1] @ right > 0
    ridge = np.where(np.where(is_right, in_front[1], in_front[0]), *RIDGES)
    ridge = ridge + MIXED * (2 * _layers(len(points)) - 1)
    crossing = np.argmax(low, axis=1)
    forward = np.where(points[np.arange(len(points)), crossing, 2] > ridge, 1.0, -1.0)[:, None]
    margin = NEAREST + 2 * LAYERS * _layers(len(points))[:, None]
    need = _find_need(points, low, np.where(low, forward, 0.0), np.where(low, margin, 0.0), head)
    rows = np.flatnonzero(need.max(1) > 0)
    move = forward[rows] * np.minimum(_lead(points[rows], need[rows]), MOST_DRAPED)
    rng = np.random.default_rng([len(points), 73])
    parts = np.abs(points[rows, crossing[rows], 2] - ridge[rows]) < PARTING
    hangs = parts & (rng.random(len(rows)) < between)
    hung, way = points[rows[hangs]], forward[rows][hangs] * rng.random((int(hangs.sum()), 1))
    hung[..., 2] += np.abs(way) * move[hangs]
    hung = lie_down(hung, crossing[rows][hangs], LEAN * way[:, 0], margin[rows][hangs], head)
    points[rows, :, 2] += move
    points, group = np.concatenate([points, hung]), _repeat(group, rows[hangs])
    low = points[..., 1] < NECK
    is_inside = np.zeros(low.shape, bool)
    is_inside[low] = head.field.distance(points[low]) < 0
    last = np.where(is_inside.any(1), np.maximum(is_inside.argmax(1) - 0.5, 0.5), points.shape[1] - 1)
    return replace(group, points=shorten(points.astype(np.float32), last))


def lie_down(points: F64, first: np.ndarray, lean: F64, height: F64, head: Head) -> F64:
    """Return strands (n, k, 3) that fall freely from their `first` points (n,) on, and lie on what they fall on.

    They `lean` forward (1) or back (-1), and lie at a `height` (n, 1) over the skin.
    """
    points, steps = points.copy(), measure_length(np.diff(points, axis=1))[..., None]
    goal = unit(np.stack([np.zeros_like(lean), -np.ones_like(lean), lean], -1))
    for j in range(2, points.shape[1]):
        rows = np.flatnonzero(first < j)
        before = points[rows, j - 1]
        heading = STIFF * unit(before - points[rows, j - 2]) + (1 - STIFF) * goal[rows]
        place = head.field.push_out(before + steps[rows, j - 1] * unit(heading), height[rows, 0])
        points[rows, j] = before + steps[rows, j - 1] * unit(place - before)
    return points


def _repeat(group: Strands, rows: np.ndarray) -> Strands:
    """Return a group with these strands of it once more, at its end."""
    rows = np.concatenate([np.arange(len(group.points)), rows])
    return take_strands(group, rows, group.points[rows])


def _find_need(points: F64, low: np.ndarray, forward: F64, margin: F64, head: Head) -> F64:
    """Return how far (s, k) the points that lie `low` must go forward (1) or back (-1) to clear the skin."""
    need, rows, pushed = np.zeros(low.size), np.flatnonzero(low), points[low]
    forward, margin, start = forward.ravel(), margin.ravel(), points[..., 2].ravel()
    for _ in range(DRAPE_STEPS):
        lack = margin[rows] - head.field.distance(pushed)
        rows, pushed = rows[lack > 0], pushed[lack > 0]  # what is clear stays so
        need[rows] += lack[lack > 0]
        pushed[:, 2] = start[rows] + forward[rows] * need[rows]
    return need.reshape(low.shape)


def _lead(points: F64, need: F64) -> F64:
    """Return a smooth move of at least `need`: what hangs lower follows, what hangs higher leans over."""
    need = np.maximum.accumulate(need, axis=1)
    steps = measure_length(np.diff(points, axis=1))
    along = np.concatenate([np.zeros((len(points), 1)), np.cumsum(steps, 1)], 1)
    way, move = along.astype(np.float32), need.copy()
    for ahead in range(1, points.shape[1]):
        far = way[:, ahead:] - way[:, :-ahead]
        if far.min(initial=LEAD) >= LEAD:
            break
        np.maximum(move[:, :-ahead], (1 - smoothstep(0.0, LEAD, far)) * need[:, ahead:], out=move[:, :-ahead])
    return move * np.minimum(along / 0.08, 1)


def find_hanging(groups: Sequence[Strands]) -> float:
    """Return how surely (0..1) short hair hangs beside the neck, as a bob does, which falls as straight behind."""
    points = np.concatenate([group.points.reshape(-1, 3) for group in groups])
    height = points[(np.abs(points[:, 0]) > 0.06) & (np.abs(points[:, 2]) < 0.06), 1]
    above, below = (((height > low) & (height < high)).sum() for low, high in (EAR_LOBES, BESIDE_NECK))
    return float(smoothstep(*HANGS, np.asarray(below / max(int(above), FEWEST))))


def tidy_nape(group: Strands, head: Head, hanging: float = 0.0) -> Strands:
    """Let short hair lie close to the neck, without a tuft, unless it is `hanging`."""
    points = group.points.astype(np.float64)
    distance = head.field.distance(points)
    y, z = points[..., 1], points[..., 2]
    reach = NAPE_THICKNESS[0] + (NAPE_THICKNESS[1] - NAPE_THICKNESS[0]) * smoothstep(*NAPE, y)
    excess = np.maximum(distance - reach, 0) * smoothstep(0.0, -0.04, z) * (y < NAPE[0]) * (1 - hanging)
    excess[:, 0] = 0.0
    moved = points - excess[..., None] * head.field.gradient(points)
    return replace(group, points=moved.astype(np.float32))


def find_side_reach(groups: Sequence[Strands], head: Head) -> float:
    """Return how far hair reaches over the skin at the sides of the head, which a photo shows."""
    points = np.concatenate([group.points.reshape(-1, 3) for group in groups])
    x, y, z = points.T
    distance = head.field.distance(points[(np.abs(x) > 0.1) & (y > SIDES[0]) & (y < SIDES[1]) & (np.abs(z) < 0.06)])
    return float(np.quantile(distance, 0.9)) if len(distance) > 50 else 0.0


def settle_behind(group: Strands, head: Head, side: float, hanging: float = 0.0) -> Strands:
    """Let short hair stand off no further behind the head than at its sides, without a ledge under the crown.

    Where it is `hanging`, it may fall straight from there.
    """
    points = group.points.astype(np.float64)
    distance = head.field.distance(points)
    y, z = points[..., 1], points[..., 2]
    reach = max(side, LEAST_REACH) + CROWN_REACH * smoothstep(*CROWN, y)
    over = np.maximum(distance - 0.7 * reach, 0)
    excess = over - 0.3 * reach * (1 - np.exp(-over / (0.3 * reach)))
    excess *= smoothstep(0.0, -0.08, z) * (1 - hanging * smoothstep(*BOB, y))
    excess = gaussian_filter1d(excess, 1.0, axis=1, mode="nearest")
    excess[:, 0] = 0.0
    return replace(group, points=(points - excess[..., None] * head.field.gradient(points)).astype(np.float32))


def drop_loops(group: Strands, head: Head) -> Strands:
    """Drop strands drawn to a knot that stand off the skin much further than those that grow beside them."""
    if len(group.points) < FEWEST:
        return group
    height = head.field.distance(group.points).mean(1)
    near = KDTree(group.points[:, 0]).query(group.points[:, 0], k=BESIDE_ROOT)[1]
    keep = height < LOOP * np.median(height[near], axis=1)
    return take_strands(group, keep, group.points[keep])


def drop_strays(groups: list[Strands]) -> list[Strands]:
    """End strands where they leave the mass of the hair."""
    full = [group.points.reshape(-1, 3) for group in groups if len(group.points)]
    if not full:
        return groups
    cloud = np.concatenate(full)
    low = cloud.min(0) - CELL
    count = np.ceil((cloud.max(0) - low) / CELL).astype(int) + 2
    grid = np.zeros(count, np.float32)
    np.add.at(grid, tuple(((cloud - low) / CELL).astype(int).T), 1.0)
    crowd = np.asarray(uniform_filter(grid, 3, mode="constant"), np.float32)
    usual = float(np.median(crowd[tuple(((cloud - low) / CELL).astype(int).T)]))
    return [_end_stray(group, crowd, low, LONELY * usual) for group in groups]


def _end_stray(group: Strands, crowd: F32, low: np.ndarray, fewest: float) -> Strands:
    if len(group.points) == 0:
        return group
    is_lonely = crowd[tuple(np.moveaxis(((group.points - low) / CELL).astype(int), -1, 0))] < fewest
    is_lonely[:, 0] = False
    last = np.where(is_lonely.any(1), np.maximum(is_lonely.argmax(1) - 0.5, 0.5), group.points.shape[1] - 1)
    return replace(group, points=shorten(group.points, last))
