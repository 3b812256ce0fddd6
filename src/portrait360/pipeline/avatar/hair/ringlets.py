"""Wind curly hair into ringlets: the strands of a lock lie close together and wind about one axis.

A hairstyle winds each strand by itself, or few together: from afar that is felt. What makes hair curly are locks that
turn as one, gleam where they face outwards, and leave dark gaps between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.bends import add_points, find_length
from portrait360.pipeline.avatar.hair.curl_size import CurlSize
from portrait360.pipeline.avatar.hair.donors import measure_along
from portrait360.synth.hair.growth import strand_frames
from portrait360.synth.head.bare_head import Head
from portrait360.synth.noise import noise
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F64, I32
from portrait360.utils.image_ops import smoothstep

STEPS, MOST_POINTS = 6.0, 56  # points of a turn, and at most of a strand
SCALP, FEWEST = 0.3, 200  # canonical area on which hair grows; strands of a group
WIDE, THICK = 2.6, 0.5  # radii of a turn: width of the scalp that grows into a ringlet, and its thickness
LOOSE, TOGETHER = 0.08, 0.25  # share of the way to it that strands keep; canonical way from which they go their own
ROOT = (0.01, 0.07)  # canonical way from the root over which hair comes to curl
UNEVEN, STRAY = 0.25, 0.4  # how much ringlets differ in size, logarithm; radians by which strands of one do
WANDER, WAYS = 1.6, 0.45  # radii by which ringlets leave their course; ways per turn
NEAREST = 0.006  # canonical; how close to the skin hair may come


def wind(groups: Sequence[Strands], head: Head, size: CurlSize | None) -> list[Strands]:
    """Return hair in ringlets of this size."""
    if size is None:
        return list(groups)
    return [_wind(g, head, size, seed) if len(g.points) >= FEWEST else g for seed, g in enumerate(groups)]


def _wind(group: Strands, head: Head, size: CurlSize, seed: int) -> Strands:
    rng = np.random.default_rng([seed, 53])
    group = add_points(group, min(round(STEPS * find_length(group) / size.length) + 1, MOST_POINTS))
    own = group.points.astype(np.float64)
    axis = _straighten(own, size.length)
    lead, lock = _gather(axis, size, rng)
    guides = axis[lead]
    ringlet = _draw_together(axis, guides[lock], THICK * size.radius) - guides[lock]
    ringlet += (guides + WANDER * size.radius * _wander(guides, WAYS / size.length, seed))[lock]
    scale = np.exp(rng.normal(0, UNEVEN, (len(guides), 1)))
    # all strands of a ringlet count turns along the same way, or they would drift apart
    turns = rng.random((len(guides), 1)) + measure_along(np.asarray(guides, np.float32)) / (
        size.length * np.sqrt(scale)
    )
    turns *= rng.choice([-1.0, 1.0], (len(guides), 1))
    angle = (2 * np.pi * turns[lock] + rng.normal(0, STRAY, (len(axis), 1)))[..., None]
    across, over = (frame[lock] for frame in strand_frames(np.asarray(guides, np.float32)))
    ringlet += size.radius * scale[lock, None] * (np.cos(angle) * across + np.sin(angle) * over)
    curled = size.strength * smoothstep(*ROOT, measure_along(group.points))[..., None]
    moved = own + curled * (ringlet - own)
    moved = head.field.push_out(moved, np.clip(head.field.distance(own), -1.0, NEAREST))
    moved[:, 0] = own[:, 0]
    return replace(group, points=np.asarray(moved, np.float32))


def _draw_together(axis: F64, guides: F64, thick: float) -> F64:
    """Return strands (s, k, 3) that lie about as far from their guides as the lock is thick, if they go its way."""
    off = axis - guides
    far = np.linalg.norm(off, axis=-1, keepdims=True)
    pull = (1 - LOOSE) * np.exp(-((far.mean(1, keepdims=True) / TOGETHER) ** 2))
    return guides + off * (1 - pull * far / (thick + far))


def _gather(axis: F64, size: CurlSize, rng: np.random.Generator) -> tuple[I32, I32]:
    """Return rows of strands that lead a ringlet each, and which of these each strand follows."""
    count = max(round(SCALP / (WIDE * size.radius) ** 2), 1)
    lead = rng.choice(len(axis), min(count, len(axis)), replace=False)
    place = axis[:, [0, axis.shape[1] // 3]].reshape(len(axis), -1)
    return lead.astype(np.int32), np.asarray(KDTree(place[lead]).query(place)[1], np.int32)


def _wander(guides: F64, ways: float, seed: int) -> F64:
    """Return directions (n, k, 3), about 1 long at most, that change along each of the guides."""
    shift = 7.0 * np.random.default_rng([seed, 59]).random((len(guides), 1, 3))  # each goes its own way
    flat = (guides + shift).reshape(-1, 3).astype(np.float32)
    wild = [2 * noise(flat, ways, seed + 151 + a).reshape(guides.shape[:2]) - 1 for a in range(3)]
    return np.stack(wild, -1).astype(np.float64)


def _straighten(points: F64, length: float) -> F64:
    """Return the axes about which strands wind."""
    step = float(np.linalg.norm(np.diff(points, axis=1), axis=2).mean())
    axis = gaussian_filter1d(points, 0.5 * length / max(step, 1e-6), axis=1, mode="nearest")
    return axis + (points[:, :1] - axis[:, :1])
