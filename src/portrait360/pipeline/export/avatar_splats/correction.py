"""Correct colours, opacities and sizes of Gaussians by what views of them lack: one step for all views at once.

An avatar fades from its photo to its layers as the view turns, so the colours of Gaussians depend on the direction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.geometry.gaussians.flat_gaussians import draw_over_grey, find_covariances, flatten
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.numba_jit import cached_njit
from portrait360.pipeline.export.avatar_splats.blending import gather_slopes
from portrait360.pipeline.export.avatar_splats.choice import AvatarView, paint
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.images import over_grey
from portrait360.utils.parallel.threads import map_in_threads

STEADY, STEEP = 1e-3, 0.02  # shares of the weights that hold colours where they are, and their slopes at none
LEAST_TRUST = 0.1  # from a few directions, even what shows another layer has the colour of that
MOST_SLOPE = 0.48  # of a colour over the direction, whose range is 2: .spz holds no more
DAMPING = 0.2  # pixels: what a view hardly shows, it hardly changes
FADING, LEAST_FACTOR, MOST_FACTOR = 0.4, 0.25, 1.25  # share of the best step, and bounds of the factor of an opacity
GROWTH, SMALLEST, LARGEST = 0.2, 0.75, 1.2  # the same for sizes
STILL = 0.02  # squared slope that nothing shows below
FAINTEST, STRONGEST = 0.02, 0.99  # opacities


def correct(splats: GaussianSplats, views: list[AvatarView], trust: Floats, free: Bools) -> GaussianSplats:
    """Return the Gaussians with colours that undo the blur of their blending, from each direction as views show it.

    Those that are `free` (n,) also get other opacities and sizes. No Gaussian is drawn narrower than a pixel, as most
    hair is: single strands would be too strong, and where many were left out, the others are too thin. `trust` is as
    for `measure_shares`.
    """
    count, covariances, colours = len(splats), find_covariances(splats), _Colours(len(splats))
    slopes, squares = np.zeros((count, 2)), np.full((count, 2), STILL)

    def gather_view(shot: AvatarView) -> F32:
        flat, seen = flatten(splats, covariances, shot.camera, shot.size), splats.find_colours(shot.camera)
        drawn = draw_over_grey(flat, seen)
        return gather_slopes(flat, seen, drawn, over_grey(shot.view.rgb, shot.view.mask) - drawn)

    for shot, sums in zip(views, map_in_threads(gather_view, views, lone_first=False), strict=True):
        sums = sums * np.float32((512 / shot.size) ** 2)
        weight = shot.weight * (np.maximum(trust, LEAST_TRUST) if shot.front else np.ones(count))
        # squared: what a view shows well counts, not what it shows through gaps between others
        change = sums[:, 1:4] / (sums[:, :1] + np.float32(DAMPING))
        colours.add(weight * sums[:, 0].astype(np.float64) ** 2, splats.find_directions(shot.camera), change)
        slopes += weight[:, None] * sums[:, [4, 6]]
        squares += weight[:, None] * sums[:, [5, 7]]
    return _reshape(colours.solve(splats), slopes / squares * free[:, None])


class _Colours:
    """Weighted least squares for each Gaussian's colour and for its slopes over the direction."""

    def __init__(self, count: int) -> None:
        self.system, self.wanted = np.zeros((count, 4, 4), np.float32), np.zeros((count, 4, 3), np.float32)

    def add(self, weight: F64, directions: F32, change: F32) -> None:
        """Add what a view says: by how much the colour of each should be another one from there, `change` (n, 3)."""
        _add_terms(weight.astype(np.float32), directions, change, self.system, self.wanted)

    def solve(self, splats: GaussianSplats) -> GaussianSplats:
        """Return the Gaussians with the best colours; what few views show has them without slopes."""
        hold = self.system[:, :1, :1] * np.diag(np.array([STEADY, STEEP, STEEP, STEEP], np.float32))
        hold = hold + np.float32(1e-6) * np.eye(4, dtype=np.float32)
        before = np.concatenate([np.zeros_like(splats.slopes[:, :1]), splats.slopes], 1)
        change = np.linalg.solve(self.system + hold, self.wanted - hold @ before)
        slopes = np.clip(splats.slopes + change[:, 1:], -MOST_SLOPE, MOST_SLOPE)
        return replace(paint(splats, splats.colours + change[:, 0]), slopes=slopes)


@cached_njit(nogil=True)
def _add_terms(weight, directions, change, system, wanted):  # noqa: ANN001, ANN202 (numba)
    terms = np.ones(4, np.float32)
    for n in range(len(weight)):
        if weight[n] == 0:
            continue
        terms[1:] = directions[n]
        for i in range(4):
            weighed = weight[n] * terms[i]
            for j in range(4):
                system[n, i, j] += weighed * terms[j]
            for c in range(3):
                wanted[n, i, c] += weighed * change[n, c]


def _reshape(splats: GaussianSplats, steps: F64) -> GaussianSplats:
    """Return the Gaussians after a share of the best steps (n, 2) of the logarithms of their opacity and size."""
    opacities = splats.opacities * np.clip(1 + FADING * steps[:, 0], LEAST_FACTOR, MOST_FACTOR)
    scales = splats.scales * np.clip(1 + GROWTH * steps[:, 1], SMALLEST, LARGEST)[:, None]
    opacities = np.where(steps[:, 0] == 0, splats.opacities, np.clip(opacities, FAINTEST, STRONGEST))
    return replace(splats, opacities=opacities.astype(np.float32), scales=scales.astype(np.float32))
