"""`portrait360 train`, with a line of figures now and then, kept beside the weights."""

from __future__ import annotations

import json
import time
from pathlib import Path

from portrait360.head import device_of
from portrait360.train.loop import Figures, train
from portrait360.train.recipes import find_recipe

CURVE = "curve.jsonl"
EVERY = 50  # steps between two lines


def train_recipe(
    name: str,
    samples: Path,
    validation: Path,
    output: Path,
    *,
    minutes: float | None,
    steps: int | None,
    device: str | None,
) -> int:
    """How many steps it has had in all."""
    recipe = find_recipe(name)
    task = recipe.task(samples, validation)
    output.mkdir(parents=True, exist_ok=True)
    begin, last, seen = time.monotonic(), 0, 0.0

    def tell(step: int, figures: Figures) -> None:
        nonlocal last, seen
        last, seen = step, 0.98 * seen + 0.02 * figures["loss"] if seen else figures["loss"]
        if step % EVERY and len(figures) == 1:
            return
        said = {"step": step, "minutes": round((time.monotonic() - begin) / 60, 2), **figures, "loss": seen}
        with (output / CURVE).open("a") as file:
            file.write(json.dumps(said) + "\n")
        print(", ".join(f"{key} {value:.4g}" for key, value in said.items()), flush=True)

    options = recipe.options
    train(task, output, options, steps=steps, minutes=minutes, device=device_of(device).type, tell=tell)
    return last
