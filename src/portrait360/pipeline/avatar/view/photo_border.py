"""The end of a photo within hanging hair: lock by lock, at different heights.

Where the frame cuts hair off, the layers go on from there. Along a straight border the eye finds the least difference
between the two; where each lock ends elsewhere, it sees locks.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.synth.noise import noise
from portrait360.utils.image_ops import smoothstep

UNEVEN, SOFT = 0.09, 0.06  # picture sides by which locks end higher at most, and over which each fades
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
