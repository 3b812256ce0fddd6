"""How much signal and noise there is at each timestep, and the levels that a sampler visits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """x_t = alpha_t x_0 + sigma_t eps for t = 0 .. T-1; all tables are (T), float64 values of what was stored.

    In exact arithmetic alpha_bar says it all. With fp16 tables each quantity was rounded on its own, so all that the
    published programs read are kept.
    """

    alpha_bar: Tensor
    forward_alpha: Tensor  # what noise is added with: roots of the unrounded alpha_bar and 1 - alpha_bar
    forward_sigma: Tensor
    sigma: Tensor  # what the samplers read: root of 1 - alpha_bar, and
    precision: Tensor  # reciprocal of 1 - alpha_bar, both from the rounded alpha_bar

    @property
    def alpha(self) -> Tensor:
        return self.alpha_bar.sqrt()

    @property
    def timesteps(self) -> int:
        return len(self.alpha_bar)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha, sigma at timesteps t, of t's shape, float32 on t's device."""
        index = t.long().cpu()
        return self.alpha[index].float().to(t.device), self.sigma[index].float().to(t.device)

    def add_noise(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x (b ...) and t (1 or b) -> the noisy x_t; at a high t this is the papers' 3D-aware start."""
        index = t.long().cpu()
        tables = (self.forward_alpha[index], self.forward_sigma[index])
        alpha, sigma = (table.view(-1, *[1] * (x.ndim - 1)).to(x) for table in tables)
        return alpha * x + sigma * noise


def sqrt_linear(
    start: float = 0.00085, end: float = 0.012, timesteps: int = 1000, dtype: torch.dtype = torch.float32
) -> NoiseSchedule:
    """Stable Diffusion's betas; dtype float16 gives the tables that DiffPortrait360 and F were sampled with."""
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    exact = (1 - betas).cumprod(0)
    alpha_bar = exact.to(dtype)
    variance = 1 - alpha_bar
    forward = exact.sqrt().to(dtype), (1 - exact).sqrt().to(dtype)
    return NoiseSchedule(*(table.double() for table in (alpha_bar, *forward, variance.sqrt(), variance.reciprocal())))


@dataclass(frozen=True)
class Levels:
    """The noise levels a sampler visits, noisiest first; each step goes from `t` to the next entry."""

    t: Tensor  # (n) timesteps
    alpha: Tensor  # (n)
    sigma: Tensor  # (n)
    precision: Tensor  # (n)
    alpha_bar: Tensor  # (n)
    alpha_bar_next: Tensor  # (n) where the step ends; 1 would be a clean picture

    def __len__(self) -> int:
        return len(self.t)

    def starting_at(self, t: float) -> Levels:
        """Only the levels at or below timestep t: for a start that is already partly denoised."""
        keep = self.t <= t
        names = ("t", "alpha", "sigma", "precision", "alpha_bar", "alpha_bar_next")
        return Levels(**{name: getattr(self, name)[keep] for name in names})


def ddim_levels(schedule: NoiseSchedule, steps: int) -> Levels:
    """The published spacing: 1, 1 + T/steps, ...; the last step ends at timestep 0, which is not quite clean.

    Where T / steps is no whole number each level is rounded down, so that the noisiest is still within a step of T.
    """
    if not 1 <= steps < schedule.timesteps:
        raise ValueError(f"steps must lie between 1 and {schedule.timesteps - 1}, got {steps}")
    t = torch.arange(steps) * schedule.timesteps // steps + 1
    following = torch.cat([schedule.alpha_bar[:1], schedule.alpha_bar[t[:-1]]])
    return Levels(
        t=t.flip(0),
        alpha=schedule.alpha[t].flip(0),
        sigma=schedule.sigma[t].flip(0),
        precision=schedule.precision[t].flip(0),
        alpha_bar=schedule.alpha_bar[t].flip(0),
        alpha_bar_next=following.flip(0),
    )
