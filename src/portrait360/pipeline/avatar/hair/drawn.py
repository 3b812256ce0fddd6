"""Let hair that is drawn to a knot lie taut at the hairline of the nape: it gets thin there, and ends at no ledge.

Its strands run along that hairline, too: as thick and wavy there as elsewhere, they are a row of knobs from behind.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.line import ALL, measure_from_line
from portrait360.synth.head.bare_head import Head
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F64
from portrait360.utils.image_ops import smoothstep

BEHIND, LOW = (-0.04, -0.10), (0.08, 0.02)  # z and heights over which the hairline comes to be that of the nape: the
# photo shows how far hair stands off at the sides
THIN, STEEP = 0.004, 0.55  # canonical height over the skin at the hairline, and how it rises with the way from there


def measure_from_edge(group: Strands, head: Head) -> F64:
    """Return how far points (s, k) of strands lie from their hairline, along the skin beneath them; canonical."""
    roots = group.points[:, 0]
    line = roots[measure_from_line(roots, head) == 0]
    if len(line) == 0:
        return np.full(group.points.shape[:2], ALL)
    points = group.points.astype(np.float64)
    feet = points - head.field.distance(points)[..., None] * head.field.gradient(points)
    return np.asarray(KDTree(line).query(feet)[0], np.float64)


def tauten_edge(group: Strands, head: Head) -> Strands:
    """Return strands that are the closer to the skin, the nearer they are to the hairline of the nape."""
    points = group.points.astype(np.float64)
    height, highest = head.field.distance(points), THIN + STEEP * measure_from_edge(group, head)
    over = np.maximum(height - 0.5 * highest, 0)
    excess = over - 0.5 * highest * (1 - np.exp(-2 * over / highest))
    excess *= smoothstep(*BEHIND, points[..., 2]) * smoothstep(*LOW, points[..., 1])
    excess = gaussian_filter1d(excess, 1.0, axis=1, mode="nearest")
    excess[:, 0] = 0.0
    moved = points - excess[..., None] * head.field.gradient(points)
    moved = head.field.push_out(moved, np.minimum(height, 0.5 * THIN))
    moved[:, 0] = group.points[:, 0]
    return replace(group, points=np.asarray(moved, np.float32))
