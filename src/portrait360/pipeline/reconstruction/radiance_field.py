"""Fit a radiance field to views."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from portrait360.geometry.surfaces.visual_hull import visual_hull
from portrait360.geometry.volumes.radiance_field import FieldOptions, RadianceField
from portrait360.geometry.volumes.volume import CELLS, HALF
from portrait360.pipeline.reconstruction.rays import Rays, all_rays
from portrait360.pipeline.reconstruction.view_corrections import (
    Correction,
    center_corrections,
    correct_views,
    corrections_agree,
    estimate_correction,
)
from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import Bools
from portrait360.utils.errors import UserError

REFRESH_EVERY = 16  # steps between updates of the occupancy at random points of the hull
REFRESH_UNTIL = 0.3  # share of the steps: the field is arbitrary where no ray goes, and later updates would show it
COMPARE_SIZE = 96  # pixels: size of the renderings that views are compared with


@dataclass(frozen=True)
class FieldFit:
    steps: int = 2000
    samples: int = 49152  # along all rays of a step
    rate: float = 3e-2  # learning rate of the tables
    layer_rate: float = 2e-2  # learning rate of the linear layers
    last_rate: float = 0.02  # factor of both at the end
    huber: float = 0.1
    compare_at: tuple[float, ...] = (0.1, 0.25, 0.45)  # shares of the steps at which views are corrected
    initial: float = 4.0  # log density of every point of the hull before training
    harder: float = 4.0  # total increase of the log density of all points during training
    harden_in: tuple[float, float] = (0.1, 0.6)  # shares of the steps between which it is raised
    seed: int = 0

    def for_known_surface(self) -> FieldFit:
        """Return these settings for renders of a known surface: they agree, and nothing has to solidify."""
        return replace(self, compare_at=(), initial=6.0, harder=2.0)


class _Training:
    """The field, its optimiser, and the rays of the views, which are corrected during training."""

    def __init__(
        self,
        views: Sequence[View],
        options: FieldFit,
        sizes: FieldOptions,
        device: torch.device,
        surface: Bools | None,
    ) -> None:
        self.options, self.original_views = options, tuple(views)
        self.generator = torch.Generator(device).manual_seed(options.seed)
        self.field = RadianceField(sizes).to(device)
        self.field.reset(self.generator)
        with torch.no_grad():
            self.field.last.bias[0] = options.initial
        hull = visual_hull([v.alpha for v in views], [v.camera for v in views], half=HALF, cells=CELLS)
        if surface is not None:
            hull &= surface
        self.hull = torch.from_numpy(hull).to(device)
        if not hull.any():
            raise UserError(
                "No point is inside all mattes; check that all views show the same head, and check their cameras."
            )
        self.field.density.copy_(self.hull * math.exp(options.initial))
        self.corrections = [Correction()] * len(views)
        self.views = self.original_views
        self.rays = all_rays(self.views, device)
        layers = [value for name, value in self.field.named_parameters() if not name.startswith("grid")]
        groups = [
            {"params": self.field.grid.parameters(), "lr": options.rate},
            {"params": layers, "lr": options.layer_rate},
        ]
        self.optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda s: min(1, (s + 1) / 20) * options.last_rate ** (s / options.steps)
        )
        self.count = 2048  # rays of a step

    @torch.no_grad()
    def anneal_density(self, step: int) -> None:
        """Raise the density of all points a little.

        The field starts as mist, and would stay half transparent, with a surface two samples thick: colours alone
        hardly constrain it to be solid.
        """
        begin, end = (round(self.options.steps * share) for share in self.options.harden_in)
        if begin <= step < end:
            self.field.last.bias[0] += self.options.harder / (end - begin)

    def step(self) -> float:
        """Take one step on random rays, adapt the number of rays to the target number of samples, return the loss."""
        device = self.rays.view.device
        index = torch.randint(len(self.rays), (self.count,), generator=self.generator, device=device)
        loss, samples = _compute_loss(self.field, self.rays, index, self.options, self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        change = min(max(self.options.samples / max(samples, 1), 0.7), 1.4)
        self.count = int(min(max(self.count * change, 256), 16384))
        return float(loss.detach())

    def correct(self, fixed: int | None) -> None:
        """Compare every view with the field's rendering, and continue with corrected views."""
        residuals = []
        for view in self.views:
            rgb, alpha, _ = self.field.render_image(view.camera, COMPARE_SIZE)
            residuals.append(estimate_correction(view, rgb, alpha))
        if self.views is self.original_views and corrections_agree(residuals):
            return
        self.corrections = center_corrections(
            [a.then(b) for a, b in zip(self.corrections, residuals, strict=True)], fixed
        )
        self.views = correct_views(self.original_views, self.corrections)
        self.rays = all_rays(self.views, self.rays.view.device)


def fit_field(
    views: Sequence[View],
    options: FieldFit = FieldFit(),  # noqa: B008 (frozen)
    *,
    fixed: int | None = None,
    sizes: FieldOptions = FieldOptions(),  # noqa: B008 (frozen)
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
    surface: Bools | None = None,
) -> tuple[RadianceField, list[Correction]]:
    """Fit a field; return it and the correction of each view. The view with index `fixed` is not corrected.

    `surface` (cells, cells, cells) has the cells near the surface, where the program that drew the views knows it.
    The field is empty elsewhere, so rays need fewer samples, and places and density are right from the start.
    """
    training = _Training(views, options, sizes, torch.device(device), surface)
    rounds = {round(options.steps * share) for share in options.compare_at}
    for step in range(options.steps):
        loss = training.step()
        training.anneal_density(step)
        if step % REFRESH_EVERY == 0 and step < REFRESH_UNTIL * options.steps:
            update_random_cells(training.field, training.hull, training.generator)
        if step in rounds:
            training.correct(fixed)
        if on_step:
            on_step(step, loss)
    training.field.refresh_occupancy()
    return training.field, training.corrections


def _compute_loss(
    field: RadianceField, rays: Rays, index: Tensor, options: FieldFit, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Return the loss of the rays at `index` over random backgrounds, and the number of samples along them."""
    view = rays.view[index]
    device = index.device
    offsets = torch.rand(len(index), generator=generator, device=device)
    rendered = field.render(rays.origins[view], rays.directions[index], offsets=offsets, remember=True)
    background = torch.rand(len(index), 3, generator=generator, device=device)
    alpha = rays.alpha[index, None]
    target = rays.rgb[index] * alpha + background * (1 - alpha)
    rgb = rendered.rgb + background * (1 - rendered.alpha[:, None])
    per_ray = torch.nn.functional.huber_loss(rgb, target, reduction="none", delta=options.huber).sum(1)
    loss = (per_ray * rays.weight[index]).mean()
    return loss, rendered.samples


@torch.no_grad()
def update_random_cells(field: RadianceField, hull: Tensor, generator: torch.Generator, probes: int = 16384) -> None:
    """Update the occupancy at random points of the hull, so that emptied cells can fill again."""
    cells = torch.nonzero(hull)
    corners = cells[torch.randint(len(cells), (probes,), generator=generator, device=cells.device)]
    points = (corners + torch.rand(corners.shape, generator=generator, device=cells.device)) * (
        2 * HALF / CELLS
    ) - HALF
    field.update_occupancy(points, field(points)[0])
