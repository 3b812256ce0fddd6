"""A volume: density and colour at every point, rendered along rays with gradients.

An occupancy grid stores the density of its cells. Rays take samples only in occupied cells, and none behind opaque
cells, so that most of the work goes into the visible surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import cached_njit
from portrait360.geometry.volumes.ray_blending import blend
from portrait360.geometry.volumes.ray_marching import march

HALF = 0.5  # a volume fills the cube [-HALF, HALF]^3 of the canonical frame
CELLS = 128  # cells of the grid along a side
STEP = 2 * HALF / 256  # distance between samples
EMPTY = 0.1  # density below which a cell holds nothing
DENSE = 0.5 / STEP  # density above which the empty corner of a cell could end a ray
CELL_PROBES = (*product((0.02, 0.98), repeat=3), (0.5, 0.5, 0.5))  # corners and middle of a cell
PROBE_CHUNK = 1 << 16  # points evaluated at a time
UPDATE_RATE = 0.5  # weight of a new density in the running mean of its cell


@dataclass(frozen=True)
class RayColours:
    rgb: Tensor  # (n, c) premultiplied colours or other features
    alpha: Tensor  # (n,)
    distance: Tensor  # (n,) along the ray to the surface (no gradient); 0 where there is none
    samples: int = 0  # number of samples taken


class Volume(nn.Module):
    density: Tensor
    seen = 3  # channels of the rendered colours or features

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("density", torch.zeros(CELLS, CELLS, CELLS))  # x, y, z

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate points (n, 3) of the canonical frame -> density (n,) and colour (n, c).

        Colours are those seen along the directions (n, 3), or their mean over all directions.
        """
        raise NotImplementedError

    def render(
        self, origins: Tensor, directions: Tensor, *, offsets: Tensor | None = None, remember: bool = False
    ) -> RayColours:
        """Render rays (n, 3) of unit direction; offsets (n,) in [0, 1) shift the samples, by default half a step."""
        count = len(origins)
        offsets = torch.full((count,), 0.5, device=origins.device) if offsets is None else offsets
        ray, distance = march(self.density, origins, directions, offsets, half=HALF, step=STEP, empty=EMPTY)
        if len(ray) == 0:
            zero = sum(p.sum() for p in self.parameters()) * 0 + origins.new_zeros(count)
            return RayColours(zero[:, None].expand(-1, self.seen), zero, zero)
        along = directions.index_select(0, ray)
        places = torch.addcmul(origins.index_select(0, ray), distance[:, None], along)
        density, colour = self(places, along)
        if remember:
            self.update_occupancy(places, density.detach())
        rgb, alpha, front = blend(density * STEP, colour, ray, distance, count, STEP)
        return RayColours(rgb, alpha, front, len(ray))

    @torch.no_grad()
    def update_occupancy(self, points: Tensor, density: Tensor) -> None:
        """Move the stored density of the cells around points (n, 3) towards the density (n,) found there."""
        cell = ((points + HALF) * (CELLS / (2 * HALF))).long().clamp(0, CELLS - 1)
        flat = (cell[:, 0] * CELLS + cell[:, 1]) * CELLS + cell[:, 2]
        stored = self.density.view(-1)
        if not density.is_cuda:
            sums, hits = np.zeros((2, len(stored)), np.float32)
            _move_cells(stored.numpy(), flat.numpy(), density.numpy(), UPDATE_RATE, sums, hits)
            return
        old = stored[flat]
        stored.scatter_reduce_(0, flat, old + UPDATE_RATE * (density - old), "mean", include_self=False)

    @torch.no_grad()
    def refresh_occupancy(self) -> None:
        """Store the lowest density of each dense cell, so that only cells that are opaque throughout can end a ray.

        A ray that ended at the empty corner of a cell would leave a pinhole. A cell stays occupied where any probe
        finds density; empty cells stay empty.
        """
        cells = torch.nonzero(self.density > DENSE)
        low, high = torch.full((len(cells),), torch.inf, device=cells.device), torch.zeros(1, device=cells.device)
        for probe in CELL_PROBES:
            points = (cells + torch.tensor(probe, device=cells.device)) * (2 * HALF / CELLS) - HALF
            density = torch.cat([self(chunk)[0] for chunk in points.split(PROBE_CHUNK)])
            low, high = torch.minimum(low, density), torch.maximum(high, density)
        self.density[tuple(cells.T)] = torch.where(high > EMPTY, low.clamp(min=1.01 * EMPTY), 0)

    @torch.no_grad()
    def render_image(
        self, camera: Camera, size: int, *, rays: int = 16384
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return straight rgb (s, s, 3), alpha (s, s) and depth along the optical axis (s, s), 0 where empty."""
        device = self.density.device
        origin, directions = camera.rays(size, size)
        ray_directions = torch.tensor(directions.reshape(-1, 3), dtype=torch.float32, device=device)
        origins = torch.tensor(origin, dtype=torch.float32, device=device).expand(len(ray_directions), 3)
        parts = [self.render(a, b) for a, b in zip(origins.split(rays), ray_directions.split(rays), strict=True)]
        alpha = torch.cat([p.alpha for p in parts])
        rgb = torch.cat([p.rgb for p in parts]) / alpha.clamp(min=1e-6)[:, None]
        axis = torch.tensor(camera.cam2world[:3, 2], dtype=torch.float32, device=device)
        depth = torch.cat([p.distance for p in parts]) * (ray_directions @ axis)
        square = (size, size)
        return (
            rgb.clamp(0, 1).reshape(*square, 3).cpu().numpy(),
            alpha.reshape(square).cpu().numpy(),
            torch.where(alpha > 0.5, depth, 0).reshape(square).cpu().numpy(),
        )


@cached_njit(nogil=True)
def _move_cells(stored, cells, density, rate, sums, hits):  # noqa: ANN001, ANN202 (numba)
    """Move the stored densities of cells (n,) towards the mean of those found there; `sums` and `hits` are 0."""
    for i in range(len(cells)):
        sums[cells[i]] += density[i]
        hits[cells[i]] += 1
    for i in range(len(cells)):
        n = cells[i]
        if hits[n] > 0:
            stored[n] += rate * (sums[n] / hits[n] - stored[n])
            hits[n] = 0
