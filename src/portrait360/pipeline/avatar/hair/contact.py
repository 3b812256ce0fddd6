"""The shade in which hair lies beside the face: a photo shows it, and it is no colour of the hair.

Hair next to a forehead, a cheek or a neck lies under other hair, and a fringe hangs before its own shade. Taken for
its colour, that would be a dark band along the hairline, and dark tips of the fringe, from every other side.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.exposure import blur
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

BARE = (Label.FACE, Label.EAR, Label.SKIN)
REACH, BEYOND = 0.06, 0.13  # picture sides from skin within which hair is shaded, and up to which it tells how far
DEEP = 0.04  # picture sides from skin up to which the shade is taken off in full
SPREAD = (0.012, 0.04)  # picture sides over which hair in the shade, and beyond it, is averaged
SHARE, MOST = 0.8, 2.0  # share of the shade taken off, and the deepest, logarithm
SURE = (0.02, 0.1)  # share of hair beyond the shade from which it tells, and tells surely
COARSE = 4  # pixels along a side of those in which shade is measured


def lift_contact_shade(ratio: F32, photo: Photo, inside: F32) -> F32:
    """Return ratios of photo and render, logarithms (s, s, 3), without the shade beside bare skin."""
    bare = photo.shows(*BARE)
    if not bare.any():
        return ratio
    away = np.asarray(cv2.distanceTransform((~bare).astype(np.uint8), cv2.DIST_L2, 3)) / photo.size
    small = tuple(max(n // COARSE, 1) for n in inside.shape[::-1])
    light, weight, far = (
        np.asarray(cv2.resize(np.asarray(picture, np.float32), small, interpolation=cv2.INTER_AREA), np.float32)
        for picture in (ratio.mean(-1) * inside, inside, away)
    )
    light = np.asarray(light / np.maximum(weight, 1e-3), np.float32)
    lack = _measure_lack(light, weight, far)
    lack = np.asarray(cv2.resize(lack, inside.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(ratio + (SHARE * lack * smoothstep(REACH, DEEP, away))[..., None], np.float32)


def _measure_lack(light: F32, weight: F32, away: Floats) -> F32:
    """Return by how much hair near the skin is darker than that beyond, which is near enough to tell."""
    beyond = weight * ((away > REACH) & (away < BEYOND))
    shade, usual = (sigma * len(light) for sigma in SPREAD)
    known = np.asarray(cv2.GaussianBlur(np.asarray(beyond, np.float32), (0, 0), usual), np.float32)
    lack = blur(light, beyond, usual) - blur(light, weight, shade)
    return np.asarray(np.clip(lack, 0, MOST) * smoothstep(*SURE, known), np.float32)
