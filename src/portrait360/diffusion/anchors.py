"""Anchor noise: each view's own noise, near which it is drawn anew at every step, kept where that agrees better with
the views that went before (Portrait Diffusion's MV-NRS, eq. 12 and 15 to 17)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

Gradient = Sequence[Tensor]  # of a loss, for every parameter of the head


class Candidate(NamedTuple):
    """A noise, the picture that the denoiser makes with it, and where that would lead the head."""

    noise: Tensor
    target: Tensor
    gradient: Gradient


def resampled(anchor: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Around the anchor, with variance one in all (eq. 12)."""
    if not 0 <= sigma <= 1:
        raise ValueError(f"sigma lies between 0 and 1, got {sigma}")
    drawn = torch.randn(anchor.shape, generator=generator, device=generator.device).to(anchor)
    return (1 - sigma**2) ** 0.5 * anchor + sigma * drawn


def agreement(a: Gradient, b: Gradient) -> float:
    """The cosine between two gradients (eq. 16); 0 where one of them is none."""
    products = [torch.stack([(x * y).sum(), (x * x).sum(), (y * y).sum()]) for x, y in zip(a, b, strict=True)]
    dot, one, other = torch.stack(products).double().sum(0).tolist()
    return dot / (one * other) ** 0.5 if one > 0 and other > 0 else 0.0


def retained(drawn: Candidate, anchor: Candidate, driving: Gradient) -> Candidate:
    """The one that agrees better with the driving view's gradient; the anchor where they are alike (eq. 17)."""
    return drawn if agreement(drawn.gradient, driving) > agreement(anchor.gradient, driving) else anchor
