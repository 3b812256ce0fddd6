"""Hair before the far cheek of a turned face, which readers take for skin: its strands would be painted on it.

What the photo shows clearly on the near side is better for both than what it shows there aslant, beside hair.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.geometry.cameras import azimuth_between
from portrait360.pipeline.avatar.photo.pixels import CLEARLY, EYES, HAIR, Photo, compare_colours
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import Label

TURNED = 12.0  # degrees from which the near side shows more
NEAR = 0.04  # picture sides beside hair in which it may lie
SPREAD = 0.004  # picture sides around it that are stained
UP = np.array([0.0, 0.2, 0.0])  # canonical


def find_stray_hair(photo: Photo) -> Bools:
    """Return the pixels of the far side of a turned face that clearly have the colours of the hair beside them."""
    azimuth, nowhere = azimuth_between(0, photo.camera.azimuth), np.zeros(photo.labels.shape, bool)
    if photo.painted or abs(azimuth) < TURNED:
        return nowhere
    hair = photo.shows(*HAIR)
    away = cv2.distanceTransform((~hair).astype(np.uint8), cv2.DIST_L2, 5) / photo.size
    evidence = compare_colours(photo.labels, photo.rgb.astype(np.float32), (Label.FACE, Label.HAIR), away > NEAR)
    if evidence is None:
        return nowhere
    found = photo.shows(Label.FACE) & (away < NEAR) & (evidence > CLEARLY) & find_far_side(photo, azimuth)
    _, parts = cv2.connectedComponents((found | hair).astype(np.uint8))
    found &= np.isin(parts, np.unique(parts[hair]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(SPREAD * photo.size) + 1,) * 2)
    return (cv2.dilate(found.astype(np.uint8), disc) > 0) & photo.shows(Label.FACE)


def find_far_side(photo: Photo, azimuth: float) -> Bools:
    """Return the pixels beyond the middle line of a face that is seen from an azimuth (s, s)."""
    (x0, y0), (x1, y1) = photo.camera.project(np.array([EYES, np.add(EYES, UP)]))[0] * photo.size
    y, x = np.indices(photo.labels.shape) + 0.5
    side = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)
    left = photo.camera.project(np.array([np.add(EYES, [0.1, 0, 0])]))[0][0] * photo.size
    return np.asarray(side * ((left[0] - x0) * (y1 - y0) - (left[1] - y0) * (x1 - x0)) * -azimuth > 0)
