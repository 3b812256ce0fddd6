"""The latents of the small view denoiser, which are pixels folded into channels, and the hints it gets for a view."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.utils.array_types import Floats

FOLD = 4  # pixels along the side of a latent cell
HALF = 0.5  # change of a colour or of alpha that becomes 1 in a latent
REACH = 0.5  # canonical: positions are given in multiples of it
HINT_CHANNELS = 11
TIMESTEP_SCALE = 1000.0  # scales noise levels in [0, 1] to the network's timesteps


def build_hint(
    rgb: Floats, visibility: Floats, mask: Floats, normals: Floats, depth: Floats, camera: Camera
) -> Floats:
    """Return (HINT_CHANNELS, s, s): colours, the share of them that is the photo's, alpha, normals, positions."""
    size = len(rgb)
    covered = (depth > 0)[..., None]
    points = camera.unproject(pixel_centres(size, size), np.where(depth > 0, depth, camera.radius)) / REACH
    parts = [2 * rgb - 1, visibility[..., None], mask[..., None], normals, points]
    return (np.concatenate(parts, -1) * covered).transpose(2, 0, 1).astype(np.float32)


def space_to_depth(pictures: Tensor) -> Tensor:
    """(n 4 s s) premultiplied colours and alpha in [0, 1] -> (n 64 s/4 s/4) around 0."""
    return F.pixel_unshuffle((pictures - 0.5) / HALF, FOLD)


def depth_to_space(cells: Tensor) -> Tensor:
    """The inverse of `space_to_depth`."""
    return F.pixel_shuffle(cells, FOLD) * HALF + 0.5


def premultiply(rgb: Floats, alpha: Floats) -> Tensor:
    """Return premultiplied colours and alpha (4, s, s)."""
    rgba = np.concatenate([rgb * alpha[..., None], alpha[..., None]], -1).astype(np.float32)
    return torch.from_numpy(rgba).permute(2, 0, 1)
