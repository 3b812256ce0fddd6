"""Tell a woman's face from a man's, which decides what hair is likely: a small network that was trained on photos."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from portrait360.assets import FACE_GENDER
from portrait360.geometry.cameras import azimuth_between
from portrait360.pipeline.reading.reading import Reading
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.images import to_uint8

CHIP, OVERSAMPLE = 32, 4  # side of the network's input in pixels; it is averaged from so many pixels each way
MARGIN = 0.2  # of the aligned face around it
LANDMARKS = (263, 362, 33, 133, 2)  # corners of the eyes and the base of the nose
ALIGNED = ((0.8596, 0.2135), (0.6461, 0.2290), (0.1206, 0.2137), (0.3341, 0.2291), (0.4901, 0.6278))
"""Where they lie in the square of an aligned face (the network's own alignment)."""
MEAN = np.array([122.782, 117.001, 104.298], np.float32)
ERROR = 0.02  # 1 of 63 portraits was told wrong, so the network is never surer than this
TURNED = (45.0, 75.0)  # degrees of azimuth between which the network gives way to the portrait reader


def settle_gender(reading: Reading, rgb: Floats, landmarks: Floats, azimuth: float) -> Reading:
    """Return the reading with the odds of a woman that her face shows; `landmarks` (478, 2) are in crop sides."""
    doubt = float(smoothstep(*TURNED, np.asarray(abs(azimuth_between(0, azimuth)))))
    face = float(np.clip(judge_face(rgb, landmarks), ERROR, 1 - ERROR))
    woman = (1 - doubt) * face + doubt * reading.answers["woman"].get("yes", 0.5)
    odds = sorted({"yes": woman, "no": 1 - woman}.items(), key=lambda item: -item[1])
    return replace(reading, answers={**reading.answers, "woman": dict(odds)})


def judge_face(rgb: Floats, landmarks: Floats) -> float:
    """Return the probability that a face is a woman's."""
    chip = cut_face(rgb, landmarks)
    network = _load_network()
    network.setInput(((chip - MEAN) / 256).transpose(2, 0, 1)[None])
    return float(network.forward()[0, 0])


def cut_face(rgb: Floats, landmarks: Floats) -> F32:
    """Return the aligned face (CHIP, CHIP, 3), 0..255."""
    points = landmarks[list(LANDMARKS), :2] * rgb.shape[0] - 0.5
    side = CHIP * OVERSAMPLE
    target = (np.array(ALIGNED) + MARGIN) / (1 + 2 * MARGIN) * side
    large = cv2.warpAffine(
        to_uint8(rgb), _fit_similarity(points, target), (side, side), borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(large, (CHIP, CHIP), interpolation=cv2.INTER_AREA).astype(np.float32)


def _fit_similarity(source: Floats, target: Floats) -> Floats:
    """Return the rotation, scale and shift (2, 3) that take points (n, 2) to others with the least squares."""
    mean, aim = source.mean(0), target.mean(0)
    a, b = ((points - middle) @ (1, 1j) for points, middle in ((source, mean), (target, aim)))
    turn = np.vdot(a, b) / np.vdot(a, a)  # a complex number rotates and scales
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([matrix, aim - matrix @ mean])


@lru_cache(maxsize=1)
def _load_network() -> cv2.dnn.Net:
    return cv2.dnn.readNetFromONNX(str(FACE_GENDER))
