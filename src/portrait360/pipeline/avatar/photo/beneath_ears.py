"""What the photo shows on a neck beside an ear: the shade of the lobe, its edge, and what hangs from it."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label

ASIDE, DOWN = 0.02, 0.12  # picture sides that this reaches beside an ear and above it, and below it
SOFT = 0.004  # picture sides over which it ends


def find_beneath_ears(photo: Photo) -> F32:
    """Return 1 on the neck beside and below an ear, else 0 (s, s): no skin there is sure to be the neck's own."""
    size, ears = photo.size, photo.shows(Label.EAR).astype(np.uint8)
    if not ears.any():
        return np.zeros((size, size), np.float32)
    aside, down = round(ASIDE * size), round(DOWN * size)
    reach = np.ones((aside + down + 1, 2 * aside + 1), np.uint8)
    near = cv2.dilate(ears, reach, anchor=(aside, down)) > 0
    neck = (near & photo.shows(Label.SKIN)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(neck, (0, 0), SOFT * size), np.float32)
