"""The published networks and all else that a graphics card is for, measured on one: random weights at full size.

python -m benchmarks.gpu [-o DIR] [--minutes 8] [--only NAME ...] [--device cuda]
python -m benchmarks.gpu [-o DIR] --table                     # only print what DIR/gpu.json holds
python -m benchmarks.gpu [-o DIR] --device cpu --tiny         # every step in miniature: does all of this run?

Nothing is downloaded, and of what the package requires only torch, numpy, numba, opencv, scipy and safetensors must
be installed; gsplat is measured if it is there. Each result is in DIR/gpu.json (DIR is $OUT or the folder at hand) as
soon as it is known, and a further call goes on with what is missing. A step that fails is a result, too. A step that
would end after `--minutes` is left for a further call.

The weights wait in the host's memory, so that no time includes a disk's. "sd15" is what `make --preset sd15` does
between the portrait and the pictures of the views; "published loop" computes as much as the published programs do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.bare import prepare

if TYPE_CHECKING:
    from benchmarks.gpu_bench import Bench
    from benchmarks.gpu_steps import Measurement

FILE = "gpu.json"
TRIES = 2  # of a step that ends the process or lasts too long
PATIENCE = 3.0  # a step is stopped after this many times its estimate
FINAL = ("done", "failed")
COLUMNS = ("seconds a view", "seconds a step", "seconds in all", "peak GB")  # of the table of the view networks
PUBLISHED = "published loop"


class TookTooLong(BaseException):
    """No Exception, so that no library takes it for an error of its own and goes on."""


@dataclass
class Record:
    """The results of all steps, in a file that is written after each."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def load(cls, folder: Path, tiny: bool) -> Record:
        path = folder / FILE
        if not path.is_file():
            return cls(path, {"tiny": tiny, "machine": {}, "steps": {}})
        values = json.loads(path.read_text())
        if values["tiny"] != tiny:
            raise SystemExit(f"{path} is {'of' if values['tiny'] else 'not of'} --tiny; name another folder with -o.")
        return cls(path, values)

    @property
    def steps(self) -> dict[str, Any]:
        return self.values["steps"]

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(self.values, indent=1))
        temporary.replace(self.path)

    def add(self, name: str, entry: dict[str, Any]) -> None:
        self.steps[name] = {**self.steps.get(name, {}), **entry}
        self.save()

    def is_open(self, name: str) -> bool:
        """Whether the step has no result yet. One that has ended its process twice is not tried a third time."""
        entry = self.steps.get(name)
        if entry is None:
            return True
        if entry["state"] not in FINAL and entry["tries"] >= TRIES:
            self.add(name, {"state": "failed", "error": f"given up: {entry['state']} {TRIES} times"})
        return entry["state"] not in FINAL and entry["tries"] < TRIES

    def pace(self, steps: Sequence[Measurement]) -> float:
        """How much longer than estimated the steps of this record took."""
        done = [(self.steps[step.name]["seconds"], step.seconds) for step in steps if self._is_done(step.name)]
        return max(sum(a for a, _ in done) / sum(b for _, b in done), 0.2) if done else 1.0

    def _is_done(self, name: str) -> bool:
        return self.steps.get(name, {}).get("state") == "done"


def run_steps(steps: Sequence[Measurement], record: Record, bench: Bench, minutes: float) -> list[str]:
    """Run the steps that have no result; return the names of those for which too little time was left."""
    begin, late = time.perf_counter(), []
    for step in steps:
        if not record.is_open(step.name):
            continue
        left = 60 * minutes - (time.perf_counter() - begin)
        estimate = step.seconds * record.pace(steps)
        if estimate > left:
            late.append(step.name)
            continue
        print(f"{step.name}: about {estimate:.0f} s, {left:.0f} s are left", flush=True)
        tries = record.steps.get(step.name, {}).get("tries", 0) + 1
        record.add(step.name, {"state": "begun", "tries": tries, "card": record.values["machine"].get("card", "")})
        entry = run_step(step, bench, min(left, max(PATIENCE * estimate, 60)))
        record.add(step.name, entry)
        print(f"  {entry['state']} after {entry['seconds']:.1f} s {entry.get('error', '')}", flush=True)
        if is_broken(bench):  # also after an error that is only a part of the step's result
            raise SystemExit("The card does not answer after an error; call again for the steps that are missing.")
    return late


