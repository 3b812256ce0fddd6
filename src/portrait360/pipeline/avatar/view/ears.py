"""Ears that the photo saw from their edge: a little aside they are the layers', lest they be a patchwork."""

from __future__ import annotations

import numpy as np

from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.turned_face import ASLANT, widen
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep

SIDES = unit(np.array([[0.9, 0.0, 0.42], [-0.9, 0.0, 0.42]]))
"""Where the left and the right ear look."""
ASIDE = (8.0, 17.0)  # degrees from the photo's direction over which it fades on an ear that it saw aslant


def keep_ears(ears: Bools, photo: Photo, points: Floats, angle: Floats) -> F32:
    """Return how much of the photo is shown (s, s), less on `ears` that it saw aslant.

    Args:
        ears: Which pixels show ears.
        photo: The photo; a flat drawing has no other ears than its own.
        points: Where each pixel's surface is (s, s, 3).
        angle: Degrees between the rays of photo and view (s, s).
    """
    aslant = 1 - smoothstep(*ASLANT, SIDES @ unit(photo.camera.position))
    if photo.painted or not aslant.any() or not ears.any():
        return np.ones(ears.shape, np.float32)
    lost = smoothstep(*ASIDE, angle) * np.where(points[..., 0] > 0, *aslant)
    return np.asarray(1 - lost * widen(ears), np.float32)
