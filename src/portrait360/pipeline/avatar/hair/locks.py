"""Make hair lie as hair does behind: in locks of different sizes that wander, with an uneven hem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.hair.growth import clump
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F64
from portrait360.utils.image_ops import smoothstep

FRONT, BEHIND = 0.07, -0.02  # z before which locks stay as the photo shows them, and behind which they wander freely
WANDER, WAYS = 0.030, (9.0, 0.30)  # canonical; ways per canonical unit across, and how many times slower along
LONG = (0.06, 0.40)  # canonical length of strands from which they wander, and wander fully
SIZES = (26, 90)  # strands of lesser and greater locks
PULL = (0.35, 0.40)  # how far their tips come together
TOGETHER = 0.05  # canonical; strands further apart share no lock
NEAREST = 0.006  # canonical; how close to the skin hair may come
UNEVEN = 0.28  # greatest share of its length that a strand is shorter than its neighbours
FEWEST = 200  # strands of a group
CURLED = 1.12  # length of a strand per way between its ends from which it is curled


def form_locks(group: Strands, head: Head, seed: int) -> Strands:
    """Return strands whose unseen parts wander and come together in locks, with an uneven hem."""
    if len(group.points) < FEWEST:
        return group
    rng = np.random.default_rng([seed, 41])
    points, distance = group.points.astype(np.float64), head.field.distance(group.points)
    free, behind = _measure_freedom(points)
    is_curled = _detour(points) > CURLED
    moved = points if is_curled else points + free[..., None] * _wander(points, seed)
    for size, pull in zip(SIZES, (0.0, 0.0) if is_curled else PULL, strict=True):
        gathered = clump(moved.astype(np.float32), pull, rng, size, TOGETHER)[0]
        moved = moved + np.minimum(1.0, free)[..., None] * (gathered - moved)
    moved = head.field.push_out(moved, np.clip(distance, -1.0, NEAREST))
    moved[:, 0] = group.points[:, 0]
    last = (points.shape[1] - 1) * (1 - UNEVEN * rng.random(len(points)) ** 1.7 * behind[:, -1])
    return replace(group, points=shorten(np.asarray(moved, np.float32), last))


def _detour(points: F64) -> float:
    ways = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)
    return float(np.median(ways / np.maximum(np.linalg.norm(points[:, -1] - points[:, 0], axis=1), 1e-4)))


def _measure_freedom(points: F64) -> tuple[F64, F64]:
    """Return how freely every point (s, k) may move: not at roots, and not before the head; the latter alone, too."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    along = np.concatenate([np.zeros((len(points), 1)), np.cumsum(steps, 1)], 1)
    behind = smoothstep(FRONT, BEHIND, gaussian_filter1d(points[..., 2], 1.0, axis=1, mode="nearest"))
    return smoothstep(*LONG, along) ** 0.7 * behind, np.asarray(behind, np.float64)


def _wander(points: F64, seed: int) -> F64:
    """Return how far points (s, k, 3) are moved aside; neighbours go the same way."""
    across, slower = WAYS
    flat = (points * np.array([1.0, slower, 1.0])).reshape(-1, 3).astype(np.float32)
    wild = [noise(flat, across, seed + 61 + a, 2).reshape(points.shape[:2]) - 0.5 for a in range(2)]
    tangent = unit(np.gradient(points, axis=1))
    outward = unit(points * np.array([1.0, 0.3, 1.0]))
    aside = np.cross(tangent, outward)
    return 2 * WANDER * (wild[0][..., None] * aside + 0.5 * wild[1][..., None] * outward)
