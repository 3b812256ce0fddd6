"""Hair as a solid with locks, for printers make no strands."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from portrait360.pipeline.export.avatar_glb.hair_cards import (
    Bundle,
    cluster_strands,
    find_medoids,
    gather_strands,
    mean_strands,
)
from portrait360.pipeline.export.avatar_stl.carving import BAND, Block
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32

LOCKS = 800
GATHER, ROOTS = (
    0.35,
    0.4,
)  # how far strands move to the middle of their lock, and the share of their length until then
SAMPLES = 64  # points along a strand
SOFT = 1.4  # cells over which the density is smooth
LEVEL = 0.25  # of the usual density, from which it is solid
SLOPE = 2.0  # cells of distance for the usual density


def fill_hair(groups: list[Strands], block: Block) -> F32 | None:
    """Return distances (a, b, c) from the solid that strands form, as `carve` does; None where there are none."""
    strands = gather_strands(groups)
    if len(strands.points) < LOCKS:
        return None
    points = gather_locks(strands)
    t = np.linspace(0, points.shape[1] - 1, SAMPLES)
    i = np.minimum(t.astype(int), points.shape[1] - 2)
    f = (t - i).astype(np.float32)[:, None]
    places = (points[:, i] * (1 - f) + points[:, i + 1] * f).reshape(-1, 3)
    step = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1, keepdims=True)
    mass = np.broadcast_to(step * strands.widths.mean(1, keepdims=True), (len(points), SAMPLES)).ravel()
    index = np.rint((places - block.low) / block.cell).astype(np.int64)
    inside = ((index >= 0) & (index < np.array(block.shape))).all(1)
    index, mass = index[inside], mass[inside]
    low = np.maximum(index.min(0) - 6, 0)
    high = np.minimum(index.max(0) + 7, block.shape)
    rows = np.ravel_multi_index(tuple((index - low).T), tuple(high - low))
    density = np.bincount(rows, mass, int(np.prod(high - low))).reshape(high - low).astype(np.float32)
    density = np.asarray(gaussian_filter(density, SOFT), np.float32)
    density /= max(float(np.median(density.ravel()[rows])), 1e-12)
    out = np.full(block.shape, BAND, np.float32)
    a, b, c = (slice(*ends) for ends in zip(low, high, strict=True))
    out[a, b, c] = np.clip(SLOPE * (LEVEL - density), -BAND, BAND)
    return out


def gather_locks(strands: Bundle) -> F32:
    """Return the points (s, k, 3) of strands that keep together in locks."""
    owner = cluster_strands(strands.points, LOCKS)
    count = int(owner.max()) + 1
    mean = mean_strands(strands.points, np.ones_like(strands.widths), owner, count)
    middle = strands.points[find_medoids(strands.points, mean, owner)][owner]
    along = np.minimum(np.linspace(0, 1, middle.shape[1]) / ROOTS, 1)[:, None]
    return (strands.points + GATHER * along * (middle - strands.points)).astype(np.float32)
