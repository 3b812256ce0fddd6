"""The laws of the noise schedule, of the levels that samplers visit, and of what a network may predict."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.diffusion.prediction import make_denoiser, to_denoised, training_target
from portrait360.diffusion.schedule import ddim_levels, sqrt_linear_schedule

EXACT = sqrt_linear_schedule(dtype=torch.float64)
SINGLE = sqrt_linear_schedule()
HALF = sqrt_linear_schedule(dtype=torch.float16)
kinds = st.sampled_from(["eps", "x0", "v"])
seeds = st.integers(0, 2**31)


def test_roots_of_the_betas_are_evenly_spaced():
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), EXACT.alpha_bar])
    roots = (1 - alpha_bar[1:] / alpha_bar[:-1]).sqrt()
    torch.testing.assert_close(roots.diff(), torch.full((999,), (0.012**0.5 - 0.00085**0.5) / 999).double())
    assert float(roots[0] ** 2) == pytest.approx(0.00085) and float(roots[-1] ** 2) == pytest.approx(0.012)


def test_variance_is_preserved():
    one = torch.ones(1000, dtype=torch.float64)
    torch.testing.assert_close(EXACT.alpha**2 + EXACT.sigma**2, one)
    torch.testing.assert_close(EXACT.forward_alpha**2 + EXACT.forward_sigma**2, one)
    torch.testing.assert_close(EXACT.precision * EXACT.sigma**2, one)
    assert (EXACT.alpha_bar.diff() < 0).all()


def test_half_tables_are_rounded_each_on_its_own():
    """What fp16 arithmetic gives, by another library's fp16: rounded alpha_bar first, the rest in fp16 from it."""
    alpha_bar = EXACT.alpha_bar.numpy().astype(np.float16)
    variance = np.float16(1) - alpha_bar
    expected = {
        "alpha_bar": alpha_bar,
        "sigma": np.sqrt(variance),
        "precision": np.float16(1) / variance,
        "forward_alpha": np.sqrt(EXACT.alpha_bar.numpy()).astype(np.float16),
        "forward_sigma": np.sqrt(1 - EXACT.alpha_bar.numpy()).astype(np.float16),
    }
    for name, table in expected.items():
        assert table.dtype == np.float16
        np.testing.assert_array_equal(getattr(HALF, name).numpy(), table.astype(np.float64), err_msg=name)


def test_half_tables_differ_from_single_where_it_matters():
    """Early 1 - alpha_bar loses whole percents to fp16; a sampler that read the fp32 tables would show it."""
    error = (HALF.sigma / SINGLE.sigma - 1).abs()
    assert error[:10].max() > 0.01 and error[500:].max() < 1e-3


@settings(deadline=None)
@given(seeds, st.integers(0, 999))
def test_noising_is_linear_and_keeps_unit_variance(seed, t):
    x, noise = torch.randn(2, 20_000, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noisy = EXACT.add_noise(x, torch.tensor([t]), noise)
    assert float(noisy.var()) == pytest.approx(1, abs=5 * (2 / 20_000) ** 0.5)  # 5 standard errors
    still = EXACT.add_noise(x, torch.tensor([t]), torch.zeros_like(noise))
    torch.testing.assert_close(still, EXACT.alpha[t] * x)
    torch.testing.assert_close(noisy - still, EXACT.sigma[t] * noise)


def test_each_row_has_its_own_timestep():
    x, noise = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([981, 1, 500])
    rows = [SINGLE.add_noise(x[i : i + 1], t[i : i + 1], noise[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(SINGLE.add_noise(x, t, noise), torch.cat(rows), rtol=0, atol=0)
    alpha, sigma = SINGLE.alpha_sigma(t)
    torch.testing.assert_close(torch.stack([alpha, sigma]).double(), torch.stack([SINGLE.alpha, SINGLE.sigma])[:, t])


def test_fifty_levels_are_the_published_ones():
    levels = ddim_levels(SINGLE, 50)
    assert levels.t.tolist() == list(range(981, 0, -20))
    assert levels.alpha_bar_next[-1] == SINGLE.alpha_bar[0]  # not quite clean


@settings(deadline=None)
@given(st.integers(1, 999))
def test_levels_chain_from_noise_towards_the_picture(steps):
    levels = ddim_levels(EXACT, steps)
    assert len(levels) == steps
    assert (levels.t.diff() < 0).all() and levels.t[-1] == 1
    assert (
        levels.t[0] > 1000 * (steps - 1) / steps - 1e-9
    )  # the first step's share of the noise, and no more, is skipped
    assert (levels.alpha_bar_next[:-1] == levels.alpha_bar[1:]).all()
    assert (levels.alpha_bar_next > levels.alpha_bar).all()
    for name in ("alpha", "sigma", "precision", "alpha_bar"):
        assert (getattr(levels, name) == getattr(EXACT, name)[levels.t]).all()


@pytest.mark.parametrize("steps", [0, -1, 1000, 1001])
def test_a_wrong_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match="between 1 and 999"):
        ddim_levels(SINGLE, steps)


@settings(deadline=None)
@given(kinds, st.floats(0.05, 1), st.floats(0, 1), seeds)
def test_reading_the_target_gives_the_picture(kind, alpha, sigma, seed):
    """Also where alpha^2 + sigma^2 is not one, as with fp16 tables."""
    x0, eps = torch.randn(2, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a, s = torch.tensor(alpha, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64)
    prediction = training_target(kind, x0, eps, a, s)
    torch.testing.assert_close(to_denoised(kind, prediction, a * x0 + s * eps, a, s), x0, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(kinds, seeds)
def test_a_network_that_predicts_its_target_denoises(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 3, 2, 4, 4, generator=generator)
    t = torch.randint(0, 1000, (3,), generator=generator)
    alpha, sigma = (value.view(3, 1, 1, 1) for value in SINGLE.alpha_sigma(t))
    denoise = make_denoiser(lambda x, t: training_target(kind, x0, eps, alpha, sigma), kind, SINGLE)
    torch.testing.assert_close(denoise(SINGLE.add_noise(x0, t, eps), t), x0, rtol=0, atol=1e-4)  # eps / alpha < 15
