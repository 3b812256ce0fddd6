"""Views are denoised a window at a time; windows overlap and close the circle, so that no seam is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portrait360.diffusion.guidance import Pass
from portrait360.diffusion.parametrisation import Denoiser

Prepare = Callable[[Tensor, Tensor], Pass]  # (all views, t) -> how to predict any window of them at that level


@dataclass(frozen=True)
class Window:
    views: Tensor  # (w) places in the orbit, in order; runs past the end into the start
    weights: Tensor  # (w) over all windows the weights of a view sum to one


def circular_windows(views: int, size: int, overlap: int = 0) -> list[Window]:
    """Cover an orbit by windows of `size` neighbours, at least `overlap` shared by two that follow each other.

    A view weighs less towards a window's edge, where it has neighbours on one side only.
    """
    if views < 1 or size < 1 or not 0 <= overlap < size:
        raise ValueError(f"cannot cover {views} views by windows of {size} overlapping by {overlap}")
    if views <= size:
        return [Window(torch.arange(views), torch.ones(views))]
    count = math.ceil(views / (size - overlap))
    starts = [i * views // count for i in range(count)]
    ramp = torch.minimum(torch.arange(1, size + 1), torch.arange(size, 0, -1)).double()
    places = [(torch.arange(size) + start) % views for start in starts]
    total = torch.zeros(views, dtype=torch.float64)
    for place in places:
        total.index_add_(0, place, ramp)
    return [Window(place, (ramp / total[place]).float()) for place in places]


def over_orbit(prepare: Prepare, windows: Sequence[Window]) -> Denoiser:
    """A prediction for all views (v ...) from predictions for windows of them.

    A weighted mean of predictions is the prediction of the weighted mean of clean pictures: x is the same in all.
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        at_level = prepare(x, t)
        out = torch.zeros_like(x)
        for window in windows:
            views = window.views.to(x.device)
            weights = window.weights.to(x).view(-1, *[1] * (x.ndim - 1))
            out.index_add_(0, views, weights * at_level(x[views], views).to(x.dtype))
        return out

    return predict
