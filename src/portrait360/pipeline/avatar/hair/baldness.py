"""Tell a bald head by what the reader says of all of it: the gloss on a scalp looks like grey hair from near."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.portrait_labels import Label

BALD_STYLES = ("bald", "stubbled")
SURELY_BALD, PATCHES = 0.6, 0.1  # probability of these styles, and share of the head that hair then has at most
HEAD = (*HAIR, Label.FACE, Label.EAR, Label.BROW, Label.EYE, Label.LIPS, Label.BEARD)  # a hat may hide any hair


def share_of_hair(photo: Photo) -> float:
    """Return the share of hair among the pixels of the head."""
    return float(photo.shows(*HAIR).sum() / max(photo.shows(*HEAD).sum(), 1))


def uncover_scalp(photo: Photo, reading: Reading) -> Photo:
    """Call patches of hair on a head that is surely bald skin."""
    odds = sum(reading.answers.get("style", {}).get(style, 0.0) for style in BALD_STYLES)
    if odds < SURELY_BALD or share_of_hair(photo) > PATCHES:
        return photo
    return replace(photo, labels=np.where(photo.shows(*HAIR), np.uint8(Label.FACE), photo.labels))
