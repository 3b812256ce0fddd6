"""The hairline: how far roots lie within it, and hair that gets short and fine there instead of ending in teeth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import count_threads

AROUND = 24  # roots around one
OPEN = np.radians(130.0)  # angle without any root from which one lies at the hairline
ALL = 0.05  # canonical distance from the hairline when there is none
SOFT, ROOT = (0.0, 0.012), (0.3, 0.02)  # canonical distance from it of fine hairs; their width there, and along which
DRAWN = (0.0, 0.018), (0.1, 0.045)  # the same of hair drawn back from it, or along it, over which nothing else lies


def measure_from_line(roots: F32, head: Head) -> F32:
    """Return how far roots (n, 3) lie within the hairline, canonical.

    However dense hair is, there is an angle without any root around one of the hairline's.
    """
    if len(roots) <= AROUND:
        return np.zeros(len(roots), np.float32)
    tree = KDTree(roots)
    nearest = np.asarray(tree.query(roots, k=AROUND + 1, workers=count_threads())[1])[:, 1:]
    around = roots[nearest] - roots[:, None]
    normal = unit(head.field.gradient(roots))
    across = unit(np.cross(normal, np.array([0.13, 0.31, 1.0])))
    over = np.cross(normal, across)
    angle = np.sort(np.arctan2(*(np.einsum("nkc,nc->nk", around, axis) for axis in (over, across))), axis=1)
    widest = np.diff(np.concatenate([angle, angle[:, :1] + 2 * np.pi], 1), axis=1).max(1)
    line = roots[widest > OPEN]
    if len(line) == 0:
        return np.full(len(roots), ALL, np.float32)
    return np.asarray(KDTree(line).query(roots, workers=count_threads())[0], np.float32)


def soften_line(groups: Sequence[Strands], head: Head, *, drawn: bool = False) -> list[Strands]:
    """Return strands that are fine where they leave the skin at the hairline, finest if they are `drawn` back."""
    soft, root = DRAWN if drawn else (SOFT, ROOT)
    full = [group.points[:, 0] for group in groups if len(group.points)]
    if not full:
        return list(groups)
    away, first, out = measure_from_line(np.concatenate(full), head), 0, []
    for group in groups:
        within = smoothstep(*soft, away[first : first + len(group.points)])
        first += len(group.points)
        out.append(replace(group, widths=_thin(group, within, root)) if len(group.points) else group)
    return out


def _thin(group: Strands, within: Floats, root: tuple[float, float]) -> F32:
    steps = np.linalg.norm(np.diff(group.points, axis=1), axis=2)
    way = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, 1)], 1)
    fine, reach = root
    least = fine + (1 - fine) * within[:, None]
    return np.asarray(group.widths * (least + (1 - least) * smoothstep(0.0, reach, way)), np.float32)
