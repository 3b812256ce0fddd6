"""The laws of the samplers, on data for which the perfect denoiser is known: a Gaussian.

For x0 ~ N(mu, S) the noisy x is N(alpha mu, C) with C = alpha^2 S + sigma^2, and the posterior mean is affine in x.
A sampler is then affine in its start and its noise, so that the mean and covariance of what it makes follow exactly
from its response to unit vectors: no sampling error hides an error of the sampler's.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.diffusion.samplers import ddim, dpm_solver_2m
from portrait360.diffusion.schedule import Levels, ddim_levels, sqrt_linear_schedule
from tests.oracles.euler_ancestral import euler_ancestral

MU = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
S = torch.tensor([[2.0, 0.9, -0.3], [0.9, 1.0, 0.2], [-0.3, 0.2, 0.25]], dtype=torch.float64)
EYE = torch.eye(3, dtype=torch.float64)


def levels_between(start: float, end: float, steps: int, clean: bool = True) -> Levels:
    """Evenly spaced in log(alpha / sigma), which also stands in for the timestep."""
    points = torch.linspace(start, end, steps + 1, dtype=torch.float64)
    alpha_bar = torch.sigmoid(2 * points)
    following = alpha_bar[1:].clone()
    if clean:
        following[-1] = 1
    here, variance = alpha_bar[:-1], torch.sigmoid(-2 * points[:-1])
    return Levels(points[:-1], here.sqrt(), variance.sqrt(), 1 / variance, here, following)


def start_at(levels: Levels, t: float) -> Levels:
    """The levels at or below timestep t, for a start that is already partly denoised."""
    return Levels(**{name: values[levels.t <= t] for name, values in vars(levels).items()})


def gaussian(x, t):
    """E[x0 | x] = mu + alpha S C^-1 (x - alpha mu)."""
    alpha, sigma = torch.sigmoid(2 * t).sqrt(), torch.sigmoid(-2 * t).sqrt()
    gain = alpha * S @ torch.linalg.inv(alpha**2 * S + sigma**2 * EYE)
    return MU + (x - alpha * MU) @ gain.T


def no_noise():
    raise AssertionError("a deterministic sampler asked for noise")


def sample(name, x, levels, noise=no_noise, denoise=gaussian, **options):
    """Every sampler under one signature."""
    if name == "dpm_solver_2m":
        return dpm_solver_2m(denoise, x, levels, **options)
    return ddim(denoise, x, levels, noise, eta=float(name.removeprefix("ddim ")), **options)


ALL = ["ddim 0", "ddim 0.5", "ddim 1", "dpm_solver_2m"]


def moments(name: str, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact mean and covariance of what a sampler makes of pure noise."""
    levels = levels_between(-9, 9, steps)
    rows = 1 + 3 * (steps + 1)  # nothing; a unit vector of the start; a unit vector of each step's noise
    x = torch.zeros(rows, 3, dtype=torch.float64)
    x[1:4] = EYE
    draws = iter(range(4, rows, 3))

    def unit_noise():
        noise, first = torch.zeros_like(x), next(draws)
        noise[first : first + 3] = EYE
        return noise

    made = sample(name, x, levels, unit_noise)
    response = made[1:] - made[0]
    return made[0], response.T @ response


@pytest.mark.parametrize("name", ALL)
def test_pure_noise_becomes_the_data(name):
    """Up to the step's length h to the sampler's order; extrapolating to no step at all removes that order."""
    order = 2 if name == "dpm_solver_2m" else 1
    coarse, fine = moments(name, 200), moments(name, 400)
    h = 18 / 400
    forgotten = 2 * math.exp(-9)  # |alpha mu| of the first level, which pure noise lacks
    for at_coarse, at_fine, exact in zip(coarse, fine, (MU, S), strict=True):
        extrapolated = (2**order * at_fine - at_coarse) / (2**order - 1)
        assert (at_fine - exact).abs().max() < 2.5 * h**order + forgotten
        assert (extrapolated - exact).abs().max() < 4 * h ** (order + 1) + forgotten


@pytest.mark.parametrize("name", ALL)
def test_samples_have_the_moments_of_the_map(name):
    """Fresh noise at every step, over many samples: five standard errors of mean and covariance."""
    n, generator = 20_000, torch.Generator().manual_seed(0)

    def noise():
        return torch.randn(n, 3, generator=generator, dtype=torch.float64)

    made = sample(name, noise(), levels_between(-9, 9, 60), noise)
    mean, covariance = moments(name, 60)
    spread = covariance.diagonal()
    assert ((made.mean(0) - mean).abs() < 5 * (spread / n).sqrt()).all()
    standard_error = ((spread[:, None] * spread + covariance**2) / n).sqrt()
    assert ((made.T.cov() - covariance).abs() < 5 * standard_error).all()


