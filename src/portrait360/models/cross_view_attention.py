"""Cross-view attention: at each pixel the views attend to each other (AnimateDiff's "vanilla" motion module)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from portrait360.models.layers import Attention, FeedForward, Linear, group_norm, zero_init

PIXELS_AT_ONCE = 256


@dataclass(frozen=True)
class CrossViewConfig:
    layout: Literal["diffportrait360", "diffportrait3d"] = "diffportrait360"
    positions: int = 24  # length of the position table: the maximum number of views in a window
    heads: int = 8
    attentions: int = 2
    depth: int = 1  # transformer blocks per module


def position_table(length: int, dim: int) -> Tensor:
    """Return the sinusoidal table (1 length dim): sine on even, cosine on odd channels."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    freqs = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(10_000) / dim))
    table = torch.zeros(1, length, dim)
    table[0, :, 0::2] = torch.sin(position * freqs)
    table[0, :, 1::2] = torch.cos(position * freqs)
    return table


class PositionEncoder(nn.Module):
    def __init__(self, dim: int, length: int) -> None:
        super().__init__()
        self.pe: Tensor
        self.register_buffer("pe", position_table(length, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[:, : x.shape[1]].to(x.dtype)


class ViewAttention(Attention):
    """Self-attention over the views.

    The position encoding is added after the norm, so queries, keys and values all contain it.
    """

    def __init__(self, dim: int, heads: int, positions: int) -> None:
        super().__init__(dim, dim, heads)
        self.pos_encoder = PositionEncoder(dim, positions)

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x = self.pos_encoder(x)
        return super().forward(x, x)


class ViewTransformerBlock(nn.Module):
    def __init__(self, dim: int, config: CrossViewConfig) -> None:
        super().__init__()
        n = config.attentions
        self.attention_blocks = nn.ModuleList(ViewAttention(dim, config.heads, config.positions) for _ in range(n))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(n))
        self.ff = FeedForward(dim)
        self.ff_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = x + attention(norm(x))
        return x + self.ff(self.ff_norm(x))


class ViewTransformer(nn.Module):
    def __init__(self, c: int, config: CrossViewConfig) -> None:
        super().__init__()
        self.norm = group_norm(c, eps=1e-6)
        self.proj_in = Linear(c, c)
        self.transformer_blocks = nn.ModuleList(ViewTransformerBlock(c, config) for _ in range(config.depth))
        self.proj_out = zero_init(Linear(c, c))

    def forward(self, x: Tensor, views: int) -> Tensor:
        """Attend across views; x ((b v) c h w) holds b windows of v views."""
        tokens = self.norm(x).unflatten(0, (-1, views)).permute(0, 3, 4, 1, 2).flatten(0, 2)  # ((b h w) v c)
        # Pixels are independent. On a CPU a small chunk stays in the cache, which saves a third of the time; on a GPU
        # the chunk size respects the limit of the attention kernels, which take at most 65535 sequences at once.
        chunk = PIXELS_AT_ONCE if x.device.type == "cpu" else 8 * PIXELS_AT_ONCE
        parts = [self._attend(part) for part in tokens.split(chunk)]
        tokens = torch.cat(parts) if len(parts) > 1 else parts[0]
        return x + tokens.unflatten(0, (-1, *x.shape[2:])).permute(0, 3, 4, 1, 2).flatten(0, 1)

    def _attend(self, tokens: Tensor) -> Tensor:
        """Transform tokens (pixels v c), where each pixel is a separate sequence."""
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        return self.proj_out(tokens)


class CrossView(nn.Module):
    """A cross-view module, under the name that its weights have in the published files."""

    def __init__(self, c: int, config: CrossViewConfig) -> None:
        super().__init__()
        self.temporal_transformer = ViewTransformer(c, config)

    def forward(self, x: Tensor, views: int) -> Tensor:
        return self.temporal_transformer(x, views)
