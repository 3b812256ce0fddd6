"""A head as three grids of features, a few layers deep each, and its pictures by volume rendering (PanoHead; EG3D
with one layer)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.models.stylegan import FullyConnected, activated

NOWHERE = -1e3  # density outside of the box
BORDER = 0.1  # of the box's sides, which are empty
AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # of a point, along a grid's columns, rows and layers
Activation = Literal["none", "sigmoid", "lrelu"]  # of what is seen
Uniform = Callable[[Sequence[int]], Tensor]  # random numbers in [0, 1) of a shape


@dataclass(frozen=True)
class RayConfig:
    near: float = 2.25
    far: float = 3.3
    coarse: int = 48  # samples a ray
    fine: int = 48
    box: float = 1.0  # side of the box that the grids fill


class Rays(NamedTuple):
    origins: Tensor  # (b n 3)
    directions: Tensor  # (b n 3) unit


class Marched(NamedTuple):
    features: Tensor  # (b n c)
    depth: Tensor  # (b n)
    cover: Tensor  # (b n)


class Decoder(nn.Module):
    """Features of a point -> density, then the features that are seen."""

    def __init__(self, channels: int, seen: int, rate: float = 1.0, activation: Activation = "none") -> None:
        super().__init__()
        self.activation = activation
        first, last = FullyConnected(channels, 64, rate=rate), FullyConnected(64, 1 + seen, rate=rate)
        self.net = nn.Sequential(first, nn.Softplus(), last)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        density, seen = (out := self.net(features))[..., 0], out[..., 1:]
        if self.activation == "sigmoid":
            seen = 2 * (torch.sigmoid(seen) * 1.002 - 0.001) - 1
        elif self.activation == "lrelu":
            seen = activated(seen)
        return density, seen


def as_grids(planes: Tensor, depth: int) -> Tensor:
    """(b, 3 c d, h w) as a synthesis network gives them -> (b 3 c d h w)."""
    return rearrange(planes, "b (p c d) h w -> b p c d h w", p=3, d=depth)


def sampled(grids: Tensor, points: Tensor, box: float) -> Tensor:
    """Features (b n c) at points (b n 3): the mean over the grids."""
    at = points * (2 / box)
    places = torch.stack([at[..., axes] for axes in AXES], 1)  # (b 3 n 3)
    if grids.shape[3] == 1:  # a plane is as far as one likes; and by two axes it is twice as fast
        planes = rearrange(grids, "b p c 1 h w -> (b p) c h w").contiguous(memory_format=torch.channels_last)
        flat = rearrange(places[..., :2], "b p n x -> (b p) 1 n x").to(grids)
        found = F.grid_sample(planes, flat, align_corners=False)[:, :, None]
    else:
        found = F.grid_sample(
            rearrange(grids, "b p c d h w -> (b p) c d h w"),
            rearrange(places, "b p n x -> (b p) 1 1 n x").to(grids),
            align_corners=False,
        )
    return rearrange(found, "(b p) c 1 1 n -> b p n c", p=3).mean(1)


def rays(labels: Tensor, size: int) -> Rays:
    """Through the middles of a picture's pixels, row by row; labels (b 25): pose, then normalised lens."""
    pose, lens = labels[:, :16].view(-1, 4, 4), labels[:, 16:].view(-1, 3, 3)
    middles = (torch.arange(size, device=labels.device, dtype=labels.dtype) + 0.5) / size
    v, u = (one.reshape(1, -1) for one in torch.meshgrid(middles, middles, indexing="ij"))
    y = (v - lens[:, 1:2, 2]) / lens[:, 1:2, 1]
    x = (u - lens[:, 0:1, 2] - lens[:, 0:1, 1] * y) / lens[:, 0:1, 0]
    towards = torch.stack([x, y, torch.ones_like(x)], -1) @ pose[:, :3, :3].transpose(1, 2)
    return Rays(pose[:, None, :3, 3].expand_as(towards), F.normalize(towards, dim=-1))


class Field:
    """What is at a point."""

    def __init__(self, grids: Tensor, decoder: Decoder, box: float) -> None:
        self.grids, self.decoder, self.box = grids, decoder, box

    def __call__(self, points: Tensor, *, cropped: bool = True) -> tuple[Tensor, Tensor]:
        """Points (b n 3) -> density (b n), features (b n c). Near the sides of the box it is empty; up and down are
        free."""
        density, features = self.decoder(sampled(self.grids, points, self.box))
        if cropped:
            outside = points[..., [0, 2]].abs().amax(-1) > self.box / 2 - BORDER
            density = density.masked_fill(outside, NOWHERE)
        return density, features


