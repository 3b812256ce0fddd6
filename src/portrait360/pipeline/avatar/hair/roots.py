"""By how much long hair is darker near its roots than at its ends, as hair is that the sun or a dye has bleached.

Light comes from above, so shade alone makes hair darker downwards: hair that gets lighter on its way is lighter. What
a photo shows of that holds for the strands that it does not show, too; taken for light, it would be evened out.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.pipeline.avatar.hair.donors import measure_along
from portrait360.pipeline.avatar.photo.exposure import FEW
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

LONG = (0.18, 0.35)  # canonical: usual length of hair from which it has such ends, and surely has them
GROWN, WAYS = 0.5, 40  # canonical way from the root over which hair gets lighter, and steps of it
ENDS = 0.25  # canonical way from which on hair counts as its ends
WHOLE = 1.5  # of such a difference, of which some has been taken for light
SLIGHT, MOST = 0.2, 1.4  # difference that any hair may have, logarithm, and the greatest


def find_root_shade(points: F32, weight: Floats, gain: Floats) -> F32:
    """Return by how much hair is darker at points of its strands (s, k, 1) than at its ends, logarithms, 0 or less.

    Args:
        points: The strands (s, k, 3).
        weight: How well the photo shows each point (s, k).
        gain: The gains that it shows (s, k, 3), logarithms.
    """
    way = measure_along(points)
    long = float(smoothstep(*LONG, np.asarray(np.median(way[:, -1]))))
    at, first = np.clip(way / GROWN * WAYS, 0, WAYS - 1).astype(int).ravel(), round(ENDS / GROWN * WAYS)
    sums = (np.bincount(at, values.ravel(), WAYS) for values in (weight, weight * gain.mean(-1)))
    total, light = (np.asarray(a, np.float64) for a in sums)
    if not long or min(total[:first].sum(), total[first:].sum()) < FEW:
        return np.zeros((*way.shape, 1), np.float32)
    mean = _rise(light, total)
    shade = WHOLE * (mean - np.average(mean[first:], weights=total[first:]))
    shade = gaussian_filter1d(np.clip(shade + SLIGHT, -MOST, 0), 1.0, mode="nearest")
    return np.asarray(long * np.interp(way / GROWN * WAYS - 0.5, np.arange(WAYS), shade), np.float32)[..., None]


def _rise(values: F64, weights: F64) -> F64:
    """Return the means of sums of values (n,) and of weights that are nearest to theirs and never fall."""
    sums, total = (np.concatenate([[0.0], np.cumsum(a)]) for a in (values, weights + 1e-6))
    mean = (sums[1:] - sums[:-1, None]) / np.maximum(total[1:] - total[:-1, None], 1e-9)  # of each range
    last = np.where(np.tri(len(values), k=-1) > 0, np.inf, mean)
    least = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.where(np.tri(len(values), k=-1) > 0, -np.inf, least).max(0), np.float64)
