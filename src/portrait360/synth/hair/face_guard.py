"""Keep hair out of the face: tell which strands would hang there, and trim a fringe that is combed aside."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.utils.array_types import F32

HALF_WIDTH = 0.083  # canonical; the eyes lie within


def covers_face(head: Head, points: F32, half_width: float = HALF_WIDTH) -> np.ndarray:
    """Return which strands would hang in front of the eyes, nose or mouth."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    front = _front(head)
    brow = head.landmarks["left_eye_top"][1] + 0.012
    return ((z > front) & (np.abs(x) < half_width) & (y < brow) & (y > -0.5 * HEAD_HEIGHT)).any(1)


def _front(head: Head) -> float:
    return min(head.landmarks[f"{side}_eye_outer"][2] for side in ("left", "right")) - 0.015


def trim_fringe(head: Head, points: F32, sweep: float, parts: float) -> F32:
    """Shorten the strands of a fringe where they reach the eyes: at the brows, lower on the side they fall to."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    lean = np.abs(x) if parts > abs(sweep) else x * sweep
    lowest = head.landmarks["left_eye_top"][1] + 0.034 - np.clip(lean - 0.025, 0, 0.045)
    inside = (y < lowest) & (z > _front(head) - 0.02) & (np.abs(x) < HALF_WIDTH + 0.012)
    inside[:, :2] = False
    steps = points.shape[1] - 1
    last = np.where(inside.any(1), inside.argmax(1) - 0.7, steps)
    return shorten(points, last)


def shorten(points: F32, last: np.ndarray) -> F32:
    """Spread the points of each strand over its part up to the position `last` (s,), in steps."""
    steps = points.shape[1] - 1
    position = last[:, None] * np.linspace(0, 1, steps + 1)
    i = np.minimum(position.astype(int), steps - 1)
    share = (position - i)[..., None]
    rows = np.arange(len(points))[:, None]
    return (points[rows, i] * (1 - share) + points[rows, i + 1] * share).astype(np.float32)
