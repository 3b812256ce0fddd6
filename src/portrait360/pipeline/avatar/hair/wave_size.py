"""Measure how long and how high the waves of a photo's hair are: how its direction turns to and fro along it.

A wave turns hair to one side, and half a wave further along to the other: there the product of both deviations from
the broad direction of the hair is least. Straight hair, however unevenly it lies, has no such place.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.pipeline.avatar.hair.bends import comb
from portrait360.pipeline.avatar.photo.exposure import shrink
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.utils.array_types import F64, Bools

FINE, LOCK, BROAD = 0.003, 0.008, 0.06  # canonical: blurs of the picture, of the direction of locks, and of hair
FEWEST, PURE, DARKEST = 400, 0.8, 0.01  # pixels of hair, their purity, and light added before its logarithm is taken
STEP, STEPS = 0.01, 16  # canonical, along the hair
HALF, LEAST_TURN = (5, 13), -0.09  # steps in half a wave; share of the spread to which the product must fall
CLEAR = 2  # steps over which what pixels differ by alone is forgotten
STRAIGHT = 0.15  # radians by which straight hair deviates
TOP = 1.5  # height of waves where they are highest, against all hair


class Waves(NamedTuple):
    """Waves of hair, canonical."""

    length: float
    height: float


def measure_waves(photo: Photo) -> Waves | None:
    """Return the waves of a photo's hair; None where it is straight, or tells nothing."""
    hair = shrink(photo.shows(*HAIR) & (photo.pure > PURE), 3)
    if photo.painted or hair.sum() < FEWEST:
        return None
    pixels = photo.camera.focal / photo.camera.radius * photo.size
    turns = correlate(photo, hair, pixels, (FINE, LOCK, BROAD), STEP)
    inner = turns[1:-1]
    is_least = (inner < LEAST_TURN * turns[0]) & (inner <= turns[:-2]) & (inner <= turns[2:])
    halves = 1 + np.flatnonzero(is_least)
    if len(halves) == 0 or not HALF[0] <= halves[0] <= HALF[1]:
        return None
    length = 2 * STEP * float(halves[0])
    power = turns[CLEAR] / np.cos(2 * np.pi * CLEAR * STEP / length) - STRAIGHT**2
    power /= (1 - np.exp(-2 * (np.pi * BROAD / length) ** 2)) ** 2  # what the broad direction takes part in
    return Waves(length, float(TOP * np.sqrt(2 * power) * length / (2 * np.pi))) if power > 0 else None


def correlate(photo: Photo, hair: Bools, pixels: float, blurs: tuple[float, float, float], step: float) -> F64:
    """Return the mean product of the deviations (radians) of hair from its broad direction, so many steps apart.

    `blurs` are those of the picture, of the direction of locks, and of hair; like a `step` along it, canonical.
    """
    fine, lock, wide = (blur * pixels for blur in blurs)
    light = np.log(np.maximum(photo.radiance, 0).mean(-1) + DARKEST).astype(np.float32)
    locks, total = comb(cv2.GaussianBlur(light, (0, 0), fine), hair, lock)
    broad = cv2.GaussianBlur(locks / (total + 1e-4)[..., None], (0, 0), wide)
    turn, course = (np.arctan2(each[..., 1], each[..., 0]) for each in (locks, broad))
    aside = ((turn - course + np.pi) % (2 * np.pi) - np.pi) / 2
    weight = np.where(hair, np.hypot(locks[..., 0], locks[..., 1]) / (total + 1e-6), 0.0)
    y, x = np.nonzero(hair)
    heading = course[y, x] / 2 + np.pi / 2
    out = np.zeros(STEPS)
    for row in range(STEPS):
        far = row * step * pixels
        ahead = np.round([y + far * np.sin(heading), x + far * np.cos(heading)]).astype(int)
        i, j = np.clip(ahead, 0, photo.size - 1)
        shared = weight[y, x] * weight[i, j] * (ahead == (i, j)).all(0)
        out[row] = (shared * aside[y, x] * aside[i, j]).sum() / max(float(shared.sum()), 1e-9)
    return out
