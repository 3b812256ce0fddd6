"""Predict the matte of the subject, soft at hair (small U2-Net, refined by a guided filter)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from portrait360.assets import FOREGROUND
from portrait360.utils.array_types import Floats

INPUT_SIDE = 320  # pixels of the network's input
MIN_RESPONSE = 0.5  # without a subject, the network's output stays far below this
BORDER = 0.17  # of the picture's longer side: repeated border, without which heads at the edge may be lost
READ_SHARE = 0.5  # of the evidence comes from the portrait reader
SHARPEN = 1.5  # evidence that two networks agree on is worth more
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def find_matte(
    rgb: Floats, point: tuple[float, float] | None = None, second: tuple[Floats, Floats] | None = None
) -> Floats:
    """Return the alpha (h w) of the salient subject, or of the connected piece at `point` (x, y).

    `second` is the alpha that another network predicts, and its weight at every pixel.
    """
    coarse = _predict_matte(rgb)
    if second is not None:
        coarse = combine_mattes(coarse, *second)
    coarse = _keep_one_piece(coarse, point)
    radius = max(2, round(max(rgb.shape[:2]) / 60))
    fine = guided_filter(rgb, coarse, radius, 1e-4)
    fine = np.clip((fine - 0.08) / 0.84, 0, 1)  # removes the filter's haze on both sides
    # fills holes at teeth and collars in the background's colour: the network is certain there, far from any edge
    solid = cv2.erode((coarse > 0.9).astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    return np.maximum(fine, solid).astype(np.float32)


def combine_mattes(salient: Floats, read: Floats, weight: Floats) -> Floats:
    """Add the evidence of both mattes: the surer one decides where they disagree.

    At weight 2, what the second sees is there, whatever the first says; what it misses is not lost.
    """

    def evidence(alpha: Floats) -> Floats:
        clipped = np.clip(alpha, 0.02, 0.98)
        return np.log(clipped / (1 - clipped))

    weight = np.where(read > salient, weight, np.minimum(weight, 1))
    total = evidence(salient) * (1 - READ_SHARE * weight) + evidence(read) * READ_SHARE * weight
    return (1 / (1 + np.exp(-SHARPEN * total))).astype(np.float32)


def _predict_matte(rgb: Floats) -> Floats:
    """Return the maximum of the network's mattes of the picture and of its mirror image with a repeated border.

    The network may miss parts, mostly clothes at the lower edge, but rarely in both.
    """
    edge = max(1, round(BORDER * max(rgb.shape[:2])))
    framed = cv2.copyMakeBorder(np.ascontiguousarray(rgb[:, ::-1]), edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    return np.maximum(
        _run_network(rgb), _run_network(framed.astype(np.float32, copy=False))[edge:-edge, edge:-edge][:, ::-1]
    )


def _run_network(rgb: Floats) -> Floats:
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_AREA)
    values = (small / max(float(small.max()), 1e-6) - MEAN) / STD
    network = _load_network()
    network.setInput(np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32))
    out = network.forward(network.getUnconnectedOutLayersNames()[0])[0, 0]
    if out.max() < MIN_RESPONSE:  # normalising this would turn noise into a subject
        return np.zeros((height, width), np.float32)
    out = (out - out.min()) / (out.max() - out.min())
    return cv2.resize(out, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _keep_one_piece(matte: Floats, point: tuple[float, float] | None) -> Floats:
    """Keep only the largest connected piece, or the one at `point`."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((matte > 0.3).astype(np.uint8))
    if count <= 2:
        return matte
    label = int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) + 1
    if point is not None:
        x, y = (int(np.clip(v, 0, n - 1)) for v, n in zip(point, matte.shape[::-1], strict=True))
        label = int(labels[y, x]) or label
    keep = cv2.dilate((labels == label).astype(np.uint8), np.ones((15, 15), np.uint8))
    return (matte * keep).astype(np.float32)


def guided_filter(guide: Floats, values: Floats, radius: int, epsilon: float) -> Floats:
    """Guided filter with a colour guide: locally, the result is linear in the guide (He et al. 2013, eq. 14, 19)."""

    def mean(x: Floats) -> Floats:
        window = (2 * radius + 1, 2 * radius + 1)
        return cv2.boxFilter(x, cv2.CV_32F, window, borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)

    guide = np.ascontiguousarray(guide, dtype=np.float32)
    mean_guide, mean_values = mean(guide), mean(values.astype(np.float32))
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    a, b, c, d, e, f = (  # the upper triangle of the local covariance of the colours
        mean(guide[..., i] * guide[..., j]) - mean_guide[..., i] * mean_guide[..., j] + epsilon * (i == j)
        for i, j in pairs
    )
    cross_covariance = mean(guide * values[..., None]) - mean_guide * mean_values[..., None]
    slope = np.stack(_solve_symmetric(a, b, c, d, e, f, *np.moveaxis(cross_covariance, -1, 0)), -1)  # (h w 3)
    offset = mean_values - (slope * mean_guide).sum(-1)
    return (mean(slope) * guide).sum(-1) + mean(offset)


def _solve_symmetric(
    a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, f: Floats, x: Floats, y: Floats, z: Floats
) -> list[Floats]:
    """Compute [[a b c] [b d e] [c e f]]^-1 [x y z] at every pixel, by cofactors."""
    xx, xy, xz = d * f - e * e, c * e - b * f, b * e - c * d
    yy, yz, zz = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * xx + b * xy + c * xz
    rows = (xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z)
    return [row / determinant for row in rows]


@lru_cache(maxsize=1)
def _load_network() -> cv2.dnn.Net:
    return cv2.dnn.readNetFromONNX(str(FOREGROUND))
