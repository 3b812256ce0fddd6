"""Samples along rays: only in the occupied cells of a grid, and none behind cells that the grid holds as opaque."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from portrait360.geometry.numba_jit import cached_njit

OPAQUE = 7.0  # optical thickness at which a ray ends
CHUNK = 4096  # rays that the torch version marches at a time


def march(
    density: Tensor,
    origins: Tensor,
    directions: Tensor,
    offsets: Tensor,
    *,
    half: float,
    step: float,
    empty: float,
) -> tuple[Tensor, Tensor]:
    """Place samples along rays (n, 3) through density (c, c, c), which fills the cube [-half, half]^3.

    Return each sample's ray index and its distance along the ray, ordered by ray and then by distance.
    """
    if density.is_cuda:
        return march_in_torch(density, origins, directions, offsets, half=half, step=step, empty=empty)
    arrays = tuple(t.detach().contiguous().numpy() for t in (density, origins, directions, offsets))
    options = half, step, empty
    counts = np.zeros(len(origins), np.int64)
    no_rays, no_distances = np.zeros(0, np.int64), np.zeros(0, np.float32)
    _march_on_cpu(*arrays, options, counts, counts, no_rays, no_distances, False)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ray, distance = np.empty(total, np.int64), np.empty(total, np.float32)
    _march_on_cpu(*arrays, options, counts, ends - counts, ray, distance, True)
    return torch.from_numpy(ray), torch.from_numpy(distance)


def march_in_torch(
    density: Tensor,
    origins: Tensor,
    directions: Tensor,
    offsets: Tensor,
    *,
    half: float,
    step: float,
    empty: float,
) -> tuple[Tensor, Tensor]:
    """Do the same as `march` in torch, on any device."""
    near, far = _intersect_cube(origins, directions, half)
    max_steps = int(((far - near) / step).clamp(min=0).max().ceil()) + 1 if len(near) else 0
    rays, distances = [], []
    for start in range(0, len(origins), CHUNK):
        chunk = slice(start, start + CHUNK)
        t = near[chunk, None] + (torch.arange(max_steps, device=near.device) + offsets[chunk, None]) * step
        points = origins[chunk, None] + t[..., None] * directions[chunk, None]
        cells = ((points + half) * (density.shape[0] / (2 * half))).long().clamp(0, density.shape[0] - 1)
        sigma = density[cells[..., 0], cells[..., 1], cells[..., 2]] * (t < far[chunk, None])
        sigma = torch.where(sigma > empty, sigma, 0)
        before = torch.cumsum(sigma, 1) * step - sigma * step
        visible = (sigma > 0) & (before < OPAQUE)
        ray, column = torch.nonzero(visible, as_tuple=True)
        rays.append(ray + start)
        distances.append(t[ray, column])
    return torch.cat(rays), torch.cat(distances)


def _intersect_cube(origins: Tensor, directions: Tensor, half: float) -> tuple[Tensor, Tensor]:
    """Return the distances at which rays enter and leave the cube; the span is empty where a ray misses it."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-half - origins) / safe, (half - origins) / safe
    return torch.minimum(a, b).amax(1).clamp(min=0), torch.maximum(a, b).amin(1)


@cached_njit(parallel=True)
def _march_on_cpu(density, origins, directions, offsets, options, counts, starts, ray, distance, write):  # noqa: ANN001, ANN202 (numba)
    """March every ray; count the samples first (`write` False), then fill them in at `starts` (`write` True)."""
    half, step, empty = options
    side = density.shape[0]
    scale = side / (2 * half)
    for n in prange(origins.shape[0]):
        near, far = 0.0, np.inf
        for axis in range(3):
            d = np.float64(directions[n, axis])
            d = 1e-9 if abs(d) < 1e-9 else d
            a, b = (-half - origins[n, axis]) / d, (half - origins[n, axis]) / d
            near, far = max(near, min(a, b)), min(far, max(a, b))
        thickness, count, k = 0.0, 0, 0
        while thickness < OPAQUE:
            t = near + (k + offsets[n]) * step
            if t >= far:
                break
            k += 1
            x = min(max(int((origins[n, 0] + t * directions[n, 0] + half) * scale), 0), side - 1)
            y = min(max(int((origins[n, 1] + t * directions[n, 1] + half) * scale), 0), side - 1)
            z = min(max(int((origins[n, 2] + t * directions[n, 2] + half) * scale), 0), side - 1)
            cell_density = density[x, y, z]
            if cell_density > empty:
                if write:
                    ray[starts[n] + count] = n
                    distance[starts[n] + count] = t
                count += 1
                thickness += cell_density * step
        if not write:
            counts[n] = count