def flow(x, start: float, end: float):
    """The probability flow's exact end: x - alpha mu is stretched along S's axes as its covariance C is."""
    values, axes = torch.linalg.eigh(S)

    def marginal(log_snr: float):
        alpha_bar = 1 / (1 + math.exp(-2 * log_snr))
        return math.sqrt(alpha_bar) * MU, (alpha_bar * values + 1 - alpha_bar).sqrt()

    (mean, scale), (mean_end, scale_end) = marginal(start), marginal(end)
    return mean_end + ((x - mean) @ axes * (scale_end / scale)) @ axes.T


def error_of(name: str, steps: int) -> float:
    x = torch.tensor([[0.3, -1.2, 0.8], [-2.0, 0.1, 1.0]], dtype=torch.float64)
    made = sample(name, x, levels_between(-3, 3, steps, clean=False))
    return float((made - flow(x, -3, 3)).abs().max())


@pytest.mark.parametrize(("name", "order"), [("ddim 0", 1), ("dpm_solver_2m", 2)])
def test_order_of_convergence(name, order):
    errors = [error_of(name, steps) for steps in (80, 160, 320)]
    ratios = [a / b for a, b in zip(errors, errors[1:], strict=False)]
    assert ratios == pytest.approx([2**order] * 2, rel=0.1)


def test_second_order_is_worth_it():
    assert error_of("dpm_solver_2m", 40) < 0.1 * error_of("ddim 0", 40)


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 12), st.integers(0, 1000), st.booleans())
def test_ddim_is_euler_ancestral(eta, steps, seed, clean):
    """The same map in other variables, noise for noise, though the two are written from different papers."""
    levels = levels_between(-4, 4, steps, clean)
    made = []
    for sampler in (ddim, euler_ancestral):
        generator = torch.Generator().manual_seed(seed)

        def noise(generator=generator):
            return torch.randn(2, 3, generator=generator, dtype=torch.float64)

        made.append(sampler(gaussian, noise(), levels, noise, eta=eta))
    torch.testing.assert_close(made[0], made[1], rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(st.sampled_from(ALL), st.floats(-6, 6), st.integers(1, 8), st.integers(0, 1000))
def test_a_single_point_is_returned_from_any_level(name, start, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    point, x = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)

    def noise():
        return torch.randn(4, 3, generator=generator, dtype=torch.float64)

    made = sample(name, x, levels_between(start, 7, steps), noise, denoise=lambda x, t: point)
    torch.testing.assert_close(made, point, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("begin", [1000, 500, 1])
def test_published_levels_end_as_noisy_as_timestep_0(name, begin):
    """alpha_0 of a point and sigma_0 of noise, whatever level the start belonged to."""
    schedule = sqrt_linear_schedule(dtype=torch.float64)
    levels = start_at(ddim_levels(schedule, 50), begin)
    generator = torch.Generator().manual_seed(1)
    point = torch.full((20_000, 1), 0.7, dtype=torch.float64)

    def noise():
        return torch.randn(point.shape, generator=generator, dtype=torch.float64)

    x = schedule.add_noise(point, levels.t[:1], noise())
    left = sample(name, x, levels, noise, denoise=lambda x, t: point) - schedule.alpha[0] * point
    assert float(left.std() / schedule.sigma[0]) == pytest.approx(1, abs=5 / math.sqrt(2 * len(point)))


@pytest.mark.parametrize(("name", "draws"), [("ddim 0.5", 9), ("ddim 1", 9)])
def test_noise_is_drawn_once_a_step_but_not_for_a_clean_end(name, draws):
    calls = []
    x = torch.zeros(1, 3, dtype=torch.float64)
    sample(name, x, levels_between(-4, 4, 10), lambda: calls.append(1) or torch.zeros_like(x))
    assert len(calls) == draws


@pytest.mark.parametrize("name", ALL)
def test_every_step_is_heard_of(name):
    """on_step hears of the denoiser's own outputs, in order."""
    heard, seen = [], []

    def denoise(x, t):
        seen.append(gaussian(x, t))
        return seen[-1]

    x = torch.ones(1, 3, dtype=torch.float64)
    options = {"denoise": denoise, "on_step": lambda i, x0: heard.append((i, x0))}
    sample(name, x, levels_between(-4, 4, 5), lambda: torch.ones_like(x), **options)
    assert [i for i, _ in heard] == list(range(5)) and len(seen) == 5
    assert all(a is b for (_, a), b in zip(heard, seen, strict=True))
