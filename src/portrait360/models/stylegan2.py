"""StyleGAN2's networks (Karras et al. 2020) in plain torch: styles from a random vector, images from styles."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Noise = Literal["const", "none"] | torch.Generator  # the layers' noise: stored maps, none, or fresh from a generator


class FullyConnected(nn.Module):
    """A linear layer with equalised learning rate: weights have unit variance and are scaled at run time; `rate` is
    the learning rate multiplier."""

    def __init__(self, c_in: int, c_out: int, *, rate: float = 1.0, active: bool = False, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / rate)
        self.bias = nn.Parameter(torch.full((c_out,), bias))
        self.rate, self.active = rate, active

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)
        return activate(y) if self.active else y


def activate(x: Tensor) -> Tensor:
    """Apply a leaky ReLU that preserves the variance."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class Mapping(nn.Module):
    """The mapping network: z (b z) and camera labels c (b c) -> styles (b count w)."""

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
        x = torch.cat([normalise(z), normalise(self.embed(c))], 1)
        for i in range(self.layers):
            x = self.get_submodule(f"fc{i}")(x)
        out = x[:, None].repeat(1, self.count, 1)
        if truncation != 1:
            out[:, :cutoff] = self.w_avg.lerp(out[:, :cutoff], truncation)
        return out


def normalise(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def low_pass() -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def filter_channels(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter each channel separately, with a gain of 4 for inputs that were upsampled by inserting zeros."""
    return F.conv2d(x, 4 * kernel.expand(x.shape[1], 1, -1, -1), groups=x.shape[1])


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Return the image at twice its size."""
    b, c, h, w = x.shape
    zero_inserted = F.pad(x.reshape(b, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1)).reshape(b, c, 2 * h, 2 * w)
    return filter_channels(F.pad(zero_inserted, (2, 1, 2, 1)), kernel)


class StyledConv(nn.Module):
    """A modulated convolution: the style scales the input channels, and the output is demodulated."""

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
        demodulation = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()  # (b c_out)
        x = x * style[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = filter_channels(F.pad(x, (1, 1, 1, 1)), self.resample_filter)
        else:
            x = F.conv2d(x, weight, padding=1)
        x = x * demodulation[:, :, None, None]
        if noise == "const":
            x = x + self.noise_const * self.noise_strength
        elif noise != "none":
            fresh = torch.randn((len(x), 1, *x.shape[2:]), generator=noise, device=noise.device).to(x)
            x = x + fresh * self.noise_strength
        return clamp(activate(x + self.bias[:, None, None]), self.clamp)


class ToPicture(nn.Module):
    """A modulated 1 x 1 convolution from features to image channels (StyleGAN2's ToRGB)."""

    def __init__(self, c_in: int, c_out: int, w: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w, c_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        return clamp(F.conv2d(x * style[:, :, None, None], self.weight, self.bias), self.clamp)


def clamp(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)


class Block(nn.Module):
    """The layers at one resolution: the first block starts from a learned constant, all others double the size."""

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

    def forward(self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return features and image; ws (b, convs + 1, w) hold a style for each convolution and one for the image."""
        styles = iter(ws.unbind(1))
        h = self.const.expand(len(ws), -1, -1, -1) if x is None else self.conv0(x, next(styles), noise)
        h = self.conv1(h, next(styles), noise)
        residual = self.torgb(h, next(styles))
        return h, residual if image is None else upsample(image, self.resample_filter) + residual


class Synthesis(nn.Module):
    """The synthesis network: styles (b count w) -> an image (b channels size size)."""

    def __init__(self, w: int, size: int, channels: int, *, base: int, widest: int) -> None:
        super().__init__()
        self.sizes = [2**i for i in range(2, size.bit_length())]
        width = {s: min(base // s, widest) for s in self.sizes}
        for s in self.sizes:
            self.add_module(f"b{s}", Block(width[s // 2] if s > 4 else 0, width[s], w, s, channels))
        self.count = 2 * len(self.sizes)  # number of styles: one for each convolution, and one for the last image

    def forward(self, ws: Tensor, noise: Noise) -> Tensor:
        x, image, first = None, None, 0
        for size in self.sizes:
            block = self.get_submodule(f"b{size}")
            assert isinstance(block, Block)
            x, image = block(x, image, ws[:, first : first + block.convs + 1], noise)
            first += block.convs
        assert image is not None
        return image
