"""What one camera sees of a surface, brought to another camera through depth: pictures, features and noise (Portrait
Diffusion, eq. 8, 10 and 13). Depth lies along the optical axis; 0 where there is nothing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from portrait360.cameras import Camera, pixel_centres

Floats = NDArray[np.floating]

NEAR = 0.02  # canonical: two depths that differ by less are one surface
WHOLE = 0.999  # of a place's neighbours, how many are of the head: what is beside it does not bleed in


@dataclass(frozen=True, eq=False)
class Places:
    """Where what a view's pixels show lies in another view."""

    uv: Floats  # (s, s, 2) in image sides of the other view
    both: NDArray[np.bool_]  # (s, s) the other view sees it, too


def places_in(one: Camera, its_depth: Floats, other: Camera, depth: Floats) -> Places:
    """Of the pixels (s, s) that `other` sees at `depth`, in the view of `one`."""
    size = len(depth)
    points = other.unproject(pixel_centres(size, size), np.where(depth > 0, depth, other.radius))
    uv, away = one.project(points)
    x, y = np.moveaxis((uv * len(its_depth) - 0.5).astype(np.float32), -1, 0)
    front = cv2.remap(its_depth.astype(np.float32), x, y, cv2.INTER_NEAREST, borderValue=0)
    whole = cv2.remap((its_depth > 0).astype(np.float32), x, y, cv2.INTER_LINEAR, borderValue=0)
    return Places(uv, (depth > 0) & (whole > WHOLE) & (np.abs(front - away) < NEAR))


def carried(picture: Tensor, places: Places) -> Tensor:
    """A picture (c h w) of the one view as the other camera sees it: (c s s), 0 where it is hidden."""
    uv, both = (torch.from_numpy(values)[None].to(picture) for values in (places.uv, places.both))
    return looked_up(picture[None], uv, both[:, None])[0]


def looked_up(pictures: Tensor, uv: Tensor, share: Tensor) -> Tensor:
    """Pictures or features (b c h w) at places uv (b s s 2) in image sides, times a share (b 1 s s)."""
    return F.grid_sample(pictures, 2 * uv - 1, padding_mode="border", align_corners=False) * share


def carried_noise(noise: Tensor, depth: Floats, camera: Camera, to: Camera, fresh: Tensor) -> Tensor:
    """Noise (c s s) of a view with `depth` moved to another camera, with `fresh` noise in the voids (eq. 13).

    Each number goes to the one pixel that its point falls into, and where several meet the nearest stays: nothing is
    mixed and nothing stands twice, so that what was normal and independent still is."""
    target, source = _landings(depth, camera, to)
    out = fresh.flatten(1).clone()
    out[:, torch.from_numpy(target)] = noise.flatten(1)[:, torch.from_numpy(source)]
    return out.view_as(fresh)


def _landings(depth: Floats, camera: Camera, to: Camera) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Pixels that something falls into, each once, and the pixels it comes from."""
    size = len(depth)
    source = np.flatnonzero(depth > 0)
    points = camera.unproject(pixel_centres(size, size).reshape(-1, 2)[source], depth.ravel()[source])
    uv, away = to.project(points)
    column, row = np.floor(uv.T * size).astype(np.int64)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size) & (away > 0)
    order = np.flatnonzero(inside)[np.argsort(away[inside], kind="stable")]
    target, first = np.unique((row * size + column)[order], return_index=True)
    return target, source[order][first]
