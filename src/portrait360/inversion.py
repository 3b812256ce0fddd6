"""A generator's head that looks like a photo: first its styles are sought, then the generator itself is bent.

The second step is pivotal tuning (Roich et al. 2021). Settings are those of the published programs, or our own:
they look at the head alone, begin with the likeliest of several, stop when nothing more is won, and keep other heads
as they were.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.cameras import Camera, look_at
from portrait360.models.gan3d import GAN3D, Pictures
from portrait360.models.trigrid import Uniform
from portrait360.perceptual import Looks, unlike
from portrait360.unfinished import Unfinished

NEAR = 2.35  # where rays begin in an inversion
SAMPLES, SAMPLED = 10_000, 123  # random vectors for the mean style, and their seed
RATE, TUNING_RATE = 0.1, 3e-4
RISE, FALL = 0.05, 0.25  # shares of the steps in which the rate rises and falls
NOISE, NOISE_END = 0.05, 0.75  # of the styles' deviation; share of the steps after which there is none
SQUARES = 0.1  # weight of squared differences beside what looks alike
COVER = 1.0  # weight of the outline
AWAY = 30.0  # from the pivot to the heads that are to stay as they are (Roich et al. 2021, eq. 5)
LEAST = 1e-3  # share of the loss that a step has to win
KEEP_EVERY = 25  # steps between two checkpoints
STAGES = ("styles", "tuning")
OnStep = Callable[[str, int, int, float], None]  # what, steps done, of how many, loss


@dataclass(frozen=True)
class InversionSettings:
    steps: int = 300
    tuning: int = 150
    starts: int = 8  # styles of which the one that looks most alike is begun with; the first is the mean
    masked: bool = True  # only the head is compared, and its outline
    patience: int | None = 40  # steps without gain after which it ends
    stay: float = 0.1  # weight of other heads' staying as they are
    drawn: bool = False  # places along rays are drawn by lot
    size: int | None = None  # pixels before the super-resolution; the generator's own if not given


PUBLISHED = InversionSettings(
    steps=200, tuning=5, starts=1, masked=False, patience=None, stay=0.0, drawn=True
)  # DiffPortrait360's; PanoHead's own has 500 and 500 steps


@dataclass(frozen=True, eq=False)
class Goal:
    """The photo (1 3 s s) in [-1, 1], its matte (1 1 s s), and its camera's label (1 25)."""

    picture: Tensor
    alpha: Tensor
    label: Tensor


@dataclass(frozen=True, eq=False)
class Inverted:
    generator: GAN3D
    ws: Tensor  # (1 styles w)
    label: Tensor  # (1 25) the photo's, moved as the generator believes
    losses: tuple[float, ...]  # after every step


@dataclass
class _Progress:
    """What a killed inversion goes on with."""

    stage: str
    step: int = 0
    best: float = math.inf
    since: int = 0  # steps without gain
    losses: list[float] = field(default_factory=list)

    def heard(self, loss: float, patience: int | None) -> bool:
        """Whether it goes on."""
        self.step += 1
        self.losses.append(loss)
        better = loss < self.best * (1 - LEAST)
        self.best, self.since = (loss, 0) if better else (self.best, self.since + 1)
        return patience is None or self.since < patience


