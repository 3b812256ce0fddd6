"""Where hair of a photo has taken the background's hue: between locks the background shines through them.

A matte is solid there, and the colour not yet the background's. A pixel is what some light makes of the hair, and a
share of the background. Hair far within the matte tells how much of it the hair itself seems to have.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep

EDGE = 0.06  # crop sides from the background within which it may shine through
USUAL = 0.95  # quantile of the share of background that hair seems to have where none is seen
STAIN = (0.08, 0.25)  # share of it beyond that from which a pixel is stained
HUES = (0.3, 0.45)  # sine between both colours from which they are told apart in any light
GLOSS = (1.05, 1.3)  # light of both together: more than they have is gloss
FEWEST = 200  # pixels of hair far within


def find_wall_hue(rgb: F32, alpha: F32, hair: Bools, front: Floats, back: Floats) -> F32:
    """Return how far pixels of hair have the background's hue, 0..1 (s, s).

    Args:
        rgb: The picture (s, s, 3), sRGB.
        alpha: Its matte.
        hair: Where it shows hair.
        front: The hair's colour around every pixel (s, s, 3).
        back: The background's.
    """
    away = cv2.distanceTransform((alpha >= 0.1).astype(np.uint8), cv2.DIST_L2, 3) / len(alpha)
    deep = hair & (alpha > 0.9) & (np.asarray(away) >= EDGE)
    if deep.sum() < FEWEST:
        return np.zeros(alpha.shape, np.float32)
    shine, share, sine = _split(rgb, front, back)
    usual = max(float(np.quantile(share[deep], USUAL)), 0.0)
    stain = smoothstep(usual + STAIN[0], usual + STAIN[1], share) * smoothstep(*HUES, sine)
    stain = stain * (1 - smoothstep(*GLOSS, shine + share))
    return np.where(hair & (np.asarray(away) < EDGE), stain, 0).astype(np.float32)


def _split(rgb: F32, front: Floats, back: Floats) -> tuple[Floats, Floats, Floats]:
    """Return how much of two colours explains each pixel best (s, s), and the sine of the angle between them."""
    own, both, other = (np.einsum("yxc,yxc->yx", a, b) for a, b in ((front, front), (front, back), (back, back)))
    in_front, behind = (np.einsum("yxc,yxc->yx", rgb, a) for a in (front, back))
    square = np.maximum(own * other - both**2, 0)
    scale = np.maximum(square, 1e-5)
    shine, share = (in_front * other - behind * both) / scale, (behind * own - in_front * both) / scale
    return shine, share, np.sqrt(square / np.maximum(own * other, 1e-6))
