"""Find headbands and the like, which readers take for hair: broad, and much brighter than the hair about them.

As hair, a white band would make grey what it lies on, and all that the photo does not show.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import F32, Bools

BRIGHTER, BRIGHT = 4.0, 0.2  # times the hair's radiance, and least radiance
WIDTH = 0.014  # picture sides: locks in the light are narrower
SHARE, LIGHT = 0.12, 0.5  # of the hair, and mean radiance, from which it is no gloss
FEWEST = 300  # pixels of hair
GROWN = 0.006  # picture sides by which its blurred edge reaches further


def find_band(radiance: F32, hair: Bools) -> Bools:
    """Return which pixels (s, s) of `hair` show a band that lies on it."""
    inside = cv2.erode(hair.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inside.sum() < FEWEST:
        return np.zeros_like(hair)
    light = radiance.mean(-1)
    bright = inside & (light > max(BRIGHT, BRIGHTER * float(np.median(light[inside]))))
    width = max(3, round(WIDTH * len(hair)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_OPEN, disc)
    )
    areas = np.asarray(stats)[:, cv2.CC_STAT_AREA] * (np.arange(len(stats)) > 0)
    band = (np.asarray(parts) == areas.argmax()) & (areas.max() > 0)
    if band.sum() < SHARE * hair.sum() or light[band].mean() < LIGHT:
        return np.zeros_like(hair)
    reach = 2 * round(GROWN * len(hair)) + 1
    return hair & (cv2.dilate(band.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0)
