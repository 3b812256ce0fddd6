"""How far a view shows the photo's relief: large parts with soft edges, no islands, slivers and stains."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.pipeline.avatar.drawing.painted_labels import find_ink
from portrait360.pipeline.avatar.photo.beneath_ears import find_beneath_ears
from portrait360.pipeline.avatar.photo.pixels import CLOTHES, HAIR, SKIN, Photo
from portrait360.pipeline.avatar.photo.stray_hair import find_stray_hair
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

FINE = (0.3, 0.65)  # pixels of the photo per rendered pixel over which the relief fades in
SOFT_EDGE = (2.0, 9.0)  # degrees over which its torn edges get soft
ASLANT = (0.35, 12.0, 28.0)  # share of these that is enough a little aside, and degrees from where to where it grows
CLEAR = (0.008, 0.035)  # picture sides beside hair and cloth over which skin is stained
CLEAR_HAT = (0.008, 0.02)  # those at which a hat's own colours begin
INKED = (1.5, 6.0)  # degrees over which the line along a painted jaw fades
TURNED = (14.0, 30.0)  # degrees over which stains fade
STAINED, CLEAN = 0.006, (0.5, 0.9)  # picture sides along the edges of skin; pixels of the photo that are needed there
GRID = 256  # pixels along a side of the picture in which islands are sought
SLIVER = (
    0.01,
    0.022,
)  # picture sides: half the width of parts too narrow to be shown, over the layers and beside them
FEATHER = 0.008  # picture sides over which parts have soft edges
ISLAND = (
    0.3,
    0.003,
)  # share from which a pixel is of a part, and share of the picture below which a part is an island


def soften_edges(
    trust: Floats, firm: Floats, shows: Shown, uv: Floats, angle: Floats, skin: Bools, scraps: Bools
) -> Floats:
    """Return a share (s, s) of the relief, less where it is torn, impure or stretched, the further round the more.

    Args:
        trust: The share.
        firm: 0 where the relief is torn, 1 inside.
        shows: What the photo shows clearly.
        uv: Where it shows each pixel.
        angle: Degrees from its direction.
        skin: Where skin is shown over skin.
        scraps: Where hair is.
    """
    fine = judge_stretch(shows, uv, angle, soften_mask(skin), soften_mask(skin | scraps))
    sure = firm * look_up(shows.pure, uv) * fine
    return trust * (1 - smoothstep(*SOFT_EDGE, angle) * (1 - sure))


def drop_islands(trust: Floats, layers: Floats, angle: Floats, fitting: Bools) -> Floats:
    """Return a share (s, s) without islands and slivers over `layers` (s, s) that fit, from a little aside on.

    Where layers do not fit, nothing better is seen beneath.
    """
    return trust + smoothstep(*SOFT_EDGE, angle) * fitting * (calm(trust, layers) - trust)


def calm(trust: Floats, layers: Floats) -> F32:
    """Return a share (s, s) of the photo without islands and slivers, with a soft edge within its own.

    Beside the `layers` (s, s) alone, in the air, only what is wide is shown.
    """
    trust, side = np.asarray(trust, np.float32), (GRID, GRID)
    small, beneath = (cv2.resize(a.astype(np.float32), side, interpolation=cv2.INTER_AREA) for a in (trust, layers))
    feather, sliver, wide = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(w * GRID) + 1,) * 2) for w in (FEATHER, *SLIVER)
    )
    narrow, broad = (cv2.morphologyEx(small, cv2.MORPH_OPEN, disc) for disc in (sliver, wide))
    opened = broad + cv2.dilate(beneath, feather) * (narrow - broad)
    _, parts, stats, _ = cv2.connectedComponentsWithStats((opened > ISLAND[0]).astype(np.uint8), connectivity=4)
    opened = opened * (np.asarray(stats)[:, cv2.CC_STAT_AREA] > ISLAND[1] * opened.size)[np.asarray(parts, np.int32)]
    soft = cv2.GaussianBlur(cv2.erode(opened, feather), (0, 0), FEATHER * GRID / 2)
    return np.minimum(trust, cv2.resize(soft, trust.shape[::-1]))


def leave_out_ink(shows: Shown, uv: Floats, angle: Floats) -> Floats:
    """Return 0 a little aside where the photo shows the line between a painted face and its neck (s, s), else 1.

    It is the face's edge as the photo saw it; from elsewhere that lies elsewhere.
    """
    return 1 - look_up(shows.ink, uv) * smoothstep(*INKED, angle)


class Shown(NamedTuple):
    """What a photo shows clearly, 0..1 (s, s)."""

    pure: Floats  # hair without background
    inner_skin: Floats  # skin within its edges
    clear_skin: Floats  # skin apart from hair and cloth
    clear_hat: Floats  # a hat apart from hair and skin, and other things worn
    ink: Floats  # the line between a painted face and its neck
    deep: F32  # skin in so deep a shade that its hue is false, see `find_deep_shade`


def find_shown(photo: Photo) -> Shown:
    inner = photo.mask(SKIN, inset=max(round(STAINED * photo.size), 1), blur=STAINED * photo.size)
    nowhere = np.zeros((1, 1), np.float32)
    return Shown(find_pure(photo), inner, find_clear_skin(photo), find_clear_hat(photo), find_ink(photo), nowhere)


def find_pure(photo: Photo) -> Floats:
    """Return 0 where the background shines through hair (s, s); what shines through a beard is skin."""
    return np.where(photo.shows(Label.BEARD), np.float32(1), photo.pure)


def judge_stretch(shows: Shown, uv: Floats, angle: Floats, skin: Floats, beneath: Floats) -> Floats:
    """Return how far the photo's pixels are fine enough (s, s): a little aside, coarse ones are better than none.

    Where there is skin `beneath`, the layers show it as well, and a sideburn that the photo saw aslant would be a
    grey streak on the cheek; edges of `skin` over skin, stained by what lies beside, must be finer than the rest.
    """
    density = measure_density(uv)
    needed = 1 - (1 - ASLANT[0]) * (1 - smoothstep(*ASLANT[1:], angle)) * (1 - beneath)
    clean = np.minimum(look_up(shows.inner_skin, uv), look_up(shows.clear_skin, uv))
    stained = skin * (1 - clean) * np.maximum(1 - smoothstep(*CLEAN, density), smoothstep(*TURNED, angle))
    return smoothstep(*FINE, density / needed) * (1 - stained)


def find_clear_skin(photo: Photo) -> F32:
    """Return 0 beside the photo's hair, hat, clothes and ears, which shade the skin, 1 where that ends (s, s)."""
    free = (~(photo.shows(*HAIR, Label.HAT, *CLOTHES) | find_stray_hair(photo))).astype(np.uint8)
    away = cv2.distanceTransform(free, cv2.DIST_L2, 3) / photo.size
    return np.asarray(smoothstep(*CLEAR, away) * (1 - find_beneath_ears(photo)), np.float32)


