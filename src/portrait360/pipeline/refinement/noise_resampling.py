"""Multi-View Noise Resampling (Portrait Diffusion, eq. 12 to 19): views of the head are denoised one after the other,
driven by their neighbours. They share noise through the surface, and keep it where views agree on what to change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.diffusion.multiview import view_generators
from portrait360.diffusion.samplers import flow_euler
from portrait360.geometry.cameras import Camera
from portrait360.geometry.warping import warp_noise
from portrait360.models.hybrid_priors import BranchWeights
from portrait360.models.triplane import ImageWindow, Triplane
from portrait360.pipeline.refinement.anchor_noise import Candidate, Gradient, resample_noise, select_anchor
from portrait360.pipeline.refinement.denoising_guide import Guide, GuideView, render_base, resize_photo
from portrait360.pipeline.refinement.view_schedule import FIXED, ScheduledView, outward_schedule, random_view
from portrait360.pipeline.views.pixel_latents import premultiply
from portrait360.pipeline.views.view_set import View
from portrait360.utils.progress import ProgressCallback, ignore_progress
from portrait360.utils.resume import ResumeFile

Noise = Literal["anchors", "fixed", "random"]
RAYS = 8192  # at once, without gradients
RIM = 2  # pixels
SEED_STRIDE = 1009  # more than a run's steps (0 initialises the anchors), so that the streams of two seeds differ
KEEP_SECONDS = 20.0  # at least, between two saves of the state


@dataclass(frozen=True)
class RefineConfig:
    """The defaults are the paper's whole method except for its noise; other values are its ablations (fig. 5, 6)."""

    steps: int = 4
    views: int = FIXED
    size: int = 256
    noisy: tuple[float, float] = (0.95, 0.4)  # noise levels of the first and the last step
    strength: float = 0.0  # of the noise; 1 in the paper, but priors with little training turn noise into clouds
    sigma: float = 0.3  # of the noise that is sampled around an anchor (eq. 12)
    noise: Noise = "anchors"
    optimised: bool = True  # anchors are replaced by noise that agrees better (eq. 17)
    led: BranchWeights = field(default_factory=BranchWeights)
    between: int = 1  # random views in each step, besides the fixed ones
    levels: int = 3  # noise levels in which a random view is denoised
    judged: int = 64  # pixels: size of the renders whose gradients are compared
    moves: int = 24  # optimiser steps of the head in each step
    parts: int = 4  # patches of views in each optimiser step
    photos: int = 3  # patches of the photo, in addition
    window: int = 64  # pixels: size of a patch
    photo: float = 2.0  # weight of a patch of the photo
    rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Goal:
    """A picture that the head is optimised to match."""

    camera: Camera
    picture: Tensor  # (4 s s) premultiplied
    weight: Tensor  # (s s)
    centres: Tensor  # (n 2) pixels around which patches are sampled: those that are covered


@dataclass
class _FixedView:
    """A fixed view and the state of its refinement."""

    scheduled: ScheduledView
    base: GuideView
    anchor: Tensor
    target: Tensor | None = None  # (1 c h w) latents of the picture that it is to become


