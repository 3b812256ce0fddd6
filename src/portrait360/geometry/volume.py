"""A volume: density and what is seen at every place, and its pictures along rays, with gradients.

A grid remembers where density was found. Rays take samples only in its full cells, and none behind what the grid
already knows to be opaque, so that most of the work goes into the visible surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from portrait360.cameras import Camera
from portrait360.geometry.marching import march

HALF = 0.5  # a volume fills the cube [-HALF, HALF]^3 of the canonical frame
CELLS = 128  # of the grid along a side
STEP = 2 * HALF / 256  # between samples
EMPTY = 0.1  # density below which a cell holds nothing
DENSE = 0.5 / STEP  # from which on an empty corner of a cell can end a ray
LOOKS = (*product((0.02, 0.98), repeat=3), (0.5, 0.5, 0.5))  # corners and middle of a cell
AT_ONCE = 1 << 16  # places
NEWER = 0.5  # share of the newest look in what the grid remembers
SHOWS = 0.3  # share of a ray's alpha in front of its surface: a field is a little soft, and half would lie too deep


@dataclass(frozen=True)
class RayColours:
    rgb: Tensor  # (n, c) premultiplied; colours, or whatever else is seen
    alpha: Tensor  # (n,)
    distance: Tensor  # (n,) along the ray to the surface (no gradient); 0 where nothing is
    samples: int = 0  # how many were taken


class Volume(nn.Module):
    density: Tensor
    seen = 3  # channels of what is seen

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("density", torch.zeros(CELLS, CELLS, CELLS))  # x, y, z

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Places (n, 3) in the canonical frame -> density (n,), what is seen (n, c) along directions (n, 3), or the
        mean over all."""
        raise NotImplementedError

    def render(
        self, origins: Tensor, directions: Tensor, *, offsets: Tensor | None = None, remember: bool = False
    ) -> RayColours:
        """Rays (n, 3), unit directions; offsets (n,) in [0, 1) shift the samples, by half a step if not given."""
        count = len(origins)
        offsets = torch.full((count,), 0.5, device=origins.device) if offsets is None else offsets
        ray, distance = march(self.density, origins, directions, offsets, half=HALF, step=STEP, empty=EMPTY)
        if len(ray) == 0:
            zero = sum(p.sum() for p in self.parameters()) * 0 + origins.new_zeros(count)
            return RayColours(zero[:, None].expand(-1, self.seen), zero, zero)
        density, colour = self(origins[ray] + distance[:, None] * directions[ray], directions[ray])
        if remember:
            self.look(origins[ray] + distance[:, None] * directions[ray], density.detach())
        weight = weights(density * STEP, ray)
        values = weight[:, None] * torch.cat([colour, torch.ones_like(colour[:, :1])], 1)
        total = torch.zeros(count, values.shape[1], device=origins.device).index_add(0, ray, values)
        front = surface(weight.detach(), distance, ray, total[:, -1].detach())
        return RayColours(total[:, :-1], total[:, -1], front, len(ray))

    @torch.no_grad()
    def look(self, places: Tensor, density: Tensor) -> None:
        cell = ((places + HALF) * (CELLS / (2 * HALF))).long().clamp(0, CELLS - 1)
        flat = (cell[:, 0] * CELLS + cell[:, 1]) * CELLS + cell[:, 2]
        known = self.density.view(-1)
        old = known[flat]
        known.scatter_reduce_(0, flat, old + NEWER * (density - old), "mean", include_self=False)

    @torch.no_grad()
    def settle(self) -> None:
        """What the grid takes for opaque is so all through: a ray that passes the empty corner of a cell must not end
        there, or it leaves a pinhole. Cells stay full where anything is found in them; empty ones stay empty."""
        cells = torch.nonzero(self.density > DENSE)
        low, high = torch.full((len(cells),), torch.inf, device=cells.device), torch.zeros(1, device=cells.device)
        for look in LOOKS:
            places = (cells + torch.tensor(look, device=cells.device)) * (2 * HALF / CELLS) - HALF
            found = torch.cat([self(some)[0] for some in places.split(AT_ONCE)])
            low, high = torch.minimum(low, found), torch.maximum(high, found)
        self.density[tuple(cells.T)] = torch.where(high > EMPTY, low.clamp(min=1.01 * EMPTY), 0)

    @torch.no_grad()
    def picture(self, camera: Camera, size: int, *, rays: int = 16384) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Straight rgb (s, s, 3), alpha (s, s), depth along the optical axis (s, s), 0 where empty."""
        device = self.density.device
        origin, directions = camera.rays(size, size)
        towards = torch.tensor(directions.reshape(-1, 3), dtype=torch.float32, device=device)
        start = torch.tensor(origin, dtype=torch.float32, device=device).expand(len(towards), 3)
        parts = [self.render(a, b) for a, b in zip(start.split(rays), towards.split(rays), strict=True)]
        alpha = torch.cat([p.alpha for p in parts])
        rgb = torch.cat([p.rgb for p in parts]) / alpha.clamp(min=1e-6)[:, None]
        axis = torch.tensor(camera.cam2world[:3, 2], dtype=torch.float32, device=device)
        depth = torch.cat([p.distance for p in parts]) * (towards @ axis)
        square = (size, size)
        return (
            rgb.clamp(0, 1).reshape(*square, 3).cpu().numpy(),
            alpha.reshape(square).cpu().numpy(),
            torch.where(alpha > 0.5, depth, 0).reshape(square).cpu().numpy(),
        )


def weights(thickness: Tensor, ray: Tensor) -> Tensor:
    """Share of each sample (n,) in its ray's colour: w = T (1 - exp(-tau)), T = exp(-sum of tau before it)."""
    total = torch.cumsum(thickness.double(), 0)
    before = torch.cat([total.new_zeros(1), total[:-1]])
    first = torch.cat([ray.new_ones(1, dtype=torch.bool), ray[1:] != ray[:-1]])
    start = before[first][torch.cumsum(first, 0) - 1]  # the sum over all earlier rays
    return (torch.exp(start - before) * -torch.expm1(-thickness.double())).float()


def surface(weight: Tensor, distance: Tensor, ray: Tensor, alpha: Tensor) -> Tensor:
    """Distance (rays,) at which the share SHOWS of the ray's alpha is reached; 0 for rays without samples. A sample
    stands for a step around it, through which its share is taken to grow evenly."""
    total = torch.cumsum(weight.double(), 0)
    before = torch.cumsum(alpha.double(), 0) - alpha  # what all earlier rays hold
    reached = total - before[ray] >= SHOWS * alpha[ray]
    first = reached & ~torch.cat(
        [(reached[:-1] & (ray[1:] == ray[:-1])).new_zeros(1), reached[:-1] & (ray[1:] == ray[:-1])]
    )
    out = torch.zeros_like(alpha)
    missing = (SHOWS * alpha[ray] - (total - before[ray] - weight))[first] / weight[first].clamp(min=1e-9)
    out[ray[first]] = distance[first] + (missing.float() - 0.5) * STEP
    return out
