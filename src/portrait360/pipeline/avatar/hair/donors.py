"""Give strands that a photo does not show the colours of those that it shows: whole strands, lock by lock.

A mean of what is known would be flat. A lock takes after a donor instead, one that grows as high, is as long, and
lies where the lock would if the back of the head were folded to the front; so the back has the contrast, the gloss
and the dyes of the front, in the same order from side to side and from root to tip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.vectors import measure_length

SEEN = 0.4  # share of a strand that the photo shows, from which it can be a donor
FEWEST = 40  # donors
EDGES = (0.05, 0.92)  # quantiles of the azimuths of donors on one side: where the front begins, and where it ends
SCALES = (
    0.35,
    0.05,
    0.25,
    0.04,
)  # radians, and canonical: of azimuth, height of the root, length, height of the middle
MIRRORED = 1.0  # what a donor of the other side costs in dyed hair, in these scales
LOCK, DYED_LOCK = 26, 160  # strands of a lock, on average: of one colour, and of dyes, which would mix in narrow ones
SHORT, STUBBLE = (0.03, 0.12), 0.4  # lengths over which strands differ fully; share to which the shortest do
BANDS, CALM = 16, 0.85  # heights, and share of their common light that is taken off
CHOICE, AROUND = 8, 4  # donors among which a lock chooses, and strands around that one from which its strands take


@dataclass(frozen=True, eq=False)
class Places:
    """Where strands are, and how long."""

    azimuth: F64  # (s,) radians from the front, negative on the right of the head
    others: F64  # (s, 3) height of the root, length, height of the middle

    def features(self, azimuth: F64, mirrored: float = 0.0) -> F64:
        columns = [azimuth / SCALES[0], *(self.others / np.array(SCALES[1:])).T, np.full(len(azimuth), mirrored)]
        return np.stack(columns, 1)


def borrow_colours(points: F32, known: Floats, profile: F32, dyed: float = 1.0) -> F32 | None:
    """Return for every point the gain of its strand's donor (s, k, 3); None if the photo shows too few strands.

    Args:
        points: The strands (s, k, 3).
        known: How well the photo shows each point (s, k).
        profile: The gains of strands that it shows (s, k, 3).
        dyed: 0 where both sides of the head have the same colours, and 1 where each has its own.
    """
    donors = np.flatnonzero(known.mean(1) > SEEN)
    if len(donors) < FEWEST:
        return None
    places = locate(points)
    rng = np.random.default_rng(29)
    chosen = _choose(places, donors, points, dyed, rng)
    along = measure_along(points)
    gain = _resample(profile[chosen], along[chosen], along)
    gain = gain + (1 - dyed) * (_calm_bands(gain, points[..., 1]) - gain)  # dyes differ in brightness, too
    mean = gain.mean((0, 1))
    spread = STUBBLE + (1 - STUBBLE) * float(smoothstep(*SHORT, np.asarray(np.median(along[:, -1]))))
    return mean + np.float32(spread) * (gain - mean)


def _calm_bands(gain: F32, height: F32) -> F32:
    """Weaken what all gains (s, k, 3) at one height have in common: it is the light of the photo, too."""
    light = gain.mean(-1)
    low, high = np.quantile(height, (0.02, 0.98))
    row = np.clip((height - low) / max(high - low, 1e-3) * BANDS, 0, BANDS - 1e-3).astype(int)
    count = np.bincount(row.ravel(), minlength=BANDS) + 1e-6
    mean = np.bincount(row.ravel(), light.ravel(), BANDS) / count
    common = gaussian_filter1d(mean, 1.0, mode="nearest") - light.mean()
    place = np.clip((height - low) / max(high - low, 1e-3) * BANDS - 0.5, 0, BANDS - 1)
    return gain - np.float32(CALM) * np.interp(place, np.arange(BANDS), common)[..., None].astype(np.float32)


def locate(points: F32) -> Places:
    middle = points[:, points.shape[1] // 3 :].mean(1) - HEAD_CENTRE
    root = points[:, 0] - HEAD_CENTRE
    towards = np.where(np.linalg.norm(middle, axis=1, keepdims=True) > 0, middle + root, root)
    length = measure_along(points)[:, -1]
    return Places(
        np.arctan2(towards[:, 0], towards[:, 2]).astype(np.float64),
        np.stack([root[:, 1], length, middle[:, 1]], 1).astype(np.float64),
    )


def fold(azimuth: F64, edges: F64) -> F64:
    """Return where strands at these azimuths would be if all behind the seen range were folded into it."""
    first, last = edges
    size = np.abs(azimuth)
    behind = last - (size - last) * (last - first) / max(np.pi - last, 1e-3)
    return np.sign(azimuth) * np.where(size > last, behind, size)


def _choose(places: Places, donors: np.ndarray, points: F32, dyed: float, rng: np.random.Generator) -> np.ndarray:
    """Return the donor (s,) of every strand; the strands of a lock take from neighbours."""
    lock = round(LOCK + dyed * (DYED_LOCK - LOCK))
    edges = np.quantile(np.abs(places.azimuth[donors]), EDGES)
    table = places.features(fold(places.azimuth, edges))
    own = Places(places.azimuth[donors], places.others[donors])
    offered = np.concatenate([own.features(own.azimuth), own.features(-own.azimuth, dyed * MIRRORED)])
    names = np.concatenate([donors, donors])
    guides = rng.choice(len(points), max(len(points) // lock, 1), replace=False)
    _, found = KDTree(offered).query(table[guides], k=CHOICE)
    of_guide = names[np.asarray(found)[np.arange(len(guides)), rng.integers(CHOICE, size=len(guides))]]
    middle = points[:, points.shape[1] // 2]
    _, of_lock = KDTree(middle[guides]).query(middle)
    _, around = KDTree(middle[donors]).query(middle[of_guide], k=AROUND)
    beside = rng.integers(AROUND, size=len(middle)) * (rng.random(len(middle)) >= dyed)
    return donors[np.asarray(around)[of_lock, beside]]


def measure_along(points: F32) -> F64:
    """Return the way (s, k) from the root to every point."""
    steps = measure_length(np.diff(points.astype(np.float64), axis=1))
    return np.concatenate([np.zeros((len(points), 1)), np.cumsum(steps, 1)], 1)


def _resample(values: F32, ways: F64, wanted: F64) -> F32:
    """Return values (s, k, 3), given at `ways` along their strands, at others; ways are about even steps."""
    last = values.shape[1] - 1
    position = np.clip(wanted / np.maximum(ways[:, -1:], 1e-6) * last, 0, last)
    i = np.minimum(position.astype(int), last - 1)
    share = (position - i)[..., None]
    rows = np.arange(len(values))[:, None]
    return np.asarray(values[rows, i] * (1 - share) + values[rows, i + 1] * share, np.float32)
