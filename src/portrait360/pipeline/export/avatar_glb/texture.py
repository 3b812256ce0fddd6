"""Textures: colours at the texels that charts cover, continued beyond them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from portrait360.geometry import rasterizer, rasterizer_kernels
from portrait360.utils.array_types import F32, I32, Bools, Bytes

BLEED = 24  # texels by which colours continue beyond the charts


def fill_texture(texture: F32, where: np.ndarray, *, shown: bool) -> Bytes:
    """Return a texture (h, w, 3) as sRGB, of which the flat indices `where` are filled; `shown`: it is sRGB."""
    empty = np.ones(texture.shape[:2], bool)
    empty.ravel()[where] = False
    nearest = _find_nearest(empty)
    height, width, _ = texture.shape
    down, across = nearest[0] - np.arange(height)[:, None], nearest[1] - np.arange(width)
    near = empty & (down**2 + across**2 <= BLEED**2)
    mean = np.array(cv2.mean(texture, (~empty).astype(np.uint8))[:3], np.float32)
    rows, columns = (index[near] for index in nearest)
    texture[near] = texture[rows, columns]
    known, out = ~empty | near, np.empty(texture.shape, np.uint8)
    out[:] = _to_bytes(mean[None], shown=shown)
    out[known] = _to_bytes(texture[known], shown=shown)
    return out


def find_texels(uv: F32, charts: I32, triangles: I32, values: F32, side: int) -> tuple[NDArray[np.intp], F32]:
    """Return the flat indices (t,) of the texels that triangles cover, and there the values (n, k) of their corners.

    `charts` are the same triangles with the indices of `uv` (m, 2).
    """
    points = np.concatenate([uv * side, np.ones((len(uv), 1))], 1).astype(np.float64)
    depth, ids = np.full((side, side, 1), np.inf, np.float32), np.full((side, side, 1), -1, np.int32)
    rasterizer_kernels.draw(points, charts, np.arange(len(charts), dtype=np.int32), rasterizer.CENTRE, depth, ids)
    barycentrics = np.zeros((side, side, 3), np.float32)
    rasterizer_kernels.weights(points, charts, ids[..., 0], barycentrics)
    buffers = rasterizer.Buffers(ids[..., 0], barycentrics, depth[..., 0])
    where = np.flatnonzero(ids.ravel() >= 0)
    return where, rasterizer.interpolate(buffers, triangles, values).reshape(-1, values.shape[1])[where]


def _to_bytes(colours: F32, *, shown: bool) -> Bytes:
    return np.asarray(np.rint(np.clip(colours if shown else encode(colours), 0, 1) * 255), np.uint8)


def _find_nearest(empty: Bools) -> NDArray[np.integer]:
    """Return for each texel the place (2, h, w) of the nearest that is not empty."""
    return np.asarray(distance_transform_edt(empty, return_distances=False, return_indices=True))


def encode(linear: F32) -> F32:
    """Return linear colours as sRGB."""
    value = np.clip(linear, 0, 1).astype(np.float32)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * cv2.pow(np.maximum(value, 1e-6), 1 / 2.4) - 0.055)
