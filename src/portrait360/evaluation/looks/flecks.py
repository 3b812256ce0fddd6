"""Pieces that hang in the air, and holes in the head."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.evaluation.looks.sheet import ReadView, Sheet

PER = 1000.0  # the row counts thousandths of the head's area


def measure_flecks(sheet: Sheet) -> float:
    """Return the area of loose pieces and of small holes, in thousandths of the head, on average over the views."""
    return float(np.mean([find_loose_area(view) for view in sheet.views])) * PER


def find_loose_area(view: ReadView) -> float:
    """Return the area outside the largest piece, and that of all holes in it, as a share of the matte."""
    inside = (view.alpha > 0.5).astype(np.uint8)
    total = int(inside.sum())
    if not total:
        return 1.0
    loose = total - int(cv2.connectedComponentsWithStats(inside, connectivity=8)[2][1:, cv2.CC_STAT_AREA].max())
    around = cv2.copyMakeBorder(1 - inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    areas = cv2.connectedComponentsWithStats(around, connectivity=4)[2][1:, cv2.CC_STAT_AREA]
    holes = int(areas.sum() - areas.max())
    return (loose + holes) / total
