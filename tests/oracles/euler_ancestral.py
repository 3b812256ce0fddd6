"""Ancestral Euler steps: DDIM in other variables, written from another paper."""

from __future__ import annotations

import math

from torch import Tensor

from portrait360.diffusion.prediction import Denoiser
from portrait360.diffusion.samplers import Noise
from portrait360.diffusion.schedule import Levels


def euler_ancestral(denoise: Denoiser, x: Tensor, levels: Levels, noise: Noise, eta: float = 1.0) -> Tensor:
    """Ancestral Euler steps (k-diffusion's `euler_ancestral`) in y = x / alpha with noise level s = sigma / alpha."""
    for i in range(len(levels)):
        alpha, s = float(levels.alpha[i]), float(levels.sigma[i]) / float(levels.alpha[i])
        alpha_bar_next = float(levels.alpha_bar_next[i])
        alpha_next, sigma_next = math.sqrt(alpha_bar_next), math.sqrt(max(1 - alpha_bar_next, 0.0))
        s_next = sigma_next / alpha_next
        x0 = denoise(x, levels.t[i : i + 1])
        s_up = min(s_next, eta * math.sqrt(max(s_next**2 * (s**2 - s_next**2) / s**2, 0.0)))
        s_down = math.sqrt(s_next**2 - s_up**2)
        y = x / alpha
        y = y + (y - x0) / s * (s_down - s)
        x = alpha_next * (y + s_up * noise() if s_up > 0 else y)
    return x
