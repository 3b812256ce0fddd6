"""Open eyes and an open mouth of a photo, whose edges landmarks know better than readers do.

Readers take teeth for lips, and lids for eyes, of which half is then skin. Teeth would whiten the lips around them,
lids redden the white of eyes, and nothing would say how much light both have.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.lip_edges import LOWER, PARTED, UPPER
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.portrait_labels import Label

EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
"""Landmarks around each eye."""
MOUTH = (*UPPER, *LOWER[::-1])
FINER = 4  # parts of a pixel in which outlines are drawn: a power of two
AROUND = (Label.LIPS, Label.MOUTH, Label.FACE, Label.BEARD)  # what an open mouth is taken for


def mark_openings(photo: Photo, landmarks: Floats | None) -> Photo:
    """Return the photo with what its `landmarks` (n, 2), in crop sides, show between lids and parted lips.

    Between lids there is an eye only where one was read: glasses and hair may lie before it.
    """
    if landmarks is None or photo.painted:
        return photo
    right, left = (find_opening(landmarks[list(edge)], photo.size) for edge in EYES)
    labels = np.where(photo.shows(Label.EYE) & ~(right | left), np.uint8(Label.FACE), photo.labels)
    if measure_parting(landmarks) >= PARTED[0]:
        inside = find_opening(landmarks[list(MOUTH)], photo.size) & photo.shows(*AROUND)
        labels = np.where(inside, np.uint8(Label.MOUTH), labels)
    return replace(photo, labels=labels)


def measure_parting(landmarks: Floats) -> float:
    """Return how far lips are parted in their middle, in widths of the mouth."""
    middle = slice(3, -3)
    gap = np.linalg.norm(landmarks[list(UPPER)][middle] - landmarks[list(LOWER)][middle], axis=1).mean()
    return float(gap / np.linalg.norm(landmarks[UPPER[0]] - landmarks[UPPER[-1]]))


def find_opening(edge: Floats, size: int) -> Bools:
    """Return the pixels (size, size) within an edge (k, 2), crop sides."""
    out = np.zeros((size, size), np.uint8)
    places = np.round((edge[:, :2] * size - 0.5) * FINER).astype(np.int32)
    cv2.fillPoly(out, [places], 1, shift=FINER.bit_length() - 1)
    return out > 0
