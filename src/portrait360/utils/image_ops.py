"""Small operations on images: foreground colours, bilinear lookup, smooth steps; and on volumes: blur."""

from __future__ import annotations

import math

import cv2
import numpy as np

from portrait360.utils.array_types import F32, Floats

CELLS = 6.0  # least cells of a smaller picture in the deviation of a blur: errors are below 0.002 of what differs
RESIZED = 1 / 12 + 1 / 6  # cells squared by which shrinking a picture and enlarging it blur it, too


def foreground(rgb: Floats, alpha: Floats) -> Floats:
    """Spread the colours of the subject outwards over its soft edge and the background."""
    weight = np.clip((alpha - 0.9) / 0.1, 0, 1).astype(np.float32)
    weighted, opaque = rgb * weight[..., None], weight
    out, missing = weighted.copy(), 1 - opaque
    for sigma in (1.5, 4, 12, 40, 120):
        total = blur_picture(opaque, sigma)
        colour = blur_picture(weighted, sigma) / np.maximum(total, 1e-6)[..., None]
        share = missing * np.clip(total / 0.05, 0, 1)
        out, missing = out + share[..., None] * colour, missing - share
    return (out + missing[..., None] * rgb).astype(np.float32)


def look_up(picture: Floats, uv: Floats) -> Floats:
    """Sample an image bilinearly at uv (..., 2), in units of its side; outside it the border pixels continue."""
    places, picture = np.asarray(uv, np.float32) * picture.shape[0] - np.float32(0.5), np.asarray(picture, np.float32)
    values = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(values, np.float32)


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blur_picture(picture: Floats, sigma: float) -> F32:
    """Return a picture (h, w) or (h, w, c) blurred by a Gaussian; a broad one, by means of a smaller picture."""
    cell, (height, width) = int(sigma / CELLS), picture.shape[:2]
    picture = np.asarray(picture, np.float32)
    if cell < 2:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    size = -(-width // cell), -(-height // cell)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    across, down = (math.sqrt((sigma * n) ** 2 - RESIZED) for n in (size[0] / width, size[1] / height))
    small = cv2.GaussianBlur(small, (0, 0), across, sigmaY=down, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def blur_volume(volume: F32, sigma: float) -> F32:
    """Return a volume (a, b, c) blurred by a Gaussian, mirrored at its sides: scipy's filter, much faster."""
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    out, single = np.asarray(volume, np.float32), np.ones(1)
    for _ in volume.shape:  # the first axis is blurred, and becomes the last
        rows = out.reshape(len(out), -1)
        blurred = cv2.sepFilter2D(rows, -1, single, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
        out = np.ascontiguousarray(np.moveaxis(blurred.reshape(out.shape), 0, -1), np.float32)
    return out
