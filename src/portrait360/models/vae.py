"""The SD 1.5 autoencoder: images <-> latents, sized by one config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from portrait360.models.layers import Upsample, group_norm

Draw = Callable[[Sequence[int]], Tensor]  # draws standard normal noise of a given shape


@dataclass(frozen=True)
class VAEConfig:
    width: int = 128
    mult: tuple[int, ...] = (1, 2, 4, 4)
    depth: int = 2
    channels: int = 3
    latent_channels: int = 4
    scale: float = 0.18215

    @property
    def level_widths(self) -> tuple[int, ...]:
        return tuple(self.width * m for m in self.mult)


class ResBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in, 1e-6), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = group_norm(c_out, 1e-6), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.nin_shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class SelfAttention(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm = group_norm(c, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(f(h), "b c h w -> b 1 (h w) c") for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(h, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """Residual blocks, then a resampling module under the name that its weights have in the published files."""

    def __init__(self, c_in: int, c_out: int, depth: int, **resample: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*(ResBlock(c_in if i == 0 else c_out, c_out) for i in range(depth)))
        for name, module in resample.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x


class Middle(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = ResBlock(c, c), SelfAttention(c), ResBlock(c, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.level_widths
        in_widths, last = (config.width, *widths[:-1]), len(widths) - 1
        self.conv_in = nn.Conv2d(config.channels, config.width, 3, padding=1)
        self.down = nn.ModuleList(
            Level(a, b, config.depth, **({} if i == last else {"downsample": Downsample(b)}))
            for i, (a, b) in enumerate(zip(in_widths, widths, strict=True))
        )
        self.mid = Middle(widths[-1])
        self.norm_out = group_norm(widths[-1], 1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.level_widths
        in_widths = (*widths[1:], widths[-1])
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(a, b, config.depth + 1, **({} if i == 0 else {"upsample": Upsample(b)}))
            for i, (a, b) in enumerate(zip(in_widths, widths, strict=True))
        )
        self.norm_out = group_norm(widths[0], 1e-6)
        self.conv_out = nn.Conv2d(widths[0], config.channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):  # pyright: ignore[reportArgumentType, reportCallIssue]
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VAE(nn.Module):
    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        c = config.latent_channels
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * c, 2 * c, 1), nn.Conv2d(c, c, 1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the unscaled latents (b c h/8 w/8) of images (b 3 h w) in [-1, 1]."""
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, torch.exp(0.5 * log_variance.clamp(-30, 20))

    def encode(self, x: Tensor, draw: Draw | None = None) -> Tensor:
        """Encode images in [-1, 1] to scaled latents: the mean, or a sample if `draw` provides the noise."""
        mean, std = self.moments(x)
        return (mean if draw is None else mean + std * draw(mean.shape)) * self.config.scale

    def decode(self, z: Tensor) -> Tensor:
        """Decode scaled latents to images in [-1, 1]."""
        return self.decoder(self.post_quant_conv(z / self.config.scale))
