"""The matte of clothes without the haze beside them and without wall: they are soft at their edges alone."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.borders import find_width, measure_borders
from portrait360.utils.array_types import F32, Bytes
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SOLID, CORE = 0.8, 0.006  # alpha of what is solid, and picture sides: half the width that it must have
RIM = (0.012, 0.02)  # picture sides beside what is solid over which clothes end
NO_EDGE = 0.05  # mean step of sRGB towards the background below which something is background itself
NECK_EDGE = 0.1  # the same towards the skin of a neck, above which it is a shirt, though before a wall like it
EDGE_SIDES = 6  # widths over which colours are compared that a border must be long to tell that


def cut_wall(rgb: F32, alpha: F32, labels: Bytes) -> F32:
    """Return a matte (s, s) without what is called clothes, but goes over into the background without an edge.

    A white shirt before a white wall does so, too, but it lies against the neck.
    """
    cloth, long = labels == Label.CLOTHES, EDGE_SIDES * find_width(labels)
    part, count, step = measure_borders(rgb, cloth, (labels == Label.BACKGROUND) & (alpha < 0.5))
    _, beside_neck, neck_step = measure_borders(rgb, cloth, labels == Label.SKIN)
    wall = (count > long) & (step < NO_EDGE) & ((beside_neck <= long) | (neck_step < NECK_EDGE))
    wall[0] = False
    return np.asarray(alpha * (1 - cv2.GaussianBlur(wall[part].astype(np.float32), (0, 0), 0.7)), np.float32)


def drop_haze(alpha: F32, labels: Bytes) -> F32:
    """Return a matte (s, s) in which clothes are solid: what is half there far and wide may well be a wall."""
    width = 2 * round(CORE * len(alpha)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    core = cv2.morphologyEx((alpha > SOLID).astype(np.uint8), cv2.MORPH_OPEN, disc)
    away = cv2.distanceTransform(1 - core, cv2.DIST_L2, 5) / len(alpha)
    cloth = cv2.GaussianBlur((labels == Label.CLOTHES).astype(np.float32), (0, 0), 1.0)
    return np.asarray(alpha * (1 - cloth * smoothstep(*RIM, np.asarray(away))), np.float32)
