"""The geometry restorer's task (Portrait Diffusion, eq. 4): make views of many heads likely under the view denoiser.

A head is the volume of a proxy. Its planes, and a decoder that all heads share, hold the changes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.volumes.volume import Volume
from portrait360.models.triplane import Triplane, TriplaneConfig
from portrait360.models.weights.tensor_files import write_half
from portrait360.pipeline.proxy.proxy import LAYOUT, Proxy
from portrait360.pipeline.refinement.base_volumes import ProxyVolume
from portrait360.pipeline.refinement.denoising_guide import ViewGuide
from portrait360.pipeline.refinement.geometry_restoration import (
    Restoration,
    RestoreConfig,
    distillation_loss,
    make_restoration,
    random_noisy_view,
)
from portrait360.pipeline.refinement.triplane_init import project_planes, project_volume
from portrait360.pipeline.refinement.view_schedule import turn_camera
from portrait360.pipeline.views.pixel_latents import premultiply, space_to_depth
from portrait360.pipeline.views.small_denoiser import load_view_weights
from portrait360.training.data.head_map_samples import FOCAL, Sample
from portrait360.training.data.identity_sampler import group_by_identity, list_samples, sample_for_step, spread_evenly
from portrait360.training.tasks.view_denoiser import summarise, tile_rows
from portrait360.training.trainer import Batch, Figures
from portrait360.utils.array_types import Floats

SIZES = TriplaneConfig()
VALIDATION_SAMPLES, PREVIEW_SAMPLES = 4, 3
AZIMUTHS = (40.0, 120.0, 180.0, 270.0)  # degrees from the photo's camera


class RestorerTask:
    """Trains on the map completer's samples, with the view denoiser (`init_from`) as the teacher."""

    name, saved = "restorer", "weights.safetensors"

    def __init__(
        self,
        train: Path,
        val: Path,
        init_from: Path,
        *,
        batch: int = 1,
        seed: int = 0,
        how: RestoreConfig | None = None,
    ) -> None:
        self.init_from, self.batch_size, self.seed = init_from, batch, seed
        self.config = how or RestoreConfig()
        self.train, self.val = list_samples(train), list_samples(val)
        self.identities = group_by_identity(self.train)

    def network(self) -> nn.Module:
        return make_restoration(SIZES).train()

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        write_half(network, path, {"samples": str(len(self.train)), **metadata})

    def sample(self, step: int, index: int) -> Batch:
        sample = Sample.load(sample_for_step(self.identities, step * self.batch_size + index, self.seed))
        rng = np.random.default_rng([self.seed, step, index])
        camera, level = random_noisy_view(get_photo_camera(sample), self.config, rng)
        return make_row(sample) | {"camera": label_camera(camera), "level": torch.tensor([level])}

    def add_noise(self, batch: Batch, generator: Generator) -> Batch:
        seeds = torch.randint(1 << 31, (len(batch["level"]),), generator=generator, device=generator.device)
        return batch | {"seed": seeds}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        losses = []
        for i in range(len(batch["level"])):
            row = {name: value[i] for name, value in batch.items()}
            head, photo = attach_network(network, row), camera_from_label(row["photo"])
            guide, generator = self.make_guide(head, photo), Generator().manual_seed(int(row["seed"]))
            camera, level = camera_from_label(row["camera"]), float(row["level"])
            losses.append(distillation_loss(head, guide, photo, camera, level, self.config.size, generator))
        return torch.stack(losses).mean()

    def make_guide(self, head: Triplane, photo: Camera) -> ViewGuide:
        """Return the view denoiser with the head's own front and back as references."""
        size, device = self.config.size, head.density.device
        network = load_view_weights(self.init_from).network.to(device)
        behind = Camera(look_at(180), photo.focal)
        references = [premultiply(*head.base.render_image(camera, size)[:2]) for camera in (photo, behind)]
        return ViewGuide(network=network, references=space_to_depth(torch.stack(references)))

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> Figures:
        """Return the PSNR inside the true mattes, of the proxies and of the restored heads."""
        heads = (self.views(network, Sample.load(path)) for path in spread_evenly(self.val, VALIDATION_SAMPLES))
        return summarise(heads, ("proxy", "restored"))

    @torch.inference_mode()
    def preview(self, network: nn.Module) -> Floats:
        """Show the true views, the proxy's and the restored ones of some heads."""
        heads = (self.views(network, Sample.load(path)) for path in spread_evenly(self.val, PREVIEW_SAMPLES))
        return tile_rows(views for head in heads for views in head)

    def views(self, network: nn.Module, sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
        """Render views (v 4 s s) of the true head, of the proxy and of the restored head."""
        photo = get_photo_camera(sample)
        true = ProxyVolume(make_proxy(sample.rgb, sample.radius.astype(np.float32), photo))
        row = {name: value[0].to(next(network.parameters()).device) for name, value in make_row(sample).items()}
        head, size = attach_network(network, row), self.config.size // 2
        cameras = [turn_camera(photo, azimuth) for azimuth in AZIMUTHS]

        def render_views(volume: Volume) -> Tensor:
            return torch.stack([premultiply(*volume.render_image(camera, size)[:2]) for camera in cameras])

        return render_views(true), render_views(head.base), render_views(head)


def get_photo_camera(sample: Sample) -> Camera:
    return Camera(look_at(*map(float, sample.camera)), FOCAL)


def label_camera(camera: Camera) -> Tensor:
    return torch.from_numpy(camera.label()).float()[None]


def camera_from_label(label: Tensor) -> Camera:
    return Camera.from_label(label.cpu().numpy())


def make_proxy(colours: np.ndarray, radius: np.ndarray, camera: Camera) -> Proxy:
    """Return a proxy that takes all its colours from the map and none from the photo."""
    invisible = np.zeros(radius.shape, np.float32)
    return Proxy(
        LAYOUT,
        radius,
        colours.astype(np.float32) / 255,
        invisible,
        np.zeros((2, 2, 3), np.float32),
        np.ones((2, 2)),
        camera,
    )


def make_row(sample: Sample) -> Batch:
    """Return a head as one row: radii, colours, occupancy grid, initial planes, and the photo's camera."""
    camera, radius = get_photo_camera(sample), sample.proxy_radius.astype(np.float32)
    volume = ProxyVolume(make_proxy(sample.proxy, radius, camera))
    return {
        "radius": torch.from_numpy(radius)[None],
        "colours": torch.from_numpy(sample.proxy)[None],
        "density": volume.density[None],
        "planes": project_volume(volume)[None],
        "photo": label_camera(camera),
    }


def attach_network(network: nn.Module, row: Batch) -> Triplane:
    """Return the head of a row, with the network attached to its planes."""
    assert isinstance(network, Restoration)
    camera = camera_from_label(row["photo"])
    proxy = make_proxy(row["colours"].cpu().numpy(), row["radius"].cpu().numpy(), camera)
    device = row["density"].device
    head = Triplane(ProxyVolume(proxy, row["density"].cpu()).to(device), SIZES).to(device)
    with torch.no_grad():
        head.grids.copy_(project_planes(row["planes"], SIZES))
    head.requires_grad_(False)
    network.attach(head)
    return head
