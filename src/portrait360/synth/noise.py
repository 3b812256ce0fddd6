"""Value noise in space: smooth, seeded, identical on every machine."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

from portrait360.geometry.numba_jit import njit_helper
from portrait360.utils.array_types import F32


def noise(points: ArrayLike, frequency: float, seed: int, octaves: int = 1) -> F32:
    """Return fractal value noise (n,) in 0..1 with mean about 0.5."""
    points = np.ascontiguousarray(points, np.float32)
    total, amplitude, out = 0.0, 0.5, np.zeros(len(points), np.float32)
    for octave in range(octaves):
        out += np.float32(amplitude) * _lattice(points, frequency * 2**octave, seed + 13 * octave)
        total, amplitude = total + amplitude, amplitude / 2
    return (out / np.float32(total)).astype(np.float32)


def smoothstep(low: Any, high: Any, x: ArrayLike) -> F32:
    """Return 0 below `low`, 1 above `high` (the reverse where high < low), with a smooth ramp between."""
    t = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


@njit_helper
def _hash(x: int, y: int, z: int, seed: int) -> float:
    h = (x * 374761393 + y * 668265263 + z * 1440662683 + seed * 974634777) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@numba.njit(cache=True, nogil=True)
def _lattice(points: np.ndarray, frequency: float, seed: int) -> np.ndarray:
    out = np.empty(len(points), np.float32)
    for i in range(len(points)):
        x, y, z = points[i, 0] * frequency, points[i, 1] * frequency, points[i, 2] * frequency
        a, b, c = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
        u, v, w = x - a, y - b, z - c
        u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
        total = 0.0
        for di in range(2):
            for dj in range(2):
                for dk in range(2):
                    weight = (u if di else 1 - u) * (v if dj else 1 - v) * (w if dk else 1 - w)
                    total += weight * _hash(a + di, b + dj, c + dk, seed)
        out[i] = total
    return out
