"""The noise schedule: signal and noise at each timestep, and the levels that a sampler visits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """x_t = alpha_t x_0 + sigma_t eps for t = 0 .. T-1; all tables are (T), float64 copies of the stored values.

    In exact arithmetic alpha_bar determines the other tables. In fp16 each table is rounded separately, so every
    table that the published programs read is stored.
    """

    alpha_bar: Tensor
    forward_alpha: Tensor  # used to add noise: roots of the unrounded alpha_bar and 1 - alpha_bar
    forward_sigma: Tensor
    sigma: Tensor  # used by the samplers: root of 1 - alpha_bar, and
    precision: Tensor  # reciprocal of 1 - alpha_bar, both from the rounded alpha_bar

    @property
    def alpha(self) -> Tensor:
        return self.alpha_bar.sqrt()

    @property
    def timesteps(self) -> int:
        return len(self.alpha_bar)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma at timesteps t, in t's shape, float32 on t's device."""
        index = t.long().cpu()
        return self.alpha[index].float().to(t.device), self.sigma[index].float().to(t.device)

    def add_noise(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return the noisy x_t of x (b ...) at t (1 or b); at a high t this is the papers' 3D-aware start."""
        index = t.long().cpu()
        tables = (self.forward_alpha[index], self.forward_sigma[index])
        alpha, sigma = (table.view(-1, *[1] * (x.ndim - 1)).to(x) for table in tables)
        return alpha * x + sigma * noise


def sqrt_linear_schedule(
    start: float = 0.00085, end: float = 0.012, timesteps: int = 1000, dtype: torch.dtype = torch.float32
) -> NoiseSchedule:
    """Return Stable Diffusion's schedule; float16 yields the tables of DiffPortrait360 and its back view network."""
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    exact = (1 - betas).cumprod(0)
    alpha_bar = exact.to(dtype)
    variance = 1 - alpha_bar
    forward = exact.sqrt().to(dtype), (1 - exact).sqrt().to(dtype)
    return NoiseSchedule(*(table.double() for table in (alpha_bar, *forward, variance.sqrt(), variance.reciprocal())))


@dataclass(frozen=True)
class Levels:
    """The noise levels that a sampler visits, noisiest first; each step leads from `t` to the next entry."""

    t: Tensor  # (n) timesteps
    alpha: Tensor  # (n)
    sigma: Tensor  # (n)
    precision: Tensor  # (n)
    alpha_bar: Tensor  # (n)
    alpha_bar_next: Tensor  # (n) at the end of the step; 1 would be a clean image

    def __len__(self) -> int:
        return len(self.t)


def ddim_levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """Return the levels in the published spacing 1, 1 + T/steps, ...; the last step ends at timestep 0, which is not
    quite clean.

    If T / steps is not an integer, each level is rounded down, so that the noisiest is still within a step of T.
    """
    if not 1 <= steps < schedule.timesteps:
        raise ValueError(f"steps must lie between 1 and {schedule.timesteps - 1}, got {steps}")
    t = torch.arange(steps) * schedule.timesteps // steps + 1
    alpha_bar_next = torch.cat([schedule.alpha_bar[:1], schedule.alpha_bar[t[:-1]]])
    return Levels(
        t=t.flip(0),
        alpha=schedule.alpha[t].flip(0),
        sigma=schedule.sigma[t].flip(0),
        precision=schedule.precision[t].flip(0),
        alpha_bar=schedule.alpha_bar[t].flip(0),
        alpha_bar_next=alpha_bar_next.flip(0),
    )
