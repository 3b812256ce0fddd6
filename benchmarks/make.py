"""Photo to files: time and memory of whole runs, and what a run that is killed again and again comes to.

python -m benchmarks.make                  time and peak memory of a first look, a quick head, the usual head
python -m benchmarks.make --kills 20       kill -9 at 20 random moments; the bytes must be those of a run left alone
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.png"
RUNS = {
    "first look (--views 8 --no-fit)": ("--views", "8", "--no-fit"),
    "quick head (--quick)": ("--quick",),
    "head": (),
}
AIMS = {"first look (--views 8 --no-fit)": 20, "head": 180}


def started(photo: Path, folder: Path, options: tuple[str, ...]) -> subprocess.Popen:
    command = [sys.executable, "-m", "portrait360", "make", str(photo), "-o", str(folder), "--quiet", *options]
    return subprocess.Popen(command)


def left(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "run.json")
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def timed(photo: Path, options: tuple[str, ...], folder: Path) -> tuple[float, int]:
    """Seconds from the start of the process to its end, and peak memory in MB."""
    begin = time.perf_counter()
    if started(photo, folder, options).wait():
        raise SystemExit(f"make {' '.join(options)} failed")
    seconds = time.perf_counter() - begin
    stages = json.loads((folder / "run.json").read_text())["stages"]
    print("   ", ", ".join(f"{name} {stage['seconds']:.1f} s" for name, stage in stages.items()))
    return seconds, max(stage["peak_memory_mb"] for stage in stages.values())


def report(photo: Path, work: Path) -> None:
    for name, options in RUNS.items():
        seconds, memory = timed(photo, options, work / name.split()[0])
        aim = f" (aim {AIMS[name]} s)" if name in AIMS else ""
        print(f"{name:36s} {seconds:6.1f} s{aim}   {memory} MB", flush=True)


def kills(photo: Path, work: Path, count: int, options: tuple[str, ...], seed: int) -> None:
    """The run is killed at random moments of its whole length, and begun again until it ends by itself."""
    whole = timed(photo, options, work / "whole")[0]
    goal, rng = left(work / "whole"), random.Random(seed)
    killed = ended = same = 0
    while killed < count:
        folder = work / f"killed{ended}"
        while True:
            process = started(photo, folder, options)
            try:
                if process.wait(rng.uniform(0, whole) if killed < count else None):
                    raise SystemExit("a resumed run failed")
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
        ended, same = ended + 1, same + (left(folder) == goal)
        print(f"{killed} kills, {ended} runs ended, {same} with the bytes of the undisturbed one", flush=True)
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", default="--quick", help="of the killed run")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if a.kills:
            kills(a.photo, Path(work), a.kills, tuple(a.options.split()), a.seed)
        else:
            report(a.photo, Path(work))


if __name__ == "__main__":
    main()
