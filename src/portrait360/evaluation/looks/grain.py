"""The grain of hair: corduroy, where strands beside and behind run one way at even distances, unlike the photo's."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.evaluation.looks.sheet import ReadView, Sheet
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.portrait_labels import Label

SIDE = 85.0  # degrees: from here on hardly any hair comes from the photo
ENOUGH = 0.01  # share of the picture
LAGS = (3, 13)  # pixels from one groove to the next, in a picture of 256


def measure_corduroy(sheet: Sheet) -> float:
    """Return by how much the hair beside and behind is more like corduroy than the photo's; NaN without hair."""
    own = find_grooves(sheet.photo)
    found = [value for view in sheet.near(SIDE) if np.isfinite(value := find_grooves(view))]
    return max(float(np.mean(found)) - own, 0.0) if found and np.isfinite(own) else float("nan")


def find_grooves(view: ReadView) -> float:
    """Return the share of gradient energy in the hair's main direction beyond that across it, times how well the
    grain repeats in that direction: 1 for parallel lines at even distances."""
    core = view.core(Label.HAIR)
    if core.mean() < ENOUGH:
        return float("nan")
    light = view.lab[..., 0]
    fine = light - cv2.GaussianBlur(light, (0, 0), view.size / 64)
    dy, dx = (np.asarray(part)[core].astype(np.float64) for part in np.gradient(fine))
    along, across, energy = (dx**2 - dy**2).sum(), (2 * dx * dy).sum(), (dx**2 + dy**2).sum()
    angle = 0.5 * np.arctan2(across, along)
    repeats = find_repetition(np.where(core, fine, 0), core, np.array([np.sin(angle), np.cos(angle)]))
    return float(np.hypot(along, across) / max(energy, 1e-6)) * max(repeats, 0.0)


def find_repetition(values: Floats, core: Bools, direction: Floats) -> float:
    """Return the highest correlation of values with themselves some pixels further, where both lie in the core."""
    size = 2 * len(values)
    spectra = np.fft.rfft2(values, (size, size)), np.fft.rfft2(core.astype(np.float64), (size, size))
    product, count = (np.fft.irfft2(np.abs(spectrum) ** 2, (size, size)) for spectrum in spectra)
    lags = np.arange(*LAGS)[:, None] * direction * len(values) / 256
    y, x = np.rint(lags).astype(np.intp).T
    correlation = product[y, x] / np.maximum(count[y, x], 1) / max(float(product[0, 0] / count[0, 0]), 1e-6)
    return float(correlation[count[y, x] > 0.2 * count[0, 0]].max(initial=0.0))
