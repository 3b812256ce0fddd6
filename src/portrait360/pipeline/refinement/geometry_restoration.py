"""Geometry restoration (Portrait Diffusion, eq. 4 to 6): a network over all planes is trained by score distillation
with views from all sides, so that what is known of one side reaches the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from portrait360.geometry.cameras import Camera
from portrait360.models.geometry_restorer import Restorer, RestorerConfig
from portrait360.models.hybrid_priors import BranchWeights
from portrait360.models.triplane import Triplane, TriplaneConfig
from portrait360.models.weights.tensor_files import TensorFile, load_fp32
from portrait360.pipeline.refinement.denoising_guide import Guide, render_base, resize_photo
from portrait360.pipeline.refinement.view_schedule import turn_camera
from portrait360.pipeline.views.view_set import View
from portrait360.utils.progress import ProgressCallback, ignore_progress

MAX_ELEVATION = 30.0  # degrees up and down


@dataclass(frozen=True)
class RestoreConfig:
    steps: int = 40
    size: int = 256
    noisy: tuple[float, float] = (0.98, 0.5)  # the highest and the lowest noise level
    rate: float = 1e-3
    seed: int = 0


class Restoration(nn.Module):
    """The network over the planes, and the decoder that is trained with it."""

    def __init__(self, triplane: TriplaneConfig, config: RestorerConfig) -> None:
        super().__init__()
        self.restorer = Restorer(config)
        self.first, self.last = Triplane.decoder(triplane)

    def attach(self, head: Triplane) -> None:
        """Make the head pass its planes through this network and this decoder, so that both can be trained on it."""
        head.restorer, head.first, head.last = self.restorer, self.first, self.last


def make_restoration(triplane: TriplaneConfig) -> Restoration:
    return Restoration(triplane, RestorerConfig(triplane.features))


def load_restoration(path: Path, triplane: TriplaneConfig) -> Restoration:
    """Load the weights that `train run restorer` writes."""
    return load_fp32(make_restoration(triplane), TensorFile(path), str(path))  # pyright: ignore[reportReturnType]


def restore(
    head: Triplane,
    restoration: Restoration,
    guide: Guide,
    photo: View,
    config: RestoreConfig = RestoreConfig(),  # noqa: B008 (frozen)
    on_step: ProgressCallback = ignore_progress,
) -> Triplane:
    """Tune the restoration on one portrait, together with the decoder (eq. 5, 6), and apply it to the head in place.

    With no steps, the restoration is applied as it was trained on other heads."""
    rng, generator = np.random.default_rng([config.seed, 5]), Generator().manual_seed(config.seed)
    restoration.attach(head)
    optimiser = torch.optim.Adam(restoration.parameters(), lr=config.rate, betas=(0.9, 0.99))
    photo_picture = resize_photo(photo, config.size)
    for step in range(config.steps):
        camera, level = random_noisy_view(photo.camera, config, rng)
        loss = distillation_loss(head, guide, photo.camera, camera, level, config.size, generator, photo_picture)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        on_step("restore", step + 1, config.steps)
    with torch.no_grad():
        head.grids.copy_(restoration.restorer(head.grids))
    head.restorer = None
    head.refresh_occupancy()
    return head


def random_noisy_view(photo: Camera, config: RestoreConfig, rng: np.random.Generator) -> tuple[Camera, float]:
    """Sample a camera on a random side, and a noise level."""
    camera = turn_camera(photo, rng.uniform(0, 360), rng.uniform(-MAX_ELEVATION, MAX_ELEVATION))
    return camera, float(rng.uniform(config.noisy[1], config.noisy[0]))


def distillation_loss(
    head: Triplane,
    guide: Guide,
    photo: Camera,
    camera: Camera,
    level: float,
    size: int,
    generator: Generator,
    photo_picture: Tensor | None = None,
) -> Tensor:
    """Return the score distillation loss (eq. 2): its gradient leads from the render to the denoiser's prediction.

    `photo_picture` is the photo; without it, the head's render from the photo's camera takes its place."""
    view, reference = (render_base(head, c, size) for c in (camera, photo))
    coarse = view.picture[None]
    latents = guide.latents(head.render_view(camera, size, remember=True).image[None], coarse)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    noisy = (1 - level) * latents.detach() + level * noise
    priors = guide.priors(view, reference, reference.picture if photo_picture is None else photo_picture)
    prediction = guide.denoise(noisy, level, priors, coarse, BranchWeights())
    return 0.5 * ((latents - prediction) ** 2).mean()
