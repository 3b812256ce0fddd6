"""The triplane from which refinement starts (eq. 3): the volume projected along its three axes, from both ends."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.geometry.volumes.volume import CELLS, EMPTY, HALF, Volume
from portrait360.models.trigrid import AXES
from portrait360.models.triplane import RGB, Triplane, TriplaneConfig

ENDS = 2 * (1 + RGB)  # channels: from each end the position of the first surface, and its colour
PROJECTED = ENDS + 1  # and the share of cells along the axis that are occupied
CHUNK = 1 << 16  # points that are evaluated at once
FAINT = 2 * EMPTY  # density of cells that a surface may touch: rays are sampled there, and none ends there


def init_triplane(volume: Volume, config: TriplaneConfig, generator: torch.Generator) -> Triplane:
    """Return a triplane that renders exactly like the volume and whose features describe its shape and colours."""
    triplane = Triplane(volume, config).to(volume.density.device)
    triplane.reset(project_planes(project_volume(volume), config), generator)
    return triplane


def project_planes(planes: Tensor, config: TriplaneConfig) -> Tensor:
    """Put the result of `projections` into the first features of grids (1 3 c d h w)."""
    grids = torch.zeros(1, 3, config.features, config.layers, config.side, config.side, device=planes.device)
    grids[0, :, :PROJECTED] = F.interpolate(planes, (config.side, config.side), mode="bilinear")[:, :, None]
    return grids


@torch.no_grad()
def project_volume(volume: Volume) -> Tensor:
    """Return (3 PROJECTED CELLS CELLS) in [-1, 1], with the rows and columns of the planes."""
    occupied = volume.density > EMPTY  # x y z
    planes = []
    for columns, rows, along in AXES:
        cells = occupied.permute(rows, columns, along)
        covered = cells.any(-1)
        parts = [2 * cells.float().mean(-1)[None] - 1]
        for from_end in (False, True):
            first = (cells.flip(-1) if from_end else cells).float().argmax(-1)
            first = CELLS - 1 - first if from_end else first
            parts += [
                (2 * cell_centres(first) * covered)[None],
                _colours(volume, first, covered, (columns, rows, along)),
            ]
        planes.append(torch.cat(parts))
    return torch.stack(planes)


def slices(device: torch.device | str = "cpu") -> Iterator[tuple[int, Tensor]]:
    """Iterate over a volume's grid along x: the index of each slice, and the centres of its cells (CELLS^2 3)."""
    centres = cell_centres(torch.arange(CELLS, device=device))
    y, z = torch.meshgrid(centres, centres, indexing="ij")
    for i, x in enumerate(centres):
        yield i, torch.stack([torch.full_like(y, float(x)), y, z], -1).view(-1, 3)


def cell_centres(cells: Tensor) -> Tensor:
    """Return the coordinates of the centres of cells, from their indices."""
    return (cells + 0.5) * (2 * HALF / CELLS) - HALF


def _colours(volume: Volume, first: Tensor, covered: Tensor, axes: tuple[int, int, int]) -> Tensor:
    """Return the colours (3 CELLS CELLS) in [-1, 1] of a plane's first cells, and 0 where there is no surface."""
    rows, columns = torch.nonzero(covered, as_tuple=True)
    points = torch.empty(len(rows), 3, device=first.device)
    for axis, cells in zip(axes, (columns, rows, first[covered]), strict=True):
        points[:, axis] = cell_centres(cells)
    colours = torch.cat([volume(part)[1][:, :RGB] for part in points.split(CHUNK)])
    out = first.new_zeros(RGB, *first.shape, dtype=torch.float32)
    out[:, covered] = 2 * colours.T - 1
    return out
