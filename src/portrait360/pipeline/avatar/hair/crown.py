"""Fill the pit over the whorl of the crown, and bring dense hair up to the few strands that stand above it.

Hair leaves the whorl to all sides. Where an outline is met, the hair around it stands high and the whorl itself,
where there are only roots, becomes a hole with single hairs upright in it; and what is as high as the outline is a
crest of few strands. Here hair is brought to the height around, the dense mass of it to that of its highest.

And one looks onto the roots there, which stand around the whorl of long hair as the bristles of a brush. Strands that
run across it, past its middle on one side as a whorl turns, cover them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.synth.hair.growth import CROWN
from portrait360.synth.head.bare_head import Head
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

MIDDLE = CROWN + np.array([0.0, 0.0, 0.025], np.float32)  # of the crown, before the whorl
CELL, CELLS = 0.008, 36  # canonical side of a cell, and cells along a side of the square about that
PIT = 0.085  # canonical radius of the widest pit
SPREAD, BROAD = 2.0, 4.0  # cells over which heights are averaged: those of the hair, and those that it is to have
WITHIN = (0.14, 0.085)  # canonical distances from there between which hair is brought to the height around
DENSE, HIGH = 0.85, 0.95  # quantiles of the heights of a cell's points: where hair is dense, and where it ends
CHANGE = (0.5, 4.0)  # least and greatest factor on the height of hair
LOOSE = 0.15  # share of that height by which single hairs may be higher
THINNEST = 0.006  # canonical; hair is not thinner
LOWEST = 0.1  # canonical height of points on the crown
ACROSS, REACH = 700, (0.035, 0.14)  # strands across the whorl, and canonical reach of them to either side of it
PAST = (0.0, 0.012)  # canonical distances from the middle of the whorl at which they pass
TOPS, FLAT = (0.9, 1.08), 4  # of their heights, in that of the hair; power of the way out with which they go under
FIRM, MARCH = 0.002, 8  # canonical height of their ends, and steps to find a height


def fill_crown(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return hair that is as high over the whorl as around it, and no single hairs upright there."""
    rows = [np.flatnonzero(_is_near(group.points).any(1)) for group in groups]
    heights = [head.field.distance(group.points[near]) for group, near in zip(groups, rows, strict=True)]
    points = [group.points[near] for group, near in zip(groups, rows, strict=True)]
    kept = [_is_near(p) for p in points]
    places = np.concatenate([np.zeros((0, 2)), *(_place(p[near]) for p, near in zip(points, kept, strict=True))])
    if len(places) < CELLS:
        return list(groups)
    height = np.concatenate([h[near] for h, near in zip(heights, kept, strict=True)])
    dense, top = (_find_top(places, height, share) for share in (DENSE, HIGH))
    grids = _close_pits(top), _average(dense, np.ones(dense.shape), SPREAD)
    filled = [_fill(p, h, grids, head) if len(p) else p for p, h in zip(points, heights, strict=True)]
    return [_exchange(*changed) for changed in zip(groups, rows, filled, strict=True)]


