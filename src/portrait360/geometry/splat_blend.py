"""2D Gaussians blended from front to back, with gradients: by tiles on the CPU, by gsplat on CUDA where it is
installed, and in torch for any device.

Both leave out what changes a pixel by less than 1/255 of its own opacity, and what lies behind pixels that are opaque
already, as every 3DGS renderer does: the same splats look the same there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from portrait360.geometry import splat_kernels as kernels
from portrait360.geometry.splat_gsplat import INSTALLED, blend_with_gsplat
from portrait360.geometry.splat_project import Projected


def blend(splats: Projected, size: int) -> Tensor:
    """(s, s, 5): premultiplied colour, alpha, and the depth of the surface (no gradient)."""
    if splats.means.is_cuda:
        return (blend_with_gsplat if INSTALLED else blend_in_torch)(splats, size)
    inputs = (splats.means, splats.conics, splats.opacities, splats.colours, splats.depths, splats.extents)
    return _Tiles.apply(*inputs, size)  # type: ignore[no-any-return]


def blend_in_torch(splats: Projected, size: int) -> Tensor:
    """Every splat at every pixel: slow, and the oracle of the kernels."""
    order = torch.argsort(splats.depths)
    at = torch.arange(size, device=order.device, dtype=splats.means.dtype) + 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    dx, dy = x[None] - splats.means[order, 0, None, None], y[None] - splats.means[order, 1, None, None]
    a, b, c = splats.conics[order].T[..., None, None]
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alpha = (splats.opacities[order, None, None] * torch.exp(power)).clamp(max=kernels.MOST)
    alpha = torch.where(alpha >= kernels.LEAST, alpha, 0)
    left = torch.cumprod(torch.cat([torch.ones_like(alpha[:1]), 1 - alpha]), 0)
    weight = torch.where(left[:-1] >= kernels.CLOSED, left[:-1] * alpha, 0)
    rgb = torch.einsum("nhw,nc->hwc", weight, splats.colours[order])
    crosses = (left[:-1] > kernels.SURFACE) & (left[1:] <= kernels.SURFACE) & (weight > 0)
    depth = (crosses * splats.depths[order, None, None]).sum(0).detach()
    return torch.cat([rgb, weight.sum(0)[..., None], depth[..., None]], -1)


class _Tiles(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        conics: Tensor,
        opacities: Tensor,
        colours: Tensor,
        depths: Tensor,
        extents: Tensor,
        size: int,
    ) -> Any:
        places, shapes, peaks, rgb = (t.detach().contiguous().numpy() for t in (means, conics, opacities, colours))
        boxes = kernels.boxes(places, peaks, extents.numpy(), size)
        starts, ids = kernels.bins(boxes, torch.argsort(depths).numpy(), size)
        out = np.zeros((size, size, 5), np.float32)
        kernels.draw(places, shapes, peaks, rgb, depths.numpy(), boxes, starts, ids, out)
        ctx.saved = places, shapes, peaks, rgb, boxes, starts, ids, out
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        places, shapes, peaks, rgb, boxes, starts, ids, out = ctx.saved
        pairs = np.zeros((len(ids), 9), np.float32)
        above = grads[0].contiguous().numpy()
        kernels.draw_backward(places, shapes, peaks, rgb, boxes, starts, ids, out, above, pairs)
        total = torch.from_numpy(kernels.gather(ids, pairs, len(boxes)))
        return total[:, :2], total[:, 2:5], total[:, 5], total[:, 6:], None, None, None
