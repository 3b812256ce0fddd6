"""Let fine short hairs grow along the hairline: hair thins out over the skin there, and begins at no edge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portrait360.pipeline.avatar.hair_line import measure_from_line
from portrait360.pipeline.avatar.hair_undercoat import STEPS, copy_look, walk_over_skin
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Material, Strands
from portrait360.utils.array_types import F32

COUNT, NEAR = 7500, 0.014  # hairs, and canonical distance within the hairline of the strands that they grow beside
BEFORE, BESIDE = 0.0025, 0.004  # canonical: how far before these they begin, on average, and beside them
LENGTHS = (0.010, 0.024)  # canonical
WIDTHS, TIP = (0.0006, 0.0011), 0.3  # canonical; share of it at the end
TONE = 0.12  # how far their brightness differs, logarithm
AHEAD = 0.03  # canonical length of a strand that says where it runs


def grow_line_hairs(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return fine hairs among the outermost roots of these groups, that run as the hair does there.

    Carved hair has none.
    """
    groups = [group for group in groups if len(group.points) and int(group.material[0]) == Material.HAIR]
    if not groups:
        return []
    away = measure_from_line(np.concatenate([group.points[:, 0] for group in groups]), head)
    near = np.split(away < NEAR, np.cumsum([len(group.points) for group in groups])[:-1])
    total, rng = sum(int(rows.sum()) for rows in near), np.random.default_rng(67)
    return [
        _grow_beside(group, np.flatnonzero(rows), round(COUNT * rows.sum() / total), head, rng)
        for group, rows in zip(groups, near, strict=True)
        if rows.any()
    ]


def _grow_beside(group: Strands, rows: np.ndarray, count: int, head: Head, rng: np.random.Generator) -> Strands:
    rows = rng.choice(rows, count)
    strands = group.points[rows].astype(np.float64)
    ways = np.cumsum(np.linalg.norm(np.diff(strands, axis=1), axis=2), 1)
    heading = strands[np.arange(count), np.minimum((ways < AHEAD).sum(1) + 1, strands.shape[1] - 1)] - strands[:, 0]
    start = strands[:, 0] + BESIDE * rng.normal(0, 1, (count, 3)).clip(-2, 2)
    start = start - unit(heading) * np.minimum(rng.exponential(BEFORE, count), 3 * BEFORE)[:, None]
    stride = rng.uniform(*LENGTHS, count) / STEPS
    points: F32 = walk_over_skin(start, heading, stride, np.zeros(count), head, rng)
    t = np.linspace(0, 1, STEPS + 1)
    width = rng.uniform(*WIDTHS, (count, 1)) * np.minimum(0.4 + 2 * t, 1) * (1 - (1 - TIP) * t**2)
    tone = np.exp(rng.normal(0, TONE, (count, 1, 1)))
    return copy_look(group, rows, points, width, tone, head.field.gradient(points[:, 0]).astype(np.float32))
