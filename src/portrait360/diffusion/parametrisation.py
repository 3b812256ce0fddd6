"""What a network may predict, and how to read the clean picture from it. x = alpha x0 + sigma eps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from portrait360.diffusion.schedule import NoiseSchedule

Prediction = Literal["eps", "x0", "v"]
Denoiser = Callable[[Tensor, Tensor], Tensor]  # (noisy x (b ...), t (1)) -> clean x


def to_denoised(kind: Prediction, prediction: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    if kind == "eps":
        return (x - sigma * prediction) / alpha
    if kind == "v":  # v = alpha eps - sigma x0
        return (alpha * x - sigma * prediction) / (alpha**2 + sigma**2)
    return prediction


def target(kind: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What the network is trained to predict."""
    if kind == "eps":
        return eps
    if kind == "v":
        return alpha * eps - sigma * x0
    return x0


def denoiser(predict: Denoiser, kind: Prediction, schedule: NoiseSchedule) -> Denoiser:
    """A network's prediction as a denoiser."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (value.view(-1, *[1] * (x.ndim - 1)) for value in schedule.at(t))
        return to_denoised(kind, predict(x, t), x, alpha, sigma)

    return denoise
