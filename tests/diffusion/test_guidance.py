"""The laws of guidance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.diffusion.guidance import guide

X, VIEWS = (
    torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    torch.tensor([3, 0, 1, 2]),
)
scales = st.floats(-10, 10)


class Counted:
    """A pass that reads both of its arguments, and counts how often it ran."""

    def __init__(self, slope: float) -> None:
        self.slope, self.runs = slope, 0

    def __call__(self, x, views):
        self.runs += 1
        return self.slope * x + views[:, None]


@settings(deadline=None)
@given(scales, st.floats(-3, 3), st.floats(-3, 3))
def test_guidance_leads_on_the_line_through_both_passes(scale, conditional, unconditional):
    out = guide(Counted(conditional), Counted(unconditional), scale)(X, VIEWS)
    slope = (1 - scale) * unconditional + scale * conditional
    torch.testing.assert_close(out, slope * X + VIEWS[:, None], rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(scales)
def test_two_equal_passes_are_not_changed(scale):
    torch.testing.assert_close(guide(Counted(2), Counted(2), scale)(X, VIEWS), Counted(2)(X, VIEWS))


@settings(deadline=None)
@given(scales, st.floats(0, 1))
def test_guidance_is_affine_in_its_scale(scale, between):
    def at(scale):
        return guide(Counted(2), Counted(-1), scale)(X, VIEWS)

    torch.testing.assert_close(at(between * scale), between * at(scale) + (1 - between) * at(0.0))


@pytest.mark.parametrize(("scale", "runs"), [(1, (1, 0)), (1.0, (1, 0)), (0, (0, 1)), (3.0, (1, 1)), (-1.0, (1, 1))])
def test_only_passes_that_count_are_run(scale, runs):
    conditional, unconditional = Counted(2), Counted(-1)
    guide(conditional, unconditional, scale)(X, VIEWS)
    assert (conditional.runs, unconditional.runs) == runs
