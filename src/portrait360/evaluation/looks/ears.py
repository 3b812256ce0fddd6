"""Ears from the side: whether one is where an average head has it, with the relief of an ear.

The reader takes every patch of skin in hair for an ear, and a flat one has no folds.
"""

from __future__ import annotations

import numpy as np

from portrait360.evaluation.looks.seam import erode
from portrait360.evaluation.looks.sheet import FOCAL, ReadView, Sheet
from portrait360.geometry.cameras import Camera, azimuth_between, look_at
from portrait360.utils.portrait_labels import Label

PLACE = (0.164, -0.048, 0.0)  # of the left ear's middle on the average head, canonical
SIDES = (55.0, 95.0)  # degrees: from here an ear is seen whole
REACH = 0.11  # picture sides: an ear further from its place is somewhere else
WHOLE = 0.004  # share of the picture that an ear takes
FOLDS = 2.5  # CIELAB: the least spread of lightness that folds give an ear
SHOWN = 0.0008  # share of the photo: less may be a mistake of the reader


def measure_missing_ears(sheet: Sheet) -> float:
    """Return how much of the ears is not where it should be, 0 to 1; NaN where the photo shows no ear, since hair may
    hide them."""
    views = sheet.near(*SIDES)
    if sheet.photo.shows(Label.EAR).mean() < SHOWN or not views:
        return float("nan")
    return float(np.mean([1 - min(find_ear(view) / WHOLE, 1.0) for view in views]))


def find_ear(view: ReadView) -> float:
    """Return the share of the picture that shows an ear within reach of the place where the near one should be; a
    flatter ear counts for less."""
    side = 1.0 if azimuth_between(0, view.azimuth) > 0 else -1.0
    place = np.array([[side * PLACE[0], PLACE[1], PLACE[2]]])
    uv = Camera(look_at(view.azimuth), FOCAL).project(place)[0][0]
    y, x = (np.indices(view.labels.shape) + 0.5) / view.size
    near = np.hypot(x - uv[0], y - uv[1]) < REACH
    inner = erode(view.shows(Label.EAR), max(view.size // 128, 1)) & near
    relief = float(view.lab[inner][:, 0].std()) if inner.any() else 0.0
    return float((view.shows(Label.EAR) & near).mean()) * min(relief / FOLDS, 1.0)
