"""What a training run has reached after how many hours, and how fast it went: its diary as a table.

python -m benchmarks.curve RUN [--batch 4] [--every 1]

A run that was stopped begins its minutes anew; they are added up here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from portrait360.training.session import CURVE

Line = dict[str, float]
PLAIN = {"step", "minutes", "loss"}


def add_hours(lines: Iterable[Line]) -> Iterator[Line]:
    """With hours since the very beginning."""
    before = last = 0.0
    for line in lines:
        if line["minutes"] < last:
            before += last
        last = line["minutes"]
        yield line | {"hours": (before + last) / 60}


def format_table(lines: list[Line], batch: int, every: int) -> Iterator[str]:
    """A row each time the network was validated."""
    judged = [line for line in lines if len(line.keys() - PLAIN - {"hours"}) > 0][::every]
    names = [name for name in (judged[0] if judged else {}) if name not in PLAIN | {"hours"}]
    yield "| hours | steps | samples/s | loss | " + " | ".join(names) + " |"
    yield "|" + "---|" * (4 + len(names))
    done = {"step": 0.0, "hours": 0.0}
    for line in judged:
        speed = batch * (line["step"] - done["step"]) / max(3600 * (line["hours"] - done["hours"]), 1e-9)
        cells = " | ".join(f"{line[name]:.4g}" for name in names)
        yield f"| {line['hours']:.2f} | {line['step']:.0f} | {speed:.1f} | {line['loss']:.3f} | {cells} |"
        done = line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--batch", type=int, default=4, help="samples of a step")
    parser.add_argument("--every", type=int, default=1, help="validations of which one is shown")
    a = parser.parse_args()
    said: list[Line] = [json.loads(line) for line in (a.run / CURVE).read_text().splitlines()]
    for row in format_table(list(add_hours(said)), a.batch, a.every):
        print(row)


if __name__ == "__main__":
    main()
