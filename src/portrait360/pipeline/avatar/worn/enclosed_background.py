"""Background that a hat or head cloth encloses, as between a turban, its hanging end and a shoulder.

A matte takes it for a part of the cloth, and a view from aside shows it as one. It is found only before an even
background, such as a painter's or a studio's: where a hat has patches of that colour, but by far not all over.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import F32, Bools, Bytes
from portrait360.utils.portrait_labels import Label

SOFT = 1 / 340  # picture sides over which colours are compared
EVEN = 0.04  # sRGB by which nearly all of an even background differs from its median at most
SURE, LIKELY = 1.5, 4.0  # of that: up to which a place is background for certain, and up to which around such a place
LEAST = 0.06  # sRGB by which it may differ anyway
MOST = 0.25  # share of a hat from which it has the background's colour itself
RIM = 0.015  # picture sides by which it reaches into what is taken for cloth or skin beside the hat
CRUMB = 0.001  # share of the picture below which it is a shade of the cloth
NEARLY_ALL = 0.97
FEWEST = 1000  # pixels of a background


def cut_enclosed_background(rgb: F32, alpha: F32, labels: Bytes) -> F32:
    """Return the matte (s, s) without the background that a hat encloses."""
    outside = cv2.erode(((alpha < 0.05) & (labels == Label.BACKGROUND)).astype(np.uint8), np.ones((5, 5))) > 0
    hat = labels == Label.HAT
    if outside.sum() < FEWEST or not hat.any():
        return alpha
    soft = cv2.GaussianBlur(rgb, (0, 0), SOFT * len(rgb))
    differs = np.abs(soft - np.median(soft[outside], 0)).max(-1)
    usual = float(np.quantile(differs[outside], NEARLY_ALL))
    if usual > EVEN:
        return alpha
    likely = differs < max(LIKELY * usual, LEAST)
    enclosed = _find_patches(hat & likely, hat & (differs < SURE * usual))
    if not enclosed.any() or enclosed.sum() > MOST * hat.sum():
        return alpha
    enclosed |= likely & (cv2.dilate(enclosed.astype(np.uint8), np.ones((2 * round(RIM * len(rgb)) + 1,) * 2)) > 0)
    return np.asarray(alpha * (1 - cv2.GaussianBlur(enclosed.astype(np.float32), (0, 0), 0.7)), np.float32)


def _find_patches(likely: Bools, sure: Bools) -> Bools:
    """Return those large parts of a mask (s, s) of which some pixels are sure."""
    opened = cv2.morphologyEx(likely.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    part = np.asarray(parts, np.int32)
    kept = np.asarray(stats)[:, cv2.CC_STAT_AREA] > CRUMB * likely.size
    kept &= np.bincount(part[sure], minlength=len(kept)) > 0
    kept[0] = False
    return np.asarray(kept[part], np.bool_)
