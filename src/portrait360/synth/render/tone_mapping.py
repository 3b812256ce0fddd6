"""Tone mapping: an exposure shoulder and sRGB encoding, and the inverse of the encoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrait360.geometry.numba_jit import njit_fast, njit_fast_inline

KNEE = 0.55  # linear light up to this value is unchanged
WHITE = 4.0  # linear light that maps to white


@njit_fast_inline
def shoulder(light):
    """Apply a film-like soft shoulder: identity up to KNEE with slope 1 there, reaching 1 at WHITE with slope 0."""
    if light <= KNEE:
        return max(light, 0.0)
    if light >= WHITE:
        return 1.0
    # the power that has slope 1 at the knee: 1 - (1 - KNEE) * (1 - t)^p with p = (WHITE - KNEE) / (1 - KNEE)
    t = (light - KNEE) / (WHITE - KNEE)
    return 1.0 - (1.0 - KNEE) * (1.0 - t) ** ((WHITE - KNEE) / (1.0 - KNEE))


@njit_fast_inline
def encode(linear):
    """Encode one linear value in [0, 1] as sRGB."""
    if linear <= 0.0031308:
        return 12.92 * linear
    return 1.055 * linear ** (1.0 / 2.4) - 0.055


@njit_fast
def tone_map(radiance, out):
    """Tone-map radiance (h, w, 3) into sRGB-encoded out (h, w, 3) in [0, 1]."""
    for y in range(radiance.shape[0]):
        for x in range(radiance.shape[1]):
            for c in range(3):
                light = radiance[y, x, c]
                if light > 0.0:
                    out[y, x, c] = min(encode(shoulder(light)), 1.0)


def srgb_to_linear(srgb: ArrayLike) -> NDArray[np.float32]:
    value = np.asarray(srgb, np.float32)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(linear: ArrayLike) -> NDArray[np.float32]:
    value = np.asarray(linear, np.float32).clip(0.0, 1.0)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055).astype(np.float32)


def srgb_to_radiance(srgb: ArrayLike) -> NDArray[np.float32]:
    """Invert `tone_map`; colours above 0.97 in linear light, which a photo may have clipped, stay at that light."""
    light = np.linspace(0, WHITE, 4001)
    bent = np.clip((light - KNEE) / (WHITE - KNEE), 0, 1)
    seen = np.where(light <= KNEE, light, 1 - (1 - KNEE) * (1 - bent) ** ((WHITE - KNEE) / (1 - KNEE)))
    return np.interp(np.minimum(srgb_to_linear(srgb), 0.97), seen, light).astype(np.float32)


def composite_over(rgb: ArrayLike, alpha: ArrayLike, background: ArrayLike) -> NDArray[np.float32]:
    """Composite a straight-alpha sRGB image (h, w, 3), (h, w) over a background, in linear light."""
    weight = np.asarray(alpha, np.float32)[..., None]
    return linear_to_srgb(srgb_to_linear(rgb) * weight + srgb_to_linear(background) * (1 - weight))
