"""The training stages of the published networks, on a frozen Stable Diffusion 1.5.

The stages are the appearance network, the control network, cross-view attention, and the back-view network. The loss
is the squared error of the predicted noise. Every view has a noise level of its own, and the prompt is empty
(DiffPortrait360, A.1). The appearance and control networks are trained on views from any azimuth, cross-view
attention on neighbours in their order (3.4).

Where the authors' scripts draw angles otherwise than we do, `as_published` draws them as they do: from the 72 whole
steps of their orbits. References stay without noise, as they are when views are made; their script for the back view
adds some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.diffusion.schedule import sqrt_linear_schedule
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights.init_checkpoint import save_trained
from portrait360.models.weights.store import StoredModel, load_spec
from portrait360.training.data.identity_sampler import sample_for_step
from portrait360.training.data.orbits import Orbit, read_orbits
from portrait360.training.trainer import Batch, Figures
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError

VIEWS = 8
STEPS = (10.0, 30.0)  # degrees between neighbours: 2 to 6 of 72 steps
JITTER = 15.0  # degrees by which the references may deviate from front and back
BEHIND = 180.0
REFERENCES = (0.0, BEHIND)
WHOLE_STEP = 5.0  # degrees: a step of the published orbits
PUBLISHED_STEPS = (2, 6)  # whole steps between neighbours
PUBLISHED_REFERENCES = ((-45.0, 40.0), (145.0, 225.0))  # degrees, front and back
PUBLISHED_BACK = (150.0, 210.0)  # degrees of the view that the back-view network makes
PUBLISHED_ASIDE = 60.0  # degrees by which the front is aside when it does
VALIDATION_TIMESTEPS = (100, 300, 500, 700, 900)
VALIDATION_CLIPS, PREVIEW_TIMESTEP = 4, 500


@dataclass(frozen=True)
class Stage:
    """What a stage trains, and on which views."""

    trainable: tuple[str, ...]  # prefixes of parameter names; for cross-view attention, a part of them
    hints: bool = True  # the control network is used
    cross_view: bool = False  # cross-view attention is used, on neighbouring views
    back_view: bool = False  # the only view is the one from behind


APPEARANCE, CONTROL, CROSS_VIEW = "control_model.", "pose_control_model.", "_motion_module."
STAGES = {
    "sd15-appearance": Stage((APPEARANCE,), hints=False),
    "sd15-control": Stage((CONTROL,)),
    "sd15-cross-view": Stage((CROSS_VIEW,), cross_view=True),
    "sd15-back": Stage((APPEARANCE, CONTROL), back_view=True),
}


def draw_whole_steps(rng: np.random.Generator, low: float, high: float, count: int = 1) -> Floats:
    """Draw azimuths of the published orbits from low to high, both included."""
    return rng.integers(round(low / WHOLE_STEP), round(high / WHOLE_STEP), count, endpoint=True) * WHOLE_STEP


class DenoiserTask:
    """Trains a stage on folders of orbits (`training.data.orbits`)."""

    saved = "weights"  # a folder

    def __init__(
        self,
        train: Path,
        val: Path,
        name: str,
        init_from: Path,
        *,
        size: int = 512,
        batch: int = 1,
        seed: int = 0,
        as_published: bool = False,
    ) -> None:
        """`init_from`: a folder written by `train init` or by an earlier stage."""
        self.name, self.stage, self.init_from = name, STAGES[name], init_from
        denoiser = load_spec(init_from).denoiser
        if denoiser is None:
            raise UserError(f"{init_from} is not a checkpoint to train from; make one with `portrait360 train init`.")
        if (denoiser.cross_view is None) != self.stage.back_view:
            raise UserError(f"The recipe {name} cannot train {load_spec(init_from).name}, which is in {init_from}.")
        # DiffPortrait3D has no reference from behind, and the back-view network generates it
        cross_view = denoiser.cross_view
        self.references = 2 if cross_view is not None and cross_view.layout == "diffportrait360" else 1
        self.size, self.seed = size, seed
        self.train, self.val = read_orbits(train), read_orbits(val)
        self.identities, self.batch_size = [[orbit] for orbit in self.train], batch
        self.as_published = as_published
        half = as_published and denoiser.quirks.half_schedule
        self.schedule = sqrt_linear_schedule(dtype=torch.float16 if half else torch.float32)
        self.stored = StoredModel(init_from)
        self.vae, self.prompt = self.stored.vae().float(), self.stored.prompt().float()

    def network(self) -> ViewDenoiser:
        """Load the network; only the parameters of the stage require gradients."""
        network = self.stored.denoiser().float().train()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith(self.stage.trainable) or self._trains_cross_view(name))
        for part in (network.unet, network.appearance, network.control):
            part.gradient_checkpointing = True
        return network

    def _trains_cross_view(self, name: str) -> bool:
        return CROSS_VIEW in self.stage.trainable and CROSS_VIEW in name

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        assert isinstance(network, ViewDenoiser)
        source = {"name": f"{self.name}, begun with {self.init_from.name}", **metadata}
        save_trained(network, path, self.init_from, source)

    def sample(self, step: int, index: int) -> Batch:
        orbit = sample_for_step(self.identities, step * self.batch_size + index, self.seed)
        return self.draw_clip(orbit, self.train, np.random.default_rng([self.seed, step, index]))

    def draw_clip(self, orbit: Orbit, orbits: list[Orbit], rng: np.random.Generator) -> Batch:
        """Draw views, hints (1 v 3 s s) and references (1 n 3 s s) in [-1, 1]; the hints show another head."""
        candidates = [candidate for candidate in orbits if candidate is not orbit]
        hint_orbit = candidates[rng.integers(len(candidates))]
        views = orbit.nearest(self.draw_azimuths(rng))
        return {
            "views": self.load_images(orbit, views),
            "hints": self.load_images(hint_orbit, hint_orbit.nearest(orbit.azimuths[views])),
            "references": self.load_images(orbit, orbit.nearest(self.draw_references(rng))),
        }

    def draw_references(self, rng: np.random.Generator) -> Floats:
        """Draw the azimuths of the references: front, then back."""
        if not self.as_published:
            return np.array(REFERENCES[: self.references]) + rng.uniform(-JITTER, JITTER, self.references)
        if self.stage.back_view:
            return draw_whole_steps(rng, -PUBLISHED_ASIDE, PUBLISHED_ASIDE)
        return np.concatenate([draw_whole_steps(rng, *span) for span in PUBLISHED_REFERENCES[: self.references]])

    def draw_azimuths(self, rng: np.random.Generator) -> Floats:
        """Draw the azimuths of a clip's views."""
        if self.as_published and self.stage.back_view:
            return draw_whole_steps(rng, *PUBLISHED_BACK)
        if self.as_published:
            start = draw_whole_steps(rng, 0, 360 - WHOLE_STEP, 1 if self.stage.cross_view else VIEWS)
            steps = rng.integers(PUBLISHED_STEPS[0], PUBLISHED_STEPS[1], endpoint=True) * self.stage.cross_view
            return start + np.arange(VIEWS) * steps * WHOLE_STEP
        if self.stage.back_view:
            return np.array([BEHIND])
        if not self.stage.cross_view:
            return rng.uniform(0, 360, VIEWS)
        return rng.uniform(0, 360) + np.arange(VIEWS) * rng.uniform(*STEPS)

    def load_images(self, orbit: Orbit, indices: NDArray[np.integer]) -> Tensor:
        images = np.stack([orbit.load(int(index), self.size) for index in indices])
        return rearrange(torch.from_numpy(images), "v y x c -> 1 v c y x") * 2 - 1

    @torch.no_grad()
    def add_noise(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Encode the images to sampled latents, and add noise to those of the views."""
        device = generator.device
        self.vae.to(device)
        clean = self.encode(batch["views"].to(device), generator)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        t = torch.randint(self.schedule.timesteps, clean.shape[:2], generator=generator, device=device)
        noisy = self.schedule.add_noise(clean.flatten(0, 1), t.flatten(), noise.flatten(0, 1)).view_as(clean)
        references = self.encode(batch["references"].to(device), generator)
        return {"noisy": noisy, "noise": noise, "t": t, "references": references, "hints": batch["hints"].to(device)}

    def encode(self, images: Tensor, generator: torch.Generator) -> Tensor:
        def draw(shape: Sequence[int]) -> Tensor:
            return torch.randn(tuple(shape), generator=generator, device=generator.device)

        latents = [self.vae.encode(image, draw) for image in rearrange(images, "b v c y x -> (b v) 1 c y x")]
        return rearrange(torch.cat(latents), "(b v) c y x -> b v c y x", b=len(images))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return ((self.predict(network, batch) - batch["noise"]) ** 2).mean()

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        noisy = batch["noisy"]
        clips, views = noisy.shape[:2]
        predicted = network(
            rearrange(noisy, "b v c y x -> (b v) c y x"),
            batch["t"].flatten(),
            self.prompt.to(noisy.device),
            references=rearrange(batch["references"], "b n c y x -> n b c y x").repeat_interleave(views, 1),
            hints=rearrange(batch["hints"], "b v c y x -> (b v) c y x") if self.stage.hints else None,
            views=views if self.stage.cross_view else None,
        )
        return rearrange(predicted.float(), "(b v) c y x -> b v c y x", b=clips)

    def make_validation_batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield the same clips at the same noise levels every time."""
        for i in range(VALIDATION_CLIPS):
            clip = self.draw_clip(self.val[i % len(self.val)], self.val, np.random.default_rng([self.seed, i]))
            generator = torch.Generator(device).manual_seed(i)
            yield self.add_noise(clip, generator)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> Figures:
        """Return the loss at fixed noise levels."""
        device = next(network.parameters()).device
        losses: dict[str, list[float]] = {}
        for batch in self.make_validation_batches(device):
            clean = self.remove_noise(batch, batch["noise"])
            for t in VALIDATION_TIMESTEPS:
                noisy = self.change_level(batch, clean, t)
                losses.setdefault(f"error at {t}", []).append(float(self.loss(network, noisy)))
        return {name: float(np.mean(values)) for name, values in losses.items()}

    @torch.no_grad()
    def preview(self, network: nn.Module) -> Floats:
        """Show the true views of each clip, the noisy ones, and those denoised in one step."""
        rows = []
        for batch in self.make_validation_batches(next(network.parameters()).device):
            clean = self.remove_noise(batch, batch["noise"])
            noisy = self.change_level(batch, clean, PREVIEW_TIMESTEP)
            denoised = self.remove_noise(noisy, self.predict(network, noisy))
            for latents in (clean, noisy["noisy"], denoised):
                views = torch.cat([self.vae.decode(view[None]) for view in latents[0]])
                rows.append(rearrange(views / 2 + 0.5, "v c y x -> y (v x) c"))
        return torch.cat(rows).clamp(0, 1).cpu().numpy()

    def remove_noise(self, batch: Batch, noise: Tensor) -> Tensor:
        """Return the clean latents that remain when this noise is subtracted."""
        alpha, sigma = (table[..., None, None, None] for table in self.schedule.alpha_sigma(batch["t"]))
        return (batch["noisy"] - sigma * noise) / alpha

    def change_level(self, batch: Batch, clean: Tensor, t: int) -> Batch:
        """Return the batch with the same noise at another level."""
        timestep = torch.tensor([t])
        noisy = self.schedule.add_noise(clean, timestep, batch["noise"])
        return batch | {"noisy": noisy, "t": torch.full_like(batch["t"], t)}
