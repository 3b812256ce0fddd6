"""StyleGAN2's networks (Karras et al. 2020) in plain torch: styles from a random vector, pictures from styles."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Noise = Literal["const", "none"] | torch.Generator  # what the layers add: their own maps, nothing, or fresh noise


class FullyConnected(nn.Module):
    """Weights are stored as if all had one size; `rate` is by how much slower they learn."""

    def __init__(self, c_in: int, c_out: int, *, rate: float = 1.0, active: bool = False, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / rate)
        self.bias = nn.Parameter(torch.full((c_out,), bias))
        self.rate, self.active = rate, active

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)
        return activated(y) if self.active else y


def activated(x: Tensor) -> Tensor:
    """A leaky ReLU that keeps the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class Mapping(nn.Module):
    """z (b z) and camera labels c (b c) -> styles (b count w)."""

    w_avg: Tensor

    def __init__(
        self, z: int, c: int, w: int, count: int, *, layers: int = 2, rate: float = 0.01, linear_end: bool = False
    ) -> None:
        super().__init__()
        self.count, self.layers = count, layers
        self.embed = FullyConnected(c, w)
        for i in range(layers):
            active = not (linear_end and i == layers - 1)
            self.add_module(f"fc{i}", FullyConnected(z + w if i == 0 else w, w, rate=rate, active=active))
        self.register_buffer("w_avg", torch.zeros(w))

    def forward(self, z: Tensor, c: Tensor, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        x = torch.cat([normalised(z), normalised(self.embed(c))], 1)
        for i in range(self.layers):
            x = self.get_submodule(f"fc{i}")(x)
        out = x[:, None].repeat(1, self.count, 1)
        if truncation != 1:
            out[:, :cutoff] = self.w_avg.lerp(out[:, :cutoff], truncation)
        return out


def normalised(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def low_pass() -> Tensor:
    one = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(one, one) / 64


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Every channel by itself; four times as strong, for what had zeros put between its values."""
    return F.conv2d(x, 4 * kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])


def doubled(x: Tensor, kernel: Tensor) -> Tensor:
    """A picture at twice its size."""
    b, c, h, w = x.shape
    spread = F.pad(x.reshape(b, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1)).reshape(b, c, 2 * h, 2 * w)
    return filtered(F.pad(spread, (2, 1, 2, 1)), kernel)


class StyledConv(nn.Module):
    """A convolution whose input channels are scaled by the style, and its output back to one size."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(self, c_in: int, c_out: int, w: int, size: int, *, up: bool, clamp: float | None) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = FullyConnected(w, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.register_buffer("resample_filter", low_pass())

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        style, weight = self.affine(w), self.weight
        size = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()  # (b c_out)
        x = x * style[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = filtered(F.pad(x, (1, 1, 1, 1)), self.resample_filter)
        else:
            x = F.conv2d(x, weight, padding=1)
        x = x * size[:, :, None, None]
        if noise == "const":
            x = x + self.noise_const * self.noise_strength
        elif noise != "none":
            fresh = torch.randn((len(x), 1, *x.shape[2:]), generator=noise, device=noise.device).to(x)
            x = x + fresh * self.noise_strength
        return clamped(activated(x + self.bias[:, None, None]), self.clamp)


class ToPicture(nn.Module):
    """Features to channels of a picture, at a place each."""

    def __init__(self, c_in: int, c_out: int, w: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        return clamped(F.conv2d(x * style[:, :, None, None], self.weight, self.bias), self.clamp)


def clamped(x: Tensor, most: float | None) -> Tensor:
    return x if most is None else x.clamp(-most, most)


class Block(nn.Module):
    """One size: the first begins with a constant, all others double what they are given."""

    resample_filter: Tensor

    def __init__(self, c_in: int, c_out: int, w: int, size: int, channels: int, clamp: float | None = None) -> None:
        super().__init__()
        self.first = c_in == 0
        if self.first:
            self.const = nn.Parameter(torch.randn(c_out, size, size))
        else:
            self.conv0 = StyledConv(c_in, c_out, w, size, up=True, clamp=clamp)
        self.conv1 = StyledConv(c_out, c_out, w, size, up=False, clamp=clamp)
        self.torgb = ToPicture(c_out, channels, w, clamp=clamp)
        self.register_buffer("resample_filter", low_pass())

    @property
    def convs(self) -> int:
        return 1 if self.first else 2

    def forward(self, x: Tensor | None, picture: Tensor | None, ws: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """ws (b, convs + 1, w): one style a convolution, then the picture's."""
        styles = iter(ws.unbind(1))
        h = self.const.expand(len(ws), -1, -1, -1) if x is None else self.conv0(x, next(styles), noise)
        h = self.conv1(h, next(styles), noise)
        added = self.torgb(h, next(styles))
        return h, added if picture is None else doubled(picture, self.resample_filter) + added


class Synthesis(nn.Module):
    """Styles (b count w) -> a picture (b channels size size)."""

    def __init__(self, w: int, size: int, channels: int, *, base: int, widest: int) -> None:
        super().__init__()
        self.sizes = [2**i for i in range(2, size.bit_length())]
        width = {s: min(base // s, widest) for s in self.sizes}
        for s in self.sizes:
            self.add_module(f"b{s}", Block(width[s // 2] if s > 4 else 0, width[s], w, s, channels))
        self.count = 2 * len(self.sizes)  # of styles: one a convolution, and the last picture's

    def forward(self, ws: Tensor, noise: Noise) -> Tensor:
        x, picture, at = None, None, 0
        for size in self.sizes:
            block = self.get_submodule(f"b{size}")
            assert isinstance(block, Block)
            x, picture = block(x, picture, ws[:, at : at + block.convs + 1], noise)
            at += block.convs
        assert picture is not None
        return picture
