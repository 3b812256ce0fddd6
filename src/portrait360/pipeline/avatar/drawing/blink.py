"""Blinks of a flat drawing, whose eyes are pixels: a lid of the face's skin slides over them, with the drawn lashes.

Closed eyes are a line along their lower edge, as drawings have them. Nothing of the iris is squeezed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from portrait360.geometry.cameras import pixel_centres
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

LEAST = 0.0008  # share of the picture below which a part read as eye is none
UPRIGHT = np.array([[0.0, 0.0, 0.18], [0.0, -0.15, 0.18]])  # canonical points between the eyes and at the chin
COLUMNS = 12  # across an eye, in which its edges are found
LASHES = (0.16, 0.05)  # heights of an eye that its lashes reach above, and below its upper edge
LOWER, MEET = 0.12, 0.78  # height of an eye by which its lower lid goes on below it, and at which both lids meet
ENDS = 0.12  # height of an eye over which its lid ends beside its corners
SOFT = 1.2  # pixels over which a lid ends
BESIDE = 0.012  # picture sides around eyes and hair where skin is stained
PLAIN = 0.12  # sRGB from the face's usual up to which skin is plain
REACHES = ((0.02, 1.0), (0.06, 1e-3), (0.3, 1e-6))  # picture sides over which its colours go on, and their weights


class Lid(NamedTuple):
    """A drawn eye in its own frame (s, s): 0 beside it."""

    side: int  # of the subject: 0 left, 1 right
    below: F32  # pixels below its upper edge
    height: F32  # pixels between its edges, 0 at its corners
    size: float  # the greatest height


@dataclass(frozen=True, eq=False)
class DrawnEyes:
    """The eyes of a drawing, and the skin of its face."""

    photo: Photo
    lids: tuple[Lid, ...]
    skin: F32  # (s, s, 3) the face without eyes
    free: F32  # (s, s) 1 where no hair is drawn before the face
    down: F32  # (2,) direction in the picture

    def close(self, closed: Floats) -> F32:
        """Return the picture (s, s, 3) with its left and right eye closed by these shares (2,)."""
        out = np.asarray(self.photo.rgb, np.float32).copy()
        for lid in self.lids:
            if closed[lid.side] > 0:
                out = self._slide(out, lid, float(closed[lid.side]))
        return out

    def _slide(self, rgb: F32, lid: Lid, closed: float) -> F32:
        size = self.photo.size
        above, within = LASHES[0] * lid.size, LASHES[1] * lid.size
        way = np.asarray(closed * MEET * lid.height, np.float32)
        rises = np.asarray(lid.height * (1 - closed * (1 - MEET)), np.float32)
        places = pixel_centres(size, size) - way[..., None] * self.down / size
        lashes = np.minimum(look_up(np.asarray(self.photo.rgb, np.float32), places), self.skin)
        moves = self.free * smoothstep(0.0, SOFT, way)
        covered = (
            moves * smoothstep(-SOFT, SOFT, lid.below + above) * smoothstep(SOFT, -SOFT, lid.below - way - within)
        )
        under = moves * smoothstep(-SOFT, SOFT, lid.below - rises) * smoothstep(SOFT, -SOFT, lid.below - lid.height)
        rgb = np.asarray(rgb + under[..., None] * (self.skin - rgb), np.float32)
        line = smoothstep(-SOFT, SOFT, lid.below - way + above)
        shown = self.skin + line[..., None] * (lashes - self.skin)
        return np.asarray(rgb + (moves * covered)[..., None] * (shown - rgb), np.float32)


def find_drawn_eyes(photo: Photo) -> DrawnEyes | None:
    """Return the eyes of a drawing; None without any."""
    if photo.eyes is None:
        return None
    between, below = photo.camera.project(UPRIGHT)[0]
    down = (below - between) / np.linalg.norm(below - between)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(photo.eyes.astype(np.uint8))
    found = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > LEAST * photo.eyes.size]
    masks = [np.asarray(parts == i) for i in sorted(found, key=lambda i: -stats[i, cv2.CC_STAT_AREA])[:2]]
    if not masks:
        return None
    middles = [np.argwhere(mask)[:, 1].mean() for mask in masks]
    centre = np.argwhere(photo.shows(Label.FACE))[:, 1].mean() if len(masks) == 1 else np.mean(middles)
    lids = tuple(
        find_lid(mask, down, int(middle < centre)) for mask, middle in zip(masks, middles, strict=True)
    )  # the subject's left is the picture's right
    bare = np.asarray(cv2.GaussianBlur(photo.shows(Label.FACE).astype(np.float32), (0, 0), 1.0), np.float32)
    free = np.asarray(smoothstep(0.3, 0.7, bare), np.float32)
    return DrawnEyes(photo, lids, spread_skin(photo), free, np.asarray(down, np.float32))


def find_lid(eye: Bools, down: Floats, side: int) -> Lid:
    """Return an eye's edges, as smooth curves across it."""
    size = len(eye)
    rows, columns = np.nonzero(eye)
    middle = np.array([columns.mean(), rows.mean()]) + 0.5
    off = pixel_centres(size, size) * size - middle
    across, along = (np.asarray(off @ axis, np.float32) for axis in (np.array([down[1], -down[0]]), down))
    u, v = across[eye], along[eye]
    edges = np.linspace(u.min(), u.max() + 1e-3, COLUMNS + 1)
    column = np.digitize(u, edges) - 1
    used = np.unique(column)
    centres = (edges[used] + edges[used + 1]) / 2
    top, low = (
        np.polyval(np.polyfit(centres, [pick(v[column == i]) for i in used], 2), across) for pick in (np.min, np.max)
    )
    tall = float(np.ptp(v))
    inside = smoothstep(-ENDS * tall, ENDS * tall, np.minimum(across - u.min(), u.max() - across))
    height = np.maximum(low + LOWER * tall - top, 0) * inside
    return Lid(side, np.asarray(along - top, np.float32), np.asarray(height, np.float32), tall)


def spread_skin(photo: Photo) -> F32:
    """Return the colours of a drawn face (s, s, 3) as they go on beneath eyes and hair."""
    rgb, face = np.asarray(photo.rgb, np.float32), photo.shows(Label.FACE)
    other = (~face | np.asarray(photo.eyes)).astype(np.uint8)
    away = cv2.distanceTransform(1 - other, cv2.DIST_L2, 3) / photo.size
    plain = face & (away > BESIDE)
    if plain.any():
        plain &= np.abs(rgb - np.median(rgb[plain], 0)).max(-1) < PLAIN
    total, weight = np.zeros_like(rgb), np.full(face.shape, 1e-12, np.float32)
    for reach, share in REACHES:
        weight += share * cv2.GaussianBlur(plain.astype(np.float32), (0, 0), reach * photo.size)
        total += share * cv2.GaussianBlur(rgb * plain[..., None], (0, 0), reach * photo.size)
    return np.asarray(total / weight[..., None], np.float32)
