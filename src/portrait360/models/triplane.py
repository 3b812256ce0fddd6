"""A head as three planes of features over a given volume (Portrait Diffusion, 3.2).

With more than one layer the planes are PanoHead's grids. A decoder turns the features into changes of the volume's
density and colours, and a small super-resolution network adds to the rendered image. Before training, all changes are
zero.

Planes of 128 x 128 cells alone hold less than half the detail of a fitted field (docs/research/log.md), so they hold
only the changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.geometry.cameras import Camera
from portrait360.geometry.volumes.volume import HALF, Volume
from portrait360.models.geometry_restorer import Restorer
from portrait360.models.layers import zero_init
from portrait360.models.trigrid import sample_grids

RGB = 3  # the colours are the first of the rendered channels
COLOUR_MARGIN = 1e-4  # colours are clamped to this distance from 0 and 1, so that their logit is finite
MAX_LOG_DENSITY_CHANGE = 6.0  # limit of the change of the density's logarithm


@dataclass(frozen=True)
class TriplaneConfig:
    side: int = 128
    layers: int = 1
    features: int = 32
    hidden: int = 64  # hidden width of the decoder
    seen: int = 16  # features that are rendered beside the colours
    factor: int = 1  # scale of the super-resolution
    sharper: int = 32  # hidden channels of the super-resolution


class ImageWindow(NamedTuple):
    """A square part of an image, in pixels before the super-resolution."""

    top: int
    left: int
    side: int


class RenderedView(NamedTuple):
    """A rendered view, with gradients."""

    image: Tensor  # (4 S S) premultiplied colours and alpha
    depth: Tensor  # (s s) along the optical axis, 0 where empty; without gradient
    samples: int  # number of samples taken


class SuperResolution(nn.Module):
    """Rendered colours, features and alpha (b c+1 s s) -> image (b 4 ks ks): the colours enlarged and sharpened."""

    def __init__(self, channels: int, hidden: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.first = nn.Conv2d(channels + 1, hidden, 3, padding=1)
        self.last = zero_init(nn.Conv2d(hidden, RGB * factor**2, 3, padding=1))

    def forward(self, rendered: Tensor) -> Tensor:
        rgba = torch.cat([rendered[:, :RGB], rendered[:, -1:]], 1)
        if self.factor > 1:
            rgba = F.interpolate(rgba, scale_factor=self.factor, mode="bicubic", align_corners=False)
        residual = F.pixel_shuffle(self.last(F.silu(self.first(rendered))), self.factor)
        alpha = rgba[:, RGB:]
        return torch.cat([rgba[:, :RGB] + alpha * residual, alpha], 1)


def init_relu_layer(layer: nn.Module, generator: torch.Generator | None = None) -> None:
    """Initialise a layer that precedes a rectifier; without a generator, by torch's global one."""
    weight, bias = layer.parameters()
    nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(bias)


class Triplane(Volume):
    def __init__(self, base: Volume, config: TriplaneConfig = TriplaneConfig()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.base, self.config = base.requires_grad_(False), config
        self.seen = RGB + config.seen
        self.density.copy_(base.density)
        self.grids = nn.Parameter(torch.zeros(1, 3, config.features, config.layers, config.side, config.side))
        self.first, self.last = self.decoder(config)
        self.sharper = SuperResolution(self.seen, config.sharper, config.factor)
        self.restorer: Restorer | None = None  # is applied to the planes before sampling, while it is trained

    @staticmethod
    def decoder(config: TriplaneConfig) -> tuple[nn.Module, nn.Module]:
        """Return the two decoder layers from features to changes of density and colours, which are zero at first."""
        first = nn.Linear(config.features, config.hidden)
        init_relu_layer(first)
        return first, zero_init(nn.Linear(config.hidden, 1 + RGB + config.seen))

    def reset(self, grids: Tensor, generator: torch.Generator) -> None:
        """Set the initial features and re-initialise the first layers; the last layers still output zero."""
        with torch.no_grad():
            self.grids.copy_(grids)
            for layer in (self.first, self.sharper.first):
                init_relu_layer(layer, generator)

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            density, colours = self.base(places, directions)
        grids = self.grids if self.restorer is None else self.restorer(self.grids)
        out = self.last(F.silu(self.first(sample_grids(grids, places[None], 2 * HALF)[0])))
        log_change = MAX_LOG_DENSITY_CHANGE * torch.tanh(out[:, 0] / MAX_LOG_DENSITY_CHANGE)
        inside = colours[:, :RGB].clamp(COLOUR_MARGIN, 1 - COLOUR_MARGIN)
        rgb = torch.sigmoid(torch.logit(inside) + out[:, 1 : 1 + RGB])
        rgb = colours[:, :RGB] + (rgb - torch.sigmoid(torch.logit(inside)))  # bit-identical if the change is 0
        return density * torch.exp(log_change), torch.cat([rgb, out[:, 1 + RGB :]], 1)

    def own_state(self) -> dict[str, Tensor]:
        """Return the state without that of the base."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("base.")}

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `own_state` returned; the base stays the same."""
        self.load_state_dict({name: state.get(name, value) for name, value in self.state_dict().items()}, strict=True)

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [value for value in self.parameters() if value.requires_grad]

    def render_view(
        self,
        camera: Camera,
        size: int,
        *,
        remember: bool = False,
        rays: int | None = None,
        window: ImageWindow | None = None,
    ) -> RenderedView:
        """Render an image of size x size pixels, or a window of it, in chunks of `rays` (by default all at once)."""
        full_side, device = size // self.config.factor, self.density.device
        top, left, side = window or ImageWindow(0, 0, full_side)
        origin, directions = camera.rays(full_side, full_side)
        window_directions = directions[top : top + side, left : left + side].reshape(-1, 3)
        ray_directions = torch.tensor(window_directions, dtype=torch.float32, device=device)
        origins = torch.tensor(origin, dtype=torch.float32, device=device).expand(len(ray_directions), 3)
        chunk = rays or len(ray_directions)
        chunks = zip(origins.split(chunk), ray_directions.split(chunk), strict=True)
        parts = [self.render(a, b, remember=remember) for a, b in chunks]
        rgb, alpha, distance = (torch.cat([getattr(p, name) for p in parts]) for name in ("rgb", "alpha", "distance"))
        rendered = torch.cat([rgb, alpha[:, None]], 1).T.reshape(1, self.seen + 1, side, side)
        axis = torch.tensor(camera.cam2world[:3, 2], dtype=torch.float32, device=device)
        depth = torch.where(alpha > 0.5, distance * (ray_directions @ axis), 0).detach().view(side, side)
        return RenderedView(self.sharper(rendered)[0], depth, sum(p.samples for p in parts))

    @torch.no_grad()
    def render_image(
        self, camera: Camera, size: int, *, rays: int = 16384
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return straight rgb (s s 3), alpha (s s) and depth (s s)."""
        rendered = self.render_view(camera, size, rays=rays)
        alpha = rendered.image[RGB].clamp(0, 1)
        rgb = (rendered.image[:RGB] / alpha.clamp(min=1e-6)).clamp(0, 1)
        depth = F.interpolate(rendered.depth[None, None], (size, size), mode="nearest")[0, 0]
        return rgb.permute(1, 2, 0).cpu().numpy(), alpha.cpu().numpy(), depth.cpu().numpy()
