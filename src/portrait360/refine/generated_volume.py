"""A 3D GAN's head as a volume: its tri-grid as it was made, in the portrait's frame."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait360.gan_proxy import GanHead
from portrait360.geometry.volume import CELLS, EMPTY, Volume
from portrait360.refine.start import FAINT, slices


class GeneratedVolume(Volume):
    """Colours are those of the generator's raw picture, which has no super-resolution behind it."""

    def __init__(self, generated: GanHead) -> None:
        super().__init__()
        self.head, device = generated.head, generated.head.grids.device
        self.moved = torch.from_numpy(generated.shift).float().to(device)
        self.to(device)
        self.fill()

    @torch.no_grad()
    def fill(self) -> None:
        """The grid that rays follow: full where a cell or one beside it holds something."""
        for i, places in slices(self.density.device):
            self.density[i] = self._features(places)[0].view(CELLS, CELLS)
        near = F.max_pool3d(self.density[None], 3, 1, 1)[0]
        self.density.copy_(torch.where(near > EMPTY, FAINT, 0.0))

    def _features(self, places: Tensor) -> tuple[Tensor, Tensor]:
        density, features = self.head.field((places + self.moved)[None])
        return F.softplus(density[0] - 1), features[0]

    def forward(self, places: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        density, features = self._features(places)
        parts = self.head.generator
        if parts.config.raw_by_style:
            raw = parts.torgb(features.T[None, :, :, None], self.head.ws[:, -1])[0, :, :, 0].T
        else:
            raw = features[:, :3]
        return density, (raw + 1) / 2
