"""One random generator for each view: a view's noise does not depend on how many others there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor


def view_generators(seed: int, views: int) -> list[Generator]:
    """Independent CPU generators: the same numbers whatever the device, batch or window."""
    states = (
        np.random.SeedSequence(seed, spawn_key=(view,)).generate_state(1, np.uint64)[0] for view in range(views)
    )
    return [Generator().manual_seed(int(state)) for state in states]


@dataclass(frozen=True)
class ViewNoise:
    """Draws standard normal noise for all views, each from its own generator."""

    generators: Sequence[Generator]
    shape: tuple[int, ...]  # of one view
    device: torch.device | str = "cpu"

    def __call__(self) -> Tensor:
        draws = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(draws).to(self.device)
