"""Multi-view denoising in windows that overlap around the whole orbit, so that no seam remains; noise per view."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from portrait360.diffusion.guidance import Pass
from portrait360.diffusion.prediction import Denoiser

Prepare = Callable[[Tensor, Tensor], Pass]  # (all views, t) -> a pass that predicts any window of them at that level


@dataclass(frozen=True)
class Window:
    views: Tensor  # (w) indices in the orbit, in order, which wrap around at the end
    weights: Tensor  # (w) over all windows the weights of a view sum to one


def circular_windows(views: int, size: int, overlap: int = 0) -> list[Window]:
    """Cover an orbit with windows of `size` neighbours, of which consecutive windows share at least `overlap`.

    The weight of a view decreases towards a window's edge, where it has neighbours on one side only.
    """
    if views < 1 or size < 1 or not 0 <= overlap < size:
        raise ValueError(f"cannot cover {views} views by windows of {size} overlapping by {overlap}")
    if views <= size:
        return [Window(torch.arange(views), torch.ones(views))]
    count = math.ceil(views / (size - overlap))
    starts = [i * views // count for i in range(count)]
    ramp = torch.minimum(torch.arange(1, size + 1), torch.arange(size, 0, -1)).double()
    indices = [(torch.arange(size) + start) % views for start in starts]
    total = torch.zeros(views, dtype=torch.float64)
    for index in indices:
        total.index_add_(0, index, ramp)
    return [Window(index, (ramp / total[index]).float()) for index in indices]


def predict_orbit(prepare: Prepare, windows: Sequence[Window]) -> Denoiser:
    """Return a function that predicts all views (v ...) by averaging the predictions for windows of them.

    The weighted mean of the predictions corresponds to the weighted mean of the clean images, because all windows
    share the same x.
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        predict_window = prepare(x, t)
        out = torch.zeros_like(x)
        for window in windows:
            views = window.views.to(x.device)
            weights = window.weights.to(x).view(-1, *[1] * (x.ndim - 1))
            out.index_add_(0, views, weights * predict_window(x[views], views).to(x.dtype))
        return out

    return predict


def view_generators(seed: int, views: int) -> list[Generator]:
    """Return an independent CPU generator for each view: its noise does not depend on device, batch or window."""
    states = (
        np.random.SeedSequence(seed, spawn_key=(view,)).generate_state(1, np.uint64)[0] for view in range(views)
    )
    return [Generator().manual_seed(int(state)) for state in states]


@dataclass(frozen=True)
class ViewNoise:
    """A source of standard normal noise for all views, each from its own generator."""

    generators: Sequence[Generator]
    shape: tuple[int, ...]  # of one view
    device: torch.device | str = "cpu"

    def __call__(self) -> Tensor:
        draws = [torch.randn(self.shape, generator=generator) for generator in self.generators]
        return torch.stack(draws).to(self.device)
