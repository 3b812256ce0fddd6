"""Two pictures against each other: peak signal to noise, structural similarity, sharpness, overlap of mattes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

BEST = 100.0  # dB: of equal pictures
WINDOW, SIGMA = 11, 1.5  # pixels: Wang et al. 2004
EDGE = 9  # pixels: what is nearer to the outline says nothing of sharpness
STEADY = (0.01**2, 0.03**2)  # their C1 and C2, for values in [0, 1]


def psnr(ours: Floats, truth: Floats, inside: Mask | None = None) -> float:
    """In dB, for values in [0, 1]; at most BEST. `inside` counts those pixels alone."""
    error = np.asarray(ours, np.float64) - truth
    chosen = error if inside is None else error[inside]
    if chosen.size == 0:
        return float("nan")
    return float(-10 * np.log10(max(float((chosen**2).mean()), 10 ** (-BEST / 10))))


def ssim(ours: Floats, truth: Floats, inside: Mask | None = None) -> float:
    """Mean over pixels and channels; as in scikit-image the border that no whole window fits in does not count."""
    return ssim_within(ssim_map(ours, truth), inside)


def ssim_within(around: Floats, inside: Mask | None) -> float:
    """The mean of a map of similarity."""
    edge = WINDOW // 2
    if min(around.shape[:2]) < WINDOW:
        raise ValueError(f"structural similarity needs {WINDOW} pixels a side, got {around.shape}")
    whole = around[edge:-edge, edge:-edge]
    chosen = whole if inside is None else whole[inside[edge:-edge, edge:-edge]]
    return float(chosen.mean()) if chosen.size else float("nan")


def ssim_map(ours: Floats, truth: Floats) -> Floats:
    """(s, s) or (s, s, 3): eq. 13 of Wang et al. 2004 around each pixel."""
    x, y = np.asarray(ours, np.float64), np.asarray(truth, np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    spread_x, spread_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    common = _blurred(x * y) - mean_x * mean_y
    c1, c2 = STEADY
    light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return light * (2 * common + c2) / (spread_x + spread_y + c2)


def _blurred(values: Floats) -> Floats:
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    return cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT).astype(np.float64)


def sharpness(ours: Floats, truth: Floats, inside: Mask) -> float:
    """Energy of our gradients as a multiple of the truth's, away from the outline: fog has little, noise too much."""
    core = cv2.erode(inside.astype(np.uint8), np.ones((EDGE, EDGE), np.uint8)) > 0
    energies = []
    for picture in (ours, truth):
        slopes = [np.gradient(np.asarray(picture, np.float64), axis=axis) for axis in (0, 1)]
        energies.append(sum(float((np.asarray(slope)[core] ** 2).sum()) for slope in slopes))
    return energies[0] / energies[1] if energies[1] else float("nan")


def overlap(a: Mask, b: Mask) -> float:
    """Intersection over union; 1 for two empty ones."""
    either = int((a | b).sum())
    return float((a & b).sum() / either) if either else 1.0
