"""Patches of light and shade with edges, which lie on skin as sharply as wrinkles do, but are wider.

A broad blur takes off light that changes slowly. At the edge of a shadow, or of what is over-exposed, it leaves a
bright and a dark stripe. A median has the edges of patches as well, but nothing that is narrow: what is left of it
beside the blur is light, unless it is so weak that it may be a blush.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.exposure import blur
from portrait360.utils.array_types import F32, Bools, Floats

NARROW = 0.010  # picture sides: half the width of what may be a wrinkle, a freckle or a nostril
STEP = 0.0125  # of the logarithms of which medians are taken
DISTINCT, TINGED = 0.15, 0.08  # differences that are skin's own: of brightness, and of one colour against the others
ACROSS = 0.012  # picture sides from which the light on features is taken
COLOURFUL = 0.12  # the latter of what is narrow, such as freckles


def keep_own(over: F32, kept: Floats | float = 1.0) -> F32:
    """Return as much of differences (s, s, 3) to the skin around as may be the skin's own, and not light.

    `over` are logarithms, and `kept` is how much of weak patches stays. The edge of a shadow is more colourful than
    either side, so that hues are held back of what is narrow, too.
    """
    patches = find_patches(over)
    light, hue = _split(over - patches)
    broad_light, broad_hue = _split(patches)
    own = _limit(broad_light, DISTINCT) + _limit(broad_hue, TINGED)
    return np.asarray(light + _limit(hue, COLOURFUL) + kept * own, np.float32)


def find_patches(over: F32) -> F32:
    """Return differences (s, s, 3) without what is narrow: of patches and their edges, not of wrinkles."""
    width = 2 * round(NARROW * len(over)) + 1
    steps = np.clip(np.round(over / STEP) + 128, 0, 255).astype(np.uint8)
    median = (cv2.medianBlur(steps, width).astype(np.float32) - 128) * STEP
    return np.asarray(cv2.GaussianBlur(median, (0, 0), 0.25 * NARROW * len(over)), np.float32)


def carry_across(values: F32, things: Bools, width: float, known: Floats) -> F32:
    """Return values (s, s, 3) in which those of things, and `width` picture sides beside them, are their neighbours'.

    A shadow does not end at a brow, which is dark by itself. `known` (s, s) is 0 where there are no values.
    """
    size = len(values)
    disc = np.ones((2 * round(width * size) + 1,) * 2, np.uint8)
    near = cv2.dilate(things.astype(np.uint8), disc).astype(np.float32)
    share = cv2.GaussianBlur(near, (0, 0), width * size)[..., None]
    across = blur(values, np.asarray(known, np.float32) * (1 - near), ACROSS * size)
    return np.asarray(values + share * (across - values), np.float32)


def _split(differences: F32) -> tuple[F32, F32]:
    light = differences.mean(-1, keepdims=True)
    return light, differences - light


def _limit(differences: F32, most: float) -> F32:
    return np.asarray(most * np.tanh(differences / most), np.float32)