def cover_whorl(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return straight or wavy hair with strands that run across its whorl, over the roots there."""
    out = list(groups)
    row = int(np.argmax([len(group.points) for group in groups]))
    group = out[row]
    roots = group.points[:, 0]
    close = np.hypot(*(roots - CROWN)[:, ::2].T) < REACH[1]
    if close.sum() < CELLS:
        return out
    points = group.points[close]
    near = _is_near(points)
    top = _close_pits(_find_top(_place(points[near]), head.field.distance(points[near]), HIGH))
    across = _cross_whorl(top, head, group.points.shape[1])
    donors = np.flatnonzero(close)[np.asarray(KDTree(roots[close]).query(across[:, across.shape[1] // 2])[1])]
    rows = np.concatenate([np.arange(len(roots)), donors])
    both = take_strands(group, rows, np.concatenate([group.points, across]))
    widths = both.widths.copy()
    widths[len(roots) :] = widths[len(roots) :].max(1, keepdims=True) * _taper(across.shape[1])
    out[row] = replace(both, widths=widths)
    return out


def _taper(count: int) -> F32:
    """Return shares of the width of a strand that is fine at both ends."""
    return np.asarray(np.minimum(1.0, 0.3 + 3 * (1 - np.abs(np.linspace(-1, 1, count)))), np.float32)


def _cross_whorl(top: F64, head: Head, count: int) -> F32:
    """Return strands (ACROSS, count, 3) over hair of this height, whose ends lie on the skin beneath it."""
    rng = np.random.default_rng(89)
    turn, along = rng.uniform(0, 2 * np.pi, (ACROSS, 1)), np.linspace(-1, 1, count)
    far, past = REACH[1] * rng.uniform(0.6, 1.0, (ACROSS, 1)), rng.uniform(*PAST, (ACROSS, 1))
    way = (far + REACH[0]) * (1 + along) / 2 - REACH[0]
    x = CROWN[0] + way * np.cos(turn) - past * np.sin(turn)
    z = CROWN[2] + way * np.sin(turn) + past * np.cos(turn)
    points = np.stack([x, np.full(x.shape, CROWN[1] + 0.2), z], -1)
    goal = map_coordinates(top, np.moveaxis(_place(points) - 0.5, -1, 0), order=1, mode="nearest")
    height = FIRM + goal * rng.uniform(*TOPS, (ACROSS, 1)) * (1 - np.abs(along) ** FLAT)
    for _ in range(MARCH):
        points[..., 1] -= head.field.distance(points) - height
    return points.astype(np.float32)


def _exchange(group: Strands, rows: np.ndarray, points: F32) -> Strands:
    changed = group.points.copy()
    changed[rows] = points
    return replace(group, points=changed)


def _place(points: np.ndarray) -> F64:
    """Return where points lie about the middle of the crown, in cells."""
    return ((points - MIDDLE)[..., ::2] / CELL + CELLS / 2).astype(np.float64)


def _is_near(points: np.ndarray) -> np.ndarray:
    place = _place(points)
    return (points[..., 1] > LOWEST) & ((place > 0) & (place < CELLS)).all(-1)


def _find_top(places: F64, height: Floats, share: float) -> F64:
    """Return how high over the skin a `share` of the hair ends in each cell (n, n); NaN without hair."""
    row, column = places.astype(int).T
    cell = row * CELLS + column
    order = np.lexsort((height, cell))
    count = np.bincount(cell, minlength=CELLS * CELLS)
    first = np.cumsum(count) - count
    chosen = np.minimum(first + (share * count).astype(int), len(order) - 1)
    top = np.where(count > 0, np.maximum(height[order][chosen], THINNEST), np.nan)
    return top.reshape(CELLS, CELLS)


def _close_pits(top: F64) -> F64:
    """Return heights (n, n) without pits: hair is as high as that on two opposite sides of it."""
    even = _average(top, np.ones(top.shape), SPREAD)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(PIT / CELL) + 1,) * 2)
    return np.asarray(gaussian_filter(cv2.morphologyEx(even, cv2.MORPH_CLOSE, disc), BROAD), np.float64)


def _average(values: F64, weight: Floats, spread: float) -> F64:
    weight = np.where(np.isfinite(values), weight, 0.0) + 1e-12
    return gaussian_filter(np.nan_to_num(values, nan=THINNEST) * weight, spread) / gaussian_filter(weight, spread)


def _fill(points: F32, height: Floats, grids: tuple[F64, F64], head: Head) -> F32:
    """Return strands (s, k, 3), now at these heights (s, k); `grids` are where hair is to end, and where it ends."""
    places = _place(points)
    near = smoothstep(*WITHIN, np.linalg.norm(places - CELLS / 2, axis=-1) * CELL) * (points[..., 1] > LOWEST)
    at = np.moveaxis(places - 0.5, -1, 0)
    goal, now = (map_coordinates(grid, at, order=1, mode="nearest") for grid in grids)
    over = np.maximum(height, 0)
    fitted = over * np.clip(goal / now, *CHANGE)
    upright = np.maximum(fitted - goal, 0)  # single hairs lie down
    fitted = np.minimum(fitted, goal) + LOOSE * goal * np.tanh(upright / goal)
    move = gaussian_filter1d(near * (fitted - over), 0.8, axis=1, mode="nearest")
    move[:, 0] = 0.0
    return np.asarray(points + move[..., None] * head.field.gradient(points), np.float32)
