"""The network that completes an unwrapped head: from what the photo shows of it and a coarse guess, to the whole.

It works on what is to be added to the proxy, colour and radius, so that a network that says nothing leaves the proxy
as it is. Columns go around: every convolution sees the last column beside the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.models.layers import timestep_embedding, zeroed

CHANGES = 4  # channels of what is added: colour and radius


@dataclass(frozen=True)
class MapCompleterConfig:
    hints: int  # channels of what is known
    widths: tuple[int, ...] = (64, 128, 192, 256)
    blocks: int = 2  # at each size, on the way down and up
    attention: tuple[bool, ...] = (False, False, True, True)
    heads: int = 4
    fold: int = 2  # pixels are folded so many times so many into channels
    embedding: int = 256


class MapConv(nn.Conv2d):
    """Around in the columns, held at the crown and at the lower edge."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        edge = self.kernel_size[0] // 2
        if edge:
            x = F.pad(F.pad(x, (edge, edge, 0, 0), "circular"), (0, 0, edge, edge), "replicate")
        return super().forward(x)


class Level(nn.Module):
    """The noise level t in [0, 1] as a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        embedded = timestep_embedding(1000 * t, self.first.in_features).to(self.first.weight.dtype)
        return self.second(F.silu(self.first(embedded)))


class Block(nn.Module):
    """Two convolutions, told the noise level between them; added to the input."""

    def __init__(self, c_in: int, c_out: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(16, c_in), MapConv(c_in, c_out, 3)
        self.level = nn.Linear(embedding, 2 * c_out)
        self.norm2, self.conv2 = nn.GroupNorm(16, c_out), zeroed(MapConv(c_out, c_out, 3))
        self.past = MapConv(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.level(F.silu(level))[:, :, None, None].chunk(2, 1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.past(x) + h


class Attention(nn.Module):
    """Every place of the map with every other: the two sides of a head, its front and its back."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(16, width)
        self.qkv, self.out = nn.Linear(width, 3 * width), zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[2]
        tokens = rearrange(self.norm(x), "b c r a -> b (r a) c")
        q, k, v = rearrange(self.qkv(tokens), "b n (s h c) -> s b h n c", s=3, h=self.heads)
        seen = F.scaled_dot_product_attention(q, k, v)
        return x + rearrange(self.out(rearrange(seen, "b h n c -> b n (h c)")), "b (r a) c -> b c r a", r=rows)


class Stage(nn.Module):
    """Blocks at one size."""

    def __init__(self, c_in: list[int], width: int, config: MapCompleterConfig, attention: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(c, width, config.embedding) for c in c_in)
        self.attention = Attention(width, config.heads) if attention else nn.Identity()

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, level)
        return self.attention(h)


class MapCompleter(nn.Module):
    """x (b CHANGES rows columns) at noise level t (b,), hints (b hints rows columns) -> the clean changes.

    Rows and columns are multiples of fold * 2^(sizes - 1).
    """

    def __init__(self, config: MapCompleterConfig) -> None:
        super().__init__()
        self.config = config
        folded, widths = config.fold**2, config.widths
        self.level = Level(config.embedding)
        self.first = MapConv((CHANGES + config.hints) * folded, widths[0], 3)
        down, up, width = [], [], widths[0]
        for own, attends in zip(widths, config.attention, strict=True):
            down.append(Stage([width, *[own] * (config.blocks - 1)], own, config, attends))
            width = own
        for i in reversed(range(len(widths))):
            own = widths[i]
            up.append(Stage([width + own, *[own] * (config.blocks - 1)], own, config, config.attention[i]))
            width = own
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.smaller = nn.ModuleList(MapConv(a, a, 1) for a in widths[:-1])
        self.norm, self.last = nn.GroupNorm(16, width), zeroed(MapConv(width, CHANGES * folded, 3))

    def forward(self, x: Tensor, t: Tensor, hints: Tensor) -> Tensor:
        level = self.level(t)
        h = self.first(F.pixel_unshuffle(torch.cat([x, hints], 1), self.config.fold))
        left = []
        for i, stage in enumerate(self.down):
            if i:
                h = self.smaller[i - 1](F.avg_pool2d(h, 2))
            h = stage(h, level)
            left.append(h)
        for i, stage in enumerate(self.up):
            if i:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = stage(torch.cat([h, left.pop()], 1), level)
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), self.config.fold)
