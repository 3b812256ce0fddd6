"""The shade of lids and lashes on eyeballs, without which a look is a stare."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

WIDE, BELOW = 0.0045, 0.0035  # canonical width of the shade, and by how much it reaches further below the upper lid
OPEN = (0.5, 1.0)  # share of eye around a pixel over which it lies free
DARK = (0.015, 0.08)  # radiance of pupils and lashes, which lie before the shade
DEEP = np.array([0.5, 0.56, 0.6], np.float32)  # of the light; what is left of it has passed through lids


def shade_eyes(film: Film, pixel: float) -> F32:
    """Return by what to multiply the radiance of a film (s, s, 3); `pixel` is the canonical size of one."""
    out, eyes = np.ones_like(film.radiance), film.labels == Label.EYE
    if not eyes.any():
        return out
    edge = int(np.ceil((3 * WIDE + BELOW) / pixel)) + 1
    rows, columns = (np.flatnonzero(eyes.any(axis)) for axis in (1, 0))
    top, left = max(rows[0] - edge, 0), max(columns[0] - edge, 0)
    box = slice(top, rows[-1] + edge), slice(left, columns[-1] + edge)
    mask = eyes[box].astype(np.float32)
    around = cv2.GaussianBlur(mask, (0, 0), max(WIDE / pixel, 0.5))
    down = np.array([[1, 0, 0], [0, 1, BELOW / pixel]])
    above = np.asarray(cv2.warpAffine(around, down, mask.shape[::-1], borderMode=cv2.BORDER_REPLICATE), np.float32)
    closed = mask * (1 - smoothstep(*OPEN, above)) * smoothstep(*DARK, film.radiance[box].mean(-1))
    out[box] = 1 - closed[..., None] * DEEP
    return out
