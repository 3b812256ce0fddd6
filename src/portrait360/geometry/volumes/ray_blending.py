"""Blend the samples of rays from front to back: the formula in torch, and kernels of the same with its gradients.

A sample of optical thickness tau has the share w = T (1 - exp(-tau)) in the colour of its ray, where T = exp(-sum of
tau before it). On the CPU, the torch version spends most of a fit on large intermediate tensors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from portrait360.geometry.numba_jit import cached_njit

SURFACE_ALPHA = (
    0.3  # share of a ray's alpha in front of its surface: a field is slightly soft, and 0.5 would lie too deep
)


def blend(
    thickness: Tensor, colour: Tensor, ray: Tensor, distance: Tensor, count: int, step: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the premultiplied colour (count, c), the alpha and the distance of the surface (count,) of every ray.

    Args:
        thickness: Optical thickness of every sample (n,), ordered by ray and then by distance.
        colour: Colours or other features (n, c).
        ray: Index of each sample's ray (n,).
        distance: Where each sample lies along it (n,).
        count: Number of rays.
        step: Distance between samples.
    """
    if thickness.is_cuda:
        return blend_in_torch(thickness, colour, ray, distance, count, step)
    out, front = _BlendOnCpu.apply(thickness, colour, ray, distance, count, step)
    return out[:, :-1], out[:, -1], front


def blend_in_torch(
    thickness: Tensor, colour: Tensor, ray: Tensor, distance: Tensor, count: int, step: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same as `blend` in torch, on any device."""
    weight = sample_weights(thickness, ray)
    values = weight[:, None] * torch.cat([colour, torch.ones_like(colour[:, :1])], 1)
    total = torch.zeros(count, values.shape[1], device=ray.device).index_add(0, ray, values)
    front = surface_distance(weight.detach(), distance, ray, total[:, -1].detach(), step)
    return total[:, :-1], total[:, -1], front


def sample_weights(thickness: Tensor, ray: Tensor) -> Tensor:
    """Return each sample's share (n,) in its ray's colour."""
    total = torch.cumsum(thickness.double(), 0)
    before = torch.cat([total.new_zeros(1), total[:-1]])
    first = torch.cat([ray.new_ones(1, dtype=torch.bool), ray[1:] != ray[:-1]])
    start = before[first][torch.cumsum(first, 0) - 1]  # the sum over all earlier rays
    return (torch.exp(start - before) * -torch.expm1(-thickness.double())).float()


def surface_distance(weight: Tensor, distance: Tensor, ray: Tensor, alpha: Tensor, step: float) -> Tensor:
    """Return the distance (rays,) at which each ray reaches SURFACE_ALPHA of its alpha; 0 for rays without samples.

    A sample stands for the step around it, in which its share grows linearly.
    """
    total = torch.cumsum(weight.double(), 0)
    before = torch.cumsum(alpha.double(), 0) - alpha  # the sum over all earlier rays
    inside = total - before[ray] >= SURFACE_ALPHA * alpha[ray]
    first = inside & ~torch.cat(
        [(inside[:-1] & (ray[1:] == ray[:-1])).new_zeros(1), inside[:-1] & (ray[1:] == ray[:-1])]
    )
    out = torch.zeros_like(alpha)
    missing = (SURFACE_ALPHA * alpha[ray] - (total - before[ray] - weight))[first] / weight[first].clamp(min=1e-9)
    out[ray[first]] = distance[first] + (missing.float() - 0.5) * step
    return out


class _BlendOnCpu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, thickness: Tensor, colour: Tensor, ray: Tensor, distance: Tensor, count: int, step: float
    ) -> Any:
        depths, values = (t.detach().contiguous().numpy() for t in (thickness, colour))
        starts = np.searchsorted(ray.numpy(), np.arange(count + 1))
        weights = np.empty(len(depths), np.float32)
        out, front = np.zeros((count, values.shape[1] + 1), np.float32), np.zeros(count, np.float32)
        _blend(depths, values, starts, distance.numpy(), step, SURFACE_ALPHA, weights, out, front)
        ctx.arrays = depths, values, starts, weights
        surface = torch.from_numpy(front)
        ctx.mark_non_differentiable(surface)
        return torch.from_numpy(out), surface

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        depths, values, starts, weights = ctx.arrays
        along, across = np.empty_like(depths), np.empty_like(values)
        _blend_backward(depths, values, starts, weights, grads[0].contiguous().numpy(), along, across)
        return torch.from_numpy(along), torch.from_numpy(across), None, None, None, None


@cached_njit(parallel=True)
def _blend(thickness, colour, starts, distance, step, share, weights, out, front):  # noqa: ANN001, ANN202 (numba)
    for n in prange(len(starts) - 1):
        clear, alpha = 1.0, 0.0
        for i in range(starts[n], starts[n + 1]):
            weights[i] = -clear * math.expm1(-np.float64(thickness[i]))
            clear *= math.exp(-np.float64(thickness[i]))
            for c in range(colour.shape[1]):
                out[n, c] += weights[i] * colour[i, c]
            alpha += weights[i]
        out[n, -1] = alpha
        reached = 0.0
        for i in range(starts[n], starts[n + 1]):
            if reached + weights[i] >= share * alpha:
                part = (share * alpha - reached) / max(np.float64(weights[i]), 1e-9)
                front[n] = distance[i] + (part - 0.5) * step
                break
            reached += weights[i]


@cached_njit(parallel=True)
def _blend_backward(thickness, colour, starts, weights, grad, along, across):  # noqa: ANN001, ANN202 (numba)
    """Fill the gradients of thickness (n,) and colour (n, c), from the last sample of each ray to its first."""
    channels = colour.shape[1]
    for n in prange(len(starts) - 1):
        total = 0.0
        for i in range(starts[n], starts[n + 1]):
            total += thickness[i]
        behind = 0.0  # what all later samples add to the loss
        for k in range(starts[n + 1] - starts[n]):
            i = starts[n + 1] - 1 - k
            value = np.float64(grad[n, channels])
            for c in range(channels):
                value += grad[n, c] * colour[i, c]
                across[i, c] = weights[i] * grad[n, c]
            along[i] = value * math.exp(-total) - behind
            behind += weights[i] * value
            total -= thickness[i]
