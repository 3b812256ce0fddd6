"""One network trained by two processes: the steps of one, whole or in parts, and on with one after a kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from portrait360.apps.cli import main
from portrait360.training.recipes import RECIPES, Recipe
from portrait360.training.tasks.head_map import MapTask
from portrait360.training.tasks.published import DenoiserTask
from portrait360.training.trainer import STATE, LoopOptions, train
from portrait360.utils.errors import UserError
from tests.fixtures.map_samples import TINY, fake
from tests.fixtures.samples import written

pytestmark = pytest.mark.slow

# the beginning of the recipe `map`; Adam makes whole steps of what is rounding alone, so faster ones drift apart
OPTIONS = LoopOptions(rate=8e-4, warm=200, average=0.9, bf16=False, validate_every=20, save_minutes=1e9)
STEPS = 20


def task_of(kind: str, samples: Path, init_from: Path) -> MapTask | DenoiserTask:
    if kind == "map":
        return MapTask(samples, samples, TINY, batch=2)
    return DenoiserTask(samples, samples, "sd15-control", init_from, size=32, batch=2)


def member(
    rank: int, port: int, split: bool, kind: str, samples: Path, init_from: Path, folder: Path, steps: int
) -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["ACCELERATE_USE_FSDP"] = str(split).lower()
    torch.set_num_threads(1)
    found = run(task_of(kind, samples, init_from), folder, steps)
    if rank == 0:
        (folder / "losses.json").write_text(json.dumps(found))


def run(task: MapTask | DenoiserTask, folder: Path, steps: int) -> list[float]:
    losses: list[float] = []
    network = train(task, folder, OPTIONS, steps=steps, on_event=lambda step, figures: losses.append(figures["loss"]))
    losses.append(sum(float(value.double().abs().sum()) for value in network.parameters()))
    return losses


def both(split: bool, kind: str, samples: Path, init_from: Path, folder: Path, steps: int) -> list[float]:
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    given = (port, split, kind, samples, init_from, folder, steps)
    team = [context.Process(target=member, args=(rank, *given)) for rank in (0, 1)]
    for process in team:
        process.start()
    for process in team:
        process.join(300)
    assert [process.exitcode for process in team] == [0, 0]
    return json.loads((folder / "losses.json").read_text())


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("samples"), map(fake, range(5)))


@pytest.mark.parametrize(("kind", "split"), [("map", False), ("sd15-control", False), ("sd15-control", True)])
def test_two_make_the_steps_of_one_and_one_goes_on(kind, split, samples, begun, heads, tmp_path):
    where = samples if kind == "map" else heads
    alone = run(task_of(kind, where, begun["plain"]), tmp_path / "one", STEPS)
    together = both(split, kind, where, begun["plain"], tmp_path / "two", STEPS // 2)
    np.testing.assert_allclose(together[:-1], alone[: STEPS // 2], atol=1e-4)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / STATE).write_bytes((tmp_path / "two" / STATE).read_bytes())
    on_two = both(split, kind, where, begun["plain"], tmp_path / "two", STEPS)
    on_one = run(task_of(kind, where, begun["plain"]), tmp_path / "again", STEPS)
    for found in (on_two, on_one):
        np.testing.assert_allclose(found[:-1], alone[STEPS // 2 : STEPS], atol=1e-4)
        np.testing.assert_allclose(found[-1], alone[-1], rtol=1e-5)
    other = replace(OPTIONS, seed=1)
    with pytest.raises(UserError, match="a different set of options"):
        train(task_of(kind, where, begun["plain"]), tmp_path / "again", other, steps=1)


def test_one_is_killed_and_one_goes_on(samples, tmp_path):
    """As people start it: the launcher, two processes, the command."""
    told = f"--samples {samples} --validation {samples} -o {tmp_path / 'run'} --batch 2 --device cpu".split()
    program = [
        "-m",
        "tests.training.test_distributed",
        "train",
        "run",
        "map",
        *told,
    ]  # this file: with a tiny network
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    with (tmp_path / "said").open("w") as said:
        team = subprocess.Popen([sys.executable, *launch, *program, "--steps", "5000"], stdout=said, stderr=said)
    ended = time.monotonic() + 240
    while time.monotonic() < ended and "step 50," not in (tmp_path / "said").read_text():
        assert team.poll() is None, (tmp_path / "said").read_text()
        time.sleep(1)
    os.kill(members(team.pid)[-1], signal.SIGKILL)
    assert team.wait(120) != 0
    steps = torch.load(tmp_path / "run" / STATE, weights_only=True)["step"]
    assert 50 <= steps < 5000
    command = [sys.executable, *program, "--steps", str(steps + 2)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and f"{steps + 2} steps" in done.stdout, done.stderr


def members(launcher: int) -> list[int]:
    """The processes that the launcher has started, in the order in which it did."""
    found = subprocess.run(["pgrep", "-P", str(launcher)], capture_output=True, text=True)
    return sorted(int(number) for number in found.stdout.split())


if __name__ == "__main__":
    RECIPES["map"] = Recipe(lambda train, val, init_from: MapTask(train, val, TINY, init_from=init_from), OPTIONS)
    main.main()
