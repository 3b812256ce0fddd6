"""Tell hats from hair by their colours where the reader mixes them up: dark hair in the shade, a cap's pale crown."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.discriminant import discriminate
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.portrait_labels import SKIN_LABELS, Label

FEWEST = 150  # pixels from which colours can be compared
DARKEST = 0.02  # added to light before its logarithm is taken
ALIKE, APART = 1.0, 1.5  # standard deviations up to which two colours are one thing's, and from which they are not
LEAST_ON_TOP = 0.3  # share of a hat that lies above the middle of the face
ABSENT = 0.2  # probability of no hat from which one is doubtful
INNER = 0.012  # picture sides within the edge of what is called a hat from which it is one
BESIDE = (0.006, 0.035)  # picture sides from the skin between which hair is hair
ROUNDS = 4  # in which both parts' colours are told anew


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
        photo = replace(photo, labels=np.where(above, np.uint8(Label.HAT), photo.labels))
    return part_hat_from_hair(photo)


def part_hat_from_hair(photo: Photo) -> Photo:
    """Return the photo with labels of hat and hair that end where their colours do, if these are clearly apart.

    What tells both colours is the inside of what is called a hat, and the hair that lies beside the skin.
    """
    hat, hair, skin = photo.shows(Label.HAT), photo.shows(*HAIR), photo.shows(*SKIN_LABELS)
    within, beside = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) / photo.size for m in (hat, ~skin))
    sure_hat, sure_hair = within > INNER, hair & (beside > BESIDE[0]) & (beside < BESIDE[1])
    light = np.log(photo.radiance + DARKEST)
    if not APART < compare_colours(light, sure_hat, sure_hair) < np.inf:
        return photo
    picture = np.clip(255 - 255 * light / np.log(DARKEST), 0, 255).astype(np.uint8)
    picture[~(hat | hair)] = np.median(picture[sure_hair], 0)  # what is neither tells nothing
    kinds = np.where(hat, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    kinds[sure_hat], kinds[sure_hair | ~(hat | hair)] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)  # the same photo, the same labels
    cv2.grabCut(picture, kinds, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    is_hat = np.isin(kinds, (cv2.GC_FGD, cv2.GC_PR_FGD))
    parted = np.where(is_hat, np.uint8(Label.HAT), np.uint8(Label.HAIR))
    return replace(photo, labels=np.where(hat | hair, parted, photo.labels))


def compare_colours(light: Floats, first: Bools, second: Bools) -> float:
    """Return how far apart the colours of two parts of a picture are, in standard deviations; infinite if unknown."""
    if min(first.sum(), second.sum()) < FEWEST:
        return np.inf
    apart, weights = discriminate(light[first], light[second])
    return float(np.sqrt(apart @ weights))
