"""Two pictures compared: peak signal to noise, structural similarity, sharpness, overlap of mattes."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import Bools, Floats

BEST = 100.0  # dB: of equal pictures
WINDOW, SIGMA = 11, 1.5  # pixels: Wang et al. 2004
SSIM_CONSTANTS = (0.01**2, 0.03**2)  # their C1 and C2, for values in [0, 1]
OUTLINE_WIDTH = 9  # pixels: what is nearer to the outline does not count for sharpness


def psnr(ours: Floats, truth: Floats, inside: Bools | None = None) -> float:
    """Return the PSNR in dB, for values in [0, 1]; at most BEST. With `inside`, only those pixels count."""
    error = np.asarray(ours, np.float64) - truth
    values = error if inside is None else error[inside]
    if values.size == 0:
        return float("nan")
    return float(-10 * np.log10(max(float((values**2).mean()), 10 ** (-BEST / 10))))


def ssim(ours: Floats, truth: Floats, inside: Bools | None = None) -> float:
    """Return the mean over pixels and channels. As in scikit-image, the border that no whole window fits in does not
    count."""
    return mean_ssim(ssim_map(ours, truth), inside)


def mean_ssim(similarity: Floats, inside: Bools | None) -> float:
    """Return the mean of a similarity map, without its border."""
    edge = WINDOW // 2
    if min(similarity.shape[:2]) < WINDOW:
        raise ValueError(f"structural similarity needs {WINDOW} pixels a side, got {similarity.shape}")
    interior = similarity[edge:-edge, edge:-edge]
    values = interior if inside is None else interior[inside[edge:-edge, edge:-edge]]
    return float(values.mean()) if values.size else float("nan")


def ssim_map(ours: Floats, truth: Floats) -> Floats:
    """Return the similarity around each pixel, (s, s) or (s, s, 3): eq. 13 of Wang et al. 2004."""
    x, y = np.asarray(ours, np.float64), np.asarray(truth, np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = SSIM_CONSTANTS
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)


def _blur(values: Floats) -> Floats:
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    return cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT).astype(np.float64)


def sharpness(ours: Floats, truth: Floats, inside: Bools) -> float:
    """Return the energy of our gradients as a multiple of the truth's, away from the outline: fog has too little,
    noise too much."""
    core = cv2.erode(inside.astype(np.uint8), np.ones((OUTLINE_WIDTH, OUTLINE_WIDTH), np.uint8)) > 0
    energies = []
    for picture in (ours, truth):
        gradients = [np.gradient(np.asarray(picture, np.float64), axis=axis) for axis in (0, 1)]
        energies.append(sum(float((np.asarray(gradient)[core] ** 2).sum()) for gradient in gradients))
    return energies[0] / energies[1] if energies[1] else float("nan")


def mask_iou(a: Bools, b: Bools) -> float:
    """Return the intersection over union; 1 for two empty masks."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0
