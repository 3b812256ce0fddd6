"""Let long hair of the crown run out over the short hair of the back, as a cut is graded: it ends at no step.

A style has long hair on top and short hair behind. What grows on the crown falls over the short hair, and ends there
all at one height: a shelf around the back of the head, with its shade below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.head.bare_head import Head
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F64
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.vectors import measure_paths

AROUND = 12  # roots about its end whose hair a strand is compared with
BEHIND = (-0.06, -0.12)  # z of its end from which on the photo does not show it, and it is cut fully
LOWEST, WHORL = 0.05, 0.21  # heights of roots up to which hair is as short as what it falls on, and of those uncut
UNEVEN = 0.6  # how far that differs from strand to strand


def grade_back(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return hair of which the strands that fall over shorter hair behind end at all heights between."""
    full = [group for group in groups if len(group.points)]
    if not full:
        return list(groups)
    tree = KDTree(np.concatenate([group.points[:, 0] for group in full]))
    lengths = np.concatenate([measure_paths(group.points) for group in full])
    return [
        _grade(group, head, tree, lengths, seed) if len(group.points) else group for seed, group in enumerate(groups)
    ]


def _grade(group: Strands, head: Head, tree: KDTree, lengths: F64, seed: int) -> Strands:
    rng, own = np.random.default_rng([seed, 79]), measure_paths(group.points)
    ends = group.points[:, -1].astype(np.float64)
    below = ends - head.field.distance(ends)[:, None] * head.field.gradient(ends)
    beside = np.asarray(tree.query(below, k=min(AROUND, tree.n))[1]).reshape(len(ends), -1)
    over = 1 - np.minimum(np.median(lengths[beside], axis=1) / np.maximum(own, 1e-6), 1.0)
    # the higher it grows, the longer it may be: lengths that rise as the roots do would all end at one height
    low = smoothstep(WHORL, LOWEST, group.points[:, 0, 1]) + UNEVEN * (rng.random(len(own)) - 0.5)
    cut = over * np.clip(low, 0, 1) * smoothstep(*BEHIND, ends[:, 2])
    return replace(group, points=shorten(group.points, (group.points.shape[1] - 1) * (1 - cut)))
