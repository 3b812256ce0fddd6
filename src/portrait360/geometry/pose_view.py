"""The head upright in a small square, as the landmark network is shown it a second time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.face_fit import FaceFit

Floats = NDArray[np.floating]

PIXELS = 128
SPAN = 0.7  # of the fitted crop's side: head, ears and neck


def upright(rgb: Floats, fit: FaceFit) -> Floats:
    """(PIXELS, PIXELS, 3) of the picture that the fit was made in, its roll undone."""
    side, angle = SPAN * fit.side, np.radians(fit.camera.roll)
    middle = np.array(fit.corner) + fit.side / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # upright -> picture
    height, width = rgb.shape[:2]
    shrink = min(1.0, 2 * PIXELS / side)  # first by areas, so that no pixel is skipped
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    scale = np.array(rgb.shape[1::-1]) / (width, height)
    matrix = scale[:, None] * turn * side / PIXELS
    offset = middle * scale - matrix @ np.full(2, PIXELS / 2 - 0.5) - 0.5  # OpenCV counts from a pixel's centre
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = np.column_stack([matrix, offset])
    out = cv2.warpAffine(rgb, whole, (PIXELS, PIXELS), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return out.astype(np.float32, copy=False)
