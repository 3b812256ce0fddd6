"""Let fine short hairs grow along the hairline: hair thins out over the skin there, and begins at no edge.

They must be so few that skin shows between the foremost: many of them are a further row of hair, with a hard edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.line import measure_from_line
from portrait360.pipeline.avatar.hair.undercoat import STEPS, copy_look, walk_over_skin
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Material, Strands
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

NEAR = 0.010  # canonical distance within the hairline of the strands that they grow beside
EACH = 1000  # hairs per canonical length of the hairline
ENDING = 2.5  # how many times more there are where the hair points out of the hairline, and ends there
AROUND = 24  # roots around one that say on which side of it the hair lies
BEFORE, BESIDE = 0.005, 0.006  # canonical: how far before these they begin, on average, and beside them
LENGTHS = (0.016, 0.040)  # canonical
WIDTHS, TIP = (0.0003, 0.0006), 0.3  # canonical; share of it at the end
OUTWARD = (0.0, 0.6)  # cosine between the hair and the way out from which, and up to which, it points out
TURN = 0.18  # how far they lean aside of the hair there
TONE = 0.12  # how far their brightness differs, logarithm
AHEAD = 0.03  # canonical length of a strand that says where it runs


def grow_line_hairs(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return fine hairs among the outermost roots of these groups, that run as the hair does there.

    Carved hair has none.
    """
    groups = [group for group in groups if len(group.points) and int(group.material[0]) == Material.HAIR]
    if not groups:
        return []
    roots = np.concatenate([group.points[:, 0] for group in groups])
    near = measure_from_line(roots, head) < NEAR
    if not near.any():
        return []
    heading = np.concatenate([_find_heading(group.points) for group in groups])
    outward, area = _look_around(roots, heading)
    share = EACH * near * area / NEAR * (1 + ENDING * smoothstep(*OUTWARD, outward))
    ends, rng = np.cumsum([len(group.points) for group in groups])[:-1], np.random.default_rng(67)
    shares = np.split(share, ends)
    return [
        _grow_beside(group, shares[i], head, rng) for i, group in enumerate(groups) if round(float(shares[i].sum()))
    ]


def _find_heading(points: Floats) -> F64:
    """Return the direction in which strands (s, k, 3) leave their roots (s, 3)."""
    ways = np.cumsum(np.linalg.norm(np.diff(points, axis=1), axis=2), 1)
    at = np.minimum((ways < AHEAD).sum(1) + 1, points.shape[1] - 1)
    return unit((points[np.arange(len(points)), at] - points[:, 0]).astype(np.float64))


def _look_around(roots: F32, heading: F64) -> tuple[F64, F64]:
    """Return the cosine between headings (n, 3) and the way out of the hair at their roots, and the area of each."""
    apart, nearest = KDTree(roots).query(roots, k=min(AROUND, len(roots)))
    apart, nearest = np.asarray(apart).reshape(len(roots), -1), np.asarray(nearest).reshape(len(roots), -1)
    out = unit(roots - roots[nearest].mean(1).astype(np.float64))
    return (heading * out).sum(1), np.pi * apart[:, -1] ** 2 / apart.shape[1]


def _grow_beside(group: Strands, share: Floats, head: Head, rng: np.random.Generator) -> Strands:
    """Return fine hairs beside the strands of a group, as many (n,) as each has a share of."""
    count = round(float(share.sum()))
    rows = rng.choice(len(share), count, p=share / share.sum())
    strands = group.points[rows].astype(np.float64)
    heading = _find_heading(strands)
    start = strands[:, 0] + BESIDE * rng.normal(0, 1, (count, 3)).clip(-2, 2)
    start = start - heading * np.minimum(rng.exponential(BEFORE, count), 3 * BEFORE)[:, None]
    heading = heading + TURN * rng.normal(0, 1, heading.shape).clip(-2, 2)
    stride = rng.uniform(*LENGTHS, count) / STEPS
    points: F32 = walk_over_skin(start, heading, stride, np.zeros(count), head, rng)
    t = np.linspace(0, 1, STEPS + 1)
    width = rng.uniform(*WIDTHS, (count, 1)) * np.minimum(0.4 + 2 * t, 1) * (1 - (1 - TIP) * t**2)
    tone = np.exp(rng.normal(0, TONE, (count, 1, 1)))
    return copy_look(group, rows, points, width, tone, head.field.gradient(points[:, 0]).astype(np.float32))
