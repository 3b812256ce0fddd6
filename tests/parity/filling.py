"""Random weights in every layer: what a fresh network leaves at zero would otherwise hide what comes before it."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def fill(network: Network, seed: int = 0) -> Network:
    """Seeded random weights everywhere, zero-initialised layers too, of a size that keeps activations near one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(parameter.round() + 0.1 * noise)  # norms' weights start at one, biases near zero
    return network
