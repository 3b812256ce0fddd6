"""A head as three planes of features over a volume that is there (Portrait Diffusion, 3.2; PanoHead's grids with more
than one layer). What a decoder makes of the features changes the volume's density and colours, and a light
network adds to the rendered picture: nothing at all, before something is learnt.

128 x 128 cells alone hold less than half of what a fitted field holds (docs/log.md); so they hold what is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.cameras import Camera
from portrait360.geometry.volume import HALF, Volume
from portrait360.models.layers import zeroed
from portrait360.models.restorer import Restorer
from portrait360.models.trigrid import sampled

RGB = 3  # the first of what is seen
SURE = 1e-4  # colours are kept so far from black and white that they can be changed
FARTHEST = 6.0  # by which the logarithm of density can be changed


@dataclass(frozen=True)
class TriplaneConfig:
    side: int = 128
    layers: int = 1
    features: int = 32
    hidden: int = 64  # of the decoder
    seen: int = 16  # features that are rendered beside the colours
    factor: int = 1  # of the super-resolution
    sharper: int = 32  # its channels


class Window(NamedTuple):
    """A square part of a picture, in pixels before the super-resolution."""

    top: int
    left: int
    side: int


class Rendered(NamedTuple):
    """A view, with gradients."""

    picture: Tensor  # (4 S S) premultiplied colours and cover
    depth: Tensor  # (s s) along the optical axis, 0 where nothing is; without gradient
    samples: int


class Sharper(nn.Module):
    """Rendered colours, features and cover (b c+1 s s) -> picture (b 4 ks ks): the colours enlarged and sharpened."""

    def __init__(self, seen: int, hidden: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.first = nn.Conv2d(seen + 1, hidden, 3, padding=1)
        self.last = zeroed(nn.Conv2d(hidden, RGB * factor**2, 3, padding=1))

    def forward(self, rendered: Tensor) -> Tensor:
        own = torch.cat([rendered[:, :RGB], rendered[:, -1:]], 1)
        if self.factor > 1:
            own = F.interpolate(own, scale_factor=self.factor, mode="bicubic", align_corners=False)
        added = F.pixel_shuffle(self.last(F.silu(self.first(rendered))), self.factor)
        cover = own[:, RGB:]
        return torch.cat([own[:, :RGB] + cover * added, cover], 1)


def begin(layer: nn.Module, generator: torch.Generator | None = None) -> None:
    """First weights of a layer before a rectifier; by the one generator there is, if none is given."""
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
        self.sharper = Sharper(self.seen, config.sharper, config.factor)
        self.restorer: Restorer | None = None  # what the planes pass before they are read, while that is learnt

    @staticmethod
    def decoder(config: TriplaneConfig) -> tuple[nn.Module, nn.Module]:
        """From features to what is added to density and colours; nothing at first."""
        first = nn.Linear(config.features, config.hidden)
        begin(first)
        return first, zeroed(nn.Linear(config.hidden, 1 + RGB + config.seen))

    def reset(self, grids: Tensor, generator: torch.Generator) -> None:
        """Features to begin with, and layers that turn them into nothing yet."""
        with torch.no_grad():
            self.grids.copy_(grids)
            for layer in (self.first, self.sharper.first):
                begin(layer, generator)

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            density, colours = self.base(places, directions)
        grids = self.grids if self.restorer is None else self.restorer(self.grids)
        out = self.last(F.silu(self.first(sampled(grids, places[None], 2 * HALF)[0])))
        denser = FARTHEST * torch.tanh(out[:, 0] / FARTHEST)
        kept = colours[:, :RGB].clamp(SURE, 1 - SURE)
        changed = torch.sigmoid(torch.logit(kept) + out[:, 1 : 1 + RGB])
        changed = colours[:, :RGB] + (changed - torch.sigmoid(torch.logit(kept)))  # to the bit what it was, if by 0
        return density * torch.exp(denser), torch.cat([changed, out[:, 1 + RGB :]], 1)

    def own_state(self) -> dict[str, Tensor]:
        """All but the base's."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("base.")}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `own_state`, over the same base."""
        self.load_state_dict({name: state.get(name, value) for name, value in self.state_dict().items()}, strict=True)

    def learnt(self) -> list[nn.Parameter]:
        return [value for value in self.parameters() if value.requires_grad]

    def view(
        self,
        camera: Camera,
        size: int,
        *,
        remember: bool = False,
        rays: int | None = None,
        window: Window | None = None,
    ) -> Rendered:
        """A picture of so many pixels a side, or a part of it; `rays` at once, all if not given."""
        whole, device = size // self.config.factor, self.density.device
        top, left, side = window or Window(0, 0, whole)
        origin, directions = camera.rays(whole, whole)
        part = directions[top : top + side, left : left + side].reshape(-1, 3)
        towards = torch.tensor(part, dtype=torch.float32, device=device)
        start = torch.tensor(origin, dtype=torch.float32, device=device).expand(len(towards), 3)
        most = rays or len(towards)
        parts = [
            self.render(a, b, remember=remember) for a, b in zip(start.split(most), towards.split(most), strict=True)
        ]
        rgb, alpha, distance = (torch.cat([getattr(p, name) for p in parts]) for name in ("rgb", "alpha", "distance"))
        rendered = torch.cat([rgb, alpha[:, None]], 1).T.reshape(1, self.seen + 1, side, side)
        axis = torch.tensor(camera.cam2world[:3, 2], dtype=torch.float32, device=device)
        depth = torch.where(alpha > 0.5, distance * (towards @ axis), 0).detach().view(side, side)
        return Rendered(self.sharper(rendered)[0], depth, sum(p.samples for p in parts))

    @torch.no_grad()
    def picture(self, camera: Camera, size: int, *, rays: int = 16384) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Straight rgb (s s 3), alpha (s s), depth (s s)."""
        made = self.view(camera, size, rays=rays)
        alpha = made.picture[RGB].clamp(0, 1)
        rgb = (made.picture[:RGB] / alpha.clamp(min=1e-6)).clamp(0, 1)
        depth = F.interpolate(made.depth[None, None], (size, size), mode="nearest")[0, 0]
        return rgb.permute(1, 2, 0).cpu().numpy(), alpha.cpu().numpy(), depth.cpu().numpy()
