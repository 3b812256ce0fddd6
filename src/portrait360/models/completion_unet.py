"""The network that completes an unwrapped head map from the parts that the photo shows and a coarse guess.

It predicts what to add to the proxy's colour and radius, so an output of zero leaves the proxy unchanged. The columns
of the map are circular: every convolution treats the last column as a neighbour of the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.models.layers import timestep_embedding, zero_init

CHANGES = 4  # channels of the change: colour and radius


@dataclass(frozen=True)
class MapCompleterConfig:
    hints: int  # channels of the conditioning maps
    widths: tuple[int, ...] = (64, 128, 192, 256)
    blocks: int = 2  # at each size, both in the encoder and in the decoder
    attention: tuple[bool, ...] = (False, False, True, True)
    heads: int = 4
    fold: int = 2  # pixel unshuffle factor: fold x fold pixels become channels
    embedding: int = 256


class MapConv(nn.Conv2d):
    """A convolution with circular padding of the columns and replicated rows at the crown and at the lower edge."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        edge = self.kernel_size[0] // 2
        if edge:
            x = F.pad(F.pad(x, (edge, edge, 0, 0), "circular"), (0, 0, edge, edge), "replicate")
        return super().forward(x)


class Level(nn.Module):
    """Embed the noise level t in [0, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        embedding = timestep_embedding(1000 * t, self.first.in_features).to(self.first.weight.dtype)
        return self.second(F.silu(self.first(embedding)))


class Block(nn.Module):
    """A residual block of two convolutions; the noise level scales and shifts the features between them."""

    def __init__(self, c_in: int, c_out: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(16, c_in), MapConv(c_in, c_out, 3)
        self.level = nn.Linear(embedding, 2 * c_out)
        self.norm2, self.conv2 = nn.GroupNorm(16, c_out), zero_init(MapConv(c_out, c_out, 3))
        self.past = MapConv(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.level(F.silu(level))[:, :, None, None].chunk(2, 1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.past(x) + h


class Attention(nn.Module):
    """Self-attention over all positions of the map, such as the two sides of a head or its front and back."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(16, width)
        self.qkv, self.out = nn.Linear(width, 3 * width), zero_init(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[2]
        tokens = rearrange(self.norm(x), "b c r a -> b (r a) c")
        q, k, v = rearrange(self.qkv(tokens), "b n (s h c) -> s b h n c", s=3, h=self.heads)
        out = F.scaled_dot_product_attention(q, k, v)
        return x + rearrange(self.out(rearrange(out, "b h n c -> b n (h c)")), "b (r a) c -> b c r a", r=rows)


class Stage(nn.Module):
    """The blocks at one size."""

    def __init__(self, c_in: list[int], width: int, config: MapCompleterConfig, attention: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(c, width, config.embedding) for c in c_in)
        self.attention = Attention(width, config.heads) if attention else nn.Identity()

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, level)
        return self.attention(h)


class MapCompleter(nn.Module):
    """The U-Net: x (b CHANGES rows columns) at noise level t (b,), hints (b hints rows columns) -> the clean changes.

    Rows and columns must be multiples of fold * 2^(sizes - 1).
    """

    def __init__(self, config: MapCompleterConfig) -> None:
        super().__init__()
        self.config = config
        subpixels, widths = config.fold**2, config.widths
        self.level = Level(config.embedding)
        self.first = MapConv((CHANGES + config.hints) * subpixels, widths[0], 3)
        down, up, c = [], [], widths[0]
        for width, attention in zip(widths, config.attention, strict=True):
            down.append(Stage([c, *[width] * (config.blocks - 1)], width, config, attention))
            c = width
        for i in reversed(range(len(widths))):
            width = widths[i]
            up.append(Stage([c + width, *[width] * (config.blocks - 1)], width, config, config.attention[i]))
            c = width
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.smaller = nn.ModuleList(MapConv(a, a, 1) for a in widths[:-1])
        self.norm, self.last = nn.GroupNorm(16, c), zero_init(MapConv(c, CHANGES * subpixels, 3))

    def forward(self, x: Tensor, t: Tensor, hints: Tensor) -> Tensor:
        level = self.level(t)
        h = self.first(F.pixel_unshuffle(torch.cat([x, hints], 1), self.config.fold))
        skips = []
        for i, stage in enumerate(self.down):
            if i:
                h = self.smaller[i - 1](F.avg_pool2d(h, 2))
            h = stage(h, level)
            skips.append(h)
        for i, stage in enumerate(self.up):
            if i:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = stage(torch.cat([h, skips.pop()], 1), level)
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), self.config.fold)
