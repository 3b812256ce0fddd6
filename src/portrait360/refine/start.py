"""The triplane that refining begins with (eq. 3): what the volume looks like along its three axes, from both ends."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.geometry.volume import CELLS, EMPTY, HALF, Volume
from portrait360.models.trigrid import AXES
from portrait360.models.triplane import RGB, Triplane, TriplaneConfig

ENDS = 2 * (1 + RGB)  # channels: from either end how far away, and in which colour
PROJECTED = ENDS + 1  # and how much lies between
CHUNK = 1 << 16  # places asked at a time
FAINT = 2 * EMPTY  # of cells that a surface may reach: rays look there, and nothing ends them


def begun(volume: Volume, sizes: TriplaneConfig, generator: torch.Generator) -> Triplane:
    """Looks as the volume does, and knows its shape and colours."""
    triplane = Triplane(volume, sizes).to(volume.density.device)
    triplane.reset(projected(projections(volume), sizes), generator)
    return triplane


def projected(planes: Tensor, sizes: TriplaneConfig) -> Tensor:
    """What `projections` gives, as the first features of grids (1 3 c d h w)."""
    grids = torch.zeros(1, 3, sizes.features, sizes.layers, sizes.side, sizes.side, device=planes.device)
    grids[0, :, :PROJECTED] = F.interpolate(planes, (sizes.side, sizes.side), mode="bilinear")[:, :, None]
    return grids


@torch.no_grad()
def projections(volume: Volume) -> Tensor:
    """(3 PROJECTED CELLS CELLS) in [-1, 1], rows and columns as those of the planes."""
    full = volume.density > EMPTY  # x y z
    found = []
    for columns, rows, along in AXES:
        cells = full.permute(rows, columns, along)
        there = cells.any(-1)
        parts = [2 * cells.float().mean(-1)[None] - 1]
        for end in (False, True):
            first = (cells.flip(-1) if end else cells).float().argmax(-1)
            first = CELLS - 1 - first if end else first
            parts += [(2 * middles(first) * there)[None], _colours(volume, first, there, (columns, rows, along))]
        found.append(torch.cat(parts))
    return torch.stack(found)


def slices(device: torch.device | str = "cpu") -> Iterator[tuple[int, Tensor]]:
    """The cells of a volume's grid, a slice along x at a time: which, and their middles (CELLS^2 3)."""
    middle = middles(torch.arange(CELLS, device=device))
    y, z = torch.meshgrid(middle, middle, indexing="ij")
    for i, x in enumerate(middle):
        yield i, torch.stack([torch.full_like(y, float(x)), y, z], -1).view(-1, 3)


def middles(cells: Tensor) -> Tensor:
    return (cells + 0.5) * (2 * HALF / CELLS) - HALF


def _colours(volume: Volume, first: Tensor, there: Tensor, axes: tuple[int, int, int]) -> Tensor:
    """(3 CELLS CELLS) in [-1, 1] at those cells of a plane; 0 where nothing is."""
    rows, columns = torch.nonzero(there, as_tuple=True)
    places = torch.empty(len(rows), 3, device=first.device)
    for axis, cells in zip(axes, (columns, rows, first[there]), strict=True):
        places[:, axis] = middles(cells)
    seen = torch.cat([volume(part)[1][:, :RGB] for part in places.split(CHUNK)])
    out = first.new_zeros(RGB, *first.shape, dtype=torch.float32)
    out[:, there] = 2 * seen.T - 1
    return out
