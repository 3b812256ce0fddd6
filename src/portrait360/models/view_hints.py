"""What the small view denoiser is shown of a view: the proxy's picture of it, and pixels folded into channels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from portrait360.cameras import Camera, pixel_centres

Floats = NDArray[np.floating]

FOLD = 4  # pixels a side of a cell
HALF = 0.5  # a change of a colour or of the cover by so much is one
REACH = 0.5  # canonical: places are told in multiples of it
HINTS = 11
TIMES = 1000.0  # noise levels in [0, 1] as the network's timesteps


def hint_of(rgb: Floats, visibility: Floats, mask: Floats, normals: Floats, depth: Floats, camera: Camera) -> Floats:
    """(HINTS, s, s): colours, how much of them is the photo's, cover, normals, places."""
    size = len(rgb)
    there = (depth > 0)[..., None]
    places = camera.unproject(pixel_centres(size, size), np.where(depth > 0, depth, camera.radius)) / REACH
    parts = [2 * rgb - 1, visibility[..., None], mask[..., None], normals, places]
    return (np.concatenate(parts, -1) * there).transpose(2, 0, 1).astype(np.float32)


def folded(pictures: Tensor) -> Tensor:
    """(n 4 s s) premultiplied colours and cover in [0, 1] -> (n 64 s/4 s/4) around 0."""
    return F.pixel_unshuffle((pictures - 0.5) / HALF, FOLD)


def unfolded(cells: Tensor) -> Tensor:
    """The inverse of `folded`."""
    return F.pixel_shuffle(cells, FOLD) * HALF + 0.5


def premultiplied(rgb: Floats, alpha: Floats) -> Tensor:
    """(4, s, s)"""
    both = np.concatenate([rgb * alpha[..., None], alpha[..., None]], -1).astype(np.float32)
    return torch.from_numpy(both).permute(2, 0, 1)
