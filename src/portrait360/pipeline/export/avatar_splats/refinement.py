"""Fit colours, opacities and shapes of Gaussians to an avatar's views in a few dozen steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from portrait360.geometry.gaussians.projection import project
from portrait360.geometry.gaussians.rasterizer import rasterize
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_splats.choice import AvatarView
from portrait360.utils.array_types import F32, Bools
from portrait360.utils.images import over_grey

RATES = {"means": 1.5e-4, "scales": 3e-2, "rotations": 8e-3, "opacities": 0.12, "colours": 2e-2}
LAST_RATE = 0.15  # factor of the rates at the end
NARROWEST = 2e-4  # canonical: thinnest scale


def refine(
    splats: GaussianSplats, views: list[AvatarView], free: Bools, steps: int, *, seed: int = 0
) -> GaussianSplats:
    """Take Adam's steps, one view each, in a random order that goes through all views before it repeats one.

    Gaussians that are not `free` (n,) stay as they are: what the photo shows sharply would get the mean of all views.
    """
    fixed = torch.from_numpy(~free)
    values = {
        "means": torch.from_numpy(splats.means.copy()),
        "scales": torch.from_numpy(np.log(np.maximum(splats.scales, NARROWEST))),
        "rotations": torch.from_numpy(splats.rotations.copy()),
        "opacities": torch.logit(torch.from_numpy(splats.opacities).clamp(0.01, 0.99)),
        "colours": torch.from_numpy(splats.colours.copy()),
    }
    groups = [{"params": [value.requires_grad_()], "lr": RATES[name]} for name, value in values.items()]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12, fused=True)
    rng, order = np.random.default_rng(seed), []
    for step in range(steps):
        order = order or rng.permutation(len(views)).tolist()
        shot = views[order.pop()]
        for group, rate in zip(optimiser.param_groups, RATES.values(), strict=True):
            group["lr"] = rate * LAST_RATE ** (step / steps)
        optimiser.zero_grad()
        _measure_error(values, shot, splats.find_colours(shot.camera) - splats.colours).backward()
        for value in values.values():
            if value.grad is not None:
                value.grad[fixed] = 0
        optimiser.step()
    return replace(_collect(values), slopes=splats.slopes)


def _measure_error(values: dict[str, Tensor], shot: AvatarView, turned: F32) -> Tensor:
    """Return the squared error over grey; `turned` is by what colours differ in the view's direction."""
    means, scales, turns = values["means"], values["scales"].exp(), values["rotations"]
    colours = (values["colours"] + torch.from_numpy(turned)).clamp(min=0)
    flat = project(means, scales, turns, values["opacities"].sigmoid(), colours, shot.camera, shot.size)
    drawn = rasterize(flat, shot.size)
    wanted = torch.from_numpy(over_grey(shot.view.rgb, shot.view.mask).astype(np.float32))
    return shot.weight * (drawn[..., :3] + 0.5 * (1 - drawn[..., 3:4]) - wanted).square().sum()


@torch.no_grad()
def _collect(values: dict[str, Tensor]) -> GaussianSplats:
    parts = (
        values["means"],
        values["scales"].exp().clamp(min=NARROWEST),
        torch.nn.functional.normalize(values["rotations"], dim=1),
        values["opacities"].sigmoid().clamp(0.005, 0.995),
        values["colours"].clamp(0, 1),
    )
    return GaussianSplats(*(part.detach().numpy().copy() for part in parts))
