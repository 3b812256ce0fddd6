"""Blend 2D Gaussians from front to back, with gradients: by tiles on the CPU, by gsplat on CUDA if it is installed,
and in torch on any device.

All leave out splats with an alpha below 1/255, and splats behind pixels that are already opaque, as every 3DGS
renderer does, so that the same splats look the same there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from portrait360.geometry.cameras import Camera
from portrait360.geometry.gaussians import cpu_kernels as kernels
from portrait360.geometry.gaussians.gsplat_backend import INSTALLED, blend_with_gsplat
from portrait360.geometry.gaussians.projection import ProjectedGaussians, project
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.utils.array_types import F32


def rasterize(splats: ProjectedGaussians, size: int) -> Tensor:
    """Return (s, s, 5): premultiplied colour, alpha, and the depth of the surface (no gradient)."""
    if splats.means.is_cuda:
        return (blend_with_gsplat if INSTALLED else blend_in_torch)(splats, size)
    inputs = (splats.means, splats.conics, splats.opacities, splats.colours, splats.depths, splats.extents)
    return _RasterizeTiles.apply(*inputs, size)  # type: ignore[no-any-return]


def blend_in_torch(splats: ProjectedGaussians, size: int) -> Tensor:
    """Blend every splat at every pixel: slow, and the test oracle of the kernels."""
    order = torch.argsort(splats.depths)
    centres = torch.arange(size, device=order.device, dtype=splats.means.dtype) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    dx, dy = x[None] - splats.means[order, 0, None, None], y[None] - splats.means[order, 1, None, None]
    a, b, c = splats.conics[order].T[..., None, None]
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alpha = (splats.opacities[order, None, None] * torch.exp(power)).clamp(max=kernels.MAX_ALPHA)
    alpha = torch.where(alpha >= kernels.MIN_ALPHA, alpha, 0)
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[:1]), 1 - alpha]), 0)  # transmittance before each splat
    weight = torch.where(light[:-1] >= kernels.MIN_TRANSMITTANCE, light[:-1] * alpha, 0)
    rgb = torch.einsum("nhw,nc->hwc", weight, splats.colours[order])
    surface = kernels.SURFACE_TRANSMITTANCE
    crosses = (light[:-1] > surface) & (light[1:] <= surface) & (weight > 0)
    depth = (crosses * splats.depths[order, None, None]).sum(0).detach()
    return torch.cat([rgb, weight.sum(0)[..., None], depth[..., None]], -1)


class _RasterizeTiles(torch.autograd.Function):
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
        centres, shapes, peaks, rgb = (t.detach().contiguous().numpy() for t in (means, conics, opacities, colours))
        boxes = kernels.bounding_boxes(centres, peaks, extents.numpy(), size)
        starts, ids = kernels.bin_splats(boxes, torch.argsort(depths).numpy(), size)
        out = np.zeros((size, size, 5), np.float32)
        kernels.draw(centres, shapes, peaks, rgb, depths.numpy(), boxes, starts, ids, out)
        ctx.saved = centres, shapes, peaks, rgb, boxes, starts, ids, out
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        centres, shapes, peaks, rgb, boxes, starts, ids, out = ctx.saved
        pairs = np.zeros((len(ids), 9), np.float32)
        grad_output = grads[0].contiguous().numpy()
        kernels.draw_backward(centres, shapes, peaks, rgb, boxes, starts, ids, out, grad_output, pairs)
        total = torch.from_numpy(kernels.sum_gradients(ids, pairs, len(boxes)))
        return total[:, :2], total[:, 2:5], total[:, 5], total[:, 6:], None, None, None


@torch.no_grad()
def render_image(splats: GaussianSplats, camera: Camera, size: int) -> tuple[F32, F32, F32]:
    """Return straight rgb (s, s, 3), alpha (s, s), and depth along the optical axis (s, s).

    Depth is 0 where alpha is a quarter or less.
    """
    means, rotations = torch.from_numpy(splats.means), torch.from_numpy(splats.rotations)
    scales, opacities = torch.from_numpy(splats.scales), torch.from_numpy(splats.opacities)
    gaussians = project(
        means, scales, rotations, opacities, torch.from_numpy(splats.find_colours(camera)), camera, size
    )
    out = rasterize(gaussians, size).numpy()
    alpha = out[..., 3]
    return (out[..., :3] / np.maximum(alpha, 1e-6)[..., None]).clip(0, 1), alpha, out[..., 4]
