"""Colours of vertices as a texture: viewers of USD show no others.

Colours of one thing lie close to a plane in the space of colours. The texture is that plane, and a vertex lies on it
where its colour is; so between vertices, colours blend as they do on the mesh, and there are no seams.
"""

from __future__ import annotations

import numpy as np

from portrait360.pipeline.export.avatar_glb.texture import encode
from portrait360.utils.array_types import F32, Bytes

SIDE = 128  # texels
LEAST = 1e-4  # extent of a plane of one colour


def spread_colours(colours: F32) -> tuple[F32, Bytes]:
    """Return texture coordinates (n, 2) and a texture (SIDE, SIDE, 3) for linear colours (n, 3)."""
    mean = colours.astype(np.float64).mean(0)
    axes = np.linalg.svd(np.cov((colours - mean).T) + 1e-12 * np.eye(3))[0][:, :2]
    place = (colours - mean) @ axes
    low, high = place.min(0), place.max(0)
    extent = np.maximum(high - low, LEAST)
    uv = (0.5 + (place - low) / extent * (SIDE - 1)) / SIDE  # between the centres of the outermost texels
    steps = np.linspace(0, 1, SIDE)
    u, v = (low[i] + steps * extent[i] for i in range(2))
    texture = mean + u[None, :, None] * axes[:, 0] + v[:, None, None] * axes[:, 1]
    return uv.astype(np.float32), np.rint(255 * encode(texture.astype(np.float32))).astype(np.uint8)
