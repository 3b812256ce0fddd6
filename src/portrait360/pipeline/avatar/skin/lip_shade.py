"""The light that lips let through, without which the far corner of an open mouth is a dark gap."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label, find_labels

DARKEST = 0.62  # of lips in the shade of lips, of the light of most of them
LINING = 0.1  # the same of what lies between lips: the inside of a cheek is dark, but not black
MOST = 4.0  # largest gain
WIDE = 0.0025  # canonical width over which the light ends beside lips: their edge is none of teeth's
AROUND = (Label.LIPS, Label.MOUTH, Label.FACE)
FEW = 20  # pixels that say too little
DIM = 1e-3


def lighten_lips(film: Film, pixel: float) -> F32:
    """Return by what to multiply the radiance of a film (s, s, 3); `pixel` is the canonical size of one."""
    out, lips = np.ones_like(film.radiance), (film.labels == Label.LIPS) & (film.alpha > 0)
    if lips.sum() < FEW:
        return out
    edge = int(np.ceil(3 * WIDE / pixel)) + 1
    rows, columns = (np.flatnonzero(lips.any(axis)) for axis in (1, 0))
    box = (
        slice(max(rows[0] - edge, 0), rows[-1] + edge),
        slice(max(columns[0] - edge, 0), columns[-1] + edge),
    )
    light = np.maximum(film.radiance[box].mean(-1), 0) + DIM
    usual = float(np.median(light[lips[box]]))
    near = cv2.GaussianBlur(lips[box].astype(np.float32), (0, 0), max(WIDE / pixel, 0.5))
    near = np.minimum(2 * near, 1) * find_labels(film.labels[box], AROUND)
    inside = np.clip(LINING * usual / light, 1, MOST) ** (film.labels[box] == Label.MOUTH)
    out[box] = np.maximum(1 + near * (np.clip(DARKEST * usual / light, 1, MOST) - 1), inside)[..., None]
    return out
