"""The geometry restorer's task (Portrait Diffusion, eq. 4): over many heads, what makes views likely to the denoiser.

A head is a proxy as a volume; its planes, and a decoder that all heads share, hold what is to be changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from portrait360.cameras import Camera, look_at
from portrait360.checkpoints import write_half
from portrait360.models.triplane import Triplane, TriplaneConfig
from portrait360.models.view_hints import folded, premultiplied
from portrait360.proxy import LAYOUT, Proxy
from portrait360.refine.guide import ViewGuide
from portrait360.refine.plan import beside
from portrait360.refine.proxy_volume import ProxyVolume
from portrait360.refine.restore import Restoration, Restoring, anywhere, distilled, restoration_for
from portrait360.refine.start import projected, projections
from portrait360.small_views import load_views
from portrait360.train.loop import Batch, Figures, Floats
from portrait360.train.map_task import samples_in, spread
from portrait360.train.samples import FOCAL, Sample
from portrait360.train.turns import by_identity, chosen
from portrait360.train.view_task import in_rows, told

SIZES = TriplaneConfig()
VALIDATED, SHOWN_ROWS = 4, 3
SEEN_FROM = (40.0, 120.0, 180.0, 270.0)  # degrees from the photo's side


class RestorerTask:
    """Samples are those of the map completer; `begin` are weights of the view denoiser, which teaches."""

    name, saved = "restorer", "weights.safetensors"

    def __init__(
        self, train: Path, val: Path, begin: Path, *, batch: int = 1, seed: int = 0, how: Restoring | None = None
    ) -> None:
        self.begin, self.per_step, self.seed, self.how = begin, batch, seed, how or Restoring()
        self.train, self.val = samples_in(train), samples_in(val)
        self.identities = by_identity(self.train)

    def network(self) -> nn.Module:
        return restoration_for(SIZES).train()

    def save(self, network: nn.Module, path: Path, about: dict[str, str]) -> None:
        write_half(network, path, {"samples": str(len(self.train)), **about})

    def sample(self, step: int, place: int) -> Batch:
        one = Sample.load(chosen(self.identities, step * self.per_step + place, self.seed))
        camera, level = anywhere(photographed(one), self.how, np.random.default_rng([self.seed, step, place]))
        return as_row(one) | {"seen": labelled(camera), "level": torch.tensor([level])}

    def noised(self, batch: Batch, generator: Generator) -> Batch:
        seeds = torch.randint(1 << 31, (len(batch["level"]),), generator=generator, device=generator.device)
        return batch | {"seed": seeds}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        found = []
        for i in range(len(batch["level"])):
            row = {name: value[i] for name, value in batch.items()}
            head, photo = read_through(network, row), camera_of(row["photo"])
            guide, noise = self.guide(head, photo), Generator().manual_seed(int(row["seed"]))
            camera, level = camera_of(row["seen"]), float(row["level"])
            found.append(distilled(head, guide, photo, camera, level, self.how.size, noise))
        return torch.stack(found).mean()

    def guide(self, head: Triplane, photo: Camera) -> ViewGuide:
        """The view denoiser, shown the head's own front and back."""
        size, device = self.how.size, head.density.device
        network = load_views(self.begin).network.to(device)
        behind = Camera(look_at(180), photo.focal)
        shown = [premultiplied(*head.base.picture(camera, size)[:2]) for camera in (photo, behind)]
        return ViewGuide(network=network, references=folded(torch.stack(shown)))

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> Figures:
        """Decibels inside the true outlines, of heads as they were and as they are restored."""
        heads = (self.views(network, Sample.load(path)) for path in spread(self.val, VALIDATED))
        return told(heads, ("proxy", "restored"))

    @torch.inference_mode()
    def picture(self, network: nn.Module) -> Floats:
        """Of some heads: the truth, the proxy, what is made of it."""
        heads = (self.views(network, Sample.load(path)) for path in spread(self.val, SHOWN_ROWS))
        return in_rows(made for head in heads for made in head)

    def views(self, network: nn.Module, one: Sample) -> tuple[Tensor, Tensor, Tensor]:
        """(v 4 s s) each, of the truth, of the proxy, of what is made of it."""
        true = ProxyVolume(as_proxy(one.rgb, one.radius.astype(np.float32), photographed(one)))
        row = {name: value[0].to(next(network.parameters()).device) for name, value in as_row(one).items()}
        head, size = read_through(network, row), self.how.size // 2
        cameras = [beside(photographed(one), turn) for turn in SEEN_FROM]
        of = lambda volume: torch.stack([premultiplied(*volume.picture(c, size)[:2]) for c in cameras])  # noqa: E731
        return of(true), of(head.base), of(head)


def photographed(one: Sample) -> Camera:
    return Camera(look_at(*map(float, one.camera)), FOCAL)


def labelled(camera: Camera) -> Tensor:
    return torch.from_numpy(camera.label()).float()[None]


def camera_of(label: Tensor) -> Camera:
    return Camera.from_label(label.cpu().numpy())


def as_proxy(colours: np.ndarray, radius: np.ndarray, camera: Camera) -> Proxy:
    """All that is seen of it is in the map."""
    nothing = np.zeros(radius.shape, np.float32)
    return Proxy(
        LAYOUT,
        radius,
        colours.astype(np.float32) / 255,
        nothing,
        np.zeros((2, 2, 3), np.float32),
        np.ones((2, 2)),
        camera,
    )


def as_row(one: Sample) -> Batch:
    """A head, one row: radii, colours, the grid that rays follow, its first planes, the photo's camera."""
    camera, radius = photographed(one), one.proxy_radius.astype(np.float32)
    volume = ProxyVolume(as_proxy(one.proxy, radius, camera))
    return {
        "radius": torch.from_numpy(radius)[None],
        "colours": torch.from_numpy(one.proxy)[None],
        "density": volume.density[None],
        "planes": projections(volume)[None],
        "photo": labelled(camera),
    }


def read_through(network: nn.Module, row: Batch) -> Triplane:
    """A row's head, as the network reads it."""
    assert isinstance(network, Restoration)
    camera = camera_of(row["photo"])
    proxy = as_proxy(row["colours"].cpu().numpy(), row["radius"].cpu().numpy(), camera)
    device = row["density"].device
    head = Triplane(ProxyVolume(proxy, row["density"].cpu()).to(device), SIZES).to(device)
    with torch.no_grad():
        head.grids.copy_(projected(row["planes"], SIZES))
    head.requires_grad_(False)
    network.given_to(head)
    return head
