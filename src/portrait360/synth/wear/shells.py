"""A star-shaped cover of the head: the form of all hats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.synth.sampling.hats import Hat
from portrait360.utils.array_types import F32

RINGS, SPOKES = 26, 72


@dataclass(frozen=True, eq=False)
class Shell:
    """A star-shaped cover about a centre: radius over (angle from the pole, turn about the pole)."""

    hat: Hat
    center: F32
    axes: F32  # (3, 3) rows: across, pole, forward
    rim: F32  # (SPOKES,) angle from the pole at which the cover ends
    head: F32  # (RINGS, SPOKES) radius of the head
    outer: F32  # (RINGS, SPOKES) radius of the cover

    def directions(self, share: np.ndarray, turn: np.ndarray) -> F32:
        """Return unit vectors at a share 0..1 of the angle from the pole to the rim."""
        angle = share * np.interp(turn, *_periodic(self.rim))
        local = np.stack([np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn, np.sin(angle) * np.cos(turn)], -1)
        return (local @ self.axes).astype(np.float32)

    def polar(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return distance from the centre, share of the angle to the rim (above 1: not covered), and turn."""
        local = (points - self.center) @ self.axes.T
        distance = np.linalg.norm(local, axis=-1)
        turn = np.arctan2(local[..., 0], local[..., 2]) % (2 * np.pi)
        angle = np.arccos(np.clip(local[..., 1] / np.maximum(distance, 1e-6), -1, 1))
        return distance, angle / np.interp(turn, *_periodic(self.rim)), turn

    def radius(self, table: F32, share: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Interpolate a table between its nodes."""
        u = np.clip(share, 0, 1) * (RINGS - 1)
        i = np.minimum(u.astype(int), RINGS - 2)
        v = turn / (2 * np.pi) * SPOKES
        j = v.astype(int) % SPOKES
        k = (j + 1) % SPOKES
        u, v = u - i, v - np.floor(v)
        near = table[i, j] * (1 - v) + table[i, k] * v
        return near * (1 - u) + (table[i + 1, j] * (1 - v) + table[i + 1, k] * v) * u


def _periodic(values: F32) -> tuple[np.ndarray, np.ndarray]:
    turn = np.arange(SPOKES + 1) / SPOKES * 2 * np.pi
    return turn, np.append(values, values[0])


def blur(table: np.ndarray, row_sigma: float, column_sigma: float) -> np.ndarray:
    """Smooth a table about a pole: clamped along its rows, periodically along its columns."""
    table = gaussian_filter1d(table, row_sigma, axis=0, mode="nearest")
    return gaussian_filter1d(table, column_sigma, axis=1, mode="wrap")
