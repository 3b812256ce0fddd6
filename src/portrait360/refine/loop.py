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

from portrait360.cameras import Camera
from portrait360.diffusion.anchors import Candidate, Gradient, resampled, retained
from portrait360.diffusion.noise import view_generators
from portrait360.diffusion.samplers import flow
from portrait360.geometry.carried import carried_noise
from portrait360.models.hybrid import Led
from portrait360.models.triplane import Triplane
from portrait360.models.view_hints import premultiplied
from portrait360.refine.guide import Guide, Seen, before, photo_at
from portrait360.refine.plan import FIXED, Stop, between, outward
from portrait360.unfinished import Unfinished
from portrait360.view_sheet import View

Noise = Literal["anchors", "fixed", "random"]
OnStep = Callable[[int, int], None]
MOST_TURNS = 1009  # of a seed; with the first, in which anchors are drawn
KEEP_SECONDS = 20.0  # between two states that a killed one goes on with


@dataclass(frozen=True)
class Refining:
    """The defaults are the whole method; what fig. 5 and 6 of the paper leave out is left out by changing them."""

    steps: int = 20
    views: int = FIXED
    size: int = 256
    noisy: tuple[float, float] = (0.95, 0.4)  # levels of the first and the last step
    sigma: float = 0.3  # of what is drawn around an anchor (eq. 12)
    noise: Noise = "anchors"
    optimised: bool = True  # anchors move to what agrees better (eq. 17)
    led: Led = field(default_factory=Led)
    between: int = 1  # further views of a step, from anywhere
    levels: int = 3  # that each of them is denoised in
    photo: float = 4.0  # weight of the reference
    rate: float = 1e-2
    seed: int = 0


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
        """Every view once, then the head (eq. 18, 19)."""
        self.generators = self._generators(1 + number)
        self.rng = np.random.default_rng([self.how.seed, 3, number])
        share = number / max(self.how.steps - 1, 1)
        level = self.how.noisy[0] + share * (self.how.noisy[1] - self.how.noisy[0])
        gradients = [self._reference()]
        for i in range(1, len(self.views)):
            driving = gradients[self.views[i].stop.driving or 0]
            gradients.append(self._view(i, level, driving))
        for _ in range(self.how.between):
            gradients.append(self._anywhere(level))
        for place, parameter in enumerate(self.parameters):
            parameter.grad = torch.stack([gradient[place] for gradient in gradients]).sum(0)
        self.optimiser.step()

    def _reference(self) -> Gradient:
        """The photo, at its full resolution."""
        made = self.head.view(self.photo.camera, self.photo.size, remember=True)
        goal = premultiplied(self.photo.rgb, self.photo.alpha).to(made.picture)
        known = torch.ones(()) if self.photo.known is None else torch.from_numpy(self.photo.known)
        loss = (self.how.photo * known.to(made.picture) * (made.picture - goal).abs()).mean()
        return self._gradient(loss)

    def _view(self, place: int, level: float, driving: Gradient) -> Gradient:
        """A fixed view's gradient; its anchor moves, if what was drawn around it agrees better (eq. 14 to 17)."""
        view, how, generator = self.views[place], self.how, self.generators[place]
        made = self.head.view(view.seen.camera, how.size, remember=True)
        drawn = self._noise(view, generator)
        target = self._target(view.seen, self.views[view.stop.driving or 0], made.picture, drawn, level)
        anew = Candidate(drawn, target, self._towards(made.picture, target, view.seen, keep=True))
        if view.target is None or not how.optimised:
            best = anew
        else:
            old = Candidate(view.anchor, view.target, self._towards(made.picture, view.target, view.seen, keep=True))
            best = retained(anew, old, driving)
        view.target = best.target
        if how.optimised:
            view.anchor = best.noise
        return best.gradient

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
        x = (1 - level) * now + level * noise[None].to(now)
        denoise = lambda x, t: self.guide.denoised(x, level * float(t), priors, coarse, self.how.led)  # noqa: E731
        return denoise(x, torch.ones(())) if levels == 1 else flow(denoise, x, levels)

    def shown(self, view: _View) -> Tensor:
        """A fixed view as it is to become: the photo, where it is the reference."""
        if view.stop.driving is None:
            return photo_at(self.photo, self.how.size).to(view.seen.picture)
        if view.target is None:
            return view.seen.picture
        return self.guide.pictures(view.target, view.seen.picture[None])[0]

    def _anywhere(self, level: float) -> Gradient:
        """Between the fixed views: denoised in several levels."""
        stop = between(self.photo.camera, self.stops, self.rng)
        driving, seen = self.views[stop.driving or 0], before(self.head, stop.camera, self.how.size)
        made = self.head.view(stop.camera, self.how.size, remember=True)
        fresh = torch.randn(driving.anchor.shape, generator=self.generators[-1])
        noise = self._moved(driving, stop.camera, fresh)
        target = self._target(seen, driving, made.picture, noise, level, self.how.levels)
        return self._towards(made.picture, target, seen)

    def _towards(self, picture: Tensor, target: Tensor, seen: Seen, keep: bool = False) -> Gradient:
        goal = self.guide.pictures(target, seen.picture[None])[0]
        return self._gradient((picture - goal).abs().mean(), keep)

    def _gradient(self, loss: Tensor, keep: bool = False) -> Gradient:
        return torch.autograd.grad(loss, self.parameters, retain_graph=keep)


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
    for number in range(begun, how.steps):
        refinement.step(number)
        on_step(number + 1, how.steps)
        if kept is not None and time.monotonic() - last >= KEEP_SECONDS:
            kept.keep({"done": number + 1, **refinement.state()})
            last = time.monotonic()
    return head
