"""Where a head is when only its outline is known: read from the widths of the rows of a matte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.floating]

LEAST = 0.005  # of the picture: a smaller subject is none
TALLEST = 1.25  # of its width: a head without a neck is no taller
NECK = 0.78  # of the widest row above: a narrower one may be a neck
SHOULDERS = 1.12  # of the neck: what lies below a neck is at least so wide
EARLIEST = 0.15  # of the subject's height: above this, narrow and wide are still ears, horns or a hat's tip


@dataclass(frozen=True)
class Head:
    """In pixels, (0, 0) the corner of the first one."""

    center: tuple[float, float]
    height: float


def find_head(matte: Floats) -> Head | None:
    """The head at the top of a subject; None where there is no subject."""
    solid = matte > 0.5
    if solid.mean() < LEAST:
        return None
    rows = np.where(solid.any(1))[0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    span = solid[top:bottom]
    first, last = span.argmax(1), span.shape[1] - span[:, ::-1].argmax(1)
    widths = np.where(span.any(1), last - first, 0).astype(np.float64)  # ears and horns: from the one to the other
    widths = gaussian_filter1d(widths, max(0.5, 0.01 * len(widths)), mode="nearest")
    tall = _neck(widths) or _by_width(widths)
    weight = matte[top : top + tall].sum(0)
    middle = float(weight @ (np.arange(len(weight)) + 0.5) / weight.sum())
    return Head((middle, top + tall / 2), float(tall))


def _neck(widths: Floats) -> int | None:
    """Rows to the chin: the first marked narrowing below the widest part, if it widens again or ends there."""
    start = int(EARLIEST * len(widths))
    widest = np.maximum.accumulate(widths)
    narrowest, at = np.inf, start
    for row in range(start, len(widths)):
        if widths[row] < min(narrowest, NECK * widest[row]):
            narrowest, at = widths[row], row
        elif narrowest < np.inf and widths[row] > SHOULDERS * narrowest:
            # the chin lies above the narrowest row: where the narrowing is all but done
            return int(np.argmax((widths[:at] < 1.1 * narrowest) & (np.arange(at) > widths[:at].argmax()))) or at
    return None


def _by_width(widths: Floats) -> int:
    """Rows of a head that goes over into its body without a neck."""
    tall = np.arange(1, len(widths) + 1)
    enough = (tall >= TALLEST * np.maximum.accumulate(widths)) & (tall > EARLIEST * len(widths))
    return int(tall[enough][0]) if enough.any() else len(widths)
