"""Measure how long and how wide the curls of a photo's hair are: how far and how fast its direction turns.

Along straight hair the direction stays; along a curl it swings to and fro, the faster the smaller the curl. A sine of
amplitude A and length p has a mean slope of 4 A / p, so that its length follows from both.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.pipeline.avatar.hair.bends import comb
from portrait360.pipeline.avatar.hair.texture import find_odds_of_curls
from portrait360.pipeline.avatar.hair.wave_size import correlate
from portrait360.pipeline.avatar.photo.exposure import shrink
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.array_types import F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep

FINE, LOCK, BROAD = 0.002, 0.004, 0.04  # canonical: blurs of the picture, of the direction of locks, and of hair
FEWEST, PURE, DARKEST = 400, 0.8, 0.01  # pixels of hair, their purity, and light added before its logarithm is taken
STEP, FAR = 0.006, 4  # canonical, along the hair; steps after which curls have left their direction, waves have not
STILL, SWING = 12.0, 0.2  # radians per canonical unit, and radians, by which straight hair seems to turn
ODDS, TURNING = (0.25, 0.45), (23.0, 29.0)  # the reader's odds of curls; radians per canonical unit by which hair
# without curls turns, and curls do
WAVY = (0.19, 0.14)  # share of its swing that is left after FAR steps: of waves, and of curls
LEAST = 0.1  # strength from which hair is curled at all
LENGTHS = (0.03, 0.09)  # canonical, of a turn
COILY, TIGHT = (0.6, 0.9), 0.5  # the reader's coils, by which curls are up to so much smaller than they seem
SEEN, MOST_SWING = 0.55, 0.95  # share of the swing of curls that is seen; radians


class CurlSize(NamedTuple):
    """Curls of hair, canonical."""

    length: float  # of a turn
    radius: float
    strength: float  # 0..1: how sure it is that hair is curly


def measure_curls(photo: Photo, reading: Reading) -> CurlSize | None:
    """Return the curls of a photo's hair; None where it has none, or tells nothing.

    Short hair that is combed several ways turns as fast as curls: the reader must see some, too.
    """
    hair, odds = shrink(photo.shows(*HAIR) & (photo.pure > PURE), 3), find_odds_of_curls(reading)
    if photo.painted or hair.sum() < FEWEST or odds <= ODDS[0]:
        return None
    pixels = photo.camera.focal / photo.camera.radius * photo.size
    swings = correlate(photo, hair, pixels, (FINE, LOCK, BROAD), STEP)
    slope = _measure_slope(photo, hair, pixels)
    left = float(swings[FAR] / max(swings[1], 1e-6))
    sure = [(ODDS, odds), (TURNING, slope), (WAVY, left)]
    strength = float(np.prod([smoothstep(*limits, np.asarray(value)) for limits, value in sure]))
    if strength < LEAST:
        return None
    swing = np.sqrt(2 * max(swings[1] - SWING**2, 0.01))
    small = 1 - TIGHT * smoothstep(*COILY, np.asarray(reading.values["coily"].mean))
    length = float(np.clip(small * 4 * swing / np.sqrt(slope**2 - STILL**2), *LENGTHS))
    return CurlSize(length, length * float(np.tan(min(swing / SEEN, MOST_SWING))) / (2 * np.pi), strength)


def _measure_slope(photo: Photo, hair: Bools, pixels: float) -> float:
    """Return by how many radians the direction of hair turns per canonical unit along it."""
    light = np.log(np.maximum(photo.radiance, 0).mean(-1) + DARKEST).astype(np.float32)
    locks, total = comb(cv2.GaussianBlur(light, (0, 0), FINE * pixels), hair, LOCK * pixels)
    size = np.hypot(locks[..., 0], locks[..., 1])
    unit = locks / (size + 1e-9)[..., None]
    along = np.arctan2(unit[..., 1], unit[..., 0]) / 2 + np.pi / 2
    across, down = (_turn(np.roll(unit, 1, axis), np.roll(unit, -1, axis)) / 4 for axis in (1, 0))
    weight = np.where(shrink(hair, 3), size / (total + 1e-6), 0.0)
    turned = np.abs(np.cos(along) * across + np.sin(along) * down)
    return float((turned * weight).sum() / max(weight.sum(), 1e-9)) * pixels


def _turn(before: Floats, after: Floats) -> F64:
    """Return the angles from vectors (s, s, 2) to others."""
    sine = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    return np.asarray(np.arctan2(sine, (before * after).sum(-1)), np.float64)
