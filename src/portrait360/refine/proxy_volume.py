"""A proxy as a volume, without any fit: solid inside of its surface."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from portrait360.geometry.carried import looked_up
from portrait360.geometry.volume import CELLS, HALF, Volume
from portrait360.proxy import Proxy
from portrait360.refine.start import FAINT, slices

DENSITY = 400.0
SOFT = 0.002  # canonical: over so much it grows to its full density
CELL = 2 * HALF / CELLS


class ProxyVolume(Volume):
    photo: Tensor

    def __init__(self, proxy: Proxy, density: Tensor | None = None) -> None:
        """`density`: its grid, if it has been made before."""
        super().__init__()
        self.proxy = proxy
        self.register_buffer("photo", torch.from_numpy(proxy.photo).movedim(-1, 0)[None])
        if density is not None:
            self.density.copy_(density)
        else:
            self.fill()

    def fill(self) -> None:
        for i, places in slices():
            inside = self._inside(places.numpy())
            reached = FAINT * torch.from_numpy(inside > -CELL)
            self.density[i] = torch.maximum(density_of(inside - CELL), reached).view(CELLS, CELLS)

    def _inside(self, places: np.ndarray) -> np.ndarray:
        """How far inside of the surface; outwards negative."""
        layout = self.proxy.layout
        column, row, distance = layout.locate(places)
        inside = layout.sample(self.proxy.radius, column, row) - distance
        return np.where(places[..., 1] > layout.bottom, inside, layout.bottom - 1).astype(np.float32)

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        points, proxy = places.detach().cpu().numpy(), self.proxy
        column, row, _ = proxy.layout.locate(points)
        own = np.concatenate([proxy.colours, proxy.visible[..., None]], -1)
        colours = torch.from_numpy(proxy.layout.sample(own, column, row)).to(places)
        uv = torch.from_numpy(proxy.camera.project(points)[0]).to(places)[None, :, None]
        photo = looked_up(self.photo, uv, torch.ones_like(uv[..., 0])[:, None])[0, :, :, 0].T
        colours = colours[:, :3] + colours[:, 3:] * (photo - colours[:, :3])
        return density_of(self._inside(points)).to(places), colours


def density_of(inside: np.ndarray) -> Tensor:
    return DENSITY * torch.sigmoid(torch.from_numpy(inside) / SOFT)
