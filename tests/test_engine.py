"""Jobs side by side: each once, as they are needed, whoever is lost on the way."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from portrait360.engine import AHEAD, TRIES, Done, LostError, Processes, sure


def double(number: int) -> int:
    return 2 * number


def killed_now_and_then(number: int, folder: Path) -> int:
    """The first time 3 is asked for, and whenever 5 is."""
    with (folder / "asked").open("a") as file:
        file.write(f"{number}\n")
    if number == 5 or (number == 3 and not (folder / "once").exists()):
        (folder / "once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuses(number: int) -> int:
    raise ValueError(f"not {number}")


def test_every_job_once_and_none_before_it_is_needed():
    taken: list[int] = []

    def jobs():
        for number in range(40):
            taken.append(number)
            yield number

    got = {}
    for done in Processes(2).run(double, jobs()):
        assert len(taken) <= len(got) + 1 + 2 * AHEAD
        assert done.job not in got
        got[done.job] = done.result
    assert got == {number: 2 * number for number in range(40)}
    assert list(Processes(1).run(double, [])) == []


def test_one_worker_gives_results_in_the_order_of_the_jobs():
    given = []
    for done in Processes(1).run(double, range(60)):
        time.sleep(0.02)  # while the worker goes on, so that several are there at once
        given.append(done.job)
    assert given == list(range(60))


def test_a_lost_worker_takes_nothing_with_it_but_what_ends_every_worker(tmp_path):
    found = list(Processes(2).run(partial(killed_now_and_then, folder=tmp_path), range(12)))
    assert sorted(done.job for done in found) == list(range(12))
    assert [done for done in found if done.lost] == [Done(5, None, lost=True)]
    assert all(done.result == done.job for done in found if not done.lost)
    asked = Counter(map(int, (tmp_path / "asked").read_text().split()))
    assert TRIES <= asked[5] <= TRIES + 2 and max(asked.values()) <= TRIES + 2
    with pytest.raises(LostError, match="5 ended its process"):
        list(sure([Done(5, None, lost=True)]))


def test_what_a_job_raises_is_raised():
    with pytest.raises(ValueError, match="not 7"):
        list(Processes(1).run(refuses, [7, 8]))
