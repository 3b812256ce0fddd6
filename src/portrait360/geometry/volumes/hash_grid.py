"""A multiresolution hash encoding of positions in the unit cube (Mueller et al. 2022, Instant NGP).

A level whose corners fit into a table has one row for each corner; a finer level shares rows by a hash, and the
network behind it resolves collisions in favour of the visible surface. `features` is the formula in torch, for any
device and as a test oracle; on the CPU, kernels do the same work without its large intermediate tensors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor, nn

from portrait360.geometry.numba_jit import cached_njit

PRIMES = (1, 2654435761, 805459861)
UINT32_MASK = 0xFFFFFFFF
ONE = np.float32(1)
Y_PRIME, Z_PRIME = np.uint32(PRIMES[1]), np.uint32(PRIMES[2])
WIDTH = 2  # features in a row; the kernels are written for two
BLOCK = 4096  # positions that a thread encodes at a time


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

    def forward(self, positions: Tensor) -> Tensor:
        """Encode positions (n, 3) in the unit cube -> (n, levels * 2). The positions get no gradient."""
        if positions.is_cuda:
            return encode_positions(self.table, positions, self.resolutions, self.starts)
        return _EncodeOnCpu.apply(self.table, positions, self.resolutions, self.starts)


def encode_positions(
    table: Tensor, positions: Tensor, resolutions: tuple[int, ...], starts: tuple[int, ...]
) -> Tensor:
    """Interpolate the table trilinearly at every level: positions (n, 3) -> (n, levels * 2)."""
    out = []
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], device=positions.device)  # (8, 3)
    for resolution, start, end in zip(resolutions, starts[:-1], starts[1:], strict=True):
        scaled = positions.clamp(0, 1) * resolution
        low = scaled.floor().clamp(max=resolution - 1).long()
        fraction = (scaled - low)[:, None]  # (n, 1, 3)
        weights = torch.where(corners.bool(), fraction, 1 - fraction).prod(-1)  # (n, 8)
        rows = _row_indices(low[:, None] + corners, resolution, end - start)
        out.append((weights[..., None] * table[start + rows]).sum(1))
    return torch.cat(out, 1)


def _row_indices(corner: Tensor, resolution: int, count: int) -> Tensor:
    x, y, z = corner.unbind(-1)
    if (resolution + 1) ** 3 <= count:
        return x + (resolution + 1) * (y + (resolution + 1) * z)
    hashed = (x * PRIMES[0] & UINT32_MASK) ^ (y * PRIMES[1] & UINT32_MASK) ^ (z * PRIMES[2] & UINT32_MASK)
    return hashed & (count - 1)


class _EncodeOnCpu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, table: Tensor, positions: Tensor, resolutions: tuple[int, ...], starts: tuple[int, ...]
    ) -> Any:
        grid = np.array(resolutions, np.int64), np.array(starts, np.int64)
        points = positions.detach().contiguous()
        out = np.empty((len(points), len(resolutions) * WIDTH), np.float32)
        _gather(table.detach().numpy(), points.numpy(), *grid, out)
        ctx.save_for_backward(points)
        ctx.shape = grid, table.shape
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (points,) = ctx.saved_tensors
        grid, table_shape = ctx.shape
        out = np.zeros(tuple(table_shape), np.float32)
        _scatter(out, points.numpy(), *grid, grads[0].contiguous().numpy())
        return torch.from_numpy(out), None, None, None


@njit(inline="always")
def _find_cell(value, resolution):  # noqa: ANN001, ANN202 (numba)
    scaled = min(max(value, np.float32(0)), ONE) * np.float32(resolution)
    low = min(np.int32(scaled), np.int32(resolution - 1))
    return low, scaled - np.float32(low)


@njit(inline="always")
def _find_rows(x, y, z, resolution, count):  # noqa: ANN001, ANN202 (numba)
    """Return the rows of a cell's eight corners; x changes first. In 32 bits, for hashes need no more."""
    x0, y0, z0 = np.uint32(x), np.uint32(y), np.uint32(z)
    x1, one, side = x0 + np.uint32(1), np.uint32(1), np.uint32(resolution + 1)
    if (resolution + 1) ** 3 <= count:
        a, b = x0 + side * (y0 + side * z0), x0 + side * (y0 + one + side * z0)
        c, d = a + side * side, b + side * side
        return a, a + one, b, b + one, c, c + one, d, d + one
    mask = np.uint32(count - 1)
    y0, z0 = y0 * Y_PRIME, z0 * Z_PRIME
    y1, z1 = y0 + Y_PRIME, z0 + Z_PRIME
    a, b, c, d = y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1
    return (
        (x0 ^ a) & mask, (x1 ^ a) & mask, (x0 ^ b) & mask, (x1 ^ b) & mask,
        (x0 ^ c) & mask, (x1 ^ c) & mask, (x0 ^ d) & mask, (x1 ^ d) & mask,
    )  # fmt: skip


@cached_njit(parallel=True, fastmath=True, error_model="numpy")
def _gather(table, positions, resolutions, starts, out):  # noqa: ANN001, ANN202 (numba)
    """Encode a block level by level, so that a level's table stays in the cache."""
    blocks = (positions.shape[0] + BLOCK - 1) // BLOCK
    for block in prange(blocks):
        for level in range(len(resolutions)):
            resolution, count = resolutions[level], starts[level + 1] - starts[level]
            rows = table[starts[level] : starts[level + 1]]
            for n in range(block * BLOCK, min((block + 1) * BLOCK, positions.shape[0])):
                x, fx = _find_cell(positions[n, 0], resolution)
                y, fy = _find_cell(positions[n, 1], resolution)
                z, fz = _find_cell(positions[n, 2], resolution)
                a, b, c, d, e, f, g, h = _find_rows(x, y, z, resolution, count)
                gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
                for i in range(WIDTH):
                    near = (rows[a, i] * gx + rows[b, i] * fx) * gy + (rows[c, i] * gx + rows[d, i] * fx) * fy
                    far = (rows[e, i] * gx + rows[f, i] * fx) * gy + (rows[g, i] * gx + rows[h, i] * fx) * fy
                    out[n, level * WIDTH + i] = near * gz + far * fz


@cached_njit(parallel=True, fastmath=True, error_model="numpy")
def _scatter(grad_table, positions, resolutions, starts, grad_output):  # noqa: ANN001, ANN202 (numba)
    """Process the levels in parallel: each owns its rows, so no two threads write the same one.

    A coarse level, which stays in the cache, takes turns with a fine one, so that threads have equal work.
    """
    for turn in prange(len(resolutions)):
        level = turn // 2 if turn % 2 == 0 else len(resolutions) - 1 - turn // 2
        resolution, count = resolutions[level], starts[level + 1] - starts[level]
        rows = grad_table[starts[level] : starts[level + 1]]
        for n in range(positions.shape[0]):
            x, fx = _find_cell(positions[n, 0], resolution)
            y, fy = _find_cell(positions[n, 1], resolution)
            z, fz = _find_cell(positions[n, 2], resolution)
            a, b, c, d, e, f, g, h = _find_rows(x, y, z, resolution, count)
            gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
            for i in range(WIDTH):
                value = grad_output[n, level * WIDTH + i]
                near, far = value * gz, value * fz
                rows[a, i] += near * gy * gx
                rows[b, i] += near * gy * fx
                rows[c, i] += near * fy * gx
                rows[d, i] += near * fy * fx
                rows[e, i] += far * gy * gx
                rows[f, i] += far * gy * fx
                rows[g, i] += far * fy * gx
                rows[h, i] += far * fy * fx
