"""Small operations on images: foreground colours, bilinear lookup, smooth steps."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import Floats


def foreground(rgb: Floats, alpha: Floats) -> Floats:
    """Spread the colours of the subject outwards over its soft edge and the background."""
    weight = np.clip((alpha - 0.9) / 0.1, 0, 1).astype(np.float32)
    weighted, opaque = rgb * weight[..., None], weight
    out, missing = weighted.copy(), 1 - opaque
    for sigma in (1.5, 4, 12, 40, 120):
        total = cv2.GaussianBlur(opaque, (0, 0), sigma)
        colour = cv2.GaussianBlur(weighted, (0, 0), sigma) / np.maximum(total, 1e-6)[..., None]
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
