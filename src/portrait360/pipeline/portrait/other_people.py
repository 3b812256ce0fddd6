"""Take other people out of a matte, which often joins those who stand close together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from portrait360.pipeline.portrait.matting import Matte
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep

LEAST = 0.4  # size of another's face by one's own: smaller ones are pictures, or far behind
ON_CHEST = (0.5, 0.8)  # face sizes: a face so little aside, and so far below, is printed on the clothes
SOFT = 0.02  # face sizes over which the border fades
FEWEST = 20  # pixels of another person from which a border must be found
OWN, OTHER = 0.55, 0.35  # face sizes up to which all is one's own, and beyond the middle, all is another's
FINE = 9  # pixels of the cut by which fine hair may lie beside it
KEPT = 0.8  # least share of what is nearer to one's own face that a sensible cut leaves
NO_FRAME = (0, 0, 1, 1)  # which a cut that starts with a mask does not use
CUT_SIDE, ROUNDS = 288, 4  # pixels of the picture that is cut, and rounds of the cut
BODY = 0.35  # how far what lies below a face is from it: a body hangs down


class _Place(NamedTuple):
    """Where a face is in the photo, in pixels."""

    x: float
    y: float
    size: float


def leave_out_others(matte: Matte, own: Floats, others: Sequence[Floats], rgb: Floats | None = None) -> Matte:
    """Return the matte without what is nearer to another face than to one's own, each by its size.

    Args:
        matte: The matte of a part of the photo.
        own: Landmarks (n, 2) of the face whose matte it is, in pixels of the photo.
        others: Landmarks of the other faces.
        rgb: The photo; where two people meet, the border then follows its colours and edges.
    """
    face = _find_place(own)
    strangers = [place for place in map(_find_place, others) if _is_stranger(place, face)]
    if not strangers:
        return matte
    height, width = matte.values.shape
    x = (np.arange(width)[None] + 0.5) / matte.scale + matte.corner[0]
    y = (np.arange(height)[:, None] + 0.5) / matte.scale + matte.corner[1]
    near, *far = (_measure_distance(place, x, y) for place in (face, *strangers))
    nearer = near - np.minimum.reduce(far)
    beyond = smoothstep(-SOFT, SOFT, nearer)
    if rgb is not None and (beyond * matte.values).sum() > FEWEST:
        cut = _follow_edges(matte, nearer, near, rgb)
        beyond = beyond if cut is None else cut
    return replace(matte, values=(matte.values * (1 - beyond)).astype(np.float32))


def _follow_edges(matte: Matte, nearer: Floats, near: Floats, rgb: Floats) -> F32 | None:
    """Return what is another person's (rows, columns), 0..1, cut along edges of the photo by `cv2.grabCut`.

    `nearer` is how much nearer other faces are, `near` how far the own one is. None where people look so alike that
    the cut would take most of one's own head, too. Rother et al., "GrabCut" (2004).
    """
    height, width = matte.values.shape
    small = min(1.0, CUT_SIDE / max(height, width))
    size = max(1, round(width * small)), max(1, round(height * small))
    scale = matte.scale * size[0] / width
    move = np.array([[scale, 0, -matte.corner[0] * scale], [0, scale, -matte.corner[1] * scale]])
    sharp = cv2.GaussianBlur(np.asarray(rgb, np.float32), (0, 0), max(0.4 / scale, 0.1))
    picture = cv2.warpAffine(sharp, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values, nearer, near = (
        np.asarray(cv2.resize(np.asarray(v, np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
        for v in (matte.values, nearer, near)
    )
    mask = np.where(nearer < 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[(near < OWN) & (values > 0.5) & (nearer < 0)] = cv2.GC_FGD
    mask[(nearer > OTHER) | (values < 0.1)] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    picture, behind, before = (255 * picture).astype(np.uint8), np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, mask, NO_FRAME, behind, before, ROUNDS, cv2.GC_INIT_WITH_MASK)
    own = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)) & (values > 0.1)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(own.astype(np.uint8))
    own = pieces == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]) if len(stats) > 1 else own
    expected = (values > 0.5) & (nearer < 0)
    if (own & expected).sum() < KEPT * expected.sum():
        return None
    beside = cv2.dilate(own.astype(np.uint8), np.ones((FINE, FINE), np.uint8)) > 0
    free = (values < 0.5) & (nearer < 0) & beside  # hair that is finer than the cut
    share = cv2.GaussianBlur((own | free).astype(np.float32), (0, 0), 0.7)
    return 1 - cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)


def _find_place(points: Floats) -> _Place:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    x, y = (low + high) / 2
    return _Place(float(x), float(y), float((high - low).max()))


def _measure_distance(place: _Place, x: Floats, y: Floats) -> Floats:
    """Return how far pixels are from a person, in sizes of the face."""
    down = y - place.y
    return np.hypot(x - place.x, np.where(down > 0, BODY, 1) * down) / place.size


def _is_stranger(other: _Place, own: _Place) -> bool:
    """Return whether a face is another person's, and not a picture of one."""
    aside, below = abs(other.x - own.x) / own.size, (other.y - own.y) / own.size
    return other.size > LEAST * own.size and not (aside < ON_CHEST[0] and below > ON_CHEST[1])
