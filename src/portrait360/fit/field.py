"""The field, fitted to views."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portrait360.errors import UserError
from portrait360.fit.corrections import Correction, agreeing, centred, compare, corrected
from portrait360.fit.rays import Rays, all_rays
from portrait360.geometry.field import Field, FieldOptions
from portrait360.geometry.hull import visual_hull
from portrait360.geometry.volume import CELLS, HALF
from portrait360.view_sheet import View

REFRESHED = 16  # steps between looks at random places of the hull
REFRESHED_UNTIL = 0.3  # of the steps: where no ray goes the network says anything, and later looks would show it
COMPARED = 96  # pixels: of the pictures that views are compared with
FIRST_LOGARITHM = 4.0  # of the density everywhere in the hull, before anything is known


@dataclass(frozen=True)
class FieldFit:
    steps: int = 2000
    samples: int = 49152  # along all rays of a step
    rate: float = 3e-2  # of the tables
    layer_rate: float = 2e-2
    last_rate: float = 0.02  # share of it at the end
    huber: float = 0.1
    compare_at: tuple[float, ...] = (0.1, 0.25, 0.45)  # shares of the steps after which views are corrected
    harder: float = 4.0  # logarithm by which all density is raised on the way
    harden_in: tuple[float, float] = (0.1, 0.6)  # shares of the steps
    seed: int = 0


class _Training:
    """The field and its optimiser, with the rays of views that may be corrected on the way."""

    def __init__(self, views: Sequence[View], options: FieldFit, sizes: FieldOptions, device: torch.device) -> None:
        self.options, self.given = options, tuple(views)
        self.generator = torch.Generator(device).manual_seed(options.seed)
        self.field = Field(sizes).to(device)
        self.field.reset(self.generator)
        with torch.no_grad():
            self.field.last.bias[0] = FIRST_LOGARITHM
        hull = visual_hull([v.alpha for v in views], [v.camera for v in views], half=HALF, cells=CELLS)
        self.hull = torch.from_numpy(hull).to(device)
        if not hull.any():
            raise UserError("No place is inside all mattes; check that the views show one head, and their cameras.")
        self.field.density.copy_(self.hull * math.exp(FIRST_LOGARITHM))
        self.corrections = [Correction()] * len(views)
        self.views = self.given
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
    def harden(self, step: int) -> None:
        """Raise all density a little. What began as mist would stay half transparent, its surface two samples deep:
        colours alone hardly say that it is solid."""
        begin, end = (round(self.options.steps * share) for share in self.options.harden_in)
        if begin <= step < end:
            self.field.last.bias[0] += self.options.harder / (end - begin)

    def step(self) -> float:
        device = self.rays.view.device
        which = torch.randint(len(self.rays), (self.count,), generator=self.generator, device=device)
        loss, samples = _loss(self.field, self.rays, which, self.options, self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        change = min(max(self.options.samples / max(samples, 1), 0.7), 1.4)
        self.count = int(min(max(self.count * change, 256), 16384))
        return float(loss.detach())

    def correct(self, fixed: int | None) -> None:
        """Compare every view with the field's picture, and go on with corrected ones."""
        still = []
        for view in self.views:
            rgb, alpha, _ = self.field.picture(view.camera, COMPARED)
            still.append(compare(view, rgb, alpha))
        if self.views is self.given and agreeing(still):
            return
        self.corrections = centred([a.then(b) for a, b in zip(self.corrections, still, strict=True)], fixed)
        self.views = corrected(self.given, self.corrections)
        self.rays = all_rays(self.views, self.rays.view.device)


def fit_field(
    views: Sequence[View],
    options: FieldFit = FieldFit(),  # noqa: B008 (frozen)
    *,
    fixed: int | None = None,
    sizes: FieldOptions = FieldOptions(),  # noqa: B008 (frozen)
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[Field, list[Correction]]:
    """The field, and what was wrong with each view; the view `fixed` is taken as it is."""
    training = _Training(views, options, sizes, torch.device(device))
    rounds = {round(options.steps * share) for share in options.compare_at}
    for step in range(options.steps):
        loss = training.step()
        training.harden(step)
        if step % REFRESHED == 0 and step < REFRESHED_UNTIL * options.steps:
            refresh(training.field, training.hull, training.generator)
        if step in rounds:
            training.correct(fixed)
        if on_step:
            on_step(step, loss)
    training.field.settle()
    return training.field, training.corrections


def _loss(
    field: Field, rays: Rays, which: Tensor, options: FieldFit, generator: torch.Generator
) -> tuple[Tensor, int]:
    view = rays.view[which]
    device = which.device
    offsets = torch.rand(len(which), generator=generator, device=device)
    seen = field.render(rays.origins[view], rays.directions[which], offsets=offsets, remember=True)
    behind = torch.rand(len(which), 3, generator=generator, device=device)
    alpha = rays.alpha[which, None]
    goal = rays.rgb[which] * alpha + behind * (1 - alpha)
    got = seen.rgb + behind * (1 - seen.alpha[:, None])
    each = torch.nn.functional.huber_loss(got, goal, reduction="none", delta=options.huber).sum(1)
    loss = (each * rays.weight[which]).mean()
    return loss, seen.samples


@torch.no_grad()
def refresh(field: Field, hull: Tensor, generator: torch.Generator, probes: int = 16384) -> None:
    """Ask at random places of the hull what the grid should hold: emptied cells may fill again."""
    cells = torch.nonzero(hull)
    pick = cells[torch.randint(len(cells), (probes,), generator=generator, device=cells.device)]
    places = (pick + torch.rand(pick.shape, generator=generator, device=cells.device)) * (2 * HALF / CELLS) - HALF
    field.look(places, field(places)[0])
