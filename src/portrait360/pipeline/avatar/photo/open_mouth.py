"""The inside of an open mouth, which readers take for lips: what lies between the inner edges of the lips.

As lips, teeth would whiten the lips around them, and nothing would say how much light they have.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.lip_edges import LOWER, PARTED, UPPER
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.portrait_labels import Label

FINER = 4  # parts of a pixel in which outlines are drawn: a power of two
AROUND = (Label.LIPS, Label.MOUTH, Label.FACE, Label.BEARD)  # what an open mouth is taken for


def mark_mouth(photo: Photo, landmarks: Floats | None) -> Photo:
    """Return the photo with what its `landmarks` (n, 2), in crop sides, show between parted lips called mouth."""
    if landmarks is None or photo.painted or measure_opening(landmarks) < PARTED[0]:
        return photo
    inside = find_opening(landmarks, photo.size) & photo.shows(*AROUND)
    return replace(photo, labels=np.where(inside, np.uint8(Label.MOUTH), photo.labels))


def measure_opening(landmarks: Floats) -> float:
    """Return how far lips are parted in their middle, in widths of the mouth."""
    middle = slice(3, -3)
    gap = np.linalg.norm(landmarks[list(UPPER)][middle] - landmarks[list(LOWER)][middle], axis=1).mean()
    return float(gap / np.linalg.norm(landmarks[UPPER[0]] - landmarks[UPPER[-1]]))


def find_opening(landmarks: Floats, size: int) -> Bools:
    """Return the pixels (size, size) between the inner edges of the lips."""
    edge = landmarks[[*UPPER, *LOWER[::-1]], :2] * size - 0.5
    out = np.zeros((size, size), np.uint8)
    cv2.fillPoly(out, [np.round(edge * FINER).astype(np.int32)], 1, shift=FINER.bit_length() - 1)
    return out > 0
