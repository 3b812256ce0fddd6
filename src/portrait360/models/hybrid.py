"""The Hybrid Priors Diffusion Model of Portrait Diffusion (3.3): a frozen U-Net, led by what another view shows.

The explicit branch is a U-Net without text that sees the driving view carried to this camera, where it is known, and
the noisy latents; it is added to every block of the frozen one. The implicit branch sees the driving view itself, and
its features are carried to this camera inside the network. What all of them add passes layers of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.geometry.carried import looked_up
from portrait360.models.layers import group_norm, zeroed
from portrait360.models.unet import UNet, UNetConfig
from portrait360.models.view_denoiser import ViewDenoiser, ViewDenoiserConfig

MASK = 1  # channels


@dataclass(frozen=True)
class HybridConfig:
    unet: UNetConfig  # the frozen one
    geometry: int  # channels of the coarse picture and of its normals, as latents
    views: ViewDenoiserConfig | None = None  # whose U-Net it is, and what else it has learnt with; None: it is alone


@dataclass(frozen=True)
class Priors:
    """What is known of a view before it is denoised; pictures are latents (b c h w)."""

    projected: Tensor  # the driving view carried to this camera (eq. 8)
    mask: Tensor  # (b 1 h w) where it is known
    driving: Tensor  # the driving view itself
    uv: Tensor  # (b h w 2) where this view's places lie in it, in image sides
    geometry: Tensor  # (b geometry h w) the coarse picture and normals
    references: Tensor | None = None  # (b n c h w) for the base's own R
    hints: Tensor | None = None  # (b hint_channels H W) for its C


@dataclass(frozen=True)
class Led:
    """Which of the branches lead, and how much (fig. 5)."""

    geometry: bool = True
    implicit: bool = True
    weight: float = 1.0  # w^Ex of eq. 9


class Merge(nn.Module):
    """Something else comes to features, through a residual block whose last layer is zero (eq. 10 and 11)."""

    def __init__(self, c: int, other: int) -> None:
        super().__init__()
        self.norm = group_norm(c + other) if (c + other) % 32 == 0 else nn.GroupNorm(1, c + other)
        self.first, self.last = nn.Conv2d(c + other, c, 3, padding=1), zeroed(nn.Conv2d(c, c, 3, padding=1))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x + self.last(F.silu(self.first(F.silu(self.norm(torch.cat([x, other], 1))))))


class HybridPriors(nn.Module):
    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        z = config.unet.in_channels
        textless = replace(config.unet, context_dim=0)
        self.base = UNet(config.unet) if config.views is None else ViewDenoiser(config.views)
        self.explicit = UNet(replace(textless, in_channels=2 * z + MASK), head=False)
        self.implicit = UNet(replace(textless, in_channels=2 * z), head=False)
        self.with_geometry = Merge(z, config.geometry)
        self.with_implicit = nn.ModuleList(Merge(c, c) for c in self.unet.widths)
        self.zero_convs = nn.ModuleList(zeroed(nn.Conv2d(c, c, 1)) for c in self.unet.widths)

    @property
    def unet(self) -> UNet:
        return self.base if isinstance(self.base, UNet) else self.base.unet

    def forward(
        self, z: Tensor, t: Tensor, context: Tensor, priors: Priors | None = None, led: Led | None = None
    ) -> Tensor:
        """Noisy latents z (b c h w) at timesteps t (1 or b) -> what the base predicts; without priors it is alone."""
        if priors is None:
            return self.base(z, t, context)
        led = led or Led()
        added = [conv(x) for conv, x in zip(self.zero_convs, self.features(z, t, priors, led), strict=True)]
        touch = lambda place, x: x + led.weight * added[place]  # noqa: E731 (one line says it)
        if isinstance(self.base, UNet):
            return self.base(z, t, context, touch=touch)
        references = None if priors.references is None else priors.references.movedim(1, 0)
        return self.base(z, t, context, references=references, hints=priors.hints, touch=touch)

    def features(self, z: Tensor, t: Tensor, priors: Priors, led: Led) -> Sequence[Tensor]:
        """Of the explicit branch, a block each."""
        projected = self.with_geometry(priors.projected, priors.geometry) if led.geometry else priors.projected
        seen = self.understood(z, t, priors) if led.implicit else None
        found: list[Tensor] = []

        def touch(place: int, x: Tensor) -> Tensor:
            x = x if seen is None else self.with_implicit[place](x, seen[place])
            found.append(x)
            return x

        self.explicit(torch.cat([projected, priors.mask, z], 1), t, z, touch=touch)
        return found

    def understood(self, z: Tensor, t: Tensor, priors: Priors) -> Sequence[Tensor]:
        """The implicit branch's features, carried to this camera."""
        found: list[Tensor] = []

        def touch(place: int, x: Tensor) -> Tensor:
            size = x.shape[-2:]
            uv = F.interpolate(priors.uv.movedim(-1, 1), size, mode="area").movedim(1, -1)
            found.append(looked_up(x, uv, F.interpolate(priors.mask, size, mode="area")))
            return x

        self.implicit(torch.cat([priors.driving, z], 1), t, z, touch=touch)
        return found
