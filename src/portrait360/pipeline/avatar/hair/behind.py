"""Lead long hair behind the neck and the shoulders where a photo shows that it does not hang before them.

Hair that hangs before one shoulder hangs behind the other one as often as not. Cut where the photo shows the bare
neck, it would be a bob on that side alone, with a hem as straight as a wig's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.pipeline.avatar.hair.depth import LAYERS, NEAREST
from portrait360.pipeline.avatar.hair.donors import measure_along
from portrait360.pipeline.avatar.hair.outline import Bareness, Frame, find_bareness, make_frame
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F64
from portrait360.utils.image_ops import smoothstep

HIGHEST = -0.02  # canonical height up to which hair hangs beside the face's lower half: further up it is cut
LONG = 0.06  # canonical length that a strand must lose to be led rather than cut
AXIS = (0.0, -0.03)  # x and z of the middle of the neck
ASIDE = (np.radians(10.0), np.radians(60.0))  # how far aside from straight behind hair comes to lie there
SHARES = np.linspace(0.0, 1.0, 11)  # of the way there that are tried
LEAD, ROOT = 0.16, (0.02, 0.10)  # canonical way before over which hair turns aside, and from its root over which none
LOWEST = -0.44  # canonical height down to which the neck's back is looked for


def lead_behind(groups: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Return hair of which long strands that would hang where the photo shows none go behind the neck."""
    bareness, frame = find_bareness(head, photo), make_frame(photo.camera)
    return [_lead_group(group, head, bareness, frame) if len(group.points) else group for group in groups]


def _lead_group(group: Strands, head: Head, bareness: Bareness, frame: Frame) -> Strands:
    along = measure_along(group.points)
    rows = np.flatnonzero(_is_cut_off(group.points, along, bareness))
    if len(rows) == 0:
        return group
    points = group.points[rows].astype(np.float64)
    rng = np.random.default_rng([len(group.points), 83])
    goal, layer = _find_goal(points, head, frame, rng), NEAREST + 2 * LAYERS * rng.random((len(rows), 1))
    share = _spread_back(_find_share(points, goal, bareness), along[rows])
    moved = points + share[..., None] * (goal - points)
    moved = head.field.push_out(moved, np.minimum(layer, np.maximum(head.field.distance(points), NEAREST)))
    moved[:, 0] = points[:, 0]
    out = group.points.copy()
    out[rows] = moved
    return replace(group, points=out)


def _is_cut_off(points: np.ndarray, along: np.ndarray, bareness: Bareness) -> np.ndarray:
    """Return which strands (s,) would lose much where they hang before what is bare."""
    is_wrong = bareness.shows(points)
    is_wrong[:, 0] = False
    first = is_wrong.argmax(1)
    row = np.arange(len(points))
    lost = along[:, -1] - along[row, first]
    return np.asarray(is_wrong.any(1) & (points[row, first, 1] < HIGHEST) & (lost > LONG))


def _find_goal(points: F64, head: Head, frame: Frame, rng: np.random.Generator) -> F64:
    """Return where points (s, k, 3) would lie behind the neck, each at its height."""
    side = np.sign(points[:, -1] @ frame.axes[0])
    turn = side * rng.uniform(*ASIDE, len(points))
    towards, right = (unit(axis * (1.0, 0.0, 1.0)) for axis in (frame.axes[2], frame.axes[0]))
    way = np.sin(turn)[:, None] * right - np.cos(turn)[:, None] * towards
    way = np.repeat(way[:, None], points.shape[1], axis=1)
    origin = np.full(points.shape, (AXIS[0], 0.0, AXIS[1]))
    origin[..., 1] = np.maximum(points[..., 1], LOWEST)
    goal = origin + (head.field.radius(origin, way) + NEAREST + LAYERS)[..., None] * way
    goal[..., 1] = points[..., 1]
    return np.asarray(goal, np.float64)


def _find_share(points: F64, goal: F64, bareness: Bareness) -> F64:
    """Return the least share (s, k) of the way to the goal at which the photo may have hair."""
    share = np.ones(points.shape[:2])
    for tried in SHARES[::-1]:
        free = ~bareness.shows(points + tried * (goal - points))
        share = np.where(free, tried, share)
    return share


def _spread_back(share: F64, along: np.ndarray) -> F64:
    """Return shares that come on gradually before hair must have them, and stay."""
    share = np.maximum.accumulate(share, axis=1)
    led = share.copy()
    for ahead in range(1, share.shape[1]):
        far = along[:, ahead:] - along[:, :-ahead]
        if far.min(initial=LEAD) >= LEAD:
            break
        np.maximum(led[:, :-ahead], (1 - smoothstep(0.0, LEAD, far)) * share[:, ahead:], out=led[:, :-ahead])
    led = gaussian_filter1d(led, 1.0, axis=1, mode="nearest")
    return np.asarray(np.maximum(led, 0) * smoothstep(*ROOT, along), np.float64)
