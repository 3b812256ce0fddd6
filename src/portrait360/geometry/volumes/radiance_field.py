"""A radiance field (NeRF): a volume whose density and colours come from a hash grid and a small MLP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.geometry.numba_jit import cached_njit
from portrait360.geometry.volumes.hash_grid import ONE, HashGrid
from portrait360.geometry.volumes.volume import HALF, Volume

MAX_LOG_DENSITY = 7.0  # one sample then absorbs 98.6 % of the light, and still gets gradients from what lies behind


@dataclass(frozen=True)
class FieldOptions:
    levels: int = 8
    coarsest: int = 16
    finest: int = 256
    rows: int = 1 << 17
    hidden: int = 32


class RadianceField(Volume):
    def __init__(self, options: FieldOptions = FieldOptions()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.options = options
        self.grid = HashGrid(
            levels=options.levels, coarsest=options.coarsest, finest=options.finest, rows=options.rows
        )
        self.first = nn.Linear(self.grid.channels, options.hidden)
        self.second = nn.Linear(options.hidden, options.hidden)
        self.last = nn.Linear(options.hidden, 1 + 3 * (1 + len(azimuth_harmonics(torch.zeros(1, 3))[0])))

    def reset(self, generator: torch.Generator) -> None:
        self.grid.reset(generator)
        for layer in (self.first, self.second, self.last):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden = F.relu(self.first(self.grid(places / (2 * HALF) + 0.5)), inplace=True)
        out = self.last(F.relu(self.second(hidden), inplace=True))
        if out.is_cuda:
            return read_out(out, directions)
        return _ReadOutOnCpu.apply(out, directions)  # type: ignore[no-any-return]


def read_out(out: Tensor, directions: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return density (n,) and colour (n, 3) of what the last layer gives (n, 16)."""
    colour = out[:, 1:4]
    if directions is not None:
        colour = colour + torch.einsum("nkc,nk->nc", out[:, 4:].unflatten(1, (-1, 3)), azimuth_harmonics(directions))
    log_density = out[:, 0]  # straight-through clamp: otherwise a density above the limit could never fall again
    log_density = log_density + (log_density.clamp(max=MAX_LOG_DENSITY) - log_density).detach()
    return torch.exp(log_density), torch.sigmoid(colour)


class _ReadOutOnCpu(torch.autograd.Function):
    """The same in kernels, without its large intermediate tensors."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, directions: Tensor | None) -> Any:
        values = out.detach().contiguous().numpy()
        waves = np.zeros((len(values), 0), np.float32)
        if directions is not None:
            waves = azimuth_harmonics(directions).numpy()
        density, colour = np.empty(len(values), np.float32), np.empty((len(values), 3), np.float32)
        _read_out(values, waves, MAX_LOG_DENSITY, density, colour)
        ctx.arrays = values.shape, waves, density, colour
        return torch.from_numpy(density), torch.from_numpy(colour)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        shape, waves, density, colour = ctx.arrays
        out = np.zeros(shape, np.float32)
        _read_out_backward(waves, density, colour, *(grad.contiguous().numpy() for grad in grads), out)
        return torch.from_numpy(out), None


@cached_njit(parallel=True, fastmath=True)
def _read_out(values, waves, limit, density, colour):  # noqa: ANN001, ANN202 (numba)
    for n in prange(len(values)):
        density[n] = math.exp(min(values[n, 0], np.float32(limit)))
        for c in range(3):
            total = values[n, 1 + c]
            for k in range(waves.shape[1]):
                total += waves[n, k] * values[n, 4 + 3 * k + c]
            colour[n, c] = ONE / (ONE + math.exp(-total))


@cached_njit(parallel=True, fastmath=True)
def _read_out_backward(waves, density, colour, grad_density, grad_colour, out):  # noqa: ANN001, ANN202 (numba)
    for n in prange(len(density)):
        out[n, 0] = grad_density[n] * density[n]
        for c in range(3):
            slope = grad_colour[n, c] * colour[n, c] * (ONE - colour[n, c])
            out[n, 1 + c] = slope
            for k in range(waves.shape[1]):
                out[n, 4 + 3 * k + c] = slope * waves[n, k]


def azimuth_harmonics(directions: Tensor) -> Tensor:
    """Return the first two harmonics (n, 4) of each direction's azimuth.

    Gloss moves with the azimuth. Orbits hold no information about elevation, so it is left out.
    """
    x, z = F.normalize(directions[:, [0, 2]], dim=1).unbind(1)
    return torch.stack([x, z, x * x - z * z, 2 * x * z], 1)
