"""Correct colours, opacities and sizes of Gaussians by what views of them lack: one step for all views at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.geometry.gaussians.flat_gaussians import draw_over_grey, find_covariances, flatten
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_splats.blending import gather_slopes
from portrait360.pipeline.export.avatar_splats.choice import AvatarView, paint
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.images import over_grey
from portrait360.utils.parallel.threads import map_in_threads

MOST_CHANGE = 0.1  # of a colour
DAMPING = 0.4  # pixels: what a view hardly shows, it hardly changes
FADING, LEAST_FACTOR, MOST_FACTOR = 0.4, 0.25, 1.25  # share of the best step, and bounds of the factor of an opacity
GROWTH, SMALLEST, LARGEST = 0.2, 0.75, 1.2  # the same for sizes
STILL = 0.02  # squared slope that nothing shows below
FAINTEST, STRONGEST = 0.02, 0.99  # opacities


def correct(splats: GaussianSplats, views: list[AvatarView], trust: Floats, free: Bools) -> GaussianSplats:
    """Return the Gaussians with colours that undo the blur of their blending, as far as the views agree on it.

    Those that are `free` (n,) also get other opacities and sizes. No Gaussian is drawn narrower than a pixel, as most
    hair is: single strands would be too strong, and where many were left out, the others are too thin. `trust` is as
    for `measure_shares`.
    """
    count, covariances = len(splats), find_covariances(splats)
    weights, changes = np.full(count, 1e-9), np.zeros((count, 3))
    slopes, squares = np.zeros((count, 2)), np.full((count, 2), STILL)

    def gather_view(shot: AvatarView) -> F32:
        flat = flatten(splats, covariances, shot.camera, shot.size)
        drawn = draw_over_grey(flat, splats.colours)
        return gather_slopes(flat, splats.colours, drawn, over_grey(shot.view.rgb, shot.view.mask) - drawn)

    for shot, sums in zip(views, map_in_threads(gather_view, views, lone_first=False), strict=True):
        sums = sums * np.float32((512 / shot.size) ** 2)
        trusted = trust if shot.front else np.ones(count)
        weight = shot.weight * sums[:, 0].astype(np.float64) ** 2 * trusted
        weights += weight
        changes += weight[:, None] * sums[:, 1:4] / (sums[:, :1] + DAMPING)
        weight = shot.weight * trusted[:, None]
        slopes += weight * sums[:, [4, 6]]
        squares += weight * sums[:, [5, 7]]
    changes = np.clip(changes / weights[:, None], -MOST_CHANGE, MOST_CHANGE)
    return _reshape(paint(splats, splats.colours + changes), slopes / squares * free[:, None])


def _reshape(splats: GaussianSplats, steps: F64) -> GaussianSplats:
    """Return the Gaussians after a share of the best steps (n, 2) of the logarithms of their opacity and size."""
    opacities = splats.opacities * np.clip(1 + FADING * steps[:, 0], LEAST_FACTOR, MOST_FACTOR)
    scales = splats.scales * np.clip(1 + GROWTH * steps[:, 1], SMALLEST, LARGEST)[:, None]
    opacities = np.where(steps[:, 0] == 0, splats.opacities, np.clip(opacities, FAINTEST, STRONGEST))
    return replace(splats, opacities=opacities.astype(np.float32), scales=scales.astype(np.float32))