def find_clear_hat(photo: Photo) -> F32:
    """Return 0 for a hat beside hair and skin, whose edge has the colours of both, 1 for other things worn (s, s)."""
    away = cv2.distanceTransform((~photo.shows(*HAIR, *SKIN)).astype(np.uint8), cv2.DIST_L2, 5) / photo.size
    clear = np.asarray(smoothstep(*CLEAR_HAT, away), np.float32)
    return np.where(photo.shows(Label.GLASSES, Label.JEWELLERY), np.float32(1), clear)


def soften_mask(mask: Bools) -> F32:
    """Return 1 well inside a mask (s, s), 0 at its edge and beyond."""
    inner = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(smoothstep(STAINED, 3 * STAINED, inner / len(mask)), np.float32)


def measure_density(uv: Floats) -> F32:
    """Return how many pixels of the photo a rendered pixel spans (s, s), at equal sizes: few where it saw a side.

    It is the lesser singular value of the map from the view to the photo.
    """
    (uy, vy), (ux, vx) = (np.moveaxis(np.gradient(uv, axis=axis) * len(uv), -1, 0) for axis in (0, 1))
    half, area = (ux**2 + uy**2 + vx**2 + vy**2) / 2, ux * vy - uy * vx
    least = np.sqrt(np.maximum(half - np.sqrt(np.maximum(half**2 - area**2, 0)), 0))
    return cv2.GaussianBlur(least.clip(0, 1).astype(np.float32), (0, 0), 0.01 * len(uv))
