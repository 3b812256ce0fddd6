"""Threads change how soon something is done, and nothing else."""

from __future__ import annotations

import threading
import time

import pytest

from portrait360.utils.parallel.threads import LIMIT, map_in_threads, run_beside, start_beside


@pytest.fixture(params=["1", "2"])
def threads(request, monkeypatch) -> int:
    monkeypatch.setenv(LIMIT, request.param)
    return int(request.param)


@pytest.mark.parametrize("lone_first", [True, False])
def test_results_come_in_the_order_of_their_items(threads, lone_first):
    def wait(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    assert list(map_in_threads(wait, range(12), lone_first=lone_first)) == list(range(12))
    assert list(map_in_threads(wait, [], lone_first=lone_first)) == []


def test_items_are_made_by_the_thread_that_asks_for_results(threads):
    """Kernels that use all cores by themselves must not run twice at once, so they may make items."""
    makers = set()

    def items():
        for number in range(8):
            makers.add(threading.get_ident())
            yield number

    assert sum(map_in_threads(abs, items(), lone_first=False)) == 28
    assert makers == {threading.get_ident()}


def test_two_functions_return_what_they_return_alone(threads):
    assert run_beside(lambda: 1, lambda: "two") == (1, "two")
    for functions in ((lambda: 1 / 0, lambda: 2), (lambda: 1, lambda: 2 / 0)):
        with pytest.raises(ZeroDivisionError):
            run_beside(*functions)


def test_what_starts_beside_other_work_runs_once_and_says_what_went_wrong(threads):
    calls = []
    with start_beside(lambda: calls.append(None) or len(calls)) as find:
        assert find() == find() == 1
    with pytest.raises(ZeroDivisionError), start_beside(lambda: 1 / 0) as find:
        find()
