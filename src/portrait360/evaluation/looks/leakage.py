"""Colours of the photo's background on the head."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.evaluation.looks.sheet import ReadView, Sheet
from portrait360.utils.array_types import Bools, Floats

STEP = 10.0  # CIELAB units of a bin of colours
BINS = 27  # a and b from -130 to 130; lightness needs fewer
FEWEST = 200  # pixels of background that say something about it
COMMON = 0.01  # share of the background that a colour of it has
RATIO = 8.0  # a colour so much more frequent in the background than on the subject is the background's


def measure_leakage(sheet: Sheet) -> float:
    """Return the share of the head that has a colour of the background, beyond the photo's own share, on average; NaN
    without a background."""
    if len(sheet.background) < FEWEST:
        return float("nan")
    foreign = find_foreign_colours(sheet)
    own = find_share(sheet.photo, foreign)
    return max(float(np.mean([find_share(view, foreign) for view in sheet.views])) - own, 0.0)


def find_foreign_colours(sheet: Sheet) -> Bools:
    """Return which bins (BINS³) hold colours of the background that the subject does not have."""
    background = cv2.cvtColor(sheet.background[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    behind, subject = (count_colours(colours) for colours in (background, sheet.photo.lab[sheet.photo.alpha > 0.9]))
    return (behind > COMMON) & (behind > RATIO * subject)


def find_bins(lab: Floats) -> np.ndarray:
    bins = np.floor(lab / STEP + [0, BINS / 2, BINS / 2]).astype(np.intp).clip(0, BINS - 1)
    return bins @ np.array([BINS * BINS, BINS, 1])


def count_colours(lab: Floats) -> Floats:
    """Return the share (BINS³) of each bin among colours (n, 3)."""
    return np.bincount(find_bins(lab), minlength=BINS**3) / max(len(lab), 1)


def find_share(view: ReadView, foreign: Bools) -> float:
    inside = view.alpha > 0.9
    return float(foreign[find_bins(view.lab[inside])].mean()) if inside.any() else 0.0
