"""Geometry restoration (Portrait Diffusion, 3.2): a small U-Net over all planes of a triplane at once.

Before training it is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.models.layers import Downsample, Upsample, group_norm, zero_init

PLANES = 3


@dataclass(frozen=True)
class RestorerConfig:
    features: int = 32  # channels of each plane
    widths: tuple[int, ...] = (64, 96, 128)  # channels of the levels, finest first


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(c_in, c_out, 3, padding=1),
            zero_init(nn.Conv2d(c_out, c_out, 3, padding=1)),
        )
        self.norm = group_norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x + self.second(F.silu(self.norm(x)))


class Restorer(nn.Module):
    def __init__(self, config: RestorerConfig = RestorerConfig()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.config = config
        c, widths = PLANES * config.features, config.widths
        self.begin = nn.Conv2d(c, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Block(a, b) for a, b in pairwise((widths[0], *widths)))
        self.smaller = nn.ModuleList(Downsample(width) for width in widths[:-1])
        self.larger = nn.ModuleList(Upsample(width) for width in widths[1:])
        self.up = nn.ModuleList(Block(a + b, a) for a, b in pairwise(widths))
        self.last = zero_init(nn.Conv2d(widths[0], c, 3, padding=1))

    def forward(self, grids: Tensor) -> Tensor:
        """Return the restored grids; both are (b 3 c d h w)."""
        x = self.begin(rearrange(grids, "b p c d h w -> (b d) (p c) h w"))
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x)
            if level < len(self.smaller):
                skips.append(x)
                x = self.smaller[level](x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([skips[level], self.larger[level](x)], 1))
        residual = rearrange(self.last(x), "(b d) (p c) h w -> b p c d h w", d=grids.shape[3], p=PLANES)
        return grids + residual
