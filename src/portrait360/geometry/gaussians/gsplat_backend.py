"""Blend 2D Gaussians with gsplat's CUDA kernels. No other file imports gsplat.

This code follows the interface of gsplat 1.5. It has not been run on CUDA yet; tests marked gpu cover it.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from portrait360.geometry.gaussians.cpu_kernels import MIN_ALPHA, TILE
from portrait360.geometry.gaussians.projection import ProjectedGaussians

INSTALLED = find_spec("gsplat") is not None
CUTOFF = 3.33  # standard deviations at which the alpha of an opaque splat is MIN_ALPHA


def blend_with_gsplat(splats: ProjectedGaussians, size: int) -> Tensor:
    """Return (s, s, 5) like `rasterize`: premultiplied colour, alpha, but the mean depth (no gradient)."""
    import gsplat  # pyright: ignore[reportMissingImports]

    tiles = (size + TILE - 1) // TILE
    visible = (splats.opacities > MIN_ALPHA)[:, None]
    radii = torch.where(visible, torch.ceil(CUTOFF * splats.extents.sqrt()), 0).int()
    means, conics, opacities = (t[None].contiguous() for t in (splats.means, splats.conics, splats.opacities))
    values = torch.cat([splats.colours, splats.depths.detach()[:, None]], 1)[None]
    _, keys, ids = gsplat.isect_tiles(means, radii[None], splats.depths[None].contiguous(), TILE, tiles, tiles)
    offsets = gsplat.isect_offset_encode(keys, 1, tiles, tiles)
    rendered, alpha = gsplat.rasterize_to_pixels(means, conics, values, opacities, size, size, TILE, offsets, ids)
    depth = (rendered[0, ..., 3:] / alpha[0].clamp(min=1e-6)).detach()
    return torch.cat([rendered[0, ..., :3], alpha[0], depth], -1)
