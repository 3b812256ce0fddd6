"""Textures: colours at the texels that charts cover, continued beyond them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry import rasterizer, rasterizer_kernels
from portrait360.utils.array_types import F32, I32, Bools, Bytes

BLEED = 24  # texels by which colours continue beyond the charts


def fill_texture(texture: F32, where: np.ndarray, *, shown: bool) -> Bytes:
    """Return a texture (h, w, 3) as sRGB, of which the flat indices `where` are filled; `shown`: it is sRGB."""
    empty = np.ones(texture.shape[:2], bool)
    empty.ravel()[where] = False
    near, nearest = _find_nearest(empty)
    mean = np.array(cv2.mean(texture, (~empty).astype(np.uint8))[:3], np.float32)
    texture[near] = texture.reshape(-1, texture.shape[2])[nearest]
    known, out = ~empty | near, np.empty(texture.shape, np.uint8)
    out[:] = _to_bytes(mean[None], shown=shown)
    out[known] = _to_bytes(texture[known], shown=shown)
    return out


def find_texels(uv: F32, charts: I32, triangles: I32, values: F32, side: int) -> tuple[NDArray[np.intp], F32]:
    """Return the flat indices (t,) of the texels that triangles cover, and there the values (n, k) of their corners.

    `charts` are the same triangles with the indices of `uv` (m, 2).
    """
    where, texels = cover_texels(uv, charts, side)
    return where, rasterizer.interpolate(texels, triangles, values)[0]


def cover_texels(uv: F32, charts: I32, side: int) -> tuple[NDArray[np.intp], rasterizer.Buffers]:
    """Return the flat indices (t,) of the texels that charts cover, and which triangles do, as a row of pixels."""
    points = np.concatenate([uv * side, np.ones((len(uv), 1))], 1).astype(np.float64)
    depth, ids = np.full((side, side, 1), np.inf, np.float32), np.full((side, side, 1), -1, np.int32)
    rasterizer_kernels.draw(points, charts, np.arange(len(charts), dtype=np.int32), rasterizer.CENTRE, depth, ids)
    barycentrics = np.zeros((side, side, 3), np.float32)
    rasterizer_kernels.weights(points, charts, ids[..., 0], barycentrics)
    where = np.flatnonzero(ids.ravel() >= 0)
    shares = barycentrics.reshape(-1, 3)[where]
    return where, rasterizer.Buffers(ids.ravel()[where][None], shares[None], depth.ravel()[where][None])


def _to_bytes(colours: F32, *, shown: bool) -> Bytes:
    return np.asarray(np.rint(np.clip(colours if shown else encode(colours), 0, 1) * 255), np.uint8)


def _find_nearest(empty: Bools) -> tuple[Bools, NDArray[np.intp]]:
    """Return which empty texels (h, w) lie near others, and the flat index (n,) of the nearest to each of these."""
    distance, labels = cv2.distanceTransformWithLabels(
        empty.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(labels, np.int32)
    near = empty & (distance <= BLEED)
    place = np.zeros(int(labels.max(initial=0)) + 1, np.intp)
    filled = np.flatnonzero(~empty)
    place[labels.ravel()[filled]] = filled
    return near, place[labels[near]]


def encode(linear: F32) -> F32:
    """Return linear colours as sRGB."""
    value = np.clip(linear, 0, 1).astype(np.float32)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * cv2.pow(np.maximum(value, 1e-6), 1 / 2.4) - 0.055)