def march(features: Tensor, density: Tensor, depth: Tensor) -> tuple[Marched, Tensor]:
    """Samples in order (b n s ...) -> what is seen, and the weight (b n s-1) of every stretch between two."""
    between = depth[..., 1:] - depth[..., :-1]
    middle = lambda x: (x[..., 1:] + x[..., :-1]) / 2  # noqa: E731 (three times on one page)
    alpha = 1 - torch.exp(-F.softplus(middle(density) - 1) * between)
    left = torch.cumprod(1 - alpha + 1e-10, -1)
    weight = alpha * torch.cat([torch.ones_like(left[..., :1]), left[..., :-1]], -1)
    cover = weight.sum(-1)
    seen = (weight[..., None] * (features[..., 1:, :] + features[..., :-1, :]) / 2).sum(-2)
    far = (weight * middle(depth)).sum(-1) / cover
    return Marched(seen, far.nan_to_num(float("inf")), cover), weight


def render(field: Field, seen: Rays, config: RayConfig, uniform: Uniform | None) -> Marched:
    """Coarse samples, then fine ones where the coarse found something. `uniform` draws their places; without it they
    are even, and nothing is random."""
    b, n, _ = seen.origins.shape
    origins, directions = seen
    step = (config.far - config.near) / (config.coarse - 1)
    coarse = torch.linspace(config.near, config.far, config.coarse, device=origins.device, dtype=origins.dtype)
    shift = uniform((b, n, config.coarse, 1))[..., 0].to(coarse) if uniform else 0.5
    coarse = (coarse + shift * step).expand(b, n, -1)
    density, features = at_depths(field, origins, directions, coarse)
    with torch.no_grad():
        _, weight = march(features, density, coarse)
        drawn = uniform((b * n, config.fine)).view(b, n, -1).to(coarse) if uniform else None
        fine = importance(coarse, weight, config.fine, drawn)
    fine_density, fine_features = at_depths(field, origins, directions, fine)
    depth, order = torch.cat([coarse, fine], -1).sort(-1)
    density = torch.cat([density, fine_density], -1).gather(-1, order)
    features = torch.cat([features, fine_features], -2)
    features = features.gather(-2, order[..., None].expand(-1, -1, -1, features.shape[-1]))
    made, _ = march(features, density, depth)
    return made._replace(depth=made.depth.clamp(depth.min(), depth.max()))


def at_depths(field: Field, origins: Tensor, directions: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Density (b n s) and features (b n s c) along rays."""
    points = origins[:, :, None] + depth[..., None] * directions[:, :, None]
    density, features = field(points.flatten(1, 2))
    return density.view(depth.shape), features.view(*depth.shape, -1)


def importance(depth: Tensor, weight: Tensor, count: int, drawn: Tensor | None) -> Tensor:
    """Further depths (b n count), as many as there is weight between; drawn (b n count) in [0, 1) or None: evenly."""
    b, n, _ = depth.shape
    flat = weight.reshape(b * n, 1, -1)
    smooth = F.avg_pool1d(F.max_pool1d(flat, 2, 1, padding=1), 2, 1)[:, 0] + 0.01
    bins = (depth[..., 1:] + depth[..., :-1]).reshape(b * n, -1) / 2
    share = smooth[:, 1:-1] + 1e-5
    share = share / share.sum(-1, keepdim=True)
    total = F.pad(share.cumsum(-1), (1, 0))  # one shorter than bins
    if drawn is None:
        drawn = ((torch.arange(count, device=depth.device, dtype=depth.dtype) + 0.5) / count).expand(b, n, -1)
    u = drawn.reshape(b * n, count).contiguous()
    upper = torch.searchsorted(total, u, right=True)
    lower, upper = (upper - 1).clamp(min=0), upper.clamp(max=share.shape[-1])
    low, high = total.gather(-1, lower), total.gather(-1, upper)
    span = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
    first, last = bins.gather(-1, lower), bins.gather(-1, upper)
    return (first + (u - low) / span * (last - first)).view(b, n, count)
