"""Prediction types of a network (eps, x0, v) and their conversion to the clean image; x = alpha x0 + sigma eps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from portrait360.diffusion.schedule import NoiseSchedule

Prediction = Literal["eps", "x0", "v"]
Denoiser = Callable[[Tensor, Tensor], Tensor]  # (noisy x (b ...), t (1)) -> clean x


def to_denoised(kind: Prediction, prediction: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Convert a prediction for the noisy x to the clean x0."""
    if kind == "eps":
        return (x - sigma * prediction) / alpha
    if kind == "v":  # v = alpha eps - sigma x0
        return (alpha * x - sigma * prediction) / (alpha**2 + sigma**2)
    return prediction


def training_target(kind: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the training target of the network."""
    if kind == "eps":
        return eps
    if kind == "v":
        return alpha * eps - sigma * x0
    return x0


def make_denoiser(predict: Denoiser, kind: Prediction, schedule: NoiseSchedule) -> Denoiser:
    """Turn a network's prediction function into a denoiser."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (value.view(-1, *[1] * (x.ndim - 1)) for value in schedule.alpha_sigma(t))
        return to_denoised(kind, predict(x, t), x, alpha, sigma)

    return denoise
