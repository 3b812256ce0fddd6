"""Noise levels of flow matching, as they are drawn while a network is trained."""

from __future__ import annotations

import torch
from torch import Tensor

FROM_NOISE = 0.75  # share of samples whose noise level is 1: the first step, which decides most of the head
LEVEL_SPREAD = 1.2  # standard deviation of the other samples' noise level, before the logistic
MAX_LEVEL_WEIGHT = 8.0  # of a sample's loss, which is divided by the square of its level


def draw_noise_levels(count: int, generator: torch.Generator) -> Tensor:
    """Draw noise levels t (count,) in (0, 1]."""
    device = generator.device
    t = torch.sigmoid(LEVEL_SPREAD * torch.randn(count, generator=generator, device=device)).clamp(min=0.02)
    return torch.where(torch.rand(count, generator=generator, device=device) < FROM_NOISE, torch.ones_like(t), t)
