"""Colours of closed lids: those of the skin around the eye, in the light that falls on it.

Of a lid, a photo of open eyes shows lashes, make-up and the shade of a fold, which closing would stretch all over it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.export.avatar_rig.binding import MILLIMETRE
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep

REACH, NEAR = 14 * MILLIMETRE, 5 * MILLIMETRE  # from a lid, up to which skin shows its light, and shows it well
FEW = 150  # Gaussians, fewer of which do not tell how light changes over an eye
ROUNDS = 4  # of a fit without what lies off it
OFF = 0.25  # logarithm by which brows, lashes, folds and gloss lie off it
STEADY = 0.02  # of all weights: keeps what is not known at nothing
EXTREMES = (0.1, 0.9)  # quantiles of the skin around that no lid exceeds
LEAST = 1e-3  # linear
CREASE, SHADE = (1.0 * MILLIMETRE, 1.8 * MILLIMETRE, 3.5 * MILLIMETRE), 0.14
"""Ways of a lid between which its crease lies, darkest at the second, and how dark it is."""
LINE, LASHES = 0.7 * MILLIMETRE, 0.6  # width of the line of lashes, and how dark it is
LOWERED = (0.5 * MILLIMETRE, 2 * MILLIMETRE)  # ways over which what moves down becomes an upper lid


class Spots(NamedTuple):
    """Places on the skin, and where it faces."""

    points: Floats  # (n, 3)
    normals: Floats  # (n, 3)

    def select(self, rows: Bools) -> Spots:
        return Spots(self.points[rows], self.normals[rows])


def colour_lids(lids: Spots, around: Spots, colours: F32) -> F32 | None:
    """Return linear colours (n, 3) of one eye's closed lids; None where too little skin is known.

    Args:
        lids: Places on the lids, closed.
        around: Places on skin that does not move with them.
        colours: Linear colours (m, 3) of these.
    """
    apart = KDTree(lids.points).query(around.points, distance_upper_bound=REACH)[0]
    near = apart < REACH
    if near.sum() < FEW:
        return None
    skin, shown = around.select(near), np.log(np.maximum(colours[near], LEAST))
    middle = lids.points.mean(0)
    known, wanted = (_describe(spots, middle) for spots in (skin, lids))
    brightness, weights = shown.mean(1), np.exp(-((apart[near] / NEAR) ** 2))
    usual = np.median(brightness[apart[near] <= max(NEAR, float(np.partition(apart, FEW)[FEW]))])
    kept = np.abs(brightness - usual) < OFF
    for _ in range(ROUNDS):
        off = brightness - known @ _fit(known[kept], brightness[kept, None], weights[kept])[:, 0]
        kept = np.abs(off) < OFF
        if kept.sum() < FEW // 2:
            return None
    out = wanted @ _fit(known[kept], shown[kept], weights[kept])
    low, high = np.quantile(shown[kept], EXTREMES, axis=0)
    return np.exp(np.clip(out, low, high)).astype(np.float32)


def shade_lids(ways: Floats, edge: Floats) -> F32:
    """Return by what to multiply lids' colours (n, 1): a soft crease above, and the line of lashes.

    `ways` (n,) are how far closing has moved upper lids, and `edge` (n,) how far they lie from lower ones.
    """
    start, darkest, end = CREASE
    crease = smoothstep(start, darkest, ways) * (1 - smoothstep(darkest, end, ways))
    line = np.exp(-((edge / LINE) ** 2)) * smoothstep(*LOWERED, ways)
    return ((1 - SHADE * crease) * (1 - LASHES * line))[:, None].astype(np.float32)


def _describe(spots: Spots, middle: Floats) -> F64:
    place = (spots.points[:, :2] - middle[:2]) / REACH
    columns = np.column_stack([np.ones(len(place)), place, spots.normals - np.array([0, 0, 1.0])])
    return np.asarray(columns, np.float64)


def _fit(known: F64, values: Floats, weights: F64) -> F64:
    """Return by what to multiply what is known (m, k) for values (m, c), by weighted least squares."""
    spare = STEADY * float(weights.sum()) * np.diag([0.0, *[1.0] * (known.shape[1] - 1)])
    fitted = np.linalg.solve((known.T * weights) @ known + spare, (known.T * weights) @ values)
    return np.asarray(fitted, np.float64)
