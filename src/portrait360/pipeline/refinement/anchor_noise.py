"""Anchor noise: each view keeps an anchor, around which its noise is resampled at every step, and which is replaced
where the new noise agrees better with the views refined before (Portrait Diffusion's MV-NRS, eq. 12 and 15 to 17)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

Gradient = Sequence[Tensor]  # of a loss, for every parameter of the head


class Candidate(NamedTuple):
    """A noise, the denoiser's prediction from it, and the gradient that this target would have on the head."""

    noise: Tensor
    target: Tensor
    gradient: Gradient


def resample_noise(anchor: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Sample noise of unit variance around the anchor (eq. 12)."""
    if not 0 <= sigma <= 1:
        raise ValueError(f"sigma must be between 0 and 1, got {sigma}")
    noise = torch.randn(anchor.shape, generator=generator, device=generator.device).to(anchor)
    return (1 - sigma**2) ** 0.5 * anchor + sigma * noise


def agreement(a: Gradient, b: Gradient) -> float:
    """Return the cosine between two gradients (eq. 16), or 0 if one of them is zero."""
    products = [torch.stack([(x * y).sum(), (x * x).sum(), (y * y).sum()]) for x, y in zip(a, b, strict=True)]
    dot, norm_a, norm_b = torch.stack(products).double().sum(0).tolist()  # squared norms
    return dot / (norm_a * norm_b) ** 0.5 if norm_a > 0 and norm_b > 0 else 0.0


def select_anchor(candidate: Candidate, anchor: Candidate, driving: Gradient) -> Candidate:
    """Return whichever agrees better with the driving view's gradient; on a tie the anchor (eq. 17)."""
    return candidate if agreement(candidate.gradient, driving) > agreement(anchor.gradient, driving) else anchor
