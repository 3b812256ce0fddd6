"""The borders between parts of a picture: how clear an edge parts them."""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import F32, I32, Bools, Bytes, Floats

BESIDE = 0.008  # crop sides on each side of a border over which colours are compared
NEAR = 0.2  # share of the other side around a pixel from which it lies at the border


def measure_borders(rgb: F32, parts: Bools, other: Bools) -> tuple[I32, Floats, Floats]:
    """Return the number of each pixel's part of a mask, how many pixels of each part border on another mask, and the
    mean step of colours there."""
    side, (_, number) = find_width(parts), cv2.connectedComponents(parts.astype(np.uint8))
    near = [cv2.boxFilter(mask.astype(np.float32), -1, (side, side)) for mask in (other, parts)]
    shade = [cv2.boxFilter(rgb * mask[..., None], -1, (side, side)) for mask in (other, parts)]
    step = np.abs(shade[0] / np.maximum(near[0], 1e-3)[..., None] - shade[1] / np.maximum(near[1], 1e-3)[..., None])
    border, part = parts & (near[0] > NEAR), np.asarray(number, np.int32)
    count = np.bincount(part[border], minlength=int(part.max()) + 1)
    mean = np.bincount(part[border], step.max(-1)[border], len(count)) / np.maximum(count, 1)
    return part, count.astype(np.float64), np.asarray(mean, np.float64)


def find_width(picture: Bytes | Bools) -> int:
    """Return the pixels across over which colours are compared."""
    return 2 * round(BESIDE * len(picture)) + 1
