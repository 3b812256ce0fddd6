"""Samplers: functions from noise to an image over `denoise(x, t) -> clean x`.

Each takes the noise levels to visit and, if it is stochastic, a function that draws noise; `on_step(i, x0)` is called
after every step, for progress and previews.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from portrait360.diffusion.prediction import Denoiser
from portrait360.diffusion.schedule import Levels

Noise = Callable[[], Tensor]  # standard normal, shaped like x
OnStep = Callable[[int, Tensor], None]


def ddim(
    denoise: Denoiser,
    x: Tensor,
    levels: Levels,
    noise: Noise,
    eta: float = 0.0,
    on_step: OnStep | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12, 16); eta 0 is deterministic, 1 is DDPM's variance."""
    for i in range(len(levels)):
        alpha, sigma = float(levels.alpha[i]), float(levels.sigma[i])
        alpha_bar_next = float(levels.alpha_bar_next[i])
        x0 = denoise(x, _timestep(levels, i, x))
        eps = (x - alpha * x0) / sigma
        variance = (1 - alpha_bar_next) * float(levels.precision[i])
        std = eta * math.sqrt(max(variance * (1 - float(levels.alpha_bar[i]) / alpha_bar_next), 0.0))  # eq. 16
        x = math.sqrt(alpha_bar_next) * x0 + math.sqrt(max(1 - alpha_bar_next - std**2, 0.0)) * eps  # eq. 12
        if std > 0:
            x = x + std * noise()
        if on_step is not None:
            on_step(i, x0)
    return x


def dpm_solver_2m(denoise: Denoiser, x: Tensor, levels: Levels, on_step: OnStep | None = None) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022, algorithm 2): second order, one evaluation per step, deterministic."""
    previous: tuple[Tensor, float] | None = None  # x0 and length in log-SNR of the previous step
    for i in range(len(levels)):
        x0 = denoise(x, _timestep(levels, i, x))
        alpha_next, sigma_next = _next_alpha_sigma(levels, i)
        if sigma_next == 0:
            x = x0
        else:
            log_snr, log_snr_next = _log_snr(levels, i), math.log(alpha_next / sigma_next)
            h = log_snr_next - log_snr
            x0_mid = x0
            if previous is not None:
                x0_last, h_last = previous
                x0_mid = x0 + (h / (2 * h_last)) * (x0 - x0_last)  # extrapolated to the middle of the step
            x = sigma_next / float(levels.sigma[i]) * x - alpha_next * math.expm1(-h) * x0_mid
            previous = (x0, h)
        if on_step is not None:
            on_step(i, x0)
    return x


def flow_euler(denoise: Denoiser, x: Tensor, steps: int, on_step: OnStep | None = None) -> Tensor:
    """Euler steps of flow matching (Lipman et al. 2023): x = (1 - t) x0 + t noise, even steps of t from 1 to 0."""
    for i in range(steps):
        t, t_next = 1 - i / steps, 1 - (i + 1) / steps
        x0 = denoise(x, torch.tensor([t], device=x.device))
        x = x0 + (t_next / t) * (x - x0)
        if on_step is not None:
            on_step(i, x0)
    return x


def _timestep(levels: Levels, i: int, x: Tensor) -> Tensor:
    return levels.t[i : i + 1].to(x.device)


def _next_alpha_sigma(levels: Levels, i: int) -> tuple[float, float]:
    """Return alpha and sigma at the end of step i."""
    alpha_bar = float(levels.alpha_bar_next[i])
    return math.sqrt(alpha_bar), math.sqrt(max(1 - alpha_bar, 0.0))


def _log_snr(levels: Levels, i: int) -> float:
    return math.log(float(levels.alpha[i]) / float(levels.sigma[i]))
