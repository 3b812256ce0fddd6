"""A head as three grids of features, each a few layers deep, and its volume rendering (PanoHead; with one layer it is
EG3D)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.models.stylegan2 import FullyConnected, activate

OUTSIDE_DENSITY = -1e3  # density outside the box
BORDER = 0.1  # width of the empty margin at the sides of the box
AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # point coordinates along a grid's columns, rows and layers
Activation = Literal["none", "sigmoid", "lrelu"]  # applied to the decoded features
Uniform = Callable[[Sequence[int]], Tensor]  # draws random numbers in [0, 1) of a given shape


@dataclass(frozen=True)
class RayConfig:
    near: float = 2.25
    far: float = 3.3
    coarse: int = 48  # samples per ray
    fine: int = 48  # additional samples per ray
    box: float = 1.0  # side of the box that the grids fill


class Rays(NamedTuple):
    origins: Tensor  # (b n 3)
    directions: Tensor  # (b n 3) unit


class RenderedRays(NamedTuple):
    features: Tensor  # (b n c)
    depth: Tensor  # (b n)
    cover: Tensor  # (b n)


class Decoder(nn.Module):
    """Decode grid features of a point to its density and to the features that are rendered."""

    def __init__(self, channels: int, c_out: int, rate: float = 1.0, activation: Activation = "none") -> None:
        super().__init__()
        self.activation = activation
        first, last = FullyConnected(channels, 64, rate=rate), FullyConnected(64, 1 + c_out, rate=rate)
        self.net = nn.Sequential(first, nn.Softplus(), last)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        density, values = (out := self.net(features))[..., 0], out[..., 1:]
        if self.activation == "sigmoid":
            values = 2 * (torch.sigmoid(values) * 1.002 - 0.001) - 1
        elif self.activation == "lrelu":
            values = activate(values)
        return density, values


def split_grids(planes: Tensor, depth: int) -> Tensor:
    """Reshape the output (b, 3 c d, h w) of a synthesis network to grids (b 3 c d h w)."""
    return rearrange(planes, "b (p c d) h w -> b p c d h w", p=3, d=depth)


def sample_grids(grids: Tensor, points: Tensor, box: float) -> Tensor:
    """Return features (b n c) at points (b n 3): the mean over the three grids."""
    scaled = points * (2 / box)
    coords = torch.stack([scaled[..., axes] for axes in AXES], 1)  # (b 3 n 3)
    if grids.shape[3] == 1:  # a single layer extends infinitely along its normal, and sampling in 2D is twice as fast
        planes = rearrange(grids, "b p c 1 h w -> (b p) c h w").contiguous(memory_format=torch.channels_last)
        coords_2d = rearrange(coords[..., :2], "b p n x -> (b p) 1 n x").to(grids)
        features = F.grid_sample(planes, coords_2d, align_corners=False)[:, :, None]
    else:
        features = F.grid_sample(
            rearrange(grids, "b p c d h w -> (b p) c d h w"),
            rearrange(coords, "b p n x -> (b p) 1 1 n x").to(grids),
            align_corners=False,
        )
    return rearrange(features, "(b p) c 1 1 n -> b p n c", p=3).mean(1)


def compute_rays(labels: Tensor, size: int) -> Rays:
    """Return rays through the pixel centres of an image, row by row.

    labels (b 25) hold the camera-to-world pose, then the normalised intrinsics.
    """
    pose, intrinsics = labels[:, :16].view(-1, 4, 4), labels[:, 16:].view(-1, 3, 3)
    centres = (torch.arange(size, device=labels.device, dtype=labels.dtype) + 0.5) / size
    v, u = (grid.reshape(1, -1) for grid in torch.meshgrid(centres, centres, indexing="ij"))
    y = (v - intrinsics[:, 1:2, 2]) / intrinsics[:, 1:2, 1]
    x = (u - intrinsics[:, 0:1, 2] - intrinsics[:, 0:1, 1] * y) / intrinsics[:, 0:1, 0]
    directions = torch.stack([x, y, torch.ones_like(x)], -1) @ pose[:, :3, :3].transpose(1, 2)
    return Rays(pose[:, None, :3, 3].expand_as(directions), F.normalize(directions, dim=-1))


class TriGridField:
    """A density and feature field that is decoded from three grids."""

    def __init__(self, grids: Tensor, decoder: Decoder, box: float) -> None:
        self.grids, self.decoder, self.box = grids, decoder, box

    def __call__(self, points: Tensor, *, cropped: bool = True) -> tuple[Tensor, Tensor]:
        """Return density (b n) and features (b n c) at points (b n 3).

        If cropped, the field is empty near the sides of the box (x and z); upwards and downwards it has no limit.
        """
        density, features = self.decoder(sample_grids(self.grids, points, self.box))
        if cropped:
            outside = points[..., [0, 2]].abs().amax(-1) > self.box / 2 - BORDER
            density = density.masked_fill(outside, OUTSIDE_DENSITY)
        return density, features


def march(features: Tensor, density: Tensor, depth: Tensor) -> tuple[RenderedRays, Tensor]:
    """Composite samples (b n s ...) in depth order; also return the weight (b n s-1) of each interval between two."""

    def average_neighbours(x: Tensor) -> Tensor:
        return (x[..., 1:] + x[..., :-1]) / 2

    interval = depth[..., 1:] - depth[..., :-1]
    alpha = 1 - torch.exp(-F.softplus(average_neighbours(density) - 1) * interval)
    transmittance = torch.cumprod(1 - alpha + 1e-10, -1)
    weight = alpha * torch.cat([torch.ones_like(transmittance[..., :1]), transmittance[..., :-1]], -1)
    cover = weight.sum(-1)
    composite = (weight[..., None] * (features[..., 1:, :] + features[..., :-1, :]) / 2).sum(-2)
    mean_depth = (weight * average_neighbours(depth)).sum(-1) / cover
    return RenderedRays(composite, mean_depth.nan_to_num(float("inf")), cover), weight


def render(field: TriGridField, camera_rays: Rays, config: RayConfig, uniform: Uniform | None) -> RenderedRays:
    """Render rays with coarse samples, then fine ones where the coarse weights are high.

    `uniform` draws the sample positions; without it they are evenly spaced and nothing is random.
    """
    b, n, _ = camera_rays.origins.shape
    origins, directions = camera_rays
    step = (config.far - config.near) / (config.coarse - 1)
    coarse = torch.linspace(config.near, config.far, config.coarse, device=origins.device, dtype=origins.dtype)
    shift = uniform((b, n, config.coarse, 1))[..., 0].to(coarse) if uniform else 0.5
    coarse = (coarse + shift * step).expand(b, n, -1)
    density, features = query_depths(field, origins, directions, coarse)
    with torch.no_grad():
        _, weight = march(features, density, coarse)
        u = uniform((b * n, config.fine)).view(b, n, -1).to(coarse) if uniform else None
        fine = sample_importance(coarse, weight, config.fine, u)
    fine_density, fine_features = query_depths(field, origins, directions, fine)
    depth, order = torch.cat([coarse, fine], -1).sort(-1)
    density = torch.cat([density, fine_density], -1).gather(-1, order)
    features = torch.cat([features, fine_features], -2)
    features = features.gather(-2, order[..., None].expand(-1, -1, -1, features.shape[-1]))
    rendered, _ = march(features, density, depth)
    return rendered._replace(depth=rendered.depth.clamp(depth.min(), depth.max()))


def query_depths(field: TriGridField, origins: Tensor, directions: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Return density (b n s) and features (b n s c) at depths (b n s) along rays."""
    points = origins[:, :, None] + depth[..., None] * directions[:, :, None]
    density, features = field(points.flatten(1, 2))
    return density.view(depth.shape), features.view(*depth.shape, -1)


