"""The published networks' own training: R, then C, then V, and F, on Stable Diffusion 1.5, which stays as it is.

What is predicted is the noise, its error squared; every view has a noise level of its own, and the prompt is empty
(DiffPortrait360, A.1). R and C learn on views from anywhere, V on neighbours in their order (3.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.diffusion.schedule import sqrt_linear
from portrait360.errors import UserError
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.train.loop import Batch, Figures
from portrait360.train.orbits import Orbit, orbits_in
from portrait360.train.turns import chosen
from portrait360.weights.first import save_trained
from portrait360.weights.library import Imported, system_of

Floats = NDArray[np.floating]

VIEWS = 8
STEPS = (10.0, 30.0)  # degrees between neighbours: 2 to 6 of 72 steps
JITTER = 15.0  # degrees by which the references stand aside of front and back
BEHIND = 180.0
REFERENCES = (0.0, BEHIND)
TRIED = (100, 300, 500, 700, 900)  # timesteps of the validation
VALIDATED, PICTURED = 4, 500  # clips; the timestep whose clean views are shown


@dataclass(frozen=True)
class Stage:
    """What is learnt, of what."""

    about: str
    learns: tuple[str, ...]  # parts of the network's names
    hints: bool = True  # C is there
    together: bool = False  # V is there, on neighbours
    behind: bool = False  # the one view from behind


R, C, V = "control_model.", "pose_control_model.", "_motion_module."
STAGES = {
    "sd15-appearance": Stage("R: what the references look like", (R,), hints=False),
    "sd15-control": Stage("C: from where a view is seen", (C,)),
    "sd15-cross-view": Stage("V: neighbours see each other", (V,), together=True),
    "sd15-back": Stage("F, R and C at once: the view from behind", (R, C), behind=True),
}


class DenoiserTask:
    """Samples are folders of orbits (`train.orbits`)."""

    saved = "weights"  # a folder

    def __init__(
        self, train: Path, val: Path, name: str, begin: Path, *, size: int = 512, batch: int = 1, seed: int = 0
    ) -> None:
        """`begin`: a folder as `train init` makes it, or as an earlier stage left it."""
        self.name, self.stage, self.begin = name, STAGES[name], begin
        denoiser = system_of(begin).denoiser
        if denoiser is None:
            raise UserError(f"{begin} has no R and C yet; begin with what `portrait360 train init` makes.")
        if (denoiser.cross_view is None) != self.stage.behind:
            raise UserError(f"The recipe {name} does not train {system_of(begin).name}, which {begin} holds.")
        # DiffPortrait3D is shown no back, and F is to find it
        across = denoiser.cross_view
        self.references = 2 if across is not None and across.layout == "diffportrait360" else 1
        self.size, self.seed = size, seed
        self.train, self.val = orbits_in(train), orbits_in(val)
        self.identities, self.per_step = [[orbit] for orbit in self.train], batch
        self.schedule = sqrt_linear(dtype=torch.float32)
        self.rest = Imported(begin)
        self.vae, self.prompt = self.rest.vae().float(), self.rest.prompt().float()

    def network(self) -> ViewDenoiser:
        """Only what the stage learns asks for gradients."""
        network = self.rest.denoiser().float().train()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith(self.stage.learns) or self._of_v(name))
        for part in (network.unet, network.appearance, network.control):
            part.gradient_checkpointing = True
        return network

    def _of_v(self, name: str) -> bool:
        return V in self.stage.learns and V in name

    def save(self, network: nn.Module, path: Path, about: dict[str, str]) -> None:
        assert isinstance(network, ViewDenoiser)
        save_trained(network, path, self.begin, {"name": f"{self.name}, begun with {self.begin.name}", **about})

    def sample(self, step: int, place: int) -> Batch:
        one = chosen(self.identities, step * self.per_step + place, self.seed)
        return self.clip(one, self.train, np.random.default_rng([self.seed, step, place]))

    def clip(self, one: Orbit, orbits: list[Orbit], rng: np.random.Generator) -> Batch:
        """views, hints (1 v 3 s s) and references (1 n 3 s s) in [-1, 1]: of this head, and of another one."""
        others = [orbit for orbit in orbits if orbit is not one]
        other = others[rng.integers(len(others))]
        places = one.nearest(self.asked(rng))
        shown = np.array(REFERENCES[: self.references]) + rng.uniform(-JITTER, JITTER, self.references)
        return {
            "views": self.pictures(one, places),
            "hints": self.pictures(other, other.nearest(one.azimuths[places])),
            "references": self.pictures(one, one.nearest(shown)),
        }

    def asked(self, rng: np.random.Generator) -> Floats:
        if self.stage.behind:
            return np.array([BEHIND])
        if not self.stage.together:
            return rng.uniform(0, 360, VIEWS)
        return rng.uniform(0, 360) + np.arange(VIEWS) * rng.uniform(*STEPS)

    def pictures(self, orbit: Orbit, places: NDArray[np.integer]) -> Tensor:
        rows = np.stack([orbit.load(int(place), self.size) for place in places])
        return rearrange(torch.from_numpy(rows), "v y x c -> 1 v c y x") * 2 - 1

    @torch.no_grad()
    def noised(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Latents, drawn as the autoencoder says, and the views' in noise."""
        device = generator.device
        self.vae.to(device)
        clean = self.encoded(batch["views"].to(device), generator)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        t = torch.randint(self.schedule.timesteps, clean.shape[:2], generator=generator, device=device)
        noisy = self.schedule.add_noise(clean.flatten(0, 1), t.flatten(), noise.flatten(0, 1)).view_as(clean)
        references = self.encoded(batch["references"].to(device), generator)
        return {"noisy": noisy, "noise": noise, "t": t, "references": references, "hints": batch["hints"].to(device)}

    def encoded(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        draw = lambda shape: torch.randn(tuple(shape), generator=generator, device=generator.device)  # noqa: E731
        found = [self.vae.encode(one, draw) for one in rearrange(pictures, "b v c y x -> (b v) 1 c y x")]
        return rearrange(torch.cat(found), "(b v) c y x -> b v c y x", b=len(pictures))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return ((self.predicted(network, batch) - batch["noise"]) ** 2).mean()

    def predicted(self, network: nn.Module, batch: Batch) -> Tensor:
        noisy = batch["noisy"]
        clips, views = noisy.shape[:2]
        found = network(
            rearrange(noisy, "b v c y x -> (b v) c y x"),
            batch["t"].flatten(),
            self.prompt.to(noisy.device),
            references=rearrange(batch["references"], "b n c y x -> n b c y x").repeat_interleave(views, 1),
            hints=rearrange(batch["hints"], "b v c y x -> (b v) c y x") if self.stage.hints else None,
            views=views if self.stage.together else None,
        )
        return rearrange(found.float(), "(b v) c y x -> b v c y x", b=clips)

    def tried(self, device: torch.device) -> Iterator[Batch]:
        """The same clips at the same noise levels every time."""
        for i in range(VALIDATED):
            clip = self.clip(self.val[i % len(self.val)], self.val, np.random.default_rng([self.seed, i]))
            generator = torch.Generator(device).manual_seed(i)
            yield self.noised(clip, generator)

    @torch.no_grad()
    def validate(self, network: nn.Module) -> Figures:
        """The loss at fixed noise levels."""
        device = next(network.parameters()).device
        found: dict[str, list[float]] = {}
        for batch in self.tried(device):
            clean = self.cleaned(batch, batch["noise"])
            for t in TRIED:
                at = self.at_level(batch, clean, t)
                found.setdefault(f"error at {t}", []).append(float(self.loss(network, at)))
        return {name: float(np.mean(values)) for name, values in found.items()}

    @torch.no_grad()
    def picture(self, network: nn.Module) -> Floats:
        """Of each clip: the true views, what is left of them in the noise, what is made of that in one step."""
        rows = []
        for batch in self.tried(next(network.parameters()).device):
            clean = self.cleaned(batch, batch["noise"])
            at = self.at_level(batch, clean, PICTURED)
            made = self.cleaned(at, self.predicted(network, at))
            for latents in (clean, at["noisy"], made):
                views = torch.cat([self.vae.decode(one[None]) for one in latents[0]])
                rows.append(rearrange(views / 2 + 0.5, "v c y x -> y (v x) c"))
        return torch.cat(rows).clamp(0, 1).cpu().numpy()

    def cleaned(self, batch: Batch, noise: Tensor) -> Tensor:
        """What is left when this noise is taken away."""
        alpha, sigma = (table[..., None, None, None] for table in self.schedule.at(batch["t"]))
        return (batch["noisy"] - sigma * noise) / alpha

    def at_level(self, batch: Batch, clean: Tensor, t: int) -> Batch:
        """The same noise at another level."""
        timestep = torch.tensor([t])
        noisy = self.schedule.add_noise(clean, timestep, batch["noise"])
        return batch | {"noisy": noisy, "t": torch.full_like(batch["t"], t)}
