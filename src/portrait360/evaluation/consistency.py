"""Whether views show one and the same head, without a truth: a radiance field is fitted to half of the views and
compared with the other half.

All of it is done in small pictures: what does not agree at 64 pixels does not agree at 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from portrait360.evaluation.image_metrics import psnr
from portrait360.geometry.cameras import pixel_centres
from portrait360.geometry.volumes.radiance_field import FieldOptions
from portrait360.pipeline.reconstruction.radiance_field import FieldFit, fit_field
from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.image_ops import look_up
from portrait360.utils.images import over_grey

DEPTH_TOLERANCE = 0.02  # canonical units: two depths that differ by less belong to one surface
MIN_OVERLAP = 0.02  # share of the picture that both views see; a pair with less has no warp error
LEVELS = 255.0


@dataclass(frozen=True)
class RefitSettings:
    """How the field of a protocol is fitted: the same for every method, and without correcting any view."""

    size: int = 64
    steps: int = 220
    samples: int = 4096
    levels: int = 6
    finest: int = 96
    rows: int = 1 << 15
    hidden: int = 16


@dataclass(frozen=True, eq=False)
class Consistency:
    """How well the views of an orbit, in order, agree."""

    held_out_psnr: Floats  # (n // 2,) dB inside the mattes, of the odd views: the field is not fitted to them
    warp_errors: Floats  # (n,) grey levels, of each view against the one before it; the first one closes the orbit

    @property
    def refit(self) -> float:
        return float(self.held_out_psnr.mean())

    @property
    def warp(self) -> float:
        finite = self.warp_errors[np.isfinite(self.warp_errors)]
        return float(finite.mean()) if len(finite) else float("nan")

    @property
    def seam(self) -> float:
        """The error of the last view against the first, as a multiple of the median over all other neighbours."""
        finite = self.warp_errors[1:][np.isfinite(self.warp_errors[1:])]
        return float(self.warp_errors[0]) / max(float(np.median(finite)), 1e-3) if len(finite) else float("nan")


def measure_consistency(views: Sequence[View], settings: RefitSettings) -> Consistency:
    """Measure how well views agree. If their mattes have no point in common they show no head, and every figure is
    the worst possible."""
    small = [downscale_view(view, settings.size) for view in views]
    options = FieldFit(steps=settings.steps, samples=settings.samples, compare_at=())
    sizes = FieldOptions(levels=settings.levels, finest=settings.finest, rows=settings.rows, hidden=settings.hidden)
    try:
        field, _ = fit_field(small[::2], options, sizes=sizes)
    except UserError:  # no point is inside all mattes
        return Consistency(np.zeros(len(views) // 2), np.full(len(views), LEVELS))
    renders = [field.render_image(view.camera, settings.size) for view in small]
    held_out_psnr = [
        psnr(over_grey(*rendered[:2]), over_grey(view.rgb, view.alpha), view.alpha > 0.5)
        for rendered, view in zip(renders[1::2], small[1::2], strict=True)
    ]
    return Consistency(np.array(held_out_psnr), neighbour_warp_errors(small, [depth for _, _, depth in renders]))


def neighbour_warp_errors(views: Sequence[View], depths: Sequence[Floats]) -> Floats:
    """Return the error (n,) of every view against the one before it, warped to its camera; for the first view that is
    the last one."""
    return np.array([warp_error(views[i - 1], views[i], depths[i - 1], depths[i]) for i in range(len(views))])


def warp_error(previous: View, view: View, previous_depth: Floats, depth: Floats) -> float:
    """Return the mean difference in grey levels where both views see the same surface; NaN where they share less than
    `MIN_OVERLAP`."""
    size = view.size
    points = view.camera.unproject(pixel_centres(size, size), np.where(depth > 0, depth, view.camera.radius))
    uv, distance = previous.camera.project(points)
    x, y = np.moveaxis((uv * size - 0.5).astype(np.float32), -1, 0)
    surface_depth = cv2.remap(previous_depth.astype(np.float32), x, y, cv2.INTER_NEAREST, borderValue=0)
    shared = (depth > 0) & (surface_depth > 0) & (np.abs(surface_depth - distance) < DEPTH_TOLERANCE)
    shared &= (look_up(previous.alpha, uv) > 0.5) & (view.alpha > 0.5)
    if shared.mean() < MIN_OVERLAP:
        return float("nan")
    return float(np.abs(look_up(previous.rgb, uv) - view.rgb)[shared].mean() * LEVELS)


def downscale_view(view: View, size: int) -> View:
    """Downscale a view to a smaller picture; colours are weighted by alpha."""
    rgba = np.concatenate([view.rgb * view.alpha[..., None], view.alpha[..., None]], -1).astype(np.float32)
    rgba = np.asarray(cv2.resize(rgba, (size, size), interpolation=cv2.INTER_AREA))
    rgb = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-4)
    changes: dict[str, Any] = {"rgb": rgb.clip(0, 1), "alpha": rgba[..., 3], "known_mask": None}
    return replace(view, **changes)
