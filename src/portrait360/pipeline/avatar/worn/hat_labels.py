"""Tell hats from hair by their colours where the reader mixes them up: dark hair in the shade, a cap's pale crown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.pipeline.avatar.photo.discriminant import discriminate
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.portrait_labels import Label

FEWEST = 150  # pixels from which colours can be compared
DARKEST = 0.02  # added to light before its logarithm is taken
ALIKE, APART = 1.0, 1.5  # standard deviations up to which two colours are one thing's, and from which they are not
LEAST_ON_TOP = 0.3  # share of a hat that lies above the middle of the face
ABSENT = 0.2  # probability of no hat from which one is doubtful


def settle_hat(photo: Photo, reading: Reading) -> Photo:
    """Return the photo with labels of hat and hair that agree with their colours.

    A hat that looks like the hair is hair, if the reader, too, says that most likely there is none. Hair on top of a
    sure hat that does not look like the hair below it is the hat's crown. What lies beside and below the face alone
    is clothes, if the reader, too, sees no hat.
    """
    hat, hair = photo.shows(Label.HAT), photo.shows(*HAIR)
    if hat.sum() < FEWEST:
        return photo
    light = np.log(photo.radiance + DARKEST)
    answer, _ = reading.best("hat")
    if answer == "none" and compare_colours(light, hat, hair) < ALIKE:
        return replace(photo, labels=np.where(hat, np.uint8(Label.HAIR), photo.labels))
    face = photo.shows(Label.FACE)
    middle = np.nonzero(face)[0].mean() if face.any() else len(hat)
    upper = hat & (np.arange(len(hat))[:, None] < middle)
    if answer == "none" and upper.sum() < LEAST_ON_TOP * hat.sum():
        lower = np.where(hat, np.uint8(Label.CLOTHES), photo.labels)
        return replace(photo, labels=np.where(upper, np.uint8(Label.HAIR), lower))
    above = hair & np.flip(np.maximum.accumulate(np.flip(hat, 0), 0), 0)
    doubtful = reading.answers["hat"].get("none", 0.0) > ABSENT
    if not doubtful and APART < compare_colours(light, above, hair & ~above) < np.inf:
        return replace(photo, labels=np.where(above, np.uint8(Label.HAT), photo.labels))
    return photo


def compare_colours(light: Floats, first: Bools, second: Bools) -> float:
    """Return how far apart the colours of two parts of a picture are, in standard deviations; infinite if unknown."""
    if min(first.sum(), second.sum()) < FEWEST:
        return np.inf
    apart, weights = discriminate(light[first], light[second])
    return float(np.sqrt(apart @ weights))
