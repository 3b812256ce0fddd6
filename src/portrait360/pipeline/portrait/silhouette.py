"""Find a head by its outline alone: from the widths of the rows of a matte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.utils.array_types import Floats

MIN_AREA = 0.005  # of the picture: smaller subjects are ignored
MAX_ASPECT = 1.25  # height over width: the limit for a head without a visible neck
EYES_TO_CHIN = 0.55  # of the width: ears may be taller than a head
NECK_RATIO = 0.78  # of the widest row above: narrower rows may be a neck
SHOULDER_RATIO = 1.12  # of the neck: minimum width of what is below a neck
MIN_NECK_DEPTH = 0.15  # of the subject's height: rows above may be ears, horns or the tip of a hat


@dataclass(frozen=True)
class HeadSilhouette:
    """A head in pixels of the matte; (0, 0) is the corner of the first pixel."""

    center: tuple[float, float]
    height: float


def find_head_in_matte(matte: Floats, eyes: float = 0.0) -> HeadSilhouette | None:
    """Find the head at the top of the subject, its chin below the row of `eyes`; return None without a subject."""
    solid = matte > 0.5
    if solid.mean() < MIN_AREA:
        return None
    rows = np.where(solid.any(1))[0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    span = solid[top:bottom]
    first, last = span.argmax(1), span.shape[1] - span[:, ::-1].argmax(1)
    widths = np.where(span.any(1), last - first, 0).astype(np.float64)  # over gaps, as between ears or horns
    widths = gaussian_filter1d(widths, max(0.5, 0.01 * len(widths)), mode="nearest")
    start = int(max(MIN_NECK_DEPTH * len(widths), eyes - top))
    height = _find_chin_row(widths, start) or _estimate_chin_row(widths, start)
    weight = matte[top : top + height].sum(0)
    center = float(weight @ (np.arange(len(weight)) + 0.5) / weight.sum())
    return HeadSilhouette((center, top + height / 2), float(height))


def _find_chin_row(widths: Floats, start: int) -> int | None:
    """Count the rows down to the chin: to the first clear narrowing that widens again; None if there is none.

    It lies below the row `start`.
    """
    max_widths = np.maximum.accumulate(widths)
    neck_width, neck_row = np.inf, start
    for row in range(start, len(widths)):
        if widths[row] < min(neck_width, NECK_RATIO * max_widths[row]):
            neck_width, neck_row = widths[row], row
        elif neck_width < np.inf and widths[row] > SHOULDER_RATIO * neck_width:
            # the chin lies above the narrowest row, where the width comes close to the neck's
            above = widths[:neck_row]
            is_neck = (above < 1.1 * neck_width) & (np.arange(neck_row) > max(above.argmax(), start))
            return int(np.argmax(is_neck)) or neck_row
    return None


def _estimate_chin_row(widths: Floats, start: int) -> int:
    """Estimate the rows down to the chin of a head without a visible neck from its width; it lies below `start`."""
    heights, widest = np.arange(1, len(widths) + 1), np.maximum.accumulate(widths)
    eyes = start > MIN_NECK_DEPTH * len(widths)
    is_head = (heights >= MAX_ASPECT * widest) & (heights > start + EYES_TO_CHIN * widest * eyes)
    return int(heights[is_head][0]) if is_head.any() else len(widths)
