"""Let hair behind the neck end where the photo shows that the hair beside it does.

A photo from the front doesn't show what hangs behind a neck. Hair that ends at the ears or at the jaw before, and
lower behind, is a cut that few people wear; a bob, a short crop and hair that is tied up are plainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry.cameras import pixel_centres
from portrait360.pipeline.avatar.hair.outline import CENTRE, CHAIN, QUARTER, STEPS, Frame, cast, make_frame
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import Bools
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import SKIN_LABELS, Label, find_labels
from portrait360.utils.vectors import measure_paths

SURE, PURE = 0.9, 0.5  # matte, and purity, from which a pixel surely shows hair: not a shade on a wall, say
LOCK = 0.025  # canonical width of hair from which it hangs there
BELOW = (0.03, 0.10)  # canonical drop below the lowest hair within which nothing hides more of it
FREE = 0.5  # share of the rows there that show what lies behind the head
BESIDE = -0.06  # canonical z of hair beside the neck
NAPE = -0.17  # canonical height that short hair, too, may reach at the nape
HEAD = (*SKIN_LABELS, Label.BEARD, Label.GLASSES, Label.JEWELLERY)
UNEVEN = 0.012  # canonical, of the ends of strands
FEW, SPARE = 0.04, 0.03  # share of the strands that hang lower; canonical way that the end may be lower
LEAST = 0.3  # of the segments of a strand that are left of it, at least
RAGGED, SINGLE = 0.09, 0.02  # canonical: by how much locks, and single strands, end higher than hair that hangs
LOCKS, ROUND = 55.0, 0.15  # locks per canonical unit, at this distance from the middle of the head
UNSEEN = (0.05, -0.05)  # z of ends that the photo shows as they are, and of those that it does not show
HANGING = (-0.16, -0.28)  # heights of ends that are hardly ragged, as a bob's at the jaw, and as ragged as all


def measure_end(photo: Photo) -> float | None:
    """Return the canonical height of the lowest hair; None where the photo doesn't tell.

    It tells if on one side, below the lowest hair, the background is seen beside the neck.
    """
    frame = make_frame(photo.camera)
    sides = _find_sides(photo, frame, _find_hanging(photo, frame))
    if not any(is_free for _, is_free in sides):
        return None
    return _find_height(frame, max(drop for drop, _ in sides))


def measure_lowest(photo: Photo) -> float:
    """Return the canonical height of the lowest hair that a photo surely shows, whether it ends there or not."""
    frame = make_frame(photo.camera)
    return _find_height(frame, max(drop for drop, _ in _find_sides(photo, frame, _find_hanging(photo, frame))))


def _find_hanging(photo: Photo, frame: Frame) -> Bools:
    """Return where the photo shows hair that hangs from the head, not a patch on the chest."""
    hair = photo.shows(Label.HAIR)
    up = (pixel_centres(photo.size, photo.size) - frame.centre) @ np.linalg.inv(frame.plane)[:, 1]
    _, parts = cv2.connectedComponents(hair.astype(np.uint8))
    parts = np.asarray(parts)
    return np.asarray(hair & np.isin(parts, np.unique(parts[hair & (up > 0)])))


def _find_sides(photo: Photo, frame: Frame, hanging: Bools) -> list[tuple[float, bool]]:
    """Return the drop of the lowest hair on either side of the picture, and whether nothing hides that it ends."""
    sure = hanging & (photo.alpha > SURE) & (photo.pure > PURE)
    wide = (cast(sure.astype(np.uint8), frame) == 1).sum(1) * STEPS[1] > LOCK
    return [_find_lowest(cast(photo.labels, frame), wide, side) for side in (-1, 1)]


def _find_lowest(rays: np.ndarray, wide: np.ndarray, side: int) -> tuple[float, bool]:
    """Return the drop of the lowest hair on one side, and whether nothing hides that it ends there."""
    drop = side * CHAIN - QUARTER
    lowest = float(drop[wide & (drop > 0)].max(initial=0.0))
    below = (drop > lowest + BELOW[0]) & (drop < lowest + BELOW[1])
    if not below.any():
        return lowest, False
    shown = rays[below]
    is_skin = find_labels(shown, HEAD)
    first = np.where(is_skin.any(1), shown.shape[1] - is_skin[:, ::-1].argmax(1), 0)  # beyond the neck
    beyond = shown[np.arange(len(shown)), np.minimum(first + 2, shown.shape[1] - 1)]
    return lowest, bool((beyond == Label.BACKGROUND).mean() > FREE)


def _find_height(frame: Frame, drop: float) -> float:
    """Return the canonical height of what hangs beside the neck and appears so far below the frame's centre."""
    up = frame.axes[1]
    return float(CENTRE[1] + (-drop - (BESIDE - CENTRE[2]) * up[2]) / up[1])


def measure_hidden(groups: Sequence[Strands], end: float) -> float:
    """Return by how much hair hangs below a height, canonical."""
    lowest = [float(np.quantile(group.points[..., 1].min(1), FEW)) for group in groups if len(group.points)]
    return max(end - SPARE - min(lowest), 0.0) if lowest else 0.0


def end_strands(groups: Sequence[Strands], end: float) -> list[Strands]:
    """Return strands that end at a height, a little unevenly; hair that hardly hangs lower is cut as its style is."""
    if measure_hidden(groups, end) == 0:
        return list(groups)
    return [_end_group(group, end, seed) for seed, group in enumerate(groups)]


def _end_group(group: Strands, end: float, seed: int) -> Strands:
    if len(group.points) == 0:
        return group
    height, steps = group.points[..., 1], group.points.shape[1] - 1
    ends = end - UNEVEN * np.random.default_rng([71, seed]).exponential(1.0, len(height)).clip(0, 3)
    is_below = height < ends[:, None]
    row, first = np.arange(len(height)), np.maximum(is_below.argmax(1), 1)
    above = height[row, first - 1] - ends
    share = np.clip(above / np.maximum(height[row, first - 1] - height[row, first], 1e-6), 0, 1)
    last = np.where(is_below.any(1), np.maximum(first - 1 + share, LEAST), steps)
    return replace(group, points=shorten(group.points, last))


def fray_ends(groups: Sequence[Strands]) -> list[Strands]:
    """Return long hair whose locks end at different heights: no hair but a wig's ends at one line all around."""
    return [_fray(group, seed) if len(group.points) else group for seed, group in enumerate(groups)]


def _fray(group: Strands, seed: int) -> Strands:
    end = group.points[:, -1].astype(np.float64)
    rng, round_ = np.random.default_rng([73, seed]), ROUND * unit(end * np.array([1.0, 0.0, 1.0]) + 1e-9)
    lock = np.abs(noise(round_.astype(np.float32), LOCKS, 89, 2) - 0.5)
    higher = RAGGED * lock + SINGLE * rng.exponential(1.0, len(end)).clip(0, 3)
    higher = higher * smoothstep(*HANGING, end[:, 1]) * smoothstep(*UNSEEN, end[:, 2])
    share = np.maximum(1 - higher / np.maximum(measure_paths(group.points), 1e-6), LEAST)
    return replace(group, points=shorten(group.points, share * (group.points.shape[1] - 1)))
