"""Invert a 3D GAN: optimise the styles of a head to match a photo, then fine-tune the generator itself.

The second stage is pivotal tuning (Roich et al. 2021). Settings are those of the published programs, or our own:
ours compare the head alone, start from the best of several styles, stop when the loss no longer improves, and
preserve other heads.
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

from portrait360.geometry.cameras import Camera, look_at
from portrait360.models.panohead import GAN3D, GeneratorOutput
from portrait360.models.perceptual_loss import FeatureExtractor, feature_distance
from portrait360.models.trigrid import Uniform
from portrait360.utils.resume import ResumeFile

NEAR = 2.35  # near end of the rays in an inversion
STYLE_SAMPLES, STYLE_SEED = 10_000, 123  # random vectors for the mean style, and their seed
RATE, TUNING_RATE = 0.1, 3e-4  # learning rates of the two stages
RISE, FALL = 0.05, 0.25  # shares of the steps in which the learning rate rises and falls
NOISE, NOISE_END = 0.05, 0.75  # in standard deviations of the styles; share of the steps after which it is 0
SQUARED_WEIGHT = 0.1  # of squared pixel differences, relative to the feature distance
COVER_WEIGHT = 1.0  # of the difference between cover and matte
LOCALITY_DISTANCE = 30.0  # distance from the pivot to the heads that are preserved (Roich et al. 2021, eq. 5)
MIN_GAIN = 1e-3  # share of the loss: smaller improvements do not count
CHECKPOINT_EVERY = 25  # steps between two checkpoints
STAGES = ("styles", "tuning")
OnStep = Callable[[str, int, int, float], None]  # stage, steps done, steps in total, loss


@dataclass(frozen=True)
class InversionSettings:
    """Our own settings; `PUBLISHED` holds those of the published program."""

    steps: int = 300
    tuning: int = 150  # steps of the second stage
    starts: int = 8  # candidate styles, of which the best is the start; the first is the mean
    masked: bool = True  # compare only the head and its outline
    patience: int | None = 40  # stop after this many steps without improvement
    stay: float = 0.1  # weight of the loss that preserves other heads
    drawn: bool = False  # random sample positions along rays
    size: int | None = None  # pixels before the super-resolution; the generator's own by default


# of DiffPortrait360; PanoHead itself uses 500 and 500 steps
PUBLISHED = InversionSettings(steps=200, tuning=5, starts=1, masked=False, patience=None, stay=0.0, drawn=True)


@dataclass(frozen=True, eq=False)
class InversionTarget:
    """The photo (1 3 s s) in [-1, 1], its matte (1 1 s s), and its camera's label (1 25)."""

    picture: Tensor
    alpha: Tensor
    label: Tensor


@dataclass(frozen=True, eq=False)
class InversionResult:
    """A fine-tuned generator, and the styles and camera label that reproduce the photo."""

    generator: GAN3D
    ws: Tensor  # (1 styles w)
    label: Tensor  # (1 25) the photo's, shifted by the generator
    losses: tuple[float, ...]  # of every tuning step


@dataclass
class _Progress:
    """The progress of a stage, stored in its checkpoint."""

    stage: str
    step: int = 0
    best: float = math.inf
    since: int = 0  # steps without improvement
    losses: list[float] = field(default_factory=list)

    def should_continue(self, loss: float, patience: int | None) -> bool:
        """Record the loss of a step, and return whether the stage continues."""
        self.step += 1
        self.losses.append(loss)
        better = loss < self.best * (1 - MIN_GAIN)
        self.best, self.since = (loss, 0) if better else (self.best, self.since + 1)
        return patience is None or self.since < patience


def invert(
    generator: GAN3D,
    goal: InversionTarget,
    features: FeatureExtractor,
    settings: InversionSettings = InversionSettings(),  # noqa: B008 (frozen)
    *,
    seed: int = 0,
    folder: Path | None = None,
    on_step: OnStep = lambda stage, done, total, loss: None,
) -> InversionResult:
    """Invert a generator: find styles and weights that reproduce the goal.

    Checkpoints in `folder` let an interrupted inversion resume. The given generator is not changed.
    """
    generator = deepcopy(generator).eval()
    generator.config = replace(generator.config, rays=replace(generator.config.rays, near=NEAR))
    search = _Search(generator, goal, features, settings, seed, folder, on_step)
    ws = search.fit_styles()
    losses = search.tune(ws)
    generator.requires_grad_(False)
    return InversionResult(generator, ws.detach(), search.label, tuple(losses))


