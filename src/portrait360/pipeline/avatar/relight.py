"""Bring the broad light of a photo to that of the layers beneath it, the more, the further from its direction.

The layers are lit more evenly than the photo, such that their unseen sides look like their seen ones; between the two
lies a smooth change of light, not an edge.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.pipeline.avatar.exposure import blur, log_ratio, look_up_points
from portrait360.pipeline.avatar.photo import Photo
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.tone_mapping import tone_map
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import look_up, smoothstep

BROAD = 0.03  # picture sides: detail finer than this stays the photo's
PASS = 0.012  # picture sides over which the light of one label passes into that of the next
MOST = 1.6  # logarithm of a gain
FEWEST = 200  # pixels of a layer from which its light is known
TURN = (8.0, 32.0)  # degrees from the photo's direction over which it takes the light of the layers


def find_relight(photo: Photo, film: Film, layer_of_label: NDArray[np.int8], layers: int) -> F32:
    """Return the broad gain from the photo to a render for each layer (s, s, layers + 1, 3), logarithms.

    The last is that of the layer that the photo's label names, smoothly from one label to the next.
    """
    side = (photo.size, photo.size)
    drawn = np.asarray(cv2.resize(film.radiance, side, interpolation=cv2.INTER_AREA), np.float32)
    names = np.asarray(cv2.resize(film.labels, side, interpolation=cv2.INTER_NEAREST), np.uint8)
    ratio = np.clip(log_ratio(drawn, photo.radiance), -MOST, MOST)
    shown, rendered = layer_of_label[photo.labels], layer_of_label[names]
    gains = []
    for layer in range(layers):
        agree = cv2.erode(((shown == layer) & (rendered == layer)).astype(np.uint8), np.ones((5, 5), np.uint8))
        weight = (agree * photo.known).astype(np.float32)
        gains.append(blur(ratio, weight, BROAD * photo.size) * (weight.sum() > FEWEST))
    shares = np.stack(
        [cv2.GaussianBlur((shown == i).astype(np.float32), (0, 0), PASS * photo.size) for i in range(layers)], -1
    )
    shares = shares / np.maximum(shares.sum(-1, keepdims=True), 1e-4)
    gains.append(np.einsum("yxl,yxlc->yxc", shares, np.stack(gains, 2)))
    return np.stack(gains, 2).astype(np.float32)


def relight(photo: Photo, gains: F32, layer: NDArray[np.int8], uv: Floats, angle: Floats) -> Floats:
    """Return the photo's colours at uv, sRGB, in the light that the layers receive."""
    rgb, turn = look_up(photo.rgb, uv), smoothstep(*TURN, angle) * (layer >= 0)
    rows, columns = np.nonzero(turn > 0)
    if len(rows) == 0:
        return rgb
    places, gain = uv[rows, columns], np.zeros((len(rows), 3), np.float32)
    layers = layer[rows, columns]
    for i in range(gains.shape[2]):
        gain[layers == i] = look_up_points(gains[:, :, i], places[layers == i])
    radiance = (look_up_points(photo.radiance, places) * np.exp(turn[rows, columns, None] * gain))[:, None]
    out = np.zeros((len(rows), 1, 3), np.float32)
    tone_map(radiance.astype(np.float32), out)
    rgb[rows, columns] = out[:, 0]
    return rgb