def sample_importance(depth: Tensor, weight: Tensor, count: int, u: Tensor | None) -> Tensor:
    """Sample depths (b n count) in proportion to the weights by inverse transform of u (b n count) in [0, 1).

    Without u the quantiles are evenly spaced.
    """
    b, n, _ = depth.shape
    flat = weight.reshape(b * n, 1, -1)
    smooth = F.avg_pool1d(F.max_pool1d(flat, 2, 1, padding=1), 2, 1)[:, 0] + 0.01
    bins = (depth[..., 1:] + depth[..., :-1]).reshape(b * n, -1) / 2
    pdf = smooth[:, 1:-1] + 1e-5
    pdf = pdf / pdf.sum(-1, keepdim=True)
    cdf = F.pad(pdf.cumsum(-1), (1, 0))  # one shorter than bins
    if u is None:
        u = ((torch.arange(count, device=depth.device, dtype=depth.dtype) + 0.5) / count).expand(b, n, -1)
    u = u.reshape(b * n, count).contiguous()
    upper = torch.searchsorted(cdf, u, right=True)
    lower, upper = (upper - 1).clamp(min=0), upper.clamp(max=pdf.shape[-1])
    low, high = cdf.gather(-1, lower), cdf.gather(-1, upper)
    span = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
    first, last = bins.gather(-1, lower), bins.gather(-1, upper)
    return (first + (u - low) / span * (last - first)).view(b, n, count)
