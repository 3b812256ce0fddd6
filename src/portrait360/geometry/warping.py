"""Warp images, features and noise from one camera to another through depth (Portrait Diffusion, eq. 8, 10 and 13).

Depth is along the optical axis, and 0 where nothing is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.utils.array_types import Floats

DEPTH_TOLERANCE = 0.02  # canonical: two depths that differ by less belong to one surface
MIN_COVERAGE = 0.999  # bilinear coverage of the head at a point: below it, the background would bleed in


@dataclass(frozen=True, eq=False)
class PixelMatches:
    """The position of each pixel's surface point in another view."""

    uv: Floats  # (s, s, 2) in image sides of the other view
    both: NDArray[np.bool_]  # (s, s) where both views see the surface point


def match_views(source: Camera, source_depth: Floats, target: Camera, depth: Floats) -> PixelMatches:
    """Find where the pixels (s, s) that `target` sees at `depth` lie in the view of `source`."""
    size = len(depth)
    points = target.unproject(pixel_centres(size, size), np.where(depth > 0, depth, target.radius))
    uv, distance = source.project(points)
    x, y = np.moveaxis((uv * len(source_depth) - 0.5).astype(np.float32), -1, 0)
    front = cv2.remap(source_depth.astype(np.float32), x, y, cv2.INTER_NEAREST, borderValue=0)
    coverage = cv2.remap((source_depth > 0).astype(np.float32), x, y, cv2.INTER_LINEAR, borderValue=0)
    return PixelMatches(uv, (depth > 0) & (coverage > MIN_COVERAGE) & (np.abs(front - distance) < DEPTH_TOLERANCE))


def warp(picture: Tensor, places: PixelMatches) -> Tensor:
    """Warp an image (c h w) of the source view to the target camera: (c s s), 0 where it is hidden."""
    uv, both = (torch.from_numpy(values)[None].to(picture) for values in (places.uv, places.both))
    return grid_sample(picture[None], uv, both[:, None])[0]


def grid_sample(images: Tensor, uv: Tensor, weight: Tensor) -> Tensor:
    """Sample images or features (b c h w) at uv (b s s 2) in image sides, times a weight (b 1 s s)."""
    return F.grid_sample(images, 2 * uv - 1, padding_mode="border", align_corners=False) * weight


def warp_noise(noise: Tensor, depth: Floats, camera: Camera, to: Camera, fresh: Tensor) -> Tensor:
    """Warp noise (c s s) of a view with `depth` to the camera `to`, and fill the holes with `fresh` noise (eq. 13).

    Each value goes to the one pixel that its point projects into, and where several meet, the nearest stays. No value
    is interpolated or used twice, so the warped noise is still normal and independent.
    """
    target, source = _match_pixels(depth, camera, to)
    out = fresh.flatten(1).clone()
    out[:, torch.from_numpy(target)] = noise.flatten(1)[:, torch.from_numpy(source)]
    return out.view_as(fresh)


def _match_pixels(depth: Floats, camera: Camera, to: Camera) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the target pixels that receive a point, each once, and the source pixels of these points."""
    size = len(depth)
    source = np.flatnonzero(depth > 0)
    points = camera.unproject(pixel_centres(size, size).reshape(-1, 2)[source], depth.ravel()[source])
    uv, distance = to.project(points)
    column, row = np.floor(uv.T * size).astype(np.int64)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size) & (distance > 0)
    order = np.flatnonzero(inside)[np.argsort(distance[inside], kind="stable")]
    target, first = np.unique((row * size + column)[order], return_index=True)
    return target, source[order][first]
