"""Patches of light and shade with edges, which lie on skin as sharply as wrinkles do, but are wider.

A broad blur takes off light that changes slowly. At the edge of a shadow, or of what is over-exposed, it leaves a
bright and a dark stripe. A median has the edges of patches as well, but nothing that is narrow: what is left of it
beside the blur is light, unless it is so weak that it may be a blush.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.exposure import blur
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep

NARROW = 0.010  # picture sides: half the width of what may be a wrinkle, a freckle or a nostril
STEP = 0.0125  # of the logarithms of which medians are taken
DISTINCT, TINGED = 0.15, 0.08  # differences that are skin's own: of brightness, and of one colour against the others
ACROSS = 0.012  # picture sides from which the light on features is taken
COLOURFUL = 0.12  # the latter of what is narrow, such as freckles
STRONG, BESIDE = (0.22, 0.4), 0.02  # difference from which a patch is light or shade, and picture sides to its edges
SHADED = (0.5, 1.0)  # logarithm by which skin in the shade is darker than usual
FAINT = 0.005  # picture sides: half the width of spots
SPOT = 0.06  # of those, what is the skin's own beside light and shade
GRAINY = 0.5  # share of what is narrow in the shade that is the camera's noise, or a canvas's, lit up


def keep_own(over: F32, shade: F32, kept: Floats | float = 1.0) -> F32:
    """Return as much of differences (s, s, 3) to the skin around as may be the skin's own, and not light.

    `over` are logarithms, `shade` (s, s) is 1 for skin in the shade, and `kept` is how much of weak patches stays.
    The edge of a shadow is more colourful than either side, so that hues are held back of what is narrow, too; beside
    what is surely light or shade, and in that, only lines are sure to be the skin's, and half of them grain.
    """
    patches = find_patches(over)
    light, hue = _split(over - patches)
    broad_light, broad_hue = _split(patches)
    sure = 1 - np.maximum(find_edges(broad_light[..., 0]), shade)[..., None]
    own = _limit(broad_light, DISTINCT) + _limit(broad_hue, TINGED)
    spots = find_patches(light, FAINT)
    light = light - (1 - sure) * (spots - _limit(spots, SPOT))
    light = light * (1 - GRAINY * shade[..., None])
    return np.asarray(light + sure * (_limit(hue, COLOURFUL) + kept * own), np.float32)


def find_edges(light: F32) -> F32:
    """Return 1 at patches that are too strong for skin, and beside them (s, s): the edges of shadows and of glare."""
    size = len(light)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(BESIDE * size) + 1,) * 2)
    strong = np.asarray(smoothstep(*STRONG, np.abs(light)), np.float32)
    return np.asarray(cv2.GaussianBlur(cv2.dilate(strong, disc), (0, 0), 0.5 * BESIDE * size), np.float32)


def find_shade(light: F32, inside: Floats) -> F32:
    """Return 1 where broad light (s, s), logarithms, is much less than is usual `inside`, 0 in the light."""
    sure = inside > 0.5
    usual = float(np.median(light[sure])) if sure.any() else 0.0
    return np.asarray(smoothstep(*SHADED, usual - light), np.float32)


def find_patches(over: F32, narrow: float = NARROW) -> F32:
    """Return differences (s, s, c) without what is narrow: of patches and their edges, not of wrinkles."""
    width = 2 * round(narrow * len(over)) + 1
    steps = np.clip(np.round(over / STEP) + 128, 0, 255).astype(np.uint8)
    median = (cv2.medianBlur(steps, width).astype(np.float32) - 128) * STEP
    return np.asarray(cv2.GaussianBlur(median, (0, 0), 0.25 * narrow * len(over)), np.float32).reshape(over.shape)


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
