"""A training run as `portrait360 train run` starts it, with its log of figures and images and its final weights."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from portrait360.training.distributed import fsdp_enabled, is_main_process
from portrait360.training.recipes import find_recipe
from portrait360.training.step_lines import StepLines
from portrait360.training.trainer import Figures, Task, train
from portrait360.utils.devices import select_device
from portrait360.utils.errors import UserError
from portrait360.utils.files import create_folder
from portrait360.utils.images import save_picture
from portrait360.utils.progress import call_regularly

CURVE = "curve.jsonl"
LOG_EVERY = 50  # steps between two entries


class TrainingLog:
    """Writes figures to a JSON lines file, an image after each validation, and both to TensorBoard if installed."""

    def __init__(self, task: Task, output: Path, lines: StepLines) -> None:
        self.task, self.output, self.lines, self.start_time = task, output, lines, time.monotonic()
        self.last_step = 0
        self.last_validation, self.loss = self._read()  # figures, and the moving average of the loss
        self.writer: Any = None
        if find_spec("tensorboard") and is_main_process():
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(output))

    def _read(self) -> tuple[Figures, float]:
        """Return the last validation and the last loss that an earlier run logged in this folder."""
        lines = (self.output / CURVE).read_text().splitlines() if (self.output / CURVE).is_file() else []
        entries: list[Figures] = [json.loads(line) for line in lines]
        validation = next((entry for entry in reversed(entries) if len(entry) > 3), {})
        return validation, entries[-1]["loss"] if entries else 0.0

    def resume_at(self, step: int) -> None:
        self.last_step = step
        self.lines.resume_at(step)

    def log(self, step: int, figures: Figures) -> None:
        self.last_step = step
        self.loss = 0.98 * self.loss + 0.02 * figures["loss"] if self.loss else figures["loss"]
        if not is_main_process():
            return
        self.lines.update(step, self.loss)
        if step % LOG_EVERY and len(figures) == 1:
            return
        minutes = round((time.monotonic() - self.start_time) / 60, 2)
        entry = {"step": step, "minutes": minutes, **figures, "loss": self.loss}
        self.last_validation = entry if len(figures) > 1 else self.last_validation
        with (self.output / CURVE).open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if len(figures) > 1:
            self.lines.report_validation(step, figures)
        if self.writer:
            for name, value in figures.items():
                self.writer.add_scalar(name, value, step)

    def log_image(self, step: int, network: nn.Module) -> None:
        image = self.task.preview(network)
        if not is_main_process():
            return
        if not find_spec("PIL"):  # pictures are for looking at; training itself needs none of it
            return
        save_picture(self.output / "pictures" / f"{step:07d}.png", image)
        if self.writer:
            self.writer.add_image("validation", image, step, dataformats="HWC")

    def close(self) -> None:
        if self.writer:
            self.writer.close()


def train_recipe(
    name: str,
    samples: Path,
    validation: Path,
    output: Path,
    *,
    init_from: Path | None,
    minutes: float | None,
    steps: int | None,
    device: str | None,
    batch: int | None = None,
    as_published: bool = False,
) -> int:
    """Train a recipe and return the number of steps that the run has done in all.

    `batch` replaces the recipe's number of samples per step, and `as_published` its settings by those of the authors'
    scripts where they differ.
    """
    recipe = find_recipe(name, as_published)
    if init_from is not None and not init_from.exists():
        raise UserError(f"{init_from} does not exist.")
    task = recipe.task(samples, validation, init_from)
    task.batch_size = batch or task.batch_size
    if fsdp_enabled() and not recipe.shardable:
        raise UserError(f"The network of {name} is small enough to fit on every GPU; leave out --use_fsdp.")
    create_folder(output / "pictures")
    log = TrainingLog(task, output, StepLines(steps, minutes))
    device_type = select_device(device).type
    with call_regularly(log.lines.print_if_due) if is_main_process() else nullcontext():
        network = train(
            task,
            output,
            recipe.options,
            steps=steps,
            minutes=minutes,
            device=device_type,
            accelerated=not recipe.shardable,
            on_start=log.resume_at,
            on_event=log.log,
            on_validation=log.log_image,
        )
    if is_main_process() and log.last_step > log.last_validation.get("step", 0):  # validate the weights to be saved
        log.log(log.last_step, {"loss": log.loss, **task.validate(network)})
        log.log_image(log.last_step, network)
    log.close()
    metadata = {"recipe": name, "commit": get_commit(), "figures": json.dumps(log.last_validation)}
    if is_main_process():
        task.save(network, output / task.saved, metadata)
    return log.last_step


def get_commit() -> str:
    """Return the git commit of the source tree that this package runs from, or "unknown"."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
