"""Samples along rays: only in the full cells of a grid, and none behind what the grid knows to be opaque."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from portrait360.geometry.compiled import kept

OPAQUE = 7.0  # optical thickness after which a ray sees nothing more
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
    """Density (c, c, c) over the cube of this half side -> of every sample: its ray, its distance; in order."""
    if density.is_cuda:
        return march_in_torch(density, origins, directions, offsets, half=half, step=step, empty=empty)
    field, start, towards, moved = (t.detach().contiguous().numpy() for t in (density, origins, directions, offsets))
    lens = half, step, empty
    counts = np.zeros(len(origins), np.int64)
    none, nowhere = np.zeros(0, np.int64), np.zeros(0, np.float32)
    _walk(field, start, towards, moved, lens, counts, counts, none, nowhere, False)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ray, distance = np.empty(total, np.int64), np.empty(total, np.float32)
    _walk(field, start, towards, moved, lens, counts, ends - counts, ray, distance, True)
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
    """The same in torch, on any device."""
    near, far = _span(origins, directions, half)
    most = int(((far - near) / step).clamp(min=0).max().ceil()) + 1 if len(near) else 0
    rays, distances = [], []
    for begin in range(0, len(origins), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        at = near[chunk, None] + (torch.arange(most, device=near.device) + offsets[chunk, None]) * step
        places = origins[chunk, None] + at[..., None] * directions[chunk, None]
        cells = ((places + half) * (density.shape[0] / (2 * half))).long().clamp(0, density.shape[0] - 1)
        found = density[cells[..., 0], cells[..., 1], cells[..., 2]] * (at < far[chunk, None])
        found = torch.where(found > empty, found, 0)
        before = torch.cumsum(found, 1) * step - found * step
        which = (found > 0) & (before < OPAQUE)
        ray, column = torch.nonzero(which, as_tuple=True)
        rays.append(ray + begin)
        distances.append(at[ray, column])
    return torch.cat(rays), torch.cat(distances)


def _span(origins: Tensor, directions: Tensor, half: float) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the cube; an empty span where they miss it."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-half - origins) / safe, (half - origins) / safe
    return torch.minimum(a, b).amax(1).clamp(min=0), torch.maximum(a, b).amin(1)


@kept(parallel=True)
def _walk(density, origins, directions, offsets, lens, counts, starts, ray, distance, write):  # noqa: ANN001, ANN202 (numba)
    half, step, empty = lens
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
            found = density[x, y, z]
            if found > empty:
                if write:
                    ray[starts[n] + count] = n
                    distance[starts[n] + count] = t
                count += 1
                thickness += found * step
        if not write:
            counts[n] = count
