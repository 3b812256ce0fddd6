"""The blocks that Stable Diffusion 1.5 is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conditions(NamedTuple):
    """The conditioning inputs that pass through every block beside the image features."""

    emb: Tensor  # (b c_emb) embedded noise level
    context: Tensor  # (b or 1, n, context_dim) text tokens
    memory: Sequence[Tensor] | None = None  # reference tokens (b or 1, m, c) for each transformer block
    record: list[Tensor] | None = None  # list to which the transformer blocks append their own tokens


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """Return the embedding (b dim) of t (b): [cos, sin] with periods growing geometrically up to 10000."""
    freqs = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device, dtype=torch.float32) / (dim // 2))
    args = t[:, None].float() * freqs
    return torch.cat([args.cos(), args.sin()], dim=-1)


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """A group norm with 32 groups. The kernels compute its statistics in fp32 for any dtype, as the published code
    does."""
    return nn.GroupNorm(32, channels, eps=eps)


class Linear(nn.Linear):
    """An nn.Linear that, for fp32 inference on a CPU, calls oneDNN instead of the BLAS that torch is built with.

    MKL is limited to AVX2 on processors that are not Intel's: there oneDNN is twice as fast. The operator is the one
    that torch's own compiler calls. If it is missing or gradients are enabled, this is a plain nn.Linear.
    """

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        plain = torch.is_grad_enabled() or torch.compiler.is_compiling() or not ONEDNN_LINEAR
        if plain or x.device.type != "cpu" or x.dtype != torch.float32 or self.weight.dtype != torch.float32:
            return super().forward(x)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


ONEDNN_LINEAR = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters to zero, such that a new branch adds nothing at step 0."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, c_emb: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(group_norm(c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(c_emb, c_out))
        # the Dropout of the published networks has rate 0; Identity keeps its place in the key names
        last = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.out_layers = nn.Sequential(group_norm(c_out), nn.SiLU(), nn.Identity(), last)
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Attention(nn.Module):
    def __init__(self, dim: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(dim, dim, bias=False)
        self.to_k = Linear(context_dim, dim, bias=False)
        self.to_v = Linear(context_dim, dim, bias=False)
        self.to_out = nn.Sequential(Linear(dim, dim), nn.Identity())

    def forward(self, x: Tensor, context: Tensor, memory: Tensor | None = None) -> Tensor:
        """Attend from x (b n c) to context (b or 1, m, c') with memory (b or 1, k, c') concatenated after it."""
        keys, values = self.to_k(context), self.to_v(context)
        if memory is not None:
            # Memory that the whole batch shares is projected once; expanding afterwards yields the same numbers.
            keys = torch.cat([keys, self.to_k(memory).expand(len(keys), -1, -1)], dim=1)
            values = torch.cat([values, self.to_v(memory).expand(len(values), -1, -1)], dim=1)
        every = (self.to_q(x), keys.expand(len(x), -1, -1), values.expand(len(x), -1, -1))
        q, k, v = (tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in every)  # (b h n d)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.proj = Linear(dim, hidden * 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)  # exact erf, not the tanh approximation


class FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, dim * 4), nn.Identity(), Linear(dim * 4, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, dim: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.index = 0  # position among the network's transformer blocks; set by number_blocks
        self.attn1 = Attention(dim, dim, heads)
        self.ff = FeedForward(dim)
        self.reads = context_dim > 0  # whether the block attends to text
        if self.reads:
            self.attn2 = Attention(dim, context_dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        if self.reads:
            self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, conditions: Conditions) -> Tensor:
        tokens = self.norm1(x)
        if conditions.record is not None:  # the appearance network records its tokens
            conditions.record.append(tokens)
        memory = None if conditions.memory is None else conditions.memory[self.index]
        x = x + self.attn1(tokens, tokens, memory)  # the main network attends to the recorded tokens
        if self.reads:
            x = x + self.attn2(self.norm2(x), conditions.context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, c: int, context_dim: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = group_norm(c, eps=1e-6)
        self.proj_in = nn.Conv2d(c, c, 1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(c, context_dim, heads) for _ in range(depth))
        self.proj_out = zero_init(nn.Conv2d(c, c, 1))

    def forward(self, x: Tensor, conditions: Conditions) -> Tensor:
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)  # (b n c)
        for block in self.transformer_blocks:
            tokens = block(tokens, conditions)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(c, c, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Sequential):
    """Layers that run in order, each with the conditions it takes."""

    def forward(self, x: Tensor, conditions: Conditions) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        for layer in self:
            x = run_layer(layer, x, conditions)
        return x


def run_layer(layer: nn.Module, x: Tensor, conditions: Conditions) -> Tensor:
    if isinstance(layer, ResBlock):
        return layer(x, conditions.emb)
    if isinstance(layer, SpatialTransformer):
        return layer(x, conditions)
    return layer(x)


def number_blocks(network: nn.Module) -> int:
    """Number the transformer blocks, which is their index into the memory, and return their count."""
    blocks = [module for module in network.modules() if isinstance(module, TransformerBlock)]
    for i, block in enumerate(blocks):
        block.index = i
    return len(blocks)
