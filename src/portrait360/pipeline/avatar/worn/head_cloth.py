"""Cloth wound round the head, which the reader takes for hair: what the picture itself says against that.

Only what no hair can be is taken for cloth: two large materials of opposite hues, of which one has a hue that hair
does not grow in, while nothing of that light falls on the skin, and no strands run through it as through dyed hair.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.utils.array_types import F32, Bools, Bytes, Floats
from portrait360.utils.portrait_labels import FACE_LABELS, Label

COOL, WARM = (115.0, 330.0), (20.0, 110.0)  # degrees of hue, CIELAB: of no hair's, and of straw and leather
COLOURED, LIGHT = 10.0, 18.0  # chroma and lightness from which a pixel has a hue
LARGE = 0.2  # share of the hair from which a hue is one of two materials
TINTED = 0.02  # share of the face from which the light has that hue
STRANDS = 0.6  # coherence from which strands run through a material
FINE, COARSE, WINDOW = 0.7, 3.0, 4.0  # pixels of 512: detail from and up to, and around which its direction is found
DRAWN = 0.7  # probability of a drawing, whose hair has any hue and no strands


class TwoColours(NamedTuple):
    """Radiance of both materials of a head cloth."""

    main: F32  # (3,) of the one at the face
    second: F32  # (3,)


def uncover_head_cloth(labels: Bytes, rgb: F32, drawn: float) -> Bytes:
    """Call hair a hat where it is surely cloth; `drawn` is the probability that the picture is a drawing."""
    hair, face = labels == Label.HAIR, np.isin(labels, FACE_LABELS)
    if drawn > DRAWN or not hair.any() or not face.any():
        return labels
    cool, warm = find_hues(rgb)
    large = min((hair & cool).sum(), (hair & warm).sum()) > LARGE * hair.sum()
    if not large or (face & cool).sum() > TINTED * face.sum():
        return labels
    if np.median(measure_coherence(rgb)[hair & cool]) > STRANDS:
        return labels
    return np.where(hair, np.uint8(Label.HAT), labels)


def find_two_colours(rgb: F32, radiance: F32, labels: Bytes) -> TwoColours | None:
    """Return the colours of a head cloth of two materials; None for a hat of one."""
    worn, face = labels == Label.HAT, np.isin(labels, FACE_LABELS)
    masks = [worn & mask for mask in find_hues(rgb)]
    if not face.any() or min(mask.sum() for mask in masks) < LARGE * max(worn.sum(), 1):
        return None
    away = cv2.distanceTransform((~face).astype(np.uint8), cv2.DIST_L2, 3)
    main, second = sorted(masks, key=lambda mask: float(np.median(away[mask])))
    return TwoColours(*(np.median(radiance[mask], 0) for mask in (main, second)))


def find_hues(rgb: F32) -> tuple[Bools, Bools]:
    """Return where a picture has a hue that is no hair's, and where it has a warm one (s, s)."""
    soft = cv2.GaussianBlur(rgb, (0, 0), len(rgb) / 350)
    light, a, b = np.moveaxis(cv2.cvtColor(soft, cv2.COLOR_RGB2LAB), -1, 0)
    coloured, hue = (np.hypot(a, b) > COLOURED) & (light > LIGHT), np.degrees(np.arctan2(b, a)) % 360
    cool, warm = (coloured & (hue > low) & (hue < high) for low, high in (COOL, WARM))
    return cool, warm


def measure_coherence(rgb: Floats) -> F32:
    """Return how far fine detail runs one way (s, s): 0 in cloth and curls, 1 along strands."""
    unit, light = len(rgb) / 512, np.log(rgb.mean(-1) + 0.05).astype(np.float32)
    detail = cv2.GaussianBlur(light, (0, 0), FINE * unit) - cv2.GaussianBlur(light, (0, 0), COARSE * unit)
    x, y = cv2.Sobel(detail, -1, 1, 0), cv2.Sobel(detail, -1, 0, 1)
    xx, xy, yy = (cv2.GaussianBlur(v, (0, 0), WINDOW * unit) for v in (x * x, x * y, y * y))
    return np.asarray(np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1e-6), np.float32)
