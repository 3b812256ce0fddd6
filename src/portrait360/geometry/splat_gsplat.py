"""2D Gaussians blended by gsplat's CUDA kernels. The only file that knows gsplat.

Written after the interface of gsplat 1.5; no machine with CUDA has run it yet (tests marked gpu wait for one)."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from portrait360.geometry.splat_kernels import LEAST, TILE
from portrait360.geometry.splat_project import Projected

INSTALLED = find_spec("gsplat") is not None
REACH = 3.33  # standard deviations: there the alpha of an opaque splat is LEAST


def blend_with_gsplat(splats: Projected, size: int) -> Tensor:
    """(s, s, 5): premultiplied colour, alpha, mean depth (no gradient), as `blend` gives them but for the depth."""
    import gsplat  # pyright: ignore[reportMissingImports]

    tiles = (size + TILE - 1) // TILE
    drawn = (splats.opacities > LEAST)[:, None]
    radii = torch.where(drawn, torch.ceil(REACH * splats.extents.sqrt()), 0).int()
    means, conics, opacities = (t[None].contiguous() for t in (splats.means, splats.conics, splats.opacities))
    values = torch.cat([splats.colours, splats.depths.detach()[:, None]], 1)[None]
    _, keys, ids = gsplat.isect_tiles(means, radii[None], splats.depths[None].contiguous(), TILE, tiles, tiles)
    offsets = gsplat.isect_offset_encode(keys, 1, tiles, tiles)
    seen, alpha = gsplat.rasterize_to_pixels(means, conics, values, opacities, size, size, TILE, offsets, ids)
    depth = (seen[0, ..., 3:] / alpha[0].clamp(min=1e-6)).detach()
    return torch.cat([seen[0, ..., :3], alpha[0], depth], -1)
