"""A radiance field (NeRF): a volume whose density and colours come from a hash grid and a small MLP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.geometry.volumes.hash_grid import HashGrid
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
        hidden = F.relu(self.first(self.grid(places / (2 * HALF) + 0.5)))
        out = self.last(F.relu(self.second(hidden)))
        colour = out[:, 1:4]
        if directions is not None:
            colour = colour + torch.einsum(
                "nkc,nk->nc", out[:, 4:].unflatten(1, (-1, 3)), azimuth_harmonics(directions)
            )
        log_density = out[:, 0]  # straight-through clamp: otherwise a density above the limit could never fall again
        log_density = log_density + (log_density.clamp(max=MAX_LOG_DENSITY) - log_density).detach()
        return torch.exp(log_density), torch.sigmoid(colour)


def azimuth_harmonics(directions: Tensor) -> Tensor:
    """Return the first two harmonics (n, 4) of each direction's azimuth.

    Gloss moves with the azimuth. Orbits hold no information about elevation, so it is left out.
    """
    x, z = F.normalize(directions[:, [0, 2]], dim=1).unbind(1)
    return torch.stack([x, z, x * x - z * z, 2 * x * z], 1)
