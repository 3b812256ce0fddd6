"""Jobs side by side: each once, as they are needed, whoever is lost on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portrait360.utils.parallel.process_pool import ProcessPool, _Processes
from portrait360.utils.parallel.scheduler import AHEAD, TRIES, JobResult, Task, WorkerLostError, require_all
from tests.fixtures.paths import ROOT


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
    for done in ProcessPool(2).run(double, jobs()):
        assert len(taken) <= len(got) + 1 + 2 * AHEAD
        assert done.job not in got
        got[done.job] = done.result
    assert got == {number: 2 * number for number in range(40)}
    assert list(ProcessPool(1).run(double, [])) == []


def test_one_worker_gives_results_in_the_order_of_the_jobs():
    given = []
    for done in ProcessPool(1).run(double, range(60)):
        time.sleep(0.02)  # while the worker goes on, so that several are there at once
        given.append(done.job)
    assert given == list(range(60))


def test_a_lost_worker_takes_nothing_with_it_but_what_ends_every_worker(tmp_path):
    found = list(ProcessPool(2).run(partial(killed_now_and_then, folder=tmp_path), range(12)))
    assert sorted(done.job for done in found) == list(range(12))
    assert [done for done in found if done.lost] == [JobResult(5, None, lost=True)]
    assert all(done.result == done.job for done in found if not done.lost)
    asked = Counter(map(int, (tmp_path / "asked").read_text().split()))
    assert TRIES <= asked[5] <= TRIES + 2 and max(asked.values()) <= TRIES + 2
    with pytest.raises(WorkerLostError, match="5 crashed its worker"):
        list(require_all([JobResult(5, None, lost=True)]))


def test_a_worker_that_nobody_ends_holds_up_no_new_ones(tmp_path):
    """As one that a job starts while those of a broken pool are being ended: concurrent.futures waits for it."""
    processes = _Processes(partial(killed_now_and_then, folder=tmp_path), 1)
    processes.submit(Task(1))
    processes.wait()
    stray = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    stray.start()
    ended, stray.terminate = stray.terminate, lambda: None
    listed: Any = processes.executor._processes
    listed[stray.pid] = stray
    processes.submit(Task(5))
    waiting = threading.Thread(target=processes.wait, daemon=True)
    waiting.start()
    waiting.join(30)
    in_time = not waiting.is_alive()
    ended()
    waiting.join()
    processes.close()
    assert in_time


def test_what_a_job_raises_is_raised():
    with pytest.raises(ValueError, match="not 7"):
        list(ProcessPool(1).run(refuses, [7, 8]))


def start_and_sleep(number: int, folder: Path) -> int:
    (folder / f"{number}").touch()
    time.sleep(600)
    return number


def test_an_interrupted_run_does_not_wait_for_its_workers(tmp_path):
    """Whoever presses Ctrl-C gets an answer within seconds, whatever the jobs are doing."""
    program = (
        "from functools import partial\nfrom pathlib import Path\n"
        "from portrait360.utils.entry_point import run_entry_point\n"
        "from portrait360.utils.parallel.process_pool import ProcessPool\n"
        "from tests.utils.test_process_pool import start_and_sleep\n"
        "if __name__ == '__main__':\n"
        f"    jobs = ProcessPool(2).run(partial(start_and_sleep, folder=Path({str(tmp_path)!r})), range(4))\n"
        "    run_entry_point(lambda: list(jobs))\n"
    )
    (tmp_path / "program.py").write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, tmp_path / "program.py"], env=environment) as process:
        while not (tmp_path / "0").exists():
            time.sleep(0.05)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert time.monotonic() - start < 30  # it takes a tenth of a second; on a busy host ten times the three promised


def count_threads(number: int) -> tuple[int, ...]:
    import cv2
    import numba
    import torch

    return torch.get_num_threads(), cv2.getNumThreads(), numba.get_num_threads()


def test_a_worker_has_one_thread():
    """So what it computes does not depend on how many stand beside it."""
    assert [result.result for result in ProcessPool(1).run(count_threads, [0])] == [(1, 1, 1)]