class Refinement:
    def __init__(self, head: Triplane, photo: View, guide: Guide, config: RefineConfig) -> None:
        self.head, self.photo, self.guide, self.config = head, photo, guide, config
        self.parameters = head.trainable_parameters()
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.rate, betas=(0.9, 0.99))
        self.schedule = outward_schedule(photo.camera, config.views)
        weight = (
            torch.ones(photo.alpha.shape) if photo.known_mask is None else torch.from_numpy(photo.known_mask).float()
        )
        picture = premultiply(photo.rgb, photo.alpha)
        self.photo_goal = _make_goal(photo.camera, *(x.to(head.density) for x in (picture, weight)))
        self.views = self._init_views([render_base(head, view.camera, config.size) for view in self.schedule])

    def _init_views(self, bases: Sequence[GuideView]) -> list[_FixedView]:
        """Warp the noise of the reference from view to view (eq. 13)."""
        side = self.config.size // self.guide.cell
        views: list[_FixedView] = []
        for scheduled, base, generator in zip(self.schedule, bases, self._generators(0)[:-1], strict=True):
            anchor = torch.randn(self.guide.channels, side, side, generator=generator)
            if scheduled.driving is not None and self.config.noise == "anchors":
                anchor = self._warp_noise(views[scheduled.driving], base.camera, anchor)
            views.append(_FixedView(scheduled, base, anchor))
        return views

    def _warp_noise(self, view: _FixedView, camera: Camera, fresh: Tensor) -> Tensor:
        """Warp a view's noise to another camera, with fresh noise in the disoccluded areas."""
        cell = self.guide.cell
        depth = view.base.depth[cell // 2 :: cell, cell // 2 :: cell]
        return warp_noise(view.anchor, depth, view.base.camera, camera, fresh)

    def _generators(self, step: int) -> list[torch.Generator]:
        """One generator for each fixed view and one for all random views.

        They depend only on the seed and the step, so their states need not be saved."""
        return view_generators(self.config.seed * SEED_STRIDE + step, self.config.views + 1)

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume."""
        views = [[view.anchor, view.target] for view in self.views]
        return {"head": self.head.own_state(), "optimiser": self.optimiser.state_dict(), "views": views}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.head.load_own_state(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])
        for view, (anchor, target) in zip(self.views, state["views"], strict=True):
            view.anchor, view.target = anchor, None if target is None else target.to(view.base.picture)

    def step(self, number: int) -> None:
        """Update the target of every view, then optimise the head towards random patches of them (eq. 18, 19)."""
        self.generators = self._generators(1 + number)
        self.rng = np.random.default_rng([self.config.seed, 3, number])
        fraction = number / max(self.config.steps - 1, 1)
        level = self.config.noisy[0] + fraction * (self.config.noisy[1] - self.config.noisy[0])
        gradients = [self._goal_gradient(self.photo_goal)] if self.config.optimised else []
        for i in range(1, len(self.views)):
            self._update_target(i, level, gradients)
        goals = [_make_goal(view.base.camera, self.target_picture(view)) for view in self.views[1:]]
        goals += [self._random_goal(level) for _ in range(self.config.between)]
        for _ in range(self.config.moves):
            self._optimise(goals)
        self.head.refresh_occupancy()

    def _optimise(self, goals: Sequence[_Goal]) -> None:
        """Take one optimiser step on patches of some goals and of the photo at its full resolution."""
        indices = self.rng.choice(len(goals), min(self.config.parts, len(goals)), replace=False)
        losses = [self._patch_loss(goals[i]) for i in indices]
        losses += [self.config.photo * self._patch_loss(self.photo_goal) for _ in range(self.config.photos)]
        self.optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        self.optimiser.step()

    def _patch_loss(self, goal: _Goal) -> Tensor:
        """Return the error of a random patch without its rim, where the super-resolution lacks context."""
        factor, size = self.head.config.factor, goal.picture.shape[-1]
        side = min(self.config.window, size) // factor
        centre = goal.centres[int(self.rng.integers(len(goal.centres)))] // factor
        top, left = (int(x) for x in (centre - side // 2).clamp(0, size // factor - side))
        rendered = self.head.render_view(goal.camera, size, window=ImageWindow(top, left, side)).image
        rows, columns = (slice(factor * x, factor * (x + side)) for x in (top, left))
        background = torch.tensor(self.rng.random((3, 1, 1)), dtype=rendered.dtype, device=rendered.device)
        error = composite_over(rendered, background) - composite_over(goal.picture[:, rows, columns], background)
        error = (goal.weight[rows, columns] * error.abs()).mean(0)
        rim = RIM * factor
        return error[rim : len(error) - rim, rim : len(error) - rim].mean()

    def _update_target(self, index: int, level: float, gradients: list[Gradient]) -> None:
        """Update a fixed view's target, and its anchor if the noise sampled around it agrees better (eq. 14-17)."""
        view, config, generator = self.views[index], self.config, self.generators[index]
        picture, noise = self._render(view.base.camera), self._sample_noise(view, generator)
        target = self._predict_target(view.base, self.views[view.scheduled.driving or 0], picture, noise, level)
        if not config.optimised:
            view.target = target
            return
        best = new = Candidate(noise, target, self._target_gradient(view.base, target))
        if view.target is not None:
            old = Candidate(view.anchor, view.target, self._target_gradient(view.base, view.target))
            best = select_anchor(new, old, gradients[view.scheduled.driving or 0])
        view.target, view.anchor = best.target, best.noise
        gradients.append(best.gradient)

    @torch.no_grad()
    def _render(self, camera: Camera) -> Tensor:
        return self.head.render_view(camera, self.config.size, rays=RAYS).image

    def _sample_noise(self, view: _FixedView, generator: torch.Generator) -> Tensor:
        if self.config.noise == "fixed":
            return view.anchor
        return resample_noise(view.anchor, 1.0 if self.config.noise == "random" else self.config.sigma, generator)

    def _predict_target(
        self, base: GuideView, driving: _FixedView, picture: Tensor, noise: Tensor, level: float, levels: int = 1
    ) -> Tensor:
        """Return the latents (1 c h w) that the guide predicts from a view's current picture with this noise."""
        coarse = base.picture[None]
        priors = self.guide.priors(base, driving.base, self.target_picture(driving))
        latents = self.guide.latents(picture.detach()[None], coarse)
        x = (1 - level) * latents + level * self.config.strength * noise[None].to(latents)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.guide.denoise(x, level * float(t), priors, coarse, self.config.led)

        return denoise(x, torch.ones(())) if levels == 1 else flow_euler(denoise, x, levels)

    def target_picture(self, view: _FixedView) -> Tensor:
        """Return the picture that a fixed view is to become; for the reference this is the photo."""
        if view.scheduled.driving is None:
            return resize_photo(self.photo, self.config.size).to(view.base.picture)
        if view.target is None:
            return view.base.picture
        return self.guide.pictures(view.target, view.base.picture[None])[0]

    def _random_goal(self, level: float) -> _Goal:
        """Denoise a random view, in several noise levels."""
        scheduled = random_view(self.photo.camera, self.schedule, self.rng)
        driving, base = self.views[scheduled.driving or 0], render_base(self.head, scheduled.camera, self.config.size)
        fresh = torch.randn(driving.anchor.shape, generator=self.generators[-1])
        noise = self._warp_noise(driving, scheduled.camera, fresh)
        picture = self._render(scheduled.camera)
        target = self._predict_target(base, driving, picture, noise, level, self.config.levels)
        return _make_goal(scheduled.camera, self.guide.pictures(target, base.picture[None])[0])

    def _target_gradient(self, base: GuideView, target: Tensor) -> Gradient:
        """Return the gradient on the head that a target would have."""
        return self._goal_gradient(_make_goal(base.camera, self.guide.pictures(target, base.picture[None])[0]))

    def _goal_gradient(self, goal: _Goal) -> Gradient:
        rendered = self.head.render_view(goal.camera, self.config.judged).image
        weighted = torch.cat([goal.picture, goal.weight[None]])[None]
        coarse = F.interpolate(weighted, rendered.shape[-2:], mode="area")[0]
        error = coarse[4:] * (rendered - coarse[:4]).abs()
        return torch.autograd.grad(error.mean(), self.parameters)


def composite_over(picture: Tensor, background: Tensor) -> Tensor:
    """Composite a premultiplied picture (4 h w) over a colour. Losses use random colours: over black alone, geometry
    that should vanish would be painted black instead."""
    return torch.cat([picture[:3] + background * (1 - picture[3:]), picture[3:]])


def _make_goal(camera: Camera, picture: Tensor, weight: Tensor | None = None) -> _Goal:
    weight = torch.ones_like(picture[0]) if weight is None else weight
    covered = (picture[3] * weight > 0.5).cpu()
    centres = torch.nonzero(covered) if covered.any() else torch.tensor([[s // 2 for s in covered.shape]])
    return _Goal(camera, picture, weight, centres)


def refine(
    head: Triplane,
    photo: View,
    guide: Guide,
    config: RefineConfig = RefineConfig(),  # noqa: B008 (frozen)
    on_step: ProgressCallback = ignore_progress,
    kept: ResumeFile | None = None,
) -> Triplane:
    """Refine the head in place and return it; with no steps it is unchanged.

    An interrupted refinement is resumed from the state in `kept`."""
    if not config.steps:
        return head
    refinement = Refinement(head, photo, guide, config)
    start, last_save = 0, time.monotonic()
    if kept is not None and (state := kept.load()):
        start = state["done"]
        refinement.load_state(state)
    on_step("refine", start, config.steps)
    for number in range(start, config.steps):
        refinement.step(number)
        on_step("refine", number + 1, config.steps)
        if kept is not None and time.monotonic() - last_save >= KEEP_SECONDS:
            kept.save({"done": number + 1, **refinement.state()})
            last_save = time.monotonic()
    return head
