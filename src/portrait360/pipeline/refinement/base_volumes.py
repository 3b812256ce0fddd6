"""Volumes that need no fitting: a proxy, solid inside its surface, and a generated head."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.geometry.volumes.volume import CELLS, EMPTY, HALF, Volume
from portrait360.geometry.warping import grid_sample
from portrait360.pipeline.proxy.gan_head import GanHead
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.refinement.triplane_init import FAINT, slices

DENSITY = 400.0
SOFT = 0.002  # canonical: width of the sigmoid by which the density rises at the surface
CELL = 2 * HALF / CELLS


class ProxyVolume(Volume):
    photo: Tensor

    def __init__(self, proxy: Proxy, density: Tensor | None = None) -> None:
        """`density` is the occupancy grid, if it has been computed before."""
        super().__init__()
        self.proxy = proxy
        self.register_buffer("photo", torch.from_numpy(proxy.photo).movedim(-1, 0)[None])
        if density is not None:
            self.density.copy_(density)
        else:
            self.fill()

    def fill(self) -> None:
        """Compute the occupancy grid."""
        for i, points in slices():
            depth = self._depth_inside(points.numpy())
            near_surface = FAINT * torch.from_numpy(depth > -CELL)
            self.density[i] = torch.maximum(density_of(depth - CELL), near_surface).view(CELLS, CELLS)

    def _depth_inside(self, points: np.ndarray) -> np.ndarray:
        """Return the distance of points to the surface, positive inside and negative outside."""
        layout = self.proxy.layout
        column, row, distance = layout.locate(points)
        depth = layout.sample(self.proxy.radius, column, row) - distance
        return np.where(points[..., 1] > layout.bottom, depth, layout.bottom - 1).astype(np.float32)

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        points, proxy = places.detach().cpu().numpy(), self.proxy
        column, row, _ = proxy.layout.locate(points)
        values = np.concatenate([proxy.colours, proxy.visible[..., None]], -1)
        colours = torch.from_numpy(proxy.layout.sample(values, column, row)).to(places)
        uv = torch.from_numpy(proxy.camera.project(points)[0]).to(places)[None, :, None]
        photo = grid_sample(self.photo, uv, torch.ones_like(uv[..., 0])[:, None])[0, :, :, 0].T
        colours = colours[:, :3] + colours[:, 3:] * (photo - colours[:, :3])
        return density_of(self._depth_inside(points)).to(places), colours


def density_of(depth: np.ndarray) -> Tensor:
    """Return the density of points at these depths inside the surface."""
    return DENSITY * torch.sigmoid(torch.from_numpy(depth) / SOFT)


class GeneratedVolume(Volume):
    """A generated head. Its colours are those of the generator's raw picture, without super-resolution."""

    def __init__(self, generated: GanHead) -> None:
        super().__init__()
        self.head, device = generated.head, generated.head.grids.device
        frame = generated.frame  # the generator's points are scale turn (X - centre) + shift
        self.scale = frame.scale
        self.turn = torch.from_numpy(frame.scale * frame.turn.T).float().to(device)
        self.shift = torch.from_numpy(generated.shift - frame.scale * frame.turn @ frame.centre).float().to(device)
        self.to(device)
        self.fill()

    @torch.no_grad()
    def fill(self) -> None:
        """Compute the occupancy grid: a cell is occupied if it or one of its neighbours has density."""
        for i, points in slices(self.density.device):
            self.density[i] = self._features(points)[0].view(CELLS, CELLS)
        near = F.max_pool3d(self.density[None], 3, 1, 1)[0]
        self.density.copy_(torch.where(near > EMPTY, FAINT, 0.0))

    def _features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        density, features = self.head.field((points @ self.turn + self.shift)[None])
        return self.scale * F.softplus(density[0] - 1), features[0]  # per length in our frame

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        density, features = self._features(places)
        generator = self.head.generator
        if generator.config.raw_by_style:
            raw = generator.torgb(features.T[None, :, :, None], self.head.ws[:, -1])[0, :, :, 0].T
        else:
            raw = features[:, :3]
        return density, (raw + 1) / 2
