"""One loop for every network: it stops when it is told or out of time, and goes on as if it had not.

All randomness of a step comes from the seed and the step's number, so that a resumed run sees the same samples and
the same noise, and there is no state of generators to be kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from portrait360.errors import UserError
from portrait360.files import locked, whole, writing_to
from portrait360.processes import undisturbed

STATE = "state.pt"
AHEAD = 4  # batches that are read while the network is at work
Batch = dict[str, Tensor]
Figures = dict[str, float]


class Task(Protocol):
    """What is learnt."""

    name: str

    def network(self) -> nn.Module: ...

    def batch(self, step: int) -> Batch: ...

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor: ...

    def validate(self, network: nn.Module) -> Figures: ...


@dataclass(frozen=True)
class LoopOptions:
    rate: float = 4e-4
    warm: int = 200  # steps until the rate is reached
    steady: int = 2000  # steps until it begins to fall, as the root of the step (Karras et al. 2024, eq. 15)
    decay: float = 0.01
    clip: float = 1.0  # of the gradient's length
    average: float = 0.999  # of the weights that are kept
    validate_every: int = 500
    save_minutes: float = 3.0
    bf16: bool = True
    seed: int = 0


@dataclass
class _State:
    network: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0

    def save(self, path: Path, options: LoopOptions) -> None:
        said: dict[str, Any] = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "options": asdict(options),
        }
        with writing_to(path.parent), whole(path) as temporary:
            torch.save(said, temporary)

    def load(self, path: Path, options: LoopOptions, device: torch.device) -> None:
        said = torch.load(path, map_location=device, weights_only=True)
        if said["options"] != asdict(options):
            raise UserError(
                f"{path.parent} was begun with other settings; go on with those, or choose another folder."
            )
        self.network.load_state_dict(said["network"])
        self.averaged.load_state_dict(said["averaged"])
        self.optimiser.load_state_dict(said["optimiser"])
        self.step = said["step"]


def train(
    task: Task,
    folder: Path,
    options: LoopOptions = LoopOptions(),  # noqa: B008 (frozen)
    *,
    steps: int | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    tell: Callable[[int, Figures], None] = lambda step, figures: None,
) -> nn.Module:
    """The averaged network. What lies in the folder is taken up; `steps` counts from the very beginning."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        state = _begun(task, options, torch.device(device))
        if (folder / STATE).is_file():
            state.load(folder / STATE, options, torch.device(device))
        try:
            _run(task, state, options, folder, _Clock(steps, minutes, options.save_minutes), tell)
        finally:
            state.save(folder / STATE, options)
    return state.averaged


class _Clock:
    """When to stop, and when to save."""

    def __init__(self, steps: int | None, minutes: float | None, save_minutes: float) -> None:
        self.steps, self.save = steps, 60 * save_minutes
        self.end = None if minutes is None else time.monotonic() + 60 * minutes
        self.saved = time.monotonic()

    def over(self, step: int) -> bool:
        late = self.end is not None and time.monotonic() >= self.end
        return late or (self.steps is not None and step >= self.steps)

    def due(self) -> bool:
        if time.monotonic() - self.saved < self.save:
            return False
        self.saved = time.monotonic()
        return True


def _begun(task: Task, options: LoopOptions, device: torch.device) -> _State:
    torch.manual_seed(options.seed)  # the networks' own first weights ask the one generator there is
    network = task.network().to(device)
    averaged = task.network().to(device)
    averaged.load_state_dict(network.state_dict())
    averaged.requires_grad_(False).eval()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=options.decay
    )
    return _State(network, averaged, optimiser)


def _run(
    task: Task, state: _State, options: LoopOptions, folder: Path, clock: _Clock, tell: Callable[[int, Figures], None]
) -> None:
    device = next(state.network.parameters()).device
    for batch in _batches(task, state.step):
        if clock.over(state.step):
            return
        with undisturbed():  # who ends the program between two steps finds a whole state saved
            loss = _step(task, state, {name: value.to(device) for name, value in batch.items()}, options)
        figures = {"loss": loss}
        if state.step % options.validate_every == 0:
            figures |= task.validate(state.averaged)
        tell(state.step, figures)
        if clock.due():
            state.save(folder / STATE, options)


def _batches(task: Task, first: int) -> Iterator[Batch]:
    """In order, read ahead by threads."""
    with ThreadPoolExecutor(2) as pool:
        coming = [pool.submit(task.batch, first + i) for i in range(AHEAD)]
        step = first + AHEAD
        try:
            while True:
                yield coming.pop(0).result()
                coming.append(pool.submit(task.batch, step))
                step += 1
        finally:
            for job in coming:
                job.cancel()


def _step(task: Task, state: _State, batch: Batch, options: LoopOptions) -> float:
    device = next(state.network.parameters()).device
    generator = torch.Generator(device).manual_seed(options.seed * 1_000_003 + state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = rate_at(state.step, options)
    state.network.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
        loss = task.loss(state.network, batch, generator)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), options.clip)
    state.optimiser.step()
    state.step += 1
    _average(state, min(options.average, (1 + state.step) / (10 + state.step)))
    return float(loss.detach())


def rate_at(step: int, options: LoopOptions) -> float:
    """Up evenly, then steady, then falling as 1 / sqrt(step): there is no end that it would have to know."""
    return options.rate * min(1.0, (step + 1) / options.warm) / max(1.0, step / options.steady) ** 0.5


@torch.no_grad()
def _average(state: _State, keep: float) -> None:
    for kept, new in zip(state.averaged.parameters(), state.network.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)
