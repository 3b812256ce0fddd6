"""Geometry restoration (Portrait Diffusion, eq. 4 to 6): a network over all planes learns what makes views of the
head likely to a denoiser, from all sides; so what is known of one side reaches the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from portrait360.models.hybrid import Led
from portrait360.models.restorer import Restorer
from portrait360.models.triplane import Triplane
from portrait360.refine.guide import Guide, before
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


def restored(
    head: Triplane,
    restorer: Restorer,
    guide: Guide,
    photo: View,
    how: Restoring = Restoring(),  # noqa: B008 (frozen)
    on_step: Callable[[int, int], None] = lambda done, of: None,
) -> Triplane:
    """Tuned on one portrait, together with the decoder (eq. 5, 6). The head is changed in place; with no steps to
    what the network has learnt on others."""
    rng, generator = np.random.default_rng([how.seed, 5]), Generator().manual_seed(how.seed)
    head.restorer = restorer
    learnt = [*restorer.parameters(), *head.first.parameters(), *head.last.parameters()]
    optimiser = torch.optim.Adam(learnt, lr=how.rate, betas=(0.9, 0.99))
    for step in range(how.steps):
        loss = distilled(head, guide, photo, how, rng, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        on_step(step + 1, how.steps)
    with torch.no_grad():
        head.grids.copy_(restorer(head.grids))
    head.restorer = None
    return head


def distilled(
    head: Triplane, guide: Guide, photo: View, how: Restoring, rng: np.random.Generator, generator: Generator
) -> Tensor:
    """Score distillation from a random side (eq. 2): its gradient leads from what is rendered to what the denoiser
    sees in it."""
    camera = beside(photo.camera, rng.uniform(0, 360), rng.uniform(-HIGH, HIGH))
    seen, reference = (before(head, one, how.size) for one in (camera, photo.camera))
    coarse, level = seen.picture[None], float(rng.uniform(how.noisy[1], how.noisy[0]))
    now = guide.latents(head.view(camera, how.size, remember=True).picture[None], coarse)
    noise = torch.randn(now.shape, generator=generator).to(now)
    noisy = (1 - level) * now.detach() + level * noise
    priors = guide.priors(seen, reference, reference.picture)
    goal = guide.denoised(noisy, level, priors, coarse, Led())
    return 0.5 * ((now - goal) ** 2).mean()
