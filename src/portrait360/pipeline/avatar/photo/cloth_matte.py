"""The matte of clothes without the haze beside them: they are soft at their edges alone, unlike hair."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SOLID, CORE = 0.8, 0.006  # alpha of what is solid, and picture sides: half the width that it must have
RIM = (0.012, 0.02)  # picture sides beside what is solid over which clothes end


def drop_haze(alpha: F32, labels: Bytes) -> F32:
    """Return a matte (s, s) in which clothes are solid: what is half there far and wide may well be a wall."""
    width = 2 * round(CORE * len(alpha)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    core = cv2.morphologyEx((alpha > SOLID).astype(np.uint8), cv2.MORPH_OPEN, disc)
    away = cv2.distanceTransform(1 - core, cv2.DIST_L2, 5) / len(alpha)
    cloth = cv2.GaussianBlur((labels == Label.CLOTHES).astype(np.float32), (0, 0), 1.0)
    return np.asarray(alpha * (1 - cloth * smoothstep(*RIM, np.asarray(away))), np.float32)
