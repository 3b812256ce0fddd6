"""Photo to files: time and memory of whole runs, and what a run that is killed again and again comes to.

python -m benchmarks.make                  time, CPU time and peak memory of all files of an avatar, of its mesh
                                           alone, and of a NeRF besides
python -m benchmarks.make --kills 20       kill -9 at 20 random moments; the bytes must be those of a run left alone
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import psutil

import portrait360

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.png"
RUNS = {  # options, seconds that two quiet cores may take, and the run in whose folder it goes on
    "mesh alone (--as mesh)": (("--as", "mesh"), 25, None),
    "all files of the avatar": ((), 45, None),
    "a NeRF besides (--as nerf)": (("--as", "nerf"), 90, "all files of the avatar"),
}
MOST_MEMORY = 2500  # MB
LONGEST_ERROR = 4000  # characters of what a run that fails says


class Usage(NamedTuple):
    """What a run took."""

    seconds: float
    cpu: float  # seconds
    memory: int  # MB


def start_make(photo: Path, folder: Path, options: tuple[str, ...], errors: IO[bytes]) -> subprocess.Popen:
    """Start a run that tells the traceback of an error, and writes what it says into a file."""
    command = [sys.executable, "-X", "faulthandler", "-m", "portrait360", "make", str(photo), "-o", str(folder)]
    environment = os.environ | {"PORTRAIT360_DEBUG": "1"}
    return subprocess.Popen([*command, "--quiet", *options], stderr=errors, env=environment)


def wait_for(process: subprocess.Popen, errors: IO[bytes], seconds: float | None = None) -> None:
    """Wait until a run ends; if it fails, end with its status, the memory that is free, and the last that it said."""
    if status := process.wait(seconds):
        errors.seek(0)
        said = errors.read().decode(errors="replace")[-LONGEST_ERROR:].strip() or "It said nothing."
        free = psutil.virtual_memory().available >> 20
        raise SystemExit(f"{process.args}\nended with status {status}; {free} MB of memory are free. {said}")


def hash_files(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "run.json")
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def measure_run(photo: Path, options: tuple[str, ...], folder: Path) -> Usage:
    """Measure from the start of the process to its end."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        wait_for(start_make(photo, folder, options, errors), errors)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    stages = json.loads((folder / "run.json").read_text())["stages"]
    rows = [f"{name} {stage['seconds']:.1f} ({stage['cpu_seconds']:.1f})" for name, stage in stages.items()]
    print("    seconds (of a CPU):", ", ".join(rows))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(seconds, cpu, max(stage["peak_memory_mb"] for stage in stages.values()))


def measure_gflops(size: int = 1024, tries: int = 8) -> float:
    """Return what this machine computes at best in products of matrices, float32, on all cores."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    best = float("inf")
    for _ in range(tries):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best / 1e9


def report(photo: Path, work: Path) -> None:
    """Print what each run takes; seconds times GFLOPS compare between machines."""
    compileall.compile_dir(Path(portrait360.__file__).parent, quiet=1)  # as pip does when it installs a package
    gflops = measure_gflops()
    print(f"{gflops:.0f} GFLOPS; load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the first run")
    for name, (options, aim, begun) in RUNS.items():
        usage = measure_run(photo, options, work / (begun or name).split()[0])
        print(
            f"{name:28s} {usage.seconds:6.1f} s (aim {aim} s), {usage.cpu:.1f} s of a CPU, "
            f"{usage.seconds * gflops:.0f} s x GFLOPS, {usage.memory} MB (aim {MOST_MEMORY} MB)",
            flush=True,
        )


def kill_and_resume(photo: Path, work: Path, count: int, options: tuple[str, ...], seed: int) -> None:
    """The run is killed at random moments of its whole length, and begun again until it ends by itself."""
    whole = measure_run(photo, options, work / "whole").seconds
    goal, rng = hash_files(work / "whole"), random.Random(seed)
    killed = ended = same = 0
    while killed < count:
        folder = work / f"killed{ended}"
        while True:
            with tempfile.TemporaryFile() as errors:
                process = start_make(photo, folder, options, errors)
                try:
                    wait_for(process, errors, rng.uniform(0, whole) if killed < count else None)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed += 1
        ended, same = ended + 1, same + (hash_files(folder) == goal)
        print(f"{killed} kills, {ended} runs ended, {same} with the bytes of the undisturbed one", flush=True)
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", default="--as nerf --quick", help="of the killed run")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if a.kills:
            kill_and_resume(a.photo, Path(work), a.kills, tuple(a.options.split()), a.seed)
        else:
            report(a.photo, Path(work))


if __name__ == "__main__":
    main()
