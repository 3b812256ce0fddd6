"""Tell a bald head by what the reader says of all of it: the gloss on a scalp looks like grey hair from near.

Few bald heads are shaven. Where hair is seen at both sides of one, it grows around the back, too: a horseshoe.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry.cameras import pixel_centres
from portrait360.pipeline.avatar.hair.outline import make_frame
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.array_types import Bools
from portrait360.utils.portrait_labels import Label

BALD_STYLES, SHAVEN = ("bald", "stubbled"), "bald"
SURELY_BALD, PATCHES = 0.6, 0.1  # probability of these styles, and share of the head that hair then has at most
LIKELY_BALD, BRIGHTER, GLOSS = 0.5, 0.5, 0.15  # probability of its family, logarithm of the light of its "hair" over
# the face's, and share of the head: no hair of a head that is probably bald is so much brighter than its skin
DIM = 0.01  # radiance below which things are black
HEAD = (*HAIR, Label.FACE, Label.EAR, Label.BROW, Label.EYE, Label.LIPS, Label.BEARD)  # a hat may hide any hair
RING_STYLE, RING_LENGTH = "tonsure", 0.6  # of a horseshoe, and factor on its length
ASIDE, HEIGHTS, RIM = 0.09, (-0.03, 0.17), 0.04  # canonical, in the picture: where hair at the outline tells of one
HIGHEST = 0.11  # canonical; higher up it's the far side of the head that is seen over the skin
LEAST_RING = 4e-4  # canonical area of it on either side


def share_of_hair(photo: Photo) -> float:
    """Return the share of hair among the pixels of the head."""
    return float(photo.shows(*HAIR).sum() / max(photo.shows(*HEAD).sum(), 1))


def uncover_scalp(photo: Photo, reading: Reading) -> Photo:
    """Call patches of hair on a head that is surely bald skin, unless they are a horseshoe."""
    if shines(photo, reading):
        return replace(photo, labels=np.where(photo.shows(*HAIR), np.uint8(Label.FACE), photo.labels))
    if not _is_bald(reading) or share_of_hair(photo) > PATCHES:
        return photo
    skin = photo.shows(*HAIR) & ~_find_ring(photo, reading)
    return replace(photo, labels=np.where(skin, np.uint8(Label.FACE), photo.labels))


def shines(photo: Photo, reading: Reading) -> bool:
    """Return whether what looks like hair on a head that is probably bald is the light of a lamp or the sky on it."""
    hair, face = photo.shows(*HAIR), photo.shows(Label.FACE)
    likely = reading.answers.get("family", {}).get("bald", 0.0) >= LIKELY_BALD
    if not likely or not hair.any() or not face.any() or share_of_hair(photo) > GLOSS:
        return False
    light = np.log(photo.radiance.mean(-1) + DIM)
    return float(np.median(light[hair]) - np.median(light[face])) > BRIGHTER


def has_ring(photo: Photo, reading: Reading) -> bool:
    """Return whether hair of which scalps have been uncovered is a horseshoe."""
    return _is_bald(reading) and 0 < share_of_hair(photo) <= PATCHES


def _is_bald(reading: Reading) -> bool:
    return sum(reading.answers.get("style", {}).get(style, 0.0) for style in BALD_STYLES) >= SURELY_BALD


def _find_ring(photo: Photo, reading: Reading) -> Bools:
    """Return where hair is seen at the outline of both sides of the head; nowhere if it is surely shaven."""
    hair, frame = photo.shows(*HAIR), make_frame(photo.camera)
    if reading.answers["style"].get(SHAVEN, 0.0) >= SURELY_BALD:
        return np.zeros_like(hair)
    pixels = pixel_centres(photo.size, photo.size) - frame.centre
    right, up = np.moveaxis(pixels @ np.linalg.inv(frame.plane), -1, 0)
    scale = float(np.linalg.norm(frame.plane[0])) * photo.size  # pixels per canonical unit
    side = 2 * round(RIM * scale) + 1
    edge = cv2.dilate(photo.shows(Label.BACKGROUND).astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    ring = hair & edge & (up > HEIGHTS[0]) & (up < HEIGHTS[1]) & (np.abs(right) > ASIDE)
    sides = [(ring & (right * sign > 0)).sum() / scale**2 for sign in (-1, 1)]
    return ring & (up < HIGHEST) if min(sides) > LEAST_RING else np.zeros_like(hair)
