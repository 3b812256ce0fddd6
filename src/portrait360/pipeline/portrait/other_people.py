"""Take other people out of a matte, which often joins those who stand close together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from portrait360.pipeline.portrait.matting import Matte
from portrait360.utils.array_types import Floats
from portrait360.utils.image_ops import smoothstep

LEAST = 0.4  # size of another's face by one's own: smaller ones are pictures, or far behind
ON_CHEST = (0.5, 0.8)  # face sizes: a face so little aside, and so far below, is printed on the clothes
SOFT = 0.02  # face sizes over which the border fades
BODY = 0.35  # how far what lies below a face is from it: a body hangs down


class _Place(NamedTuple):
    """Where a face is in the photo, in pixels."""

    x: float
    y: float
    size: float


def leave_out_others(matte: Matte, own: Floats, others: Sequence[Floats]) -> Matte:
    """Return the matte without what is nearer to another face than to one's own, each by its size.

    Args:
        matte: The matte of a part of the photo.
        own: Landmarks (n, 2) of the face whose matte it is, in pixels of the photo.
        others: Landmarks of the other faces.
    """
    face = _find_place(own)
    strangers = [place for place in map(_find_place, others) if _is_stranger(place, face)]
    if not strangers:
        return matte
    height, width = matte.values.shape
    x = (np.arange(width)[None] + 0.5) / matte.scale + matte.corner[0]
    y = (np.arange(height)[:, None] + 0.5) / matte.scale + matte.corner[1]
    near, *far = (_measure_distance(place, x, y) for place in (face, *strangers))
    beyond = smoothstep(-SOFT, SOFT, near - np.minimum.reduce(far))
    return replace(matte, values=(matte.values * (1 - beyond)).astype(np.float32))


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
