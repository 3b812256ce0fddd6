"""Samplers: functions from noise to a picture over `denoise(x, t) -> clean x`.

Each takes the levels to visit and, where it needs fresh noise, a function that gives it; `on_step(i, x0)` hears of
every step, for progress and previews.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from portrait360.diffusion.parametrisation import Denoiser
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
        following = float(levels.alpha_bar_next[i])
        x0 = denoise(x, _timestep(levels, i, x))
        eps = (x - alpha * x0) / sigma
        variance = (1 - following) * float(levels.precision[i])
        fresh = eta * math.sqrt(max(variance * (1 - float(levels.alpha_bar[i]) / following), 0.0))  # eq. 16
        x = math.sqrt(following) * x0 + math.sqrt(max(1 - following - fresh**2, 0.0)) * eps  # eq. 12
        if fresh > 0:
            x = x + fresh * noise()
        if on_step is not None:
            on_step(i, x0)
    return x


def dpm_solver_2m(denoise: Denoiser, x: Tensor, levels: Levels, on_step: OnStep | None = None) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022, algorithm 2): second order, one evaluation a step, deterministic."""
    previous: tuple[Tensor, float] | None = None  # the last x0 and the last step's length in log-SNR
    for i in range(len(levels)):
        x0 = denoise(x, _timestep(levels, i, x))
        alpha_next, sigma_next = _next(levels, i)
        if sigma_next == 0:
            x = x0
        else:
            here, there = _log_snr(levels, i), math.log(alpha_next / sigma_next)
            h = there - here
            better = x0
            if previous is not None:
                older, h_last = previous
                better = x0 + (h / (2 * h_last)) * (x0 - older)  # extrapolated to the middle of the step
            x = sigma_next / float(levels.sigma[i]) * x - alpha_next * math.expm1(-h) * better
            previous = (x0, h)
        if on_step is not None:
            on_step(i, x0)
    return x


def euler_ancestral(
    denoise: Denoiser,
    x: Tensor,
    levels: Levels,
    noise: Noise,
    eta: float = 1.0,
    on_step: OnStep | None = None,
) -> Tensor:
    """Euler steps with fresh noise (k-diffusion's `euler_ancestral`), taken in y = x / alpha, where noise is s."""
    for i in range(len(levels)):
        alpha, s = float(levels.alpha[i]), float(levels.sigma[i]) / float(levels.alpha[i])
        alpha_next, sigma_next = _next(levels, i)
        s_next = sigma_next / alpha_next
        x0 = denoise(x, _timestep(levels, i, x))
        s_up = min(s_next, eta * math.sqrt(max(s_next**2 * (s**2 - s_next**2) / s**2, 0.0)))
        s_down = math.sqrt(s_next**2 - s_up**2)
        y = x / alpha
        y = y + (y - x0) / s * (s_down - s)
        x = alpha_next * (y + s_up * noise() if s_up > 0 else y)
        if on_step is not None:
            on_step(i, x0)
    return x


def flow(denoise: Denoiser, x: Tensor, steps: int, on_step: OnStep | None = None) -> Tensor:
    """Along straight paths (Lipman et al. 2023): x = (1 - t) x0 + t noise for t in [0, 1], even steps from 1 to 0."""
    for i in range(steps):
        now, after = 1 - i / steps, 1 - (i + 1) / steps
        x0 = denoise(x, torch.tensor([now], device=x.device))
        x = x0 + (after / now) * (x - x0)
        if on_step is not None:
            on_step(i, x0)
    return x


def _timestep(levels: Levels, i: int, x: Tensor) -> Tensor:
    return levels.t[i : i + 1].to(x.device)


def _next(levels: Levels, i: int) -> tuple[float, float]:
    following = float(levels.alpha_bar_next[i])
    return math.sqrt(following), math.sqrt(max(1 - following, 0.0))


def _log_snr(levels: Levels, i: int) -> float:
    return math.log(float(levels.alpha[i]) / float(levels.sigma[i]))