def invert(
    generator: GAN3D,
    goal: Goal,
    looks: Looks,
    settings: InversionSettings = InversionSettings(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    folder: Path | None = None,
    on_step: OnStep = lambda what, done, of, loss: None,
) -> Inverted:
    """In `folder` it keeps what a killed run goes on with."""
    generator = deepcopy(generator).eval()
    generator.config = replace(generator.config, rays=replace(generator.config.rays, near=NEAR))
    search = _Search(generator, goal, looks, settings, seed, folder, on_step)
    ws = search.styles()
    losses = search.tuned(ws)
    generator.requires_grad_(False)
    return Inverted(generator, ws.detach(), search.label, tuple(losses))


def forget(folder: Path) -> None:
    """What it would have gone on with."""
    for stage in STAGES:
        (Path(folder) / f"{stage}.pt").unlink(missing_ok=True)


class _Search:
    def __init__(
        self,
        generator: GAN3D,
        goal: Goal,
        looks: Looks,
        settings: InversionSettings,
        seed: int,
        folder: Path | None,
        on_step: OnStep,
    ) -> None:
        self.generator, self.goal, self.looks, self.settings = generator, goal, looks, settings
        self.seed, self.folder, self.on_step = seed, folder, on_step
        self.device = goal.picture.device
        with torch.no_grad():
            self.wanted = looks(goal.picture)
            self.samples, self.mean, self.deviation, z = mean_style(generator, self.device)
            self.label = generator.shifted(z, goal.label)[0]
        self.key = self._key()

    def styles(self) -> Tensor:
        """One style a layer, each by itself: W+."""
        self.generator.requires_grad_(False)
        progress, kept = self._taken_up(STAGES[0])
        begun = kept["ws"] if kept else self._likeliest().repeat(1, self.generator.styles, 1)
        ws = begun.to(self.device).requires_grad_(True)
        optimiser = torch.optim.Adam([ws], lr=RATE, betas=(0.9, 0.999))
        if kept:
            optimiser.load_state_dict(kept["optimiser"])

        def step(i: int) -> Tensor:
            rate, noise = ramps(i / self.settings.steps)
            optimiser.param_groups[0]["lr"] = RATE * rate
            drawn = self._randn(ws.shape, i) * (self.deviation * noise)
            return self._loss(ws + drawn, i) + (ws - self.mean).square().mean()

        for _ in self._stepped(progress, self.settings.steps, optimiser, step):
            self._keep(progress, {"ws": ws.detach(), "optimiser": optimiser.state_dict()})
        return ws.detach()

    def tuned(self, ws: Tensor) -> Sequence[float]:
        """The pivot stays; all weights of the generator move."""
        before = deepcopy(self.generator) if self.settings.stay else None
        self.generator.requires_grad_(True)
        progress, kept = self._taken_up(STAGES[1])
        optimiser = torch.optim.Adam(self.generator.parameters(), lr=TUNING_RATE)
        if kept:
            self.generator.load_state_dict(kept["generator"], strict=True)
            optimiser.load_state_dict(kept["optimiser"])

        def step(i: int) -> Tensor:
            loss = self._loss(ws, i)
            return loss if before is None else loss + self.settings.stay * self._moved(before, ws, i)

        for _ in self._stepped(progress, self.settings.tuning, optimiser, step):
            state = {"generator": self.generator.state_dict(), "optimiser": optimiser.state_dict()}
            self._keep(progress, state | {"ws": ws})
        return progress.losses

    def _stepped(
        self, progress: _Progress, steps: int, optimiser: torch.optim.Optimizer, loss_at: Callable[[int], Tensor]
    ) -> Iterator[int]:
        """Makes the steps that are left; yields where it is time to keep them."""
        going = progress.since < (self.settings.patience or math.inf)
        while progress.step < steps and going:
            optimiser.zero_grad(set_to_none=True)
            loss = loss_at(progress.step)
            loss.backward()
            optimiser.step()
            found = float(loss.detach())
            going = progress.heard(found, self.settings.patience)
            self.on_step(progress.stage, progress.step, steps, found)
            if progress.step % KEEP_EVERY == 0 or progress.step == steps or not going:
                yield progress.step

    def _loss(self, ws: Tensor, step: int) -> Tensor:
        seen = self.generator.head(ws).seen(self.label, size=self.settings.size, uniform=self._uniform(step))
        return unlikeness(seen, self.goal, self.wanted, self.looks, self.settings.masked)

    def _moved(self, before: GAN3D, ws: Tensor, step: int) -> Tensor:
        """How far a head beside the pivot is from what it was (Roich et al. 2021, eq. 5 and 6)."""
        other = self.samples[step % len(self.samples)]
        there = ws + AWAY * F.normalize(other - ws, dim=-1)
        with torch.no_grad():
            was = before.head(there).seen(self.label, size=self.settings.size).rgb
        now = self.generator.head(there).seen(self.label, size=self.settings.size).rgb
        return SQUARES * (now - was).square().mean() + unlike(self.looks(now), self.looks(was))

    @torch.no_grad()
    def _likeliest(self) -> Tensor:
        """(1 1 w)"""
        others = self.samples[: self.settings.starts - 1]
        candidates = [self.mean, *(self.mean.lerp(w, 0.5) for w in others)]
        if len(candidates) == 1:
            return self.mean
        losses = [float(self._loss(w.expand(1, self.generator.styles, -1), 0)) for w in candidates]
        return candidates[int(np.argmin(losses))]

    def _uniform(self, step: int) -> Uniform | None:
        if not self.settings.drawn:
            return None
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 2)
        return lambda shape: torch.rand(tuple(shape), generator=generator)

    def _randn(self, shape: Sequence[int], step: int) -> Tensor:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 2 + 1)
        return torch.randn(tuple(shape), generator=generator).to(self.device)

    def _key(self) -> str:
        """Of all that it depends on: what another photo, seed or setting has left is not gone on with."""
        digest = hashlib.sha256(repr((self.settings, self.seed)).encode())
        parts = (*self.goal.__dict__.values(), self.mean, self.generator.decoder.state_dict()["net.0.weight"])
        for value in parts:
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _file(self, stage: str) -> Unfinished | None:
        return (
            None if self.folder is None else Unfinished(Path(self.folder) / f"{stage}.pt", self.key, "the inversion")
        )

    def _keep(self, progress: _Progress, state: dict[str, Any]) -> None:
        file = self._file(progress.stage)
        if file is not None:
            file.keep(state | {"progress": asdict(progress)})

    def _taken_up(self, stage: str) -> tuple[_Progress, dict[str, Any]]:
        file = self._file(stage)
        kept = None if file is None else file.taken_up(self.device)
        return (_Progress(stage), {}) if kept is None else (_Progress(**kept["progress"]), kept)


