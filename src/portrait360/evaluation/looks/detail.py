"""Fine detail against the photo's own: blur, hair like felt, skin like wax."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from portrait360.evaluation.looks.seam import find_gradient
from portrait360.evaluation.looks.sheet import ReadView, Sheet
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.portrait_labels import Label

SIDE = 55.0  # degrees: from here on most of the head is not the photo
ENOUGH = 0.005  # share of the picture
FINE = 128  # detail is what is finer than the picture's side divided by this
BARE = (Label.FACE, Label.SKIN)


def measure_blur(sheet: Sheet) -> float:
    """Return by how many octaves gradients inside the head are weaker than the photo's, on average."""
    return compare_with_photo(sheet, lambda view: find_mean(find_gradient(view.lab), find_inside(view)), 0.0)


def measure_hair_contrast(sheet: Sheet) -> float:
    """Return by how many octaves the fine contrast of the hair beside and behind differs from the photo's."""
    return compare_with_photo(sheet, lambda view: find_contrast(view, view.core(Label.HAIR)), SIDE, both=True)


def measure_wax(sheet: Sheet) -> float:
    """Return by how many octaves the fine contrast of skin beside and behind is weaker than the photo's."""
    return compare_with_photo(sheet, lambda view: find_contrast(view, view.core(*BARE)), SIDE)


def compare_with_photo(
    sheet: Sheet, describe: Callable[[ReadView], float], turn: float, *, both: bool = False
) -> float:
    """Return the mean of log2(photo / view) from `turn` on, where it is positive; with `both`, that
    of its amount."""
    own, found = describe(sheet.photo), np.array([describe(view) for view in sheet.near(turn)])
    octaves = np.log2(own / found[found > 0])
    octaves = octaves[np.isfinite(octaves)]
    if not len(octaves):
        return float("nan")
    return float(np.abs(octaves).mean() if both else np.maximum(octaves, 0).mean())


def find_inside(view: ReadView) -> Bools:
    """Return the head without its outline."""
    side = 2 * (view.size // 32) + 1
    return cv2.erode((view.alpha > 0.5).astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def find_contrast(view: ReadView, where: Bools) -> float:
    light = view.lab[..., 0]
    fine = light - cv2.GaussianBlur(light, (0, 0), view.size / FINE)
    return find_mean(fine**2, where) ** 0.5


def find_mean(values: Floats, where: Bools) -> float:
    return float(values[where].mean()) if where.mean() > ENOUGH else float("nan")
