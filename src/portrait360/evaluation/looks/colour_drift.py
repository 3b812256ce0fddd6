"""Colours that change on the way around the head."""

from __future__ import annotations

import numpy as np

from portrait360.evaluation.looks.sheet import SKIN, ReadView, Sheet
from portrait360.utils.array_types import Floats
from portrait360.utils.portrait_labels import Label

REGIONS = {"hair": (Label.HAIR,), "skin": SKIN, "cloth": (Label.CLOTHES,)}
ENOUGH = 0.004  # share of the picture that a region's median needs


def measure_drift(sheet: Sheet, region: str) -> float:
    """Return the mean CIELAB distance between a region's median in the views and in the photo; NaN where the photo
    does not show it."""
    expected = find_median(sheet.photo, *REGIONS[region])
    distances = np.array([np.linalg.norm(find_median(v, *REGIONS[region]) - expected) for v in sheet.views])
    distances = distances[np.isfinite(distances)]
    return float(distances.mean()) if len(distances) else float("nan")


def find_median(view: ReadView, *labels: Label) -> Floats:
    """Return the median colour (3,) of the core of a region; NaN where it is too small."""
    core = view.core(*labels)
    return np.median(view.lab[core], axis=0) if core.mean() > ENOUGH else np.full(3, np.nan)
