"""Whether views are pictures of one head, without a truth: a field is fitted to some, and asked of the others.

All of it is done in small pictures: what does not agree at 64 pixels does not agree at 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import pixel_centres
from portrait360.errors import UserError
from portrait360.evaluate.metrics import psnr
from portrait360.fit.field import FieldFit, fit_field
from portrait360.geometry.completion import look_up
from portrait360.geometry.field import FieldOptions
from portrait360.images import over_grey
from portrait360.view_sheet import View

Floats = NDArray[np.floating]

NEAR = 0.02  # canonical: two depths that differ by less are one surface
ENOUGH = 0.02  # share of the picture that both views see; with less nothing is said of a pair
LEVELS = 255.0


@dataclass(frozen=True)
class Refit:
    """How the field of a protocol is fitted: the same for every method, and nothing in it is corrected."""

    size: int = 64
    steps: int = 220
    samples: int = 4096
    levels: int = 6
    finest: int = 96
    rows: int = 1 << 15
    hidden: int = 16


@dataclass(frozen=True, eq=False)
class Consistency:
    """Of an orbit in order."""

    unseen: Floats  # (n // 2,) dB inside the mattes: the odd views, which the field has not seen
    jumps: Floats  # (n,) grey levels: each view's warp error against the one before it; the first's closes the orbit

    @property
    def refit(self) -> float:
        return float(self.unseen.mean())

    @property
    def warp(self) -> float:
        known = self.jumps[np.isfinite(self.jumps)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def seam(self) -> float:
        """The last view against the first, as a multiple of the median of all other neighbours."""
        others = self.jumps[1:][np.isfinite(self.jumps[1:])]
        return float(self.jumps[0]) / max(float(np.median(others)), 1e-3) if len(others) else float("nan")


def consistency(views: Sequence[View], how: Refit) -> Consistency:
    """Views that have no common place are no head: then every figure is as bad as can be."""
    small = [reduced(view, how.size) for view in views]
    options = FieldFit(steps=how.steps, samples=how.samples, compare_at=())
    sizes = FieldOptions(levels=how.levels, finest=how.finest, rows=how.rows, hidden=how.hidden)
    try:
        field, _ = fit_field(small[::2], options, sizes=sizes)
    except UserError:  # no place is inside all mattes
        return Consistency(np.zeros(len(views) // 2), np.full(len(views), LEVELS))
    seen = [field.picture(view.camera, how.size) for view in small]
    unseen = [
        psnr(over_grey(*picture[:2]), over_grey(view.rgb, view.alpha), view.alpha > 0.5)
        for picture, view in zip(seen[1::2], small[1::2], strict=True)
    ]
    return Consistency(np.array(unseen), neighbours(small, [depth for _, _, depth in seen]))


def neighbours(views: Sequence[View], depths: Sequence[Floats]) -> Floats:
    """Warp error (n,) of every view against the one before it brought to its camera, the first against the last."""
    return np.array([warp_error(views[i - 1], views[i], depths[i - 1], depths[i]) for i in range(len(views))])


def warp_error(one: View, other: View, its_depth: Floats, depth: Floats) -> float:
    """Mean difference in grey levels where both see the same surface; not a number where nothing is seen by both."""
    size = other.size
    places = other.camera.unproject(pixel_centres(size, size), np.where(depth > 0, depth, other.camera.radius))
    uv, away = one.camera.project(places)
    x, y = np.moveaxis((uv * size - 0.5).astype(np.float32), -1, 0)
    behind = cv2.remap(its_depth.astype(np.float32), x, y, cv2.INTER_NEAREST, borderValue=0)
    both = (depth > 0) & (behind > 0) & (np.abs(behind - away) < NEAR)
    both &= (look_up(one.alpha, uv) > 0.5) & (other.alpha > 0.5)
    if both.mean() < ENOUGH:
        return float("nan")
    return float(np.abs(look_up(one.rgb, uv) - other.rgb)[both].mean() * LEVELS)


def reduced(view: View, size: int) -> View:
    """The view in a smaller picture; colours count by their cover."""
    both = np.concatenate([view.rgb * view.alpha[..., None], view.alpha[..., None]], -1).astype(np.float32)
    both = np.asarray(cv2.resize(both, (size, size), interpolation=cv2.INTER_AREA))
    rgb = both[..., :3] / np.maximum(both[..., 3:], 1e-4)
    changes: dict[str, Any] = {"rgb": rgb.clip(0, 1), "alpha": both[..., 3], "known": None}
    return replace(view, **changes)
