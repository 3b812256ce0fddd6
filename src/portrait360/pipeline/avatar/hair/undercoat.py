"""Cover the scalp between the roots of a hairstyle with short hair: a head has many more hairs than strands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.line import measure_from_line
from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

COUNTS, STEPS = (6500, 19000), 3  # strands under long hair and in short hair, and their segments
SHORT = (0.10, 0.05)  # canonical lengths between which hair counts as short
LENGTH, LEAST_LENGTH, SHARE = 0.042, 0.020, 0.9  # canonical; share of the length of the strand beside it
EDGE_LENGTH = 0.3  # share of its length at the hairline
APART = (0.003, 0.009)  # canonical distance from the root of the strand beside it: at the hairline, and within
AROUND, EDGE = 0.04, (0.35, 0.9)  # canonical; share of the usual number of roots around it at the hairline
HEIGHTS = (0.0025, 0.0035, 0.005)  # canonical over the skin: of the roots, of tips, and how far these differ
FILL = 0.55  # share of the height of the strand beside it that a tip rises to at most: in whorls one looks deep
WIDTHS = (0.0007, (0.0042, 0.0028))  # canonical: at the hairline, and within long and short hair
BACK = 0.012  # canonical; so far before the root of the strand beside it one may begin
DARKER, UNEVEN = 0.88, 0.10  # albedo against the strand beside it, and how far it varies, logarithm
LINE = 0.018  # canonical distance from the hairline from which on strands are long and wide: before, these are teeth
BELOW = 0.010  # canonical; how far below the lowest root a strand may end
DOWN = 0.15  # how far hair that stands up leans down


def lay_undercoat(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return short strands that lie on the skin among the roots of these groups, in the direction of their hair."""
    groups = [group for group in groups if len(group.points)]
    if not groups:
        return []
    rng = np.random.default_rng(17)
    shares = np.array([len(group.points) for group in groups], np.float64)
    lengths = [np.linalg.norm(np.diff(group.points, axis=1), axis=2).sum(1) for group in groups]
    short = float(smoothstep(*SHORT, np.median(np.concatenate(lengths))))
    counts = np.round((COUNTS[0] + (COUNTS[1] - COUNTS[0]) * short) * shares / shares.sum()).astype(int)
    width = WIDTHS[1][0] + (WIDTHS[1][1] - WIDTHS[1][0]) * short
    roots = np.concatenate([group.points[:, 0] for group in groups])
    away = np.split(measure_from_line(roots, head), np.cumsum(shares[:-1]).astype(int))
    return [
        _lay_among(group, head, far, int(count), width, rng)
        for group, far, count in zip(groups, away, counts, strict=True)
        if count
    ]


def find_inner(roots: F32) -> F32:
    """Return 0 for roots (n, 3) at the hairline to 1 within: how many others are around each."""
    crowd = np.asarray(KDTree(roots).query_ball_point(roots, AROUND, return_length=True), np.float64)
    return np.asarray(smoothstep(*EDGE, crowd / max(float(np.median(crowd)), 1.0)), np.float32)


def _lay_among(
    group: Strands, head: Head, away: Floats, count: int, widest: float, rng: np.random.Generator
) -> Strands:
    rows = np.resize(rng.permutation(len(group.points)), count)
    within = smoothstep(0.0, LINE, away[rows])[:, None]
    strands = group.points[rows].astype(np.float64)
    ways = np.linalg.norm(np.diff(strands, axis=1), axis=2)
    length = np.clip(SHARE * ways.sum(1), LEAST_LENGTH, LENGTH) * rng.uniform(0.7, 1.1, count)
    length *= EDGE_LENGTH + (1 - EDGE_LENGTH) * within[:, 0]
    near = strands[np.arange(count), np.minimum((np.cumsum(ways, 1) < LENGTH).sum(1) + 1, strands.shape[1] - 1)]
    heading = near - strands[:, 0]
    fill = FILL * np.maximum(head.field.distance(near), 0) * rng.random(count)
    start = strands[:, 0] + (APART[0] + (APART[1] - APART[0]) * within) * rng.normal(0, 1, (count, 3))
    back = np.minimum(BACK, 0.5 * away[rows])  # over partings, not over the hairline
    start -= unit(heading) * (back * rng.random(count))[:, None]
    points = walk_over_skin(start, heading, length / STEPS, fill, head, rng)
    t = np.linspace(0, 1, STEPS + 1)
    width = (WIDTHS[0] + (widest - WIDTHS[0]) * within) * np.minimum(0.5 + 2 * t, 1) * (1 - 0.8 * t**2)
    tone = DARKER * np.exp(rng.normal(0, UNEVEN, (count, 1, 1)))
    coat = copy_look(group, rows, points, width, tone, head.field.gradient(points[:, 0]).astype(np.float32))
    keep = points[..., 1].min(1) > group.points[:, 0, 1].min() - BELOW
    return take_strands(coat, keep, points[keep])


def copy_look(
    group: Strands, rows: np.ndarray, points: F32, widths: Floats, tone: Floats, normals: F32 | None = None
) -> Strands:
    """Return strands along points (s, k, 3) with the colours, from the root, of rows of a group, times `tone`."""
    columns = np.minimum(np.arange(points.shape[1]), group.albedo.shape[1] - 1)
    return replace(
        group,
        points=points,
        widths=np.asarray(widths, np.float32),
        albedo=np.asarray(tone * group.albedo[rows][:, columns], np.float32),
        part=group.part[rows],
        material=group.material[rows],
        normals=normals,
    )


def walk_over_skin(start: F64, heading: F64, stride: F64, fill: F64, head: Head, rng: np.random.Generator) -> F32:
    """Return paths (s, STEPS + 1, 3) over the skin, whose tips rise by `fill` (s,)."""
    low, high, layers = HEIGHTS
    tip = high + layers * rng.random(len(start)) + fill
    heading = unit(heading) + rng.normal(0, 0.12, heading.shape)
    heading[:, 1] -= DOWN
    path, here = [], start
    for step in range(STEPS + 1):
        normal = head.field.gradient(here)
        height = low + (tip - low) * float(smoothstep(0.0, 1.0, np.asarray(step / STEPS)))
        here = here + (height - head.field.distance(here))[:, None] * normal
        path.append(here)
        heading = unit(heading - (heading * normal).sum(1, keepdims=True) * normal)
        here = here + stride[:, None] * heading
    return np.stack(path, 1).astype(np.float32)
