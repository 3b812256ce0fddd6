"""The field: a volume whose density and colours a hashed grid holds (NeRF)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.geometry.hash_grid import HashGrid
from portrait360.geometry.volume import HALF, Volume

DENSEST = 7.0  # logarithm of density: one sample stops 98.6 % of the light, and still feels what lies behind it


@dataclass(frozen=True)
class FieldOptions:
    levels: int = 8
    coarsest: int = 16
    finest: int = 256
    rows: int = 1 << 17
    hidden: int = 32


class Field(Volume):
    def __init__(self, options: FieldOptions = FieldOptions()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.options = options
        self.grid = HashGrid(
            levels=options.levels, coarsest=options.coarsest, finest=options.finest, rows=options.rows
        )
        self.first = nn.Linear(self.grid.channels, options.hidden)
        self.second = nn.Linear(options.hidden, options.hidden)
        self.last = nn.Linear(options.hidden, 1 + 3 * (1 + len(around(torch.zeros(1, 3))[0])))

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
            colour = colour + torch.einsum("nkc,nk->nc", out[:, 4:].unflatten(1, (-1, 3)), around(directions))
        logarithm = out[:, 0]  # its gradient goes through the limit, or what is once too dense would remain so
        logarithm = logarithm + (logarithm.clamp(max=DENSEST) - logarithm).detach()
        return torch.exp(logarithm), torch.sigmoid(colour)


def around(directions: Tensor) -> Tensor:
    """The first two harmonics (n, 4) of a direction's azimuth. Gloss moves with it; orbits tell nothing of elevation,
    so it plays no part."""
    x, z = F.normalize(directions[:, [0, 2]], dim=1).unbind(1)
    return torch.stack([x, z, x * x - z * z, 2 * x * z], 1)
