"""Which pixels of a photo tell the colour of hair: those well within it, not stained by what lies about it.

Along its outline hair has a rim of the light behind it, and what a matte leaves of a bright wall or the sky. On short
hair that is much of what the photo shows, and would make a dark head grey from every other side.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.hair.stains import find_clear_hair
from portrait360.pipeline.avatar.photo.exposure import FEW
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.utils.array_types import F32, Bools
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

PURE = 0.9  # purity of pixels that count
DEEP, INNER = 0.02, 0.5  # picture sides from what lies behind from which hair is trusted; share of thin hair that
# does not lie deep enough
BARE = (Label.FACE, Label.EAR, Label.SKIN)
SHADED, BESIDE = 0.04, 0.4  # picture sides from skin up to which hair lies in its shade; share left out for that
RIM = 0.8  # of the former: up to there, hair knows less of its own colour the nearer it is to its outline


def find_trusted_hair(photo: Photo) -> Bools:
    """Return which pixels (s, s) show the colour of hair itself."""
    pure = _find_pure(photo)
    if not pure.any():
        return pure
    away = measure_depth(photo)
    deep = pure & (away >= min(DEEP, float(np.quantile(away[pure], INNER))))
    if deep.sum() < FEW:
        return pure
    bare = np.asarray(cv2.distanceTransform((~photo.shows(*BARE)).astype(np.uint8), cv2.DIST_L2, 3)) / photo.size
    free = deep & (bare >= min(SHADED, float(np.quantile(bare[deep], BESIDE))))
    return free if free.sum() >= FEW else deep


def trust_rim(photo: Photo) -> F32:
    """Return how far each pixel (s, s) of hair tells its colour, by how far it lies from the outline: 0 to 1."""
    shown = photo.shows(*HAIR)
    if not shown.any():
        return np.ones(shown.shape, np.float32)
    away = measure_depth(photo)
    return np.asarray(smoothstep(0.0, RIM * min(DEEP, float(np.quantile(away[shown], INNER))), away), np.float32)


def measure_depth(photo: Photo) -> F32:
    """Return how far each pixel (s, s) is from what is seen behind the head, picture sides."""
    inside = (photo.labels != Label.BACKGROUND).astype(np.uint8)
    away = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3), np.float32)
    return np.asarray(away / photo.size, np.float32)


def _find_pure(photo: Photo) -> Bools:
    shown = photo.shows(*HAIR)
    pure = shown & (np.minimum(np.minimum(photo.pure, photo.known), find_clear_hair(photo)) > PURE)
    return pure if pure.sum() >= FEW else shown
