"""Geometry restoration (Portrait Diffusion, eq. 4 to 6): a network over all planes learns what makes views of the
head likely to a denoiser, from all sides; so what is known of one side reaches the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from portrait360.cameras import Camera
from portrait360.checkpoints import TensorFile, load_single
from portrait360.models.hybrid import Led
from portrait360.models.restorer import Restorer, RestorerConfig
from portrait360.models.triplane import Triplane, TriplaneConfig
from portrait360.refine.guide import Guide, before, photo_at
from portrait360.refine.plan import beside
from portrait360.view_sheet import View

HIGH = 30.0  # degrees up and down


@dataclass(frozen=True)
class Restoring:
    steps: int = 40
    size: int = 256
    noisy: tuple[float, float] = (0.98, 0.5)
    rate: float = 1e-3
    seed: int = 0


class Restoration(nn.Module):
    """The network over the planes, and the decoder that has learnt to read what it says."""

    def __init__(self, sizes: TriplaneConfig, config: RestorerConfig) -> None:
        super().__init__()
        self.restorer = Restorer(config)
        self.first, self.last = Triplane.decoder(sizes)

    def given_to(self, head: Triplane) -> None:
        """From now on the head is read through it; both learn together."""
        head.restorer, head.first, head.last = self.restorer, self.first, self.last


def restoration_for(sizes: TriplaneConfig) -> Restoration:
    return Restoration(sizes, RestorerConfig(sizes.features))


def load_restoration(path: Path, sizes: TriplaneConfig) -> Restoration:
    """What `train run restorer` has left."""
    return load_single(restoration_for(sizes), TensorFile(path), str(path))  # pyright: ignore[reportReturnType]


def restored(
    head: Triplane,
    restoration: Restoration,
    guide: Guide,
    photo: View,
    how: Restoring = Restoring(),  # noqa: B008 (frozen)
    on_step: Callable[[int, int], None] = lambda done, of: None,
) -> Triplane:
    """Tuned on one portrait, together with the decoder (eq. 5, 6). The head is changed in place; with no steps to
    what the network has learnt on others."""
    rng, generator = np.random.default_rng([how.seed, 5]), Generator().manual_seed(how.seed)
    restoration.given_to(head)
    optimiser = torch.optim.Adam(restoration.parameters(), lr=how.rate, betas=(0.9, 0.99))
    shown = photo_at(photo, how.size)
    for step in range(how.steps):
        camera, level = anywhere(photo.camera, how, rng)
        loss = distilled(head, guide, photo.camera, camera, level, how.size, generator, shown)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        on_step(step + 1, how.steps)
    with torch.no_grad():
        head.grids.copy_(restoration.restorer(head.grids))
    head.restorer = None
    head.settle()
    return head


def anywhere(photo: Camera, how: Restoring, rng: np.random.Generator) -> tuple[Camera, float]:
    """A view from a random side, and how noisy it is made."""
    camera = beside(photo, rng.uniform(0, 360), rng.uniform(-HIGH, HIGH))
    return camera, float(rng.uniform(how.noisy[1], how.noisy[0]))


def distilled(
    head: Triplane,
    guide: Guide,
    photo: Camera,
    camera: Camera,
    level: float,
    size: int,
    generator: Generator,
    shown: Tensor | None = None,
) -> Tensor:
    """Score distillation (eq. 2): its gradient leads from what is rendered to what the denoiser sees in it. `shown`:
    the photo; without, the head as its camera sees it."""
    seen, reference = (before(head, one, size) for one in (camera, photo))
    coarse = seen.picture[None]
    now = guide.latents(head.view(camera, size, remember=True).picture[None], coarse)
    noise = torch.randn(now.shape, generator=generator).to(now)
    noisy = (1 - level) * now.detach() + level * noise
    priors = guide.priors(seen, reference, reference.picture if shown is None else shown)
    goal = guide.denoised(noisy, level, priors, coarse, Led())
    return 0.5 * ((now - goal) ** 2).mean()
