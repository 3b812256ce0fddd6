"""The Hybrid Priors Diffusion Model of Portrait Diffusion (3.3): a frozen U-Net conditioned on another view.

The explicit branch is a U-Net without text. Its input is the driving view warped to this camera, the mask of the
warped pixels and the noisy latents; its features are added to every block of the frozen U-Net. The input of the
implicit branch is the driving view itself, and its features are warped to this camera inside the network. All
additions pass zero-initialised layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.geometry.warping import grid_sample
from portrait360.models.layers import group_norm, zero_init
from portrait360.models.unet import UNet, UNetConfig
from portrait360.models.view_denoiser import ViewDenoiser, ViewDenoiserConfig

MASK = 1  # channels of the mask


@dataclass(frozen=True)
class HybridConfig:
    unet: UNetConfig  # the frozen U-Net
    geometry: int  # channels of the coarse render and of its normals, as latents
    views: ViewDenoiserConfig | None = None  # the view denoiser that the U-Net was trained in; None: a plain U-Net


@dataclass(frozen=True)
class Priors:
    """The conditioning inputs of a view; images are latents (b c h w)."""

    projected: Tensor  # the driving view warped to this camera (eq. 8)
    mask: Tensor  # (b 1 h w) where the warped view is valid
    driving: Tensor  # the driving view itself
    uv: Tensor  # (b h w 2) coordinates of this view's pixels in the driving view, in image sides
    geometry: Tensor  # (b geometry h w) the coarse render and normals
    references: Tensor | None = None  # (b n c h w) for the base's appearance network
    hints: Tensor | None = None  # (b hint_channels H W) for the base's ControlNet


@dataclass(frozen=True)
class BranchWeights:
    """Which branches condition the U-Net, and with which weight (fig. 5)."""

    geometry: bool = True
    implicit: bool = True
    weight: float = 1.0  # w^Ex of eq. 9


class Merge(nn.Module):
    """Merge a condition into features by a residual block whose last layer starts at zero (eq. 10 and 11)."""

    def __init__(self, c: int, c_condition: int) -> None:
        super().__init__()
        c_in = c + c_condition
        self.norm = group_norm(c_in) if c_in % 32 == 0 else nn.GroupNorm(1, c_in)
        self.first, self.last = nn.Conv2d(c_in, c, 3, padding=1), zero_init(nn.Conv2d(c, c, 3, padding=1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x + self.last(F.silu(self.first(F.silu(self.norm(torch.cat([x, condition], 1))))))


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
        self.zero_convs = nn.ModuleList(zero_init(nn.Conv2d(c, c, 1)) for c in self.unet.widths)

    @property
    def unet(self) -> UNet:
        return self.base if isinstance(self.base, UNet) else self.base.unet

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        context: Tensor,
        priors: Priors | None = None,
        branches: BranchWeights | None = None,
    ) -> Tensor:
        """Return the base's prediction for noisy latents z (b c h w) at timesteps t (1 or b).

        Without priors the base runs on its own.
        """
        if priors is None:
            return self.base(z, t, context)
        branches = branches or BranchWeights()
        residuals = [conv(x) for conv, x in zip(self.zero_convs, self.features(z, t, priors, branches), strict=True)]

        def add_residual(block: int, x: Tensor) -> Tensor:
            return x + branches.weight * residuals[block]

        if isinstance(self.base, UNet):
            return self.base(z, t, context, block_hook=add_residual)
        references = None if priors.references is None else priors.references.movedim(1, 0)
        return self.base(z, t, context, references=references, hints=priors.hints, block_hook=add_residual)

    def features(self, z: Tensor, t: Tensor, priors: Priors, branches: BranchWeights) -> Sequence[Tensor]:
        """Return the explicit branch's features after each block."""
        projected = self.with_geometry(priors.projected, priors.geometry) if branches.geometry else priors.projected
        implicit = self.implicit_features(z, t, priors) if branches.implicit else None
        features: list[Tensor] = []

        def record_features(block: int, x: Tensor) -> Tensor:
            x = x if implicit is None else self.with_implicit[block](x, implicit[block])
            features.append(x)
            return x

        self.explicit(torch.cat([projected, priors.mask, z], 1), t, z, block_hook=record_features)
        return features

    def implicit_features(self, z: Tensor, t: Tensor, priors: Priors) -> Sequence[Tensor]:
        """Return the implicit branch's features after each block, warped to this camera."""
        features: list[Tensor] = []

        def record_warped(block: int, x: Tensor) -> Tensor:
            size = x.shape[-2:]
            uv = F.interpolate(priors.uv.movedim(-1, 1), size, mode="area").movedim(1, -1)
            features.append(grid_sample(x, uv, F.interpolate(priors.mask, size, mode="area")))
            return x

        self.implicit(torch.cat([priors.driving, z], 1), t, z, block_hook=record_warped)
        return features