def mean_style(generator: GAN3D, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Styles (n w) seen from the front, their mean (1 1 w), how far they lie from it, and the mean vector (1 z)."""
    drawn = np.random.RandomState(SAMPLED).randn(SAMPLES, generator.config.z).astype(np.float32)
    z = torch.from_numpy(drawn).to(device)
    front = torch.from_numpy(Camera(look_at(0.0)).label()).float().to(device)
    ws = torch.cat([generator.styled(part, front.expand(len(part), -1))[:, 0] for part in z.split(1000)])
    mean = ws.mean(0)
    deviation = ((ws - mean).square().sum() / len(ws)).sqrt()
    return ws, mean[None, None], deviation, z.mean(0, keepdim=True)


def ramps(t: float) -> tuple[float, float]:
    """At a share t of the steps: the rate's factor, and the noise's."""
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / FALL))
    return fall * min(1.0, t / RISE), NOISE * max(0.0, 1 - t / NOISE_END) ** 2


def unlikeness(seen: Pictures, goal: Goal, wanted: Sequence[Tensor], looks: Looks, masked: bool) -> Tensor:
    """What is to become small."""
    picture = seen.rgb
    if not masked:
        return SQUARES * (picture - goal.picture).square().mean() + unlike(looks(picture), wanted)
    off = goal.alpha * (picture - goal.picture)
    squares = off.square().sum() / (3 * goal.alpha.sum()).clamp(min=1)
    outline = F.interpolate(goal.alpha, seen.cover.shape[2:], mode="area")
    cover = (seen.cover.clamp(0, 1) - outline).square().mean()
    return SQUARES * squares + COVER * cover + unlike(looks(goal.picture + off), wanted)
