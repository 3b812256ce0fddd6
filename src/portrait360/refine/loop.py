"""Multi-View Noise Resampling (Portrait Diffusion, eq. 12 to 19): views of the head are denoised one after the other,
led by their neighbours; their noise is shared through the surface and kept where views agree on what to change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.cameras import Camera
from portrait360.diffusion.anchors import Candidate, Gradient, resampled, retained
from portrait360.diffusion.noise import view_generators
from portrait360.diffusion.samplers import flow
from portrait360.geometry.carried import carried_noise
from portrait360.models.hybrid import Led
from portrait360.models.triplane import Triplane, Window
from portrait360.models.view_hints import premultiplied
from portrait360.refine.guide import Guide, Seen, before, photo_at
from portrait360.refine.plan import FIXED, Stop, between, outward
from portrait360.unfinished import Unfinished
from portrait360.view_sheet import View

Noise = Literal["anchors", "fixed", "random"]
OnStep = Callable[[int, int], None]
RAYS = 8192  # at once, without gradients
RIM = 2  # pixels
MOST_TURNS = 1009  # of a seed; with the first, in which anchors are drawn
KEEP_SECONDS = 20.0  # between two states that a killed one goes on with


@dataclass(frozen=True)
class Refining:
    """The defaults are the whole method but for its noise; fig. 5 and 6 of the paper are asked by changing them."""

    steps: int = 4
    views: int = FIXED
    size: int = 256
    noisy: tuple[float, float] = (0.95, 0.4)  # levels of the first and the last step
    strength: float = 0.0  # of the noise; 1 in the paper, of which priors that have learnt little make clouds
    sigma: float = 0.3  # of what is drawn around an anchor (eq. 12)
    noise: Noise = "anchors"
    optimised: bool = True  # anchors move to what agrees better (eq. 17)
    led: Led = field(default_factory=Led)
    between: int = 1  # further views of a step, from anywhere
    levels: int = 3  # that each of them is denoised in
    judged: int = 64  # pixels a side at which gradients are compared
    moves: int = 24  # of the head, in a step
    parts: int = 4  # of views that a move looks at
    photos: int = 3  # parts of the photo, besides
    window: int = 64  # pixels a side of a part
    photo: float = 2.0  # weight of each of these
    rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Goal:
    """A picture that the head is to become."""

    camera: Camera
    picture: Tensor  # (4 s s) premultiplied
    weight: Tensor  # (s s)
    middles: Tensor  # (n 2) pixels around which parts lie: those that are covered


@dataclass
class _View:
    """A fixed view on its way."""

    stop: Stop
    seen: Seen
    anchor: Tensor
    target: Tensor | None = None  # (1 c h w) latents of the picture it goes to


class Refinement:
    def __init__(self, head: Triplane, photo: View, guide: Guide, how: Refining) -> None:
        self.head, self.photo, self.guide, self.how = head, photo, guide, how
        self.parameters = head.learnt()
        self.optimiser = torch.optim.Adam(self.parameters, lr=how.rate, betas=(0.9, 0.99))
        self.stops = outward(photo.camera, how.views)
        known = torch.ones(photo.alpha.shape) if photo.known is None else torch.from_numpy(photo.known).float()
        whole = premultiplied(photo.rgb, photo.alpha)
        self.goal = _goal(photo.camera, *(x.to(head.density) for x in (whole, known)))
        self.views = self._anchored([before(head, stop.camera, how.size) for stop in self.stops])

    def _anchored(self, seen: Sequence[Seen]) -> list[_View]:
        """Noise of the reference, moved from view to view (eq. 13)."""
        side = self.how.size // self.guide.cell
        views: list[_View] = []
        for stop, view, generator in zip(self.stops, seen, self._generators(0)[:-1], strict=True):
            anchor = torch.randn(self.guide.channels, side, side, generator=generator)
            if stop.driving is not None and self.how.noise == "anchors":
                anchor = self._moved(views[stop.driving], view.camera, anchor)
            views.append(_View(stop, view, anchor))
        return views

    def _moved(self, view: _View, camera: Camera, fresh: Tensor) -> Tensor:
        """A view's noise as another camera has it, with fresh noise in the voids."""
        cell = self.guide.cell
        depth = view.seen.depth[cell // 2 :: cell, cell // 2 :: cell]
        return carried_noise(view.anchor, depth, view.seen.camera, camera, fresh)

    def _generators(self, turn: int) -> list[torch.Generator]:
        """Of the fixed views and of all others, by the seed and the turn alone: nothing of them is to be kept."""
        return view_generators(self.how.seed * MOST_TURNS + turn, self.how.views + 1)

    def state(self) -> dict[str, Any]:
        """All that a killed refinement goes on with."""
        views = [[view.anchor, view.target] for view in self.views]
        return {"head": self.head.own_state(), "optimiser": self.optimiser.state_dict(), "views": views}

    def take_up(self, state: Mapping[str, Any]) -> None:
        self.head.take(state["head"])
        self.optimiser.load_state_dict(state["optimiser"])
        for view, (anchor, target) in zip(self.views, state["views"], strict=True):
            view.anchor, view.target = anchor, None if target is None else target.to(view.seen.picture)

    def step(self, number: int) -> None:
        """Where every view is to go, then the head on its way there (eq. 18, 19), a part of each at a time."""
        self.generators = self._generators(1 + number)
        self.rng = np.random.default_rng([self.how.seed, 3, number])
        share = number / max(self.how.steps - 1, 1)
        level = self.how.noisy[0] + share * (self.how.noisy[1] - self.how.noisy[0])
        gradients = [self._gradient(self.goal)] if self.how.optimised else []
        for i in range(1, len(self.views)):
            self._view(i, level, gradients)
        goals = [_goal(view.seen.camera, self.shown(view)) for view in self.views[1:]]
        goals += [self._anywhere(level) for _ in range(self.how.between)]
        for _ in range(self.how.moves):
            self._move(goals)
        self.head.settle()

    def _move(self, goals: Sequence[_Goal]) -> None:
        """The photo is looked at in its full resolution."""
        chosen = self.rng.choice(len(goals), min(self.how.parts, len(goals)), replace=False)
        parts = [self._part(goals[i]) for i in chosen]
        parts += [self.how.photo * self._part(self.goal) for _ in range(self.how.photos)]
        self.optimiser.zero_grad()
        torch.stack(parts).sum().backward()
        self.optimiser.step()

    def _part(self, goal: _Goal) -> Tensor:
        """How far a random part of a view is off; but for its rim, where the super-resolution sees no further."""
        factor, size = self.head.config.factor, goal.picture.shape[-1]
        side = min(self.how.window, size) // factor
        middle = goal.middles[int(self.rng.integers(len(goal.middles)))] // factor
        top, left = (int(x) for x in (middle - side // 2).clamp(0, size // factor - side))
        made = self.head.view(goal.camera, size, window=Window(top, left, side)).picture
        rows, columns = (slice(factor * x, factor * (x + side)) for x in (top, left))
        behind = torch.tensor(self.rng.random((3, 1, 1)), dtype=made.dtype, device=made.device)
        off = against(made, behind) - against(goal.picture[:, rows, columns], behind)
        off = (goal.weight[rows, columns] * off.abs()).mean(0)
        rim = RIM * factor
        return off[rim : len(off) - rim, rim : len(off) - rim].mean()

    def _view(self, place: int, level: float, gradients: list[Gradient]) -> None:
        """What a fixed view is to become. Its anchor moves, if what was drawn around it agrees better (eq. 14-17)."""
        view, how, generator = self.views[place], self.how, self.generators[place]
        picture, drawn = self._now(view.seen.camera), self._noise(view, generator)
        target = self._target(view.seen, self.views[view.stop.driving or 0], picture, drawn, level)
        if not how.optimised:
            view.target = target
            return
        best = anew = Candidate(drawn, target, self._leads(view.seen, target))
        if view.target is not None:
            old = Candidate(view.anchor, view.target, self._leads(view.seen, view.target))
            best = retained(anew, old, gradients[view.stop.driving or 0])
        view.target, view.anchor = best.target, best.noise
        gradients.append(best.gradient)

    @torch.no_grad()
    def _now(self, camera: Camera) -> Tensor:
        return self.head.view(camera, self.how.size, rays=RAYS).picture

    def _noise(self, view: _View, generator: torch.Generator) -> Tensor:
        if self.how.noise == "fixed":
            return view.anchor
        return resampled(view.anchor, 1.0 if self.how.noise == "random" else self.how.sigma, generator)

    def _target(
        self, seen: Seen, driving: _View, picture: Tensor, noise: Tensor, level: float, levels: int = 1
    ) -> Tensor:
        """What the guide makes of a view as it is, with this noise: latents (1 c h w)."""
        coarse = seen.picture[None]
        priors = self.guide.priors(seen, driving.seen, self.shown(driving))
        now = self.guide.latents(picture.detach()[None], coarse)
        x = (1 - level) * now + level * self.how.strength * noise[None].to(now)
        denoise = lambda x, t: self.guide.denoised(x, level * float(t), priors, coarse, self.how.led)  # noqa: E731
        return denoise(x, torch.ones(())) if levels == 1 else flow(denoise, x, levels)

    def shown(self, view: _View) -> Tensor:
        """A fixed view as it is to become: the photo, where it is the reference."""
        if view.stop.driving is None:
            return photo_at(self.photo, self.how.size).to(view.seen.picture)
        if view.target is None:
            return view.seen.picture
        return self.guide.pictures(view.target, view.seen.picture[None])[0]

    def _anywhere(self, level: float) -> _Goal:
        """Between the fixed views: denoised in several levels."""
        stop = between(self.photo.camera, self.stops, self.rng)
        driving, seen = self.views[stop.driving or 0], before(self.head, stop.camera, self.how.size)
        fresh = torch.randn(driving.anchor.shape, generator=self.generators[-1])
        noise = self._moved(driving, stop.camera, fresh)
        target = self._target(seen, driving, self._now(stop.camera), noise, level, self.how.levels)
        return _goal(stop.camera, self.guide.pictures(target, seen.picture[None])[0])

    def _leads(self, seen: Seen, target: Tensor) -> Gradient:
        """Where a target would lead the head."""
        return self._gradient(_goal(seen.camera, self.guide.pictures(target, seen.picture[None])[0]))

    def _gradient(self, goal: _Goal) -> Gradient:
        made = self.head.view(goal.camera, self.how.judged).picture
        both = torch.cat([goal.picture, goal.weight[None]])[None]
        coarse = F.interpolate(both, made.shape[-2:], mode="area")[0]
        off = coarse[4:] * (made - coarse[:4]).abs()
        return torch.autograd.grad(off.mean(), self.parameters)


def against(picture: Tensor, behind: Tensor) -> Tensor:
    """Premultiplied (4 h w) over some colour: over black alone, what stands out would be painted black."""
    return torch.cat([picture[:3] + behind * (1 - picture[3:]), picture[3:]])


def _goal(camera: Camera, picture: Tensor, weight: Tensor | None = None) -> _Goal:
    weight = torch.ones_like(picture[0]) if weight is None else weight
    covered = (picture[3] * weight > 0.5).cpu()
    middles = torch.nonzero(covered) if covered.any() else torch.tensor([[s // 2 for s in covered.shape]])
    return _Goal(camera, picture, weight, middles)


def refined(
    head: Triplane,
    photo: View,
    guide: Guide,
    how: Refining = Refining(),  # noqa: B008 (frozen)
    on_step: OnStep = lambda done, of: None,
    kept: Unfinished | None = None,
) -> Triplane:
    """The head, changed in place; with no steps as it is. A killed one goes on with what it kept."""
    if not how.steps:
        return head
    refinement = Refinement(head, photo, guide, how)
    begun, last = 0, time.monotonic()
    if kept is not None and (state := kept.taken_up()):
        begun = state["done"]
        refinement.take_up(state)
    on_step(begun, how.steps)
    for number in range(begun, how.steps):
        refinement.step(number)
        on_step(number + 1, how.steps)
        if kept is not None and time.monotonic() - last >= KEEP_SECONDS:
            kept.keep({"done": number + 1, **refinement.state()})
            last = time.monotonic()
    return head
