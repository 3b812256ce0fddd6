"""Clothes: whether they go all around, and whether their edge on the skin is whole."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.evaluation.looks.sheet import ReadView, Sheet
from portrait360.utils.portrait_labels import Label

BOTTOM = 0.06  # picture heights at the lower edge, where there is cloth
MIN_CLOTH = 0.02  # share of the photo: with less, what is worn is not known
REACH = 16  # the strip at the collar reaches a 16th of the picture to both sides of it
WINDOW = 9  # pixels, in a picture of 256: what is thinner than half of it is a scrap
STANDS_OUT = 14.0  # CIELAB distance of a scrap from what surrounds it


def measure_bare_chest(sheet: Sheet) -> float:
    """Return the share of bare skin at the lower edge beyond the photo's own, in the worst view."""
    if sheet.photo.shows(Label.CLOTHES).mean() < MIN_CLOTH:
        return float("nan")
    own = find_bareness(sheet.photo)
    return max(max(find_bareness(view) - own for view in sheet.views), 0.0)


def find_bareness(view: ReadView) -> float:
    bottom = slice(round((1 - BOTTOM) * view.size), None)
    skin, cloth = (int(view.shows(label)[bottom].sum()) for label in (Label.SKIN, Label.CLOTHES))
    return skin / max(skin + cloth, 1)


def measure_torn_collar(sheet: Sheet) -> float:
    """Return the share of scraps and holes along the collar beyond the photo's own, on average over the views."""
    own = find_scraps(sheet.photo)
    if not np.isfinite(own):
        return float("nan")
    found = np.array([find_scraps(view) for view in sheet.views])
    found = found[np.isfinite(found)]
    return float(np.maximum(found - own, 0).mean()) if len(found) else float("nan")


def find_scraps(view: ReadView) -> float:
    """Return the share of the strip at the collar whose colour stands out of its neighbourhood; NaN without one."""
    side = 2 * (view.size // REACH) + 1
    skin, cloth = (
        cv2.dilate(view.shows(label).astype(np.uint8), np.ones((side, side), np.uint8)) > 0
        for label in (Label.SKIN, Label.CLOTHES)
    )
    strip = skin & cloth & (view.shows(Label.SKIN, Label.CLOTHES) | (view.alpha < 0.5))
    strip &= view.size * 0.5 < np.arange(view.size)[:, None]
    inside = strip & fill_rows(view.alpha > 0.5)
    if inside.mean() < 0.002:
        return float("nan")
    window = max(round(WINDOW * view.size / 256), 3) | 1
    usual = cv2.medianBlur((view.rgb * 255).round().astype(np.uint8), window).astype(np.float32) / 255
    usual = np.asarray(cv2.cvtColor(usual, cv2.COLOR_RGB2Lab))
    return float((np.linalg.norm(view.lab - usual, axis=2) > STANDS_OUT)[inside].mean())


def fill_rows(inside: np.ndarray) -> np.ndarray:
    """Fill each row from its first to its last pixel inside."""
    return (np.cumsum(inside, 1) > 0) & (np.cumsum(inside[:, ::-1], 1)[:, ::-1] > 0)
