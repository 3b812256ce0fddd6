"""Give the lesser groups of strands the colours of the hair beside them.

A fringe, a bridge over the temples and the fine hairs of the hairline are coloured each by itself, by a strip of the
photo in which skin shines through; beside the hair that they belong to they would be a band of another colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.synth.scene import Part, Strands
from portrait360.utils.array_types import F32, F64
from portrait360.utils.parallel.threads import count_threads

ANCHORS = 3  # points of a strand that are compared
NEAR = 12  # points about one whose colours are averaged
REACH = 0.06  # canonical distance over which other hair counts as beside
MOST = 8000  # points of the hair that others are compared with
RANGE = 0.9  # greatest change, logarithm


def even_groups(groups: Sequence[Strands]) -> list[Strands]:
    """Return strands of which all lesser groups of hair have the broad colours of the largest one beside them."""
    hair = [group for group in groups if len(group.points) and int(group.part[0]) == Part.HAIR]
    if not hair:
        return list(groups)
    main = max(hair, key=lambda group: group.points.size)
    step = max(main.points.size // 3 // MOST, 1)
    tree, colours = KDTree(main.points.reshape(-1, 3)[::step]), np.log(main.albedo.reshape(-1, 3)[::step])
    lesser = [any(group is other for other in hair) and group is not main for group in groups]
    return [_match(g, tree, colours) if is_lesser else g for g, is_lesser in zip(groups, lesser, strict=True)]


def _match(group: Strands, tree: KDTree, colours: F32) -> Strands:
    k = group.points.shape[1]
    at = np.linspace(0, k - 1, min(ANCHORS, k)).round().astype(int)
    places, own = group.points[:, at].reshape(-1, 3), np.log(group.albedo[:, at].reshape(-1, 3))
    away, beside = _average(tree, colours, places)
    _, around = _average(KDTree(places), own, places)
    change = np.exp(-((away / REACH) ** 2))[:, None] * np.clip(beside - around, -RANGE, RANGE)
    rise = np.stack([np.interp(np.arange(k), at, row) for row in np.eye(len(at))], 1)
    spread = np.einsum("kj,sjc->skc", rise, change.reshape(-1, len(at), 3))
    return replace(group, albedo=np.asarray(group.albedo * np.exp(spread), np.float32))


def _average(tree: KDTree, colours: F32, places: F32) -> tuple[F64, F64]:
    """Return how far the nearest points are, and the mean colour of those near."""
    distance, rows = tree.query(places, k=min(NEAR, tree.n), workers=count_threads())
    distance, rows = distance.reshape(len(places), -1), rows.reshape(len(places), -1)
    return distance[:, 0], colours[rows].mean(1, dtype=np.float64)
