"""`portrait360 train`: figures and pictures now and then, kept beside the weights."""

from __future__ import annotations

import json
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from portrait360.errors import UserError
from portrait360.files import folder_at
from portrait360.head import device_of
from portrait360.images import save_picture
from portrait360.train.loop import Figures, Task, train
from portrait360.train.recipes import find_recipe
from portrait360.train.team import first, split_asked

CURVE = "curve.jsonl"
EVERY = 50  # steps between two lines


class Diary:
    """A line of figures, a picture whenever the network was validated; for TensorBoard, too, where that is."""

    def __init__(self, task: Task, output: Path) -> None:
        self.task, self.output, self.begun = task, output, time.monotonic()
        self.last = 0
        self.said, self.loss = self._read()  # figures of the last validation, and the loss that goes on from there
        self.board: Any = None
        if find_spec("tensorboard") and first():
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(output))

    def _read(self) -> tuple[Figures, float]:
        """What an earlier run of the same folder said."""
        lines = (self.output / CURVE).read_text().splitlines() if (self.output / CURVE).is_file() else []
        said: list[Figures] = [json.loads(line) for line in lines]
        validated = next((one for one in reversed(said) if len(one) > 3), {})
        return validated, said[-1]["loss"] if said else 0.0

    def begun_at(self, step: int) -> None:
        self.last = step

    def tell(self, step: int, figures: Figures) -> None:
        self.last = step
        self.loss = 0.98 * self.loss + 0.02 * figures["loss"] if self.loss else figures["loss"]
        if not first() or (step % EVERY and len(figures) == 1):
            return
        minutes = round((time.monotonic() - self.begun) / 60, 2)
        said = {"step": step, "minutes": minutes, **figures, "loss": self.loss}
        self.said = said if len(figures) > 1 else self.said
        with (self.output / CURVE).open("a") as file:
            file.write(json.dumps(said) + "\n")
        print(", ".join(f"{key} {value:.4g}" for key, value in said.items()), flush=True)
        if self.board:
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)

    def show(self, step: int, network: nn.Module) -> None:
        picture = self.task.picture(network)
        if not first():
            return
        save_picture(self.output / "pictures" / f"{step:07d}.png", picture)
        if self.board:
            self.board.add_image("validation", picture, step, dataformats="HWC")

    def close(self) -> None:
        if self.board:
            self.board.close()


def train_recipe(
    name: str,
    samples: Path,
    validation: Path,
    output: Path,
    *,
    begin: Path | None,
    minutes: float | None,
    steps: int | None,
    device: str | None,
    batch: int | None = None,
) -> int:
    """How many steps it has had in all; `batch` instead of the recipe's number of samples a step."""
    recipe = find_recipe(name)
    if begin is not None and not begin.exists():
        raise UserError(f"There is nothing at {begin} to begin with.")
    task = recipe.task(samples, validation, begin)
    task.per_step = batch or task.per_step
    if split_asked() and not recipe.splits:
        raise UserError(f"The network of {name} is small enough to be whole on every GPU; leave --use_fsdp away.")
    folder_at(output / "pictures")
    diary = Diary(task, output)
    chosen = device_of(device).type
    network = train(
        task,
        output,
        recipe.options,
        steps=steps,
        minutes=minutes,
        device=chosen,
        begun=diary.begun_at,
        tell=diary.tell,
        show=diary.show,
    )
    if first() and diary.last > diary.said.get("step", 0):  # the last word is about what is kept
        diary.tell(diary.last, {"loss": diary.loss, **task.validate(network)})
        diary.show(diary.last, network)
    diary.close()
    about = {"recipe": name, "commit": commit(), "figures": json.dumps(diary.said)}
    if first():
        task.save(network, output / task.saved, about)
    return diary.last


def commit() -> str:
    """Of the source tree that this package is run from, if it is one."""
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
