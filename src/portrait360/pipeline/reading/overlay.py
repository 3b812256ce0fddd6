"""Draw labels over a picture, with a legend."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
FEWEST = 0.002  # share of the picture from which a label is in the legend
STRENGTH = 0.55  # of the label's colour over the picture
TABLE = np.array([COLOURS[label] for label in Label], np.float32) / 255


def draw_labels(rgb: Floats, labels: Bytes) -> Floats:
    """Return the picture (s, s, 3) under the colours of its labels (any size)."""
    size = (rgb.shape[1], rgb.shape[0])
    colours = TABLE[np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)]
    return ((1 - STRENGTH) * rgb + STRENGTH * colours).astype(np.float32)


def draw_legend(height: int, labels: Bytes) -> Floats:
    """Return a column with the names of the labels that are more than crumbs, in their colours."""
    width = max(120, height // 4)
    column = np.full((height, width, 3), 255, np.uint8)
    present = [label for label in Label if (labels == label).mean() > FEWEST]
    step = height / len(Label)
    for i, label in enumerate(present):
        top, bottom = round(i * step) + 3, round((i + 1) * step) - 3
        right = 4 + bottom - top
        column[top:bottom, 4:right] = COLOURS[label]
        cv2.rectangle(column, (4, top), (right, bottom), (120, 120, 120), 1)  # white is seen on white
        _write(column, label.name.lower(), (right + 8, bottom - (bottom - top) // 3), step / 55)
    return column.astype(np.float32) / 255


def _write(column: NDArray[np.uint8], text: str, place: tuple[int, int], scale: float) -> None:
    """Write a word, smaller if it would not fit."""
    font, room = cv2.FONT_HERSHEY_SIMPLEX, column.shape[1] - place[0] - 4
    scale *= min(1.0, room / cv2.getTextSize(text, font, scale, 1)[0][0])
    cv2.putText(column, text, place, font, scale, (0, 0, 0), 1, cv2.LINE_AA)
