"""Scraps: small islands of hair on skin, of skin on cloth, and what the reader takes for none of them."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.evaluation.looks.sheet import ReadView, Sheet
from portrait360.utils.portrait_labels import Label

SMALL = 0.004  # share of the picture: what is larger, as the other half of a collar, is no island
SIDES = (20.0, 100.0)  # degrees: the views in which the photo meets what completes it
GROUPS = ((Label.HAIR, Label.HAT), (Label.FACE, Label.BROW, Label.EYE, Label.LIPS), (Label.SKIN,), (Label.CLOTHES,))


def measure_islands(sheet: Sheet) -> float:
    """Return the share of the head in islands beyond the photo's own, on average over the views beside the front."""
    views = sheet.near(*SIDES)
    if not views:
        return float("nan")
    own = find_islands(sheet.photo)
    return max(float(np.mean([find_islands(view) for view in views])) - own, 0.0)


def find_islands(view: ReadView) -> float:
    """Return the share of the head in small pieces apart from the largest of their kind, or of no kind."""
    total = max(int((view.alpha > 0.5).sum()), 1)
    apart = int(view.shows(Label.OBJECT).sum())
    for labels in GROUPS:
        areas = cv2.connectedComponentsWithStats(view.shows(*labels).astype(np.uint8), connectivity=8)[2]
        areas = areas[1:, cv2.CC_STAT_AREA]
        apart += int(areas[(areas < SMALL * view.size**2) & (areas < areas.max(initial=0))].sum())
    return apart / total
