"""Where a photo tells the colour of hair: not where skin shines through it, nor where strands let the skin be seen.

The photo of a thin fringe is half skin's, and would colour strands pink that lie over skin anyway. And where few of
the layers' own strands lie, the quotient of photo and render is that of hair and skin: it would turn their tips grey.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo.exposure import FEW, View
from portrait360.pipeline.avatar.photo.pixels import BEARD, HAIR, Photo, spread_mean
from portrait360.synth.scene import Part, Strands
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

BARE = (Label.FACE, Label.EAR)
NEAR, INSET = 0.08, 0.012  # picture sides from skin over which hair may be stained, and of skin and hair that is not
DIM = 0.01  # radiance below which colours are not compared
COARSE = 4  # pixels along a side of those in which the colours beside a pixel are measured
DISTINCT = (0.4, 0.8)  # distance of both colours, logarithms, from which on they can be told apart
HAIRS = (0.45, 0.75)  # place between the colour of the skin and that of the hair
DENSE = (0.6, 0.9)  # share of a pixel that strands cover
SIDE = 256  # pixels along a side of the picture in which that is measured
MOST_PIECES = 8  # of a segment that are looked at
BEFORE = 0.004  # canonical depth by which strands before the skin may lie in it


def find_clear_hair(photo: Photo) -> F32:
    """Return 1 where a pixel has the colour of the hair around it, and 0 where it has that of the skin beside it."""
    clear = np.ones(photo.labels.shape, np.float32)
    small = tuple(max(n // COARSE, 1) for n in clear.shape[::-1])
    light = np.log(np.maximum(photo.radiance, 0).astype(np.float32) + np.float32(DIM))
    inset = max(round(INSET * photo.size), 1)
    masks = [_erode(photo.shows(*labels), inset) for labels in (HAIR, BARE)]
    if min(mask.sum() for mask in masks) < FEW:
        return clear
    coarse = np.asarray(cv2.resize(light, small, interpolation=cv2.INTER_AREA), np.float32)
    masks = [cv2.resize(mask.astype(np.uint8), small, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks]
    front, back = (np.asarray(cv2.resize(spread_mean(coarse, mask), clear.shape[::-1])) for mask in masks)
    apart = front - back
    square = (apart**2).sum(-1)
    place = ((light - back) * apart).sum(-1) / np.maximum(square, 1e-4)
    away = cv2.distanceTransform((~photo.shows(*BARE)).astype(np.uint8), cv2.DIST_L2, 3) / photo.size
    sure = smoothstep(*DISTINCT, np.sqrt(square)) * (photo.shows(*HAIR) & (np.asarray(away) < NEAR))
    return np.asarray(1 - sure * (1 - smoothstep(*HAIRS, place)), np.float32)


def find_dense_strands(groups: Sequence[Strands], view: View) -> F32:
    """Return 1 where strands hide the skin from the photo's camera, 0 where they let it be seen (s, s)."""
    rows = np.linspace(0, view.photo.size - 1, SIDE).round().astype(int)
    surface = np.where(view.bare.alpha > 0.3, view.bare.depth, np.inf)[rows][:, rows]
    hairs = [g for g in groups if len(g.points) and Part(int(g.part[0])) in (Part.HAIR, Part.BEARD)]
    area = np.zeros((SIDE, SIDE)) + sum(_measure_area(group, surface, view.photo.camera) for group in hairs)
    dense = np.asarray(smoothstep(*DENSE, 1 - np.exp(-cv2.GaussianBlur(area, (0, 0), 1.0))), np.float32)
    skin = np.isfinite(surface) & ~np.isin(view.bare.labels[rows][:, rows], (*HAIR, *BEARD))
    dense = np.where(skin, dense, 1.0).astype(np.float32)
    return np.asarray(cv2.resize(dense, (view.photo.size, view.photo.size)), np.float32)


def _measure_area(group: Strands, surface: Floats, camera: Camera) -> Floats:
    """Return how much of each pixel strands before a surface (SIDE, SIDE), given by its depth, would cover alone."""
    uv, depth = (a.reshape(*group.points.shape[:2], -1) for a in camera.project(group.points.reshape(-1, 3)))
    width = group.widths[..., None] * camera.focal / depth * SIDE
    values = np.concatenate([SIDE * uv, depth, width], -1)
    length = np.linalg.norm(np.diff(values[..., :2], axis=1), axis=2)
    pieces, area = int(np.clip(np.ceil(np.quantile(length, 0.9)), 1, MOST_PIECES)), np.zeros(SIDE * SIDE)
    for share in (np.arange(pieces) + 0.5) / pieces:
        x, y, away, width = np.moveaxis(values[:, :-1] * (1 - share) + values[:, 1:] * share, -1, 0)
        inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) < SIDE)
        column, row = (np.clip(a.astype(int), 0, SIDE - 1) for a in (x, y))
        seen = inside & (away < surface[row, column] + BEFORE)
        area += np.bincount((row * SIDE + column)[seen], (length * width)[seen] / pieces, SIDE * SIDE)
    return area.reshape(SIDE, SIDE)


def _erode(mask: np.ndarray, inset: int) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * inset + 1, 2 * inset + 1), np.uint8)) > 0
