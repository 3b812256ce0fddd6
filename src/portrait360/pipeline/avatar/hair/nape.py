"""Let fine short hairs grow below the hairline of the nape: hair thins out over the neck, and ends at no line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portrait360.pipeline.avatar.hair.line import measure_from_line
from portrait360.pipeline.avatar.hair.undercoat import copy_look, walk_over_skin
from portrait360.synth.head.bare_head import Head
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32

COUNT, STEPS = 4500, 3  # hairs, and their segments
LOW, BEHIND, EDGE = 0.05, -0.02, 0.012  # canonical: height below which, z behind which, and how near the hairline
REACH, LEAST = 0.012, 0.3  # canonical: how far below it they begin, on average; share of a length at the end
LENGTHS = (0.012, 0.024)  # canonical
WIDTH, TONE = 0.0007, 0.15  # canonical; how far their brightness differs, logarithm
SPREAD = 0.007  # canonical, beside the root of a strand
INWARD = 0.5  # how far they lean towards the middle of the neck, against downwards


def grow_nape(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return fine hairs below the hairline of the nape of these groups."""
    groups = [group for group in groups if len(group.points)]
    if not groups:
        return []
    group = max(groups, key=lambda each: len(each.points))
    roots = group.points[:, 0]
    rows = np.flatnonzero((measure_from_line(roots, head) < EDGE) & (roots[:, 1] < LOW) & (roots[:, 2] < BEHIND))
    if len(rows) == 0:
        return []
    rng = np.random.default_rng(53)
    rows = rng.choice(rows, COUNT)
    below = np.minimum(rng.exponential(REACH, COUNT), 3 * REACH)
    heading = np.stack([-INWARD * np.sign(roots[rows, 0]), np.full(COUNT, -1.0), np.zeros(COUNT)], -1)
    start = roots[rows] + below[:, None] * np.array([0, -1.0, 0]) + SPREAD * rng.normal(0, 1, (COUNT, 3))
    shorter = LEAST + (1 - LEAST) * np.exp(-below / REACH)
    length = rng.uniform(*LENGTHS, COUNT) * shorter
    points = walk_over_skin(start, heading, length / STEPS, np.zeros(COUNT), head, rng)
    return [_dress(points, group, rows, rng)]


def _dress(points: F32, group: Strands, rows: np.ndarray, rng: np.random.Generator) -> Strands:
    """Give hairs the colours of the strands in these rows of a group."""
    t = np.linspace(0, 1, points.shape[1])
    width = WIDTH * rng.uniform(0.5, 1.0, (len(rows), 1)) * (1 - 0.7 * t**2)
    tone = np.exp(rng.normal(0, TONE, (len(rows), 1, 1)))
    return copy_look(group, rows, points, width, tone)
