"""Hold hair on top of the head within the photo's outline: what stands out of it lies down, and is not cut off there.

Strands that reach beyond the outline are trimmed. Those that rise over the top of the head and fall behind it would
leave stubs along the outline, a ragged crest, and a valley where the rest of them has lain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.pipeline.avatar.hair.outline import (
    CHAIN,
    FAN,
    NEAREST,
    Frame,
    Outline,
    clean_hair,
    make_frame,
    trace_outline,
    trace_reach,
)
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F64
from portrait360.utils.image_ops import smoothstep

KNEE = 0.8  # share of the room between skin and outline from which on hair is pressed together
THINNEST = 0.006  # canonical; least room
TOP = (0.0, 0.06)  # canonical heights over the centre of the head between which hair comes to be on top of it


def hold_within_outline(groups: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Return hair that ends at the outline on top of the head."""
    frame = make_frame(photo.camera)
    outline, reach = trace_outline(clean_hair(photo.labels), frame), trace_reach(head, frame)
    return [_hold(group, head, frame, outline, reach) for group in groups]


def _hold(group: Strands, head: Head, frame: Frame, outline: Outline, reach: F64) -> Strands:
    if len(group.points) == 0:
        return group
    points = group.points.astype(np.float64)
    right, up = frame.locate(points)
    place = FAN * np.arctan2(right, np.maximum(up, 1e-6))
    skin, room = (np.interp(place, CHAIN, values) for values in (reach, np.maximum(outline.hair - reach, THINNEST)))
    height = (np.hypot(right, up) - skin) / room
    sure = np.interp(place, CHAIN, outline.is_edge.astype(np.float64)) * smoothstep(*TOP, up)
    move = gaussian_filter1d(sure * room * (_press(height) - height), 1.0, axis=1, mode="nearest")
    move[:, 0] = 0.0
    rows = np.flatnonzero(move.min(1) < 0)
    still, (right, up, move) = points[rows], (a[rows] for a in (right, up, move))
    outward = np.stack([right, up], -1) / np.maximum(np.hypot(right, up), 1e-6)[..., None]
    moved = still + (move[..., None] * outward) @ frame.axes[:2]
    moved = head.field.push_out(moved, np.clip(head.field.distance(still), -1.0, NEAREST))
    points[rows] = np.where((move < 0)[..., None], moved, still)
    return replace(group, points=points.astype(np.float32))


def _press(height: F64) -> F64:
    """Return heights, shares of the room for hair, that end at 1, with their order."""
    over = np.maximum(height - KNEE, 0) / (1 - KNEE)
    return np.where(height > KNEE, KNEE + (1 - KNEE) * (1 - np.exp(-over)), height)