def delete_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of an inversion."""
    for stage in STAGES:
        (Path(folder) / f"{stage}.pt").unlink(missing_ok=True)


class _Search:
    def __init__(
        self,
        generator: GAN3D,
        goal: InversionTarget,
        features: FeatureExtractor,
        settings: InversionSettings,
        seed: int,
        folder: Path | None,
        on_step: OnStep,
    ) -> None:
        self.generator, self.goal, self.features, self.settings = generator, goal, features, settings
        self.seed, self.folder, self.on_step = seed, folder, on_step
        self.device = goal.picture.device
        with torch.no_grad():
            self.goal_features = features(goal.picture)
            self.samples, self.mean, self.deviation, z = mean_style(generator, self.device)
            self.label = generator.shift_labels(z, goal.label)[0]
        self.key = self._compute_key()

    def fit_styles(self) -> Tensor:
        """Optimise an independent style for each layer (W+)."""
        self.generator.requires_grad_(False)
        progress, checkpoint = self._resume(STAGES[0])
        start = checkpoint["ws"] if checkpoint else self._best_start().repeat(1, self.generator.styles, 1)
        ws = start.to(self.device).requires_grad_(True)
        optimiser = torch.optim.Adam([ws], lr=RATE, betas=(0.9, 0.999))
        if checkpoint:
            optimiser.load_state_dict(checkpoint["optimiser"])

        def compute_loss(step: int) -> Tensor:
            rate, noise_scale = ramps(step / self.settings.steps)
            optimiser.param_groups[0]["lr"] = RATE * rate
            noise = self._sample_noise(ws.shape, step) * (self.deviation * noise_scale)
            return self._loss(ws + noise, step) + (ws - self.mean).square().mean()

        for _ in self._run_steps(progress, self.settings.steps, optimiser, compute_loss):
            self._save_checkpoint(progress, {"ws": ws.detach(), "optimiser": optimiser.state_dict()})
        return ws.detach()

    def tune(self, ws: Tensor) -> Sequence[float]:
        """Fine-tune all weights of the generator around the fixed pivot."""
        original = deepcopy(self.generator) if self.settings.stay else None
        self.generator.requires_grad_(True)
        progress, checkpoint = self._resume(STAGES[1])
        optimiser = torch.optim.Adam(self.generator.parameters(), lr=TUNING_RATE)
        if checkpoint:
            self.generator.load_state_dict(checkpoint["generator"], strict=True)
            optimiser.load_state_dict(checkpoint["optimiser"])

        def compute_loss(step: int) -> Tensor:
            loss = self._loss(ws, step)
            return loss if original is None else loss + self.settings.stay * self._locality_loss(original, ws, step)

        for _ in self._run_steps(progress, self.settings.tuning, optimiser, compute_loss):
            state = {"generator": self.generator.state_dict(), "optimiser": optimiser.state_dict()}
            self._save_checkpoint(progress, state | {"ws": ws})
        return progress.losses

    def _run_steps(
        self, progress: _Progress, steps: int, optimiser: torch.optim.Optimizer, compute_loss: Callable[[int], Tensor]
    ) -> Iterator[int]:
        """Run the remaining steps; yield whenever a checkpoint is due."""
        running = progress.since < (self.settings.patience or math.inf)
        while progress.step < steps and running:
            optimiser.zero_grad(set_to_none=True)
            loss = compute_loss(progress.step)
            loss.backward()
            optimiser.step()
            value = float(loss.detach())
            running = progress.should_continue(value, self.settings.patience)
            self.on_step(progress.stage, progress.step, steps, value)
            if progress.step % CHECKPOINT_EVERY == 0 or progress.step == steps or not running:
                yield progress.step

    def _loss(self, ws: Tensor, step: int) -> Tensor:
        rendered = self.generator.generate_head(ws).render(
            self.label, size=self.settings.size, uniform=self._make_uniform(step)
        )
        return inversion_loss(rendered, self.goal, self.goal_features, self.features, self.settings.masked)

    def _locality_loss(self, original: GAN3D, ws: Tensor, step: int) -> Tensor:
        """Measure how much a head near the pivot has changed (Roich et al. 2021, eq. 5 and 6)."""
        sample = self.samples[step % len(self.samples)]
        neighbour = ws + LOCALITY_DISTANCE * F.normalize(sample - ws, dim=-1)
        with torch.no_grad():
            before = original.generate_head(neighbour).render(self.label, size=self.settings.size).rgb
        after = self.generator.generate_head(neighbour).render(self.label, size=self.settings.size).rgb
        squares = (after - before).square().mean()
        return SQUARED_WEIGHT * squares + feature_distance(self.features(after), self.features(before))

    @torch.no_grad()
    def _best_start(self) -> Tensor:
        """Return the candidate style (1 1 w) with the smallest loss."""
        samples = self.samples[: self.settings.starts - 1]
        candidates = [self.mean, *(self.mean.lerp(w, 0.5) for w in samples)]
        if len(candidates) == 1:
            return self.mean
        losses = [float(self._loss(w.expand(1, self.generator.styles, -1), 0)) for w in candidates]
        return candidates[int(np.argmin(losses))]

    def _make_uniform(self, step: int) -> Uniform | None:
        if not self.settings.drawn:
            return None
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 2)
        return lambda shape: torch.rand(tuple(shape), generator=generator)

    def _sample_noise(self, shape: Sequence[int], step: int) -> Tensor:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 2 + 1)
        return torch.randn(tuple(shape), generator=generator).to(self.device)

    def _compute_key(self) -> str:
        """Hash all inputs, so that checkpoints of another photo, seed or setting are ignored."""
        digest = hashlib.sha256(repr((self.settings, self.seed)).encode())
        parts = (*self.goal.__dict__.values(), self.mean, self.generator.decoder.state_dict()["net.0.weight"])
        for value in parts:
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _resume_file(self, stage: str) -> ResumeFile | None:
        return (
            None if self.folder is None else ResumeFile(Path(self.folder) / f"{stage}.pt", self.key, "the inversion")
        )

    def _save_checkpoint(self, progress: _Progress, state: dict[str, Any]) -> None:
        file = self._resume_file(progress.stage)
        if file is not None:
            file.save(state | {"progress": asdict(progress)})

    def _resume(self, stage: str) -> tuple[_Progress, dict[str, Any]]:
        file = self._resume_file(stage)
        checkpoint = None if file is None else file.load(self.device)
        return (_Progress(stage), {}) if checkpoint is None else (_Progress(**checkpoint["progress"]), checkpoint)


def mean_style(generator: GAN3D, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return random styles (n w) for the front view, their mean (1 1 w) and deviation, and the mean vector (1 z)."""
    samples = np.random.RandomState(STYLE_SEED).randn(STYLE_SAMPLES, generator.config.z).astype(np.float32)
    z = torch.from_numpy(samples).to(device)
    front = torch.from_numpy(Camera(look_at(0.0)).label()).float().to(device)
    ws = torch.cat([generator.map_styles(part, front.expand(len(part), -1))[:, 0] for part in z.split(1000)])
    mean = ws.mean(0)
    deviation = ((ws - mean).square().sum() / len(ws)).sqrt()
    return ws, mean[None, None], deviation, z.mean(0, keepdim=True)


def ramps(t: float) -> tuple[float, float]:
    """Return the factors of the learning rate and of the noise at a share t of the steps."""
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / FALL))
    return fall * min(1.0, t / RISE), NOISE * max(0.0, 1 - t / NOISE_END) ** 2


def inversion_loss(
    rendered: GeneratorOutput,
    goal: InversionTarget,
    goal_features: Sequence[Tensor],
    features: FeatureExtractor,
    masked: bool,
) -> Tensor:
    """Compare a rendered head with the goal: over the whole picture, or over the head and its outline."""
    picture = rendered.rgb
    if not masked:
        squares = (picture - goal.picture).square().mean()
        return SQUARED_WEIGHT * squares + feature_distance(features(picture), goal_features)
    difference = goal.alpha * (picture - goal.picture)
    squares = difference.square().sum() / (3 * goal.alpha.sum()).clamp(min=1)
    matte = F.interpolate(goal.alpha, rendered.cover.shape[2:], mode="area")
    cover = (rendered.cover.clamp(0, 1) - matte).square().mean()
    return (
        SQUARED_WEIGHT * squares
        + COVER_WEIGHT * cover
        + feature_distance(features(goal.picture + difference), goal_features)
    )
