"""Features of places in the unit cube from tables at several resolutions (Mueller et al. 2022, Instant NGP).

A level whose corners fit into a table has one row for each; a finer level shares rows by a hash, and the network
behind it lets the visible surface win. `features` is the formula in torch, for any device and as an oracle; on the
CPU kernels do the same work without its large intermediate tensors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor, nn

from portrait360.geometry.compiled import kept

PRIMES = (1, 2654435761, 805459861)
BITS = 0xFFFFFFFF
ONE = np.float32(1)
WIDTH = 2  # features of a row; the kernels are written for two
BLOCK = 4096  # places that a thread takes at a time


class HashGrid(nn.Module):
    def __init__(self, *, levels: int = 8, coarsest: int = 16, finest: int = 256, rows: int = 1 << 17) -> None:
        super().__init__()
        growth = math.exp(math.log(finest / coarsest) / max(levels - 1, 1))
        self.resolutions = tuple(round(coarsest * growth**i) for i in range(levels))
        sizes = [min((r + 1) ** 3, rows) for r in self.resolutions]
        self.starts = tuple(int(s) for s in np.concatenate([[0], np.cumsum(sizes)]))
        self.table = nn.Parameter(torch.empty(self.starts[-1], WIDTH))

    @property
    def channels(self) -> int:
        return len(self.resolutions) * WIDTH

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            self.table.uniform_(-1e-4, 1e-4, generator=generator)

    def forward(self, places: Tensor) -> Tensor:
        """Places (n, 3) in the unit cube -> (n, levels * 2). No gradient goes to the places."""
        if places.is_cuda:
            return features(self.table, places, self.resolutions, self.starts)
        return _OnCpu.apply(self.table, places, self.resolutions, self.starts)


def features(table: Tensor, places: Tensor, resolutions: tuple[int, ...], starts: tuple[int, ...]) -> Tensor:
    """Trilinear look-up at every level."""
    out = []
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], device=places.device)  # (8, 3)
    for resolution, start, end in zip(resolutions, starts[:-1], starts[1:], strict=True):
        scaled = places.clamp(0, 1) * resolution
        low = scaled.floor().clamp(max=resolution - 1).long()
        fraction = (scaled - low)[:, None]  # (n, 1, 3)
        weights = torch.where(corners.bool(), fraction, 1 - fraction).prod(-1)  # (n, 8)
        rows = _rows(low[:, None] + corners, resolution, end - start)
        out.append((weights[..., None] * table[start + rows]).sum(1))
    return torch.cat(out, 1)


def _rows(corner: Tensor, resolution: int, count: int) -> Tensor:
    x, y, z = corner.unbind(-1)
    if (resolution + 1) ** 3 <= count:
        return x + (resolution + 1) * (y + (resolution + 1) * z)
    mixed = (x * PRIMES[0] & BITS) ^ (y * PRIMES[1] & BITS) ^ (z * PRIMES[2] & BITS)
    return mixed & (count - 1)


class _OnCpu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, table: Tensor, places: Tensor, resolutions: tuple[int, ...], starts: tuple[int, ...]
    ) -> Any:
        shape = np.array(resolutions, np.int64), np.array(starts, np.int64)
        points = places.detach().contiguous()
        out = np.empty((len(points), len(resolutions) * WIDTH), np.float32)
        _gather(table.detach().numpy(), points.numpy(), *shape, out)
        ctx.save_for_backward(points)
        ctx.shape = shape, table.shape
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (points,) = ctx.saved_tensors
        shape, size = ctx.shape
        out = np.zeros(tuple(size), np.float32)
        _scatter(out, points.numpy(), *shape, grads[0].contiguous().numpy())
        return torch.from_numpy(out), None, None, None


@njit(inline="always")
def _row(x, y, z, resolution, count):  # noqa: ANN001, ANN202 (numba)
    if (resolution + 1) ** 3 <= count:
        return x + (resolution + 1) * (y + (resolution + 1) * z)
    mixed = (x & 0xFFFFFFFF) ^ ((y * 2654435761) & 0xFFFFFFFF) ^ ((z * 805459861) & 0xFFFFFFFF)
    return mixed & (count - 1)


@njit(inline="always")
def _cell(value, resolution):  # noqa: ANN001, ANN202 (numba)
    scaled = min(max(value, np.float32(0)), np.float32(1)) * np.float32(resolution)
    low = min(np.int64(scaled), resolution - 1)
    return low, scaled - np.float32(low)


@kept(parallel=True, fastmath=True)
def _gather(table, places, resolutions, starts, out):  # noqa: ANN001, ANN202 (numba)
    """Level by level, so that a level's table stays in the cache."""
    blocks = (places.shape[0] + BLOCK - 1) // BLOCK
    for block in prange(blocks):
        for level in range(len(resolutions)):
            resolution, start = resolutions[level], starts[level]
            count = starts[level + 1] - start
            for n in range(block * BLOCK, min((block + 1) * BLOCK, places.shape[0])):
                x, fx = _cell(places[n, 0], resolution)
                y, fy = _cell(places[n, 1], resolution)
                z, fz = _cell(places[n, 2], resolution)
                first = second = np.float32(0)
                for corner in range(8):
                    i, j, k = corner & 1, corner >> 1 & 1, corner >> 2
                    row = start + _row(x + i, y + j, z + k, resolution, count)
                    weight = (fx if i else ONE - fx) * (fy if j else ONE - fy) * (fz if k else ONE - fz)
                    first += weight * table[row, 0]
                    second += weight * table[row, 1]
                out[n, level * WIDTH] = first
                out[n, level * WIDTH + 1] = second


@kept(parallel=True, fastmath=True)
def _scatter(gradient, places, resolutions, starts, above):  # noqa: ANN001, ANN202 (numba)
    """Levels side by side: each owns its rows, so that no two threads write the same one."""
    for level in prange(len(resolutions)):
        resolution, start = resolutions[level], starts[level]
        count = starts[level + 1] - start
        for n in range(places.shape[0]):
            x, fx = _cell(places[n, 0], resolution)
            y, fy = _cell(places[n, 1], resolution)
            z, fz = _cell(places[n, 2], resolution)
            for corner in range(8):
                i, j, k = corner & 1, corner >> 1 & 1, corner >> 2
                row = start + _row(x + i, y + j, z + k, resolution, count)
                weight = (fx if i else ONE - fx) * (fy if j else ONE - fy) * (fz if k else ONE - fz)
                gradient[row, 0] += weight * above[n, level * WIDTH]
                gradient[row, 1] += weight * above[n, level * WIDTH + 1]