def run_step(step: Measurement, bench: Bench, limit: float) -> dict[str, Any]:
    """Return the result of a step, which may be an error."""
    from benchmarks.gpu_bench import explain

    begin = time.perf_counter()
    entry: dict[str, Any]
    try:
        with limit_time(limit):
            entry = {"state": "done", "values": step.run(bench)}
    except TookTooLong:
        entry = {"state": "stopped", "error": f"not done after {limit:.0f} s"}
    except Exception as error:  # whatever it is, the other steps can run
        entry = {"state": "failed", "error": explain(error), "trace": traceback.format_exc()[-2000:]}
    entry["seconds"] = time.perf_counter() - begin
    if not is_broken(bench):
        bench.free()
    return entry


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Stop what lasts longer, where the system has a timer for that."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_broken(bench: Bench) -> bool:
    """Whether an error has left the card in a state in which this process cannot use it any more."""
    try:
        bench.sync()
    except Exception:
        return True
    return False


def describe_machine(device: torch.device, substitutes: list[str]) -> dict[str, Any]:
    machine: dict[str, Any] = {
        "card": f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "substitutes": substitutes,
    }
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        machine |= {
            "card": about.name,
            "GB": about.total_memory / 1e9,
            "multiprocessors": about.multi_processor_count,
        }
        machine |= {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
        machine["capability"] = f"{about.major}.{about.minor}"
    return machine


def format_table(values: dict[str, Any]) -> str:
    """Return all results as Markdown."""
    machine, steps = values["machine"], values["steps"]
    about = ", ".join(f"{k} {format_value(v)}" for k, v in machine.items() if k not in ("card", "substitutes"))
    lines = [f"{machine.get('card', 'no card')} ({about}){', in miniature' if values['tiny'] else ''}", ""]
    runs = {name: entry for name, entry in steps.items() if COLUMNS[1] in entry.get("values", {})}
    if runs:
        lines += format_runs(runs)
    lines += ["| step | what | value |", "|---|---|---|"]
    for name, entry in steps.items():
        if name in runs:
            continue
        rows = entry.get("values", {}) or {entry["state"]: entry.get("error", "")}
        for i, (what, value) in enumerate(rows.items()):
            lines.append(f"| {'' if i else name} | {what} | {format_value(value)} |")
    return "\n".join(lines)


def format_runs(runs: dict[str, Any]) -> list[str]:
    """The rows of runs that make views, each beside the published loop with as many."""
    titles = ["run", "card", "steps", *COLUMNS, "the published loop takes"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for name, entry in runs.items():
        found = entry["values"]
        some = f", {found['steps measured']} measured" if "steps measured" in found else ""
        cells = [
            name,
            entry["card"],
            f"{found['steps']}{some}",
            *(format_value(found.get(column, "")) for column in COLUMNS),
        ]
        loop, ratio = runs.get(f"{PUBLISHED}, {found['views']} views"), ""
        if loop is not None and loop is not entry and loop["card"] == entry["card"]:
            ratio = f"{loop['values'][COLUMNS[0]] / found[COLUMNS[0]]:.2f} times as long"
        lines.append(f"| {' | '.join([*cells, ratio])} |")
    return [*lines, ""]


def format_value(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {format_value(part)}" for name, part in value.items())
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="everything in miniature")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="steps whose name contains one of these"
    )
    parser.add_argument("--table", action="store_true", help="print the results that are there, and measure nothing")
    return parser.parse_args()


def main() -> None:
    a = parse()
    if a.table:
        if not (a.output / FILE).is_file():
            raise SystemExit(f"There is no {a.output / FILE}; measure first, or name its folder with -o.")
        print(format_table(json.loads((a.output / FILE).read_text())))
        return
    if a.device == "cpu" and not a.tiny:
        raise SystemExit("At full size a CPU takes hours; add --tiny, or see `python -m benchmarks.full_size`.")
    if a.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA here; --device cpu --tiny tries every step in miniature.")
    record = Record.load(a.output, a.tiny)
    substitutes = prepare()
    from benchmarks.gpu_bench import FULL, TINY, Bench
    from benchmarks.gpu_steps import STEPS

    device = torch.device(a.device)
    if a.device == "cpu":
        torch.set_num_threads(1)  # networks this small are no faster on several
    record.values["machine"] = describe_machine(device, substitutes)
    steps = [step for step in STEPS if not a.only or any(name in step.name for name in a.only)]
    late = run_steps(steps, record, Bench(device, TINY if a.tiny else FULL), a.minutes)
    print(f"\n{format_table(record.values)}")
    if late:
        print(f"\nLeft for another call: {'; '.join(late)}.")


if __name__ == "__main__":
    main()
