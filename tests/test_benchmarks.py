"""The benchmark compares like with like."""

import pytest
import torch

from benchmarks.denoise import WINDOW, Result, Size, Step, Work, as_published, count_work, make_step, measure, ours
from portrait360.models.controlnet import ControlConfig
from portrait360.models.cross_view_attention import CrossViewConfig
from portrait360.models.unet import UNetConfig
from portrait360.models.view_denoiser import ViewDenoiserConfig
from tests.parity.golden import relative_error

UNET = UNetConfig(width=32, mult=(1, 2), depth=1, attention=(True, True), heads=4, context_dim=24)
CONTROL = ControlConfig(hint_widths=(16, 32), hint_strides=(1, 2))
TINY = Size("tiny", ViewDenoiserConfig(UNET, CONTROL, CrossViewConfig(heads=4)), side=8, runs=1)


@torch.no_grad()
def step(views: int = WINDOW) -> Step:
    return make_step(TINY, views)


@torch.no_grad()
def test_windows_share_one_run_of_the_appearance_net():
    case = step(2 * WINDOW)
    theirs, expected = count_work(as_published, case)
    work, out = count_work(ours, case)
    assert relative_error(out, expected) < 1e-5
    assert (theirs.appearance, theirs.unet, theirs.control) == (32, 32, 32)
    assert (work.appearance, work.unet, work.control) == (2, 32, 16)
    assert theirs.flops > 1.5 * work.flops


def test_units_of_one_window_are_40_and_22():
    result = measure(step(), runs=1)
    assert [work.units for work in result.work.values()] == [40, 22]
    assert result.error < 1e-5


def test_ratios_are_those_of_runs_that_followed_each_other():
    assert Result({}, {"as published": [6.0, 9.0, 4.0], "ours": [2.0, 9.0, 2.0]}, 0).ratios == [1, 2, 3]


def test_outputs_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr("benchmarks.denoise.ours", lambda step: ours(step) * 1.001)
    with pytest.raises(SystemExit, match="differ"):
        measure(step(), runs=1)


@torch.no_grad()
def test_every_branch_matters_to_the_output():
    """Otherwise equal outputs would say nothing."""
    case = step()
    out = ours(case)
    for branch in (case.net.appearance, case.net.control):
        kept = {name: value.clone() for name, value in branch.state_dict().items()}
        for parameter in branch.parameters():
            parameter.mul_(-1)
        assert relative_error(ours(case), out) > 1e-2
        branch.load_state_dict(kept)


def test_control_counts_half():
    assert Work(appearance=2, unet=16, control=8).units == 22
