"""Give hair a round profile: seen from the side it rises from the hairline up and back, and falls behind the crown.

A photo from the front tells how high hair stands, not how far forwards or backwards. Over each line from front to
back, hair is held within a superellipse: through the skin at the hairline, as high as the photo shows, and as far
back as the skull and the hair at the sides of the head say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.hair.depth import march
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64
from portrait360.utils.image_ops import smoothstep

COLUMNS = np.arange(-0.2, 0.201, 0.01)  # canonical x of the lines from front to back
MIDDLE = -0.02  # canonical z at which hair stands highest
BEFORE, RISE = 0.005, 0.035  # canonical reach of hair before the hairline; so far over it hair has its own
OWN, OF_TOP = (0.018, 0.05), 0.45  # canonical reach of hair there, and its share of that on top
BEHIND = (0.022, 0.06)  # canonical; least thickness of hair at the back of the skull, and greatest
BELOW, STANDING = (-0.06, 0.04), 0.9
"""Heights of hair that is not rounded: where it stands off further, that above it does, too; quantile of how far."""
FREE = 0.97  # height of the outline in the superellipse: so it stays as it is
TOPMOST = 0.95  # height, as a share of all, from which on hair goes no further back
FRONT_POWER, BACK_POWER = 2.5, 2.0  # 2: an ellipse; more: fuller
BACK_LOW = 0.04  # canonical height from which hair behind is rounded
LAYERS = 0.005  # canonical thickness of hair that lies on the skin at the hairline
KNEE = 0.93  # share of the superellipse from which on hair is pressed together
HIGH = 0.99  # quantile of the heights of hair over a line that the photo shows as its outline
FRINGE, WIDTH = (0.014, 0.026), 0.07  # canonical: hang over the forehead from which hair has a fringe; half its width
FOREHEAD = (0.04, 0.12)  # z from which roots count as those of the front hairline; least height of it
LINE = 0.05  # quantile of the heights of such roots
ASIDE = (0.22, 0.14)  # |x| between which hair is at the side of the head, whose outline the photo shows
TEMPLE = 0.10  # |x| from which on hair may come as far forwards as there
RAYS = np.arange(-0.3, 0.3, 0.002)  # canonical z at which the skin is looked for


@dataclass(frozen=True, eq=False)
class Profile:
    """Superellipses over COLUMNS: their lower ends and their reach, canonical."""

    line: F64  # (c,) height of the hairline
    top: F64  # (c,) height that hair reaches
    front: F64  # (c,) z of the skin at the hairline
    reach: F64  # (c,) of hair before that, over the hairline
    back: F64  # (c,) z that it reaches behind, negative
    near: float  # reach at the hairline: less than over it where no fringe hangs from there


def round_profile(groups: Sequence[Strands], head: Head, camera: Camera, side: float) -> list[Strands]:
    """Return hair without a visor before the forehead or a ledge behind the crown; `side` is its reach at the sides.

    What lies before the crown goes back along the photo's rays, so that its outline stays.
    """
    if not any(len(group.points) for group in groups):
        return list(groups)
    profile = find_profile(groups, head, side)
    return [_press(group, profile, head, camera) for group in groups]


def find_profile(groups: Sequence[Strands], head: Head, side: float) -> Profile:
    points = np.concatenate([group.points.reshape(-1, 3) for group in groups])
    roots = np.concatenate([group.points[:, 0] for group in groups])
    fore, least = FOREHEAD
    line = np.maximum(_quantiles(roots[roots[:, 2] > fore], LINE, 0.14), least)
    top = np.maximum(_quantiles(points[points[:, 2] > -0.12], HIGH, 0.24), line + 0.04)
    before = np.clip(COLUMNS, -TEMPLE, TEMPLE)
    front = np.array([_reach_of_skin(head, x, y)[1] for x, y in zip(before, line, strict=True)])
    bare = np.array([_height_of_skin(head, x) for x in COLUMNS])
    reach = np.clip(OF_TOP * (top - bare), *OWN)
    thick = np.clip(side, BEHIND[0], max(BEHIND[1], _measure_below(points, head)))
    back = np.array([_reach_of_skin(head, x, 2 * BACK_LOW)[0] for x in COLUMNS]) - thick
    hang = _hang_of_fringe(points, line, front)
    near = BEFORE + (float(reach.mean()) - BEFORE) * float(smoothstep(*FRINGE, np.asarray(hang)))
    line, top, front, reach, back = (
        gaussian_filter1d(values, 1.0, mode="nearest") for values in (line, top, front, reach, back)
    )
    return Profile(line, top, front, reach, back, near)


def _measure_below(points: F32, head: Head) -> float:
    """Return how far hair stands off the back of the head below where it is rounded.

    Curls that do so far would have a shelf there, were they thinner above it.
    """
    x, y, z = points.T
    behind = points[(np.abs(x) < 0.08) & (y > BELOW[0]) & (y < BELOW[1]) & (z < -0.1)]
    return float(np.quantile(head.field.distance(behind), STANDING)) if len(behind) > 100 else 0.0


def _hang_of_fringe(points: F32, line: F64, front: F64) -> float:
    """Return how far hair hangs down from the hairline before the forehead."""
    x, y, z = points.T
    drop = np.interp(x, COLUMNS, line) - y
    before = (np.abs(x) < WIDTH) & (z > np.interp(x, COLUMNS, front) - 0.01) & (drop < 0.15)
    return float(np.quantile(drop[before], 0.8)) if before.sum() > 100 else 0.0


def _quantiles(points: F32, share: float, otherwise: float) -> F64:
    """Return a quantile of the heights of points near each of COLUMNS."""
    values = np.full(len(COLUMNS), np.nan)
    for i, x in enumerate(COLUMNS):
        near = points[np.abs(points[:, 0] - x) < 0.012, 1]
        if len(near) > 20:
            values[i] = np.quantile(near, share)
    known = np.isfinite(values)
    return np.interp(COLUMNS, COLUMNS[known], values[known]) if known.any() else np.full(len(COLUMNS), otherwise)


def _reach_of_skin(head: Head, x: float, y: float) -> tuple[float, float]:
    """Return the z of the skin behind and before, on a line through the head; of the middle where it misses it."""
    line = np.stack([np.full(len(RAYS), x), np.full(len(RAYS), y), RAYS], -1)
    inside = RAYS[head.field.distance(line) < 0]
    return (float(inside.min()), float(inside.max())) if len(inside) else (MIDDLE - 0.05, MIDDLE + 0.05)


def _height_of_skin(head: Head, x: float) -> float:
    """Return the y of the skin on top of the head, or of its middle where a line at x misses it."""
    line = np.stack([np.full(len(RAYS), x), RAYS, np.full(len(RAYS), MIDDLE)], -1)
    inside = RAYS[head.field.distance(line) < 0]
    return float(inside.max()) if len(inside) else 0.1


def _press(group: Strands, profile: Profile, head: Head, camera: Camera) -> Strands:
    if len(group.points) == 0:
        return group
    points = group.points.astype(np.float64)
    distance = head.field.distance(points)
    away = -unit(camera.position - points)
    excess = _smooth(excess_before(points, profile))
    points = march(points, away * (excess / np.maximum(-away[..., 2], 0.3))[..., None], distance, head, LAYERS)
    shrink = _smooth(_excess_behind(points, profile))
    inward = np.array([0.0, 1.0, 1.0]) * (points - np.array([0.0, BACK_LOW, MIDDLE]))
    points = march(points, -shrink[..., None] * inward, head.field.distance(points), head)
    return replace(group, points=points.astype(np.float32))


def _smooth(amount: F64) -> F64:
    """Return an amount (s, k) without kinks along strands, 0 at their roots."""
    amount = gaussian_filter1d(amount, 1.0, axis=1, mode="nearest")
    amount[:, 0] = 0.0
    return amount


def excess_before(points: F64, profile: Profile) -> F64:
    """Return how far points must go back to lie within the front of the profile."""
    x, y, z = np.moveaxis(points, -1, 0)
    columns = (profile.line, profile.top, profile.front, profile.reach)
    line, top, front, own = (np.interp(x, COLUMNS, values) for values in columns)
    up = np.clip(FREE * (y - line) / np.maximum(top - line, 0.03), 0, None)
    least = np.minimum(profile.near, own)
    reach = front + least + (own - least) * smoothstep(0.0, RISE, y - line)
    reach = np.maximum(reach - MIDDLE, 0.02)
    ahead = np.maximum(z - MIDDLE, 0) / reach
    norm = (up**FRONT_POWER + ahead**FRONT_POWER) ** (1 / FRONT_POWER)
    room = np.maximum(_limit(norm) ** FRONT_POWER - np.minimum(up, TOPMOST) ** FRONT_POWER, 0) ** (1 / FRONT_POWER)
    excess = np.where(norm > KNEE, np.maximum(ahead - room, 0) * reach, 0.0)
    return excess * smoothstep(*ASIDE, np.abs(x)) * smoothstep(-0.03, 0.005, y - line)


def _excess_behind(points: F64, profile: Profile) -> F64:
    """Return the share of their way to the centre that points behind the crown must come in."""
    x, y, z = np.moveaxis(points, -1, 0)
    top, back = (np.interp(x, COLUMNS, values) for values in (profile.top, profile.back))
    up = FREE * np.maximum(y - BACK_LOW, 0) / np.maximum(top - BACK_LOW, 0.05)
    behind = np.maximum(MIDDLE - z, 0) / np.maximum(MIDDLE - back, 0.02)
    norm = (up**BACK_POWER + behind**BACK_POWER) ** (1 / BACK_POWER)
    share = np.where(norm > KNEE, 1 - _limit(norm) / np.maximum(norm, 1e-6), 0.0)
    return share * smoothstep(0.0, 0.06, y - BACK_LOW) * smoothstep(MIDDLE, MIDDLE - 0.04, z)


def _limit(norm: F64) -> F64:
    """Return norms that end at 1, with their order."""
    room = 1 - KNEE
    return np.where(norm > KNEE, KNEE + room * (1 - np.exp(-np.maximum(norm - KNEE, 0) / room)), norm)
