"""The end of a photo within hanging hair: lock by lock, at different heights; and beside clothes, without a step.

Where the frame cuts hair off, the layers go on from there. Along a straight border the eye finds the least difference
between the two; where each lock ends elsewhere, it sees locks.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.pixels import CLOTHES, HAIR, SKIN, Photo
from portrait360.synth.noise import noise
from portrait360.utils.array_types import Bools
from portrait360.utils.image_ops import smoothstep

UNEVEN, SOFT = 0.09, 0.06  # picture sides by which locks end higher at most, and over which each fades
SLOPE, EDGE = 0.5, 0.004  # picture sides that clothes stand beside the layers per side from the border; of soft edges
AROUND = 0.012  # picture sides around clothes over which other labels are taken for theirs
LOCKS = (35.0, 90.0)  # greater and lesser locks across a picture


def fray_border(photo: Photo) -> Photo:
    """Return a photo that ends lock by lock where its border cuts off hair."""
    inside = (photo.known > 0).astype(np.uint8)
    if inside.all():
        return photo
    depth = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5)) / photo.size
    columns = np.zeros((photo.size, 3), np.float32)
    columns[:, 0] = np.arange(photo.size) / photo.size
    higher = UNEVEN * np.mean([noise(columns, across, 91 + row) for row, across in enumerate(LOCKS)], 0)
    frayed = smoothstep(0.0, SOFT, depth - higher)
    hair = cv2.GaussianBlur(photo.shows(*HAIR).astype(np.float32), (0, 0), 1.0)
    known = photo.known + hair * (np.minimum(photo.known, frayed) - photo.known)
    return replace(photo, known=np.asarray(known, np.float32))


def ease_border(photo: Photo, covered: Bools) -> Photo:
    """Return a photo whose clothes come down to the layers towards its border: cut off, they would be a step.

    `covered` (k, k) says where the layers are seen at its camera.
    """
    known = (photo.known > 0).astype(np.uint8)
    if known.all():
        return photo
    layers = cv2.resize(covered.astype(np.uint8), (photo.size,) * 2, interpolation=cv2.INTER_NEAREST)
    beside, inside = (np.asarray(cv2.distanceTransform(m, cv2.DIST_L2, 5)) / photo.size for m in (1 - layers, known))
    over = smoothstep(-EDGE, EDGE, beside - SLOPE * inside) * (layers == 0)
    width = 2 * round(AROUND * photo.size) + 1
    cloth = cv2.dilate(photo.shows(*CLOTHES).astype(np.float32), np.ones((width, width), np.uint8))
    cloth = cv2.GaussianBlur(cloth * ~photo.shows(*SKIN), (0, 0), 1.0)
    return replace(photo, alpha=np.asarray(photo.alpha * (1 - cloth * over), np.float32))
