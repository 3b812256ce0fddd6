"""The laws of windows on an orbit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait360.diffusion.multiview import circular_windows, predict_orbit


@st.composite
def coverings(draw):
    size = draw(st.integers(1, 24))
    return draw(st.integers(1, 72)), size, draw(st.integers(0, size - 1))


@settings(deadline=None)
@given(coverings())
def test_weights_of_every_view_sum_to_one(covering):
    views = covering[0]
    total = torch.zeros(views)
    for window in circular_windows(*covering):
        assert (window.weights > 0).all()
        total.index_add_(0, window.views, window.weights)
    torch.testing.assert_close(total, torch.ones(views))


@settings(deadline=None)
@given(coverings())
def test_windows_are_neighbours_and_overlap_as_asked(covering):
    views, size, overlap = covering
    windows = circular_windows(*covering)
    for window in windows:
        assert len(window.views) == len(window.weights) == min(size, views)
        assert len(set(window.views.tolist())) == len(window.views)
        assert (window.views.diff() % views == 1).all()
    for window, following in zip(windows, [*windows[1:], *windows[:1]], strict=True):  # the last meets the first
        shared = set(window.views.tolist()) & set(following.views.tolist())
        assert len(shared) >= min(overlap, views)


@settings(deadline=None)
@given(coverings())
def test_windows_are_spread_evenly(covering):
    starts = [int(window.views[0]) for window in circular_windows(*covering)]
    steps = [b - a for a, b in zip(starts, [*starts[1:], starts[0] + covering[0]], strict=True)]
    assert max(steps) - min(steps) <= 1


@settings(deadline=None)
@given(coverings())
def test_no_more_windows_than_needed(covering):
    views, size, overlap = covering
    count = len(circular_windows(*covering))
    assert count == 1 if views <= size else (count - 1) * (size - overlap) < views


@settings(deadline=None)
@given(coverings())
def test_a_view_weighs_less_towards_the_edge(covering):
    """In the middle of its window it weighs no less there than it does in any other window."""
    views, size, _ = covering
    windows = circular_windows(*covering)
    heaviest = torch.zeros(views)
    for window in windows:
        heaviest[window.views] = torch.maximum(heaviest[window.views], window.weights)
    for window in windows:
        middle = len(window.views) // 2
        assert window.weights[middle] == heaviest[window.views[middle]]


@pytest.mark.parametrize("views", [1, 5, 8])
def test_a_window_that_holds_all_views_is_the_only_one(views):
    (window,) = circular_windows(views, 8, 4)
    assert window.views.tolist() == list(range(views)) and (window.weights == 1).all()


@pytest.mark.parametrize("bad", [(0, 8, 0), (8, 0, 0), (32, 8, 8), (32, 8, -1), (-1, 8, 2)])
def test_an_impossible_covering_is_refused(bad):
    with pytest.raises(ValueError, match="cannot cover"):
        circular_windows(*bad)


@settings(deadline=None)
@given(coverings(), st.integers(0, 1000))
def test_a_prediction_of_single_views_is_not_changed(covering, seed):
    """A denoiser that looks at each view alone, a constant one among them, leaves no seam."""
    x, gain, constant = torch.randn(3, covering[0], 2, 3, generator=torch.Generator().manual_seed(seed))
    predict = predict_orbit(
        lambda _x, t: lambda x, views: gain[views] * x + t * constant[views], circular_windows(*covering)
    )
    torch.testing.assert_close(predict(x, torch.tensor([3.0])), gain * x + 3 * constant)
    flat = predict_orbit(lambda _x, _t: lambda x, _views: torch.ones_like(x), circular_windows(*covering))
    torch.testing.assert_close(flat(x, torch.tensor([3.0])), torch.ones_like(x))


def prepare_mixing(_x, _t):
    """Each view is predicted from its neighbours and its place in the window, not from its place in the orbit."""

    def predict(x, _views):
        place = torch.arange(len(x)).view(-1, 1)
        return x.cumsum(0).tanh() + 0.3 * place * x.mean(0)

    return predict


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(1, 6), st.integers(0, 4), st.integers(0, 1000))
def test_turning_the_orbit_turns_the_prediction(count, stride, overlap, seed):
    """Windows that tile the circle evenly have no first one."""
    views, size = count * stride, stride + min(overlap, stride * (count - 1) - 1)
    windows = circular_windows(views, size, size - stride)
    predict = predict_orbit(prepare_mixing, windows)
    x, t = torch.randn(views, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), torch.zeros(1)
    assert len(windows) == count
    for turns in range(count):
        turned = predict(x.roll(turns * stride, 0), t)
        torch.testing.assert_close(turned, predict(x, t).roll(turns * stride, 0), rtol=1e-6, atol=1e-6)


def test_overlap_softens_the_seam():
    """One window is off by a constant: with half of it shared, the jump between neighbours is a fifth."""

    def jump(overlap: int) -> float:
        def prepare(_x, _t):
            offsets = iter([1.0] + [0.0] * 32)
            return lambda x, _views: torch.full_like(x, next(offsets))

        out = predict_orbit(prepare, circular_windows(32, 8, overlap))(torch.zeros(32, 1), torch.zeros(1))
        return float((out - out.roll(1, 0)).abs().max())

    assert jump(0) == 1 and jump(4) == pytest.approx(0.2)


def test_the_level_is_prepared_once_for_all_windows():
    calls = []

    def prepare(x, t):
        calls.append((len(x), float(t)))
        return lambda x, _views: x

    predict_orbit(prepare, circular_windows(32, 8, 4))(torch.zeros(32, 1), torch.tensor([7.0]))
    assert calls == [(32, 7.0)]
