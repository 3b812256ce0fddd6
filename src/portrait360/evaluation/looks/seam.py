"""The border between the photo and what completes it."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.evaluation.looks.sheet import ReadView, Sheet
from portrait360.utils.array_types import Bools, Floats

CERTAIN = 0.5  # share of the photo at its border
WIDTH = 3  # pixels on both sides of it, in a picture of 256
OUTLINE = 4  # pixels: the outline of the head is no seam
MIN_BORDER = 40  # pixels, of a view whose border counts


def measure_seam_energy(sheet: Sheet) -> float:
    """Return the gradient along the border of photo and completion, over that of their surroundings, less 1; NaN if
    it is not known where the photo ends."""
    ratios = [ratio for view in sheet.views if np.isfinite(ratio := find_border_energy(view))]
    return max(float(np.mean(ratios)) - 1, 0.0) if ratios else float("nan")


def find_border_energy(view: ReadView) -> float:
    """Return how much larger the gradient is on the border than beside it; NaN without a border."""
    if view.photo_share is None:
        return float("nan")
    inner = erode(view.alpha > 0.5, OUTLINE)
    shown = view.photo_share > CERTAIN
    border = dilate(shown, WIDTH) & dilate(~shown, WIDTH) & inner
    beside = dilate(border, 3 * WIDTH) & ~border & inner
    if border.sum() < MIN_BORDER * WIDTH or not beside.any():
        return float("nan")
    gradient = find_gradient(view.lab)
    return float(gradient[border].mean() / max(float(gradient[beside].mean()), 0.5))


def find_gradient(picture: Floats) -> Floats:
    """Return the length of the gradient (s, s) of a picture with several channels."""
    return np.sqrt(sum((np.asarray(part) ** 2).sum(-1) for part in np.gradient(picture, axis=(0, 1))))


def dilate(mask: Bools, reach: int) -> Bools:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def erode(mask: Bools, reach: int) -> Bools:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
