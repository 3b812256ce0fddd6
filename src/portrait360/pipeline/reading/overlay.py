"""Draw labels over a picture, with a legend."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import Bytes, Floats
from portrait360.utils.portrait_labels import Label

COLOURS: dict[Label, tuple[int, int, int]] = {
    Label.BACKGROUND: (40, 40, 40),
    Label.FACE: (255, 200, 170),
    Label.SKIN: (230, 150, 110),
    Label.EAR: (255, 90, 90),
    Label.BROW: (120, 60, 0),
    Label.EYE: (255, 255, 255),
    Label.LIPS: (220, 0, 80),
    Label.MOUTH: (130, 0, 0),
    Label.HAIR: (190, 120, 30),
    Label.BEARD: (90, 110, 30),
    Label.GLASSES: (0, 200, 255),
    Label.HAT: (200, 0, 200),
    Label.JEWELLERY: (255, 230, 0),
    Label.CLOTHES: (40, 80, 220),
    Label.OBJECT: (0, 160, 90),
}
STRENGTH = 0.55  # of the label's colour over the picture
TABLE = np.array([COLOURS[label] for label in Label], np.float32) / 255


def draw_labels(rgb: Floats, labels: Bytes) -> Floats:
    """Return the picture (s, s, 3) under the colours of its labels (any size)."""
    size = (rgb.shape[1], rgb.shape[0])
    colours = TABLE[np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)]
    return ((1 - STRENGTH) * rgb + STRENGTH * colours).astype(np.float32)


def draw_legend(height: int, labels: Bytes) -> Floats:
    """Return a column with the names of the labels that occur, in their colours."""
    column = np.full((height, max(120, height // 4), 3), 255, np.uint8)
    present = [label for label in Label if (labels == label).any()]
    step = height / len(Label)
    for i, label in enumerate(present):
        top, bottom = round(i * step) + 3, round((i + 1) * step) - 3
        column[top:bottom, 4 : 4 + bottom - top] = COLOURS[label]
        place = (12 + bottom - top, bottom - (bottom - top) // 3)
        cv2.putText(column, label.name.lower(), place, cv2.FONT_HERSHEY_SIMPLEX, step / 55, (0, 0, 0), 1, cv2.LINE_AA)
    return column.astype(np.float32) / 255
