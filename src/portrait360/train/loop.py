"""One loop for every network: it stops when it is told or out of time, and goes on as if it had not.

All randomness of a sample comes from the seed, the step and its place in it, so that a resumed run sees the same
samples and the same noise, whatever the number of processes, and there is no state of generators to be kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.errors import UserError
from portrait360.files import locked, sha256, writing_to
from portrait360.files import whole as written
from portrait360.processes import undisturbed
from portrait360.train.team import Team, as_split, gathered, whole
from portrait360.weights.folder import MANIFEST

STATE = "state.pt"
AHEAD = 4  # batches that are read while the network is at work
Batch = dict[str, Tensor]
Floats = NDArray[np.floating]
Figures = dict[str, float]


class Task(Protocol):
    """What is learnt."""

    name: str
    saved: str  # what `save` leaves in the folder of a run: the name of a file or of a folder
    per_step: int  # samples of a step, over all processes

    @property
    def begin(self) -> Path | None: ...  # weights that it begins with: a file or a folder of ours

    def network(self) -> nn.Module: ...

    def sample(self, step: int, place: int) -> Batch: ...  # rows of the same number for every place

    def noised(self, batch: Batch, generator: torch.Generator) -> Batch: ...  # a sample, with all that is random

    def loss(self, network: nn.Module, batch: Batch) -> Tensor: ...  # the mean over the samples

    def validate(self, network: nn.Module) -> Figures: ...

    def picture(self, network: nn.Module) -> Floats: ...  # (h, w, 3) of what it makes now

    def save(self, network: nn.Module, path: Path, about: dict[str, str]) -> None: ...  # as the product loads it


@dataclass(frozen=True)
class LoopOptions:
    rate: float = 4e-4
    warm: int = 200  # steps until the rate is reached
    steady: int = 2000  # steps until it begins to fall, as the root of the step (Karras et al. 2024, eq. 15)
    decay: float = 0.01
    clip: float = 1.0  # of the gradient's length
    spread: float = 0.99  # over which squared gradients are averaged
    average: float = 0.999  # of the weights that are kept; 0: those of the last step are
    validate_every: int = 500
    save_minutes: float = 3.0
    bf16: bool = True
    parts: int = 1  # in which a batch goes through the network, where memory is short
    seed: int = 0


@dataclass
class _State:
    network: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0

    def said(self, settings: dict[str, Any]) -> dict[str, Any]:
        """All of it, whole: every process asks for it at once."""
        optimiser = self.optimiser.state_dict()
        optimiser["state"] = {i: {key: whole(x) for key, x in own.items()} for i, own in optimiser["state"].items()}
        return {
            "network": {name: whole(value) for name, value in learnt(self.network, self.network).items()},
            "averaged": {name: whole(value) for name, value in learnt(self.averaged, self.network).items()},
            "optimiser": optimiser,
            "step": self.step,
            "settings": settings,
        }

    def load(self, path: Path, settings: dict[str, Any], device: torch.device) -> None:
        said = torch.load(path, map_location=device, weights_only=True)
        before = said.get("settings", {})
        other = [name for name, value in settings.items() if before.get(name) != value]
        if other:
            raise UserError(
                f"{path.parent} holds a run of {before.get('recipe')!r} that was begun with another {other[0]}; "
                "go on with the same, or choose another folder with -o."
            )
        for name, of in (("network", self.network), ("averaged", self.averaged)):
            for key, value in learnt(of, self.network).items():
                value.copy_(as_split(said[name][key], value))
        learning = self.optimiser.param_groups[0]["params"]
        for i, own in said["optimiser"]["state"].items():
            of = {key: x for key, x in own.items() if x.shape == learning[i].shape}
            own |= {key: as_split(x, learning[i]) for key, x in of.items()}
        self.optimiser.load_state_dict(said["optimiser"])
        self.step = said["step"]


def learnt(of: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """What changes while `network` learns; all else is as the task's network begins."""
    names = {name for name, value in network.named_parameters() if value.requires_grad}
    return {name: value.detach() for name, value in of.named_parameters() if name in names}


def train(
    task: Task,
    folder: Path,
    options: LoopOptions = LoopOptions(),  # noqa: B008 (frozen)
    *,
    steps: int | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    begun: Callable[[int], None] = lambda step: None,
    tell: Callable[[int, Figures], None] = lambda step, figures: None,
    show: Callable[[int, nn.Module], None] = lambda step, averaged: None,
) -> nn.Module:
    """The averaged network; `show` is called with it whenever it was validated. What lies in the folder is taken up,
    `begun` hears at which step; `steps` counts from the very beginning. Of several processes all are told the same,
    since a network in parts works with all of them only; the first one writes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings_of(task, options)
    with gathered(torch.device(device)) as (team, own), locked(folder) if team.rank == 0 else nullcontext():
        places = team.share(task.per_step, options.parts)
        state = _begun(task, options, own, team)
        if (folder / STATE).is_file():
            state.load(folder / STATE, settings, own)
        team.same(state.step)
        begun(state.step)
        keep = lambda: _keep(state, folder / STATE, settings, team)  # noqa: E731
        ended = False
        try:
            for figures in _steps(
                task, state, options, _Clock(steps, minutes, options.save_minutes), team, places, keep
            ):
                tell(state.step, figures)
                if len(figures) > 1:
                    show(state.step, state.averaged)
            ended = True
        finally:
            if ended or not team.splits:  # parts that have lost each other are not waited for
                keep()
        return _whole_network(task, state, team)


def _keep(state: _State, path: Path, settings: dict[str, Any], team: Team) -> None:
    if team.rank and not team.splits:
        return
    said = state.said(settings)
    if team.rank == 0:
        with writing_to(path.parent), written(path) as temporary:
            torch.save(said, temporary)


def _whole_network(task: Task, state: _State, team: Team) -> nn.Module:
    """What was averaged, no more in parts."""
    if not team.splits:
        return state.averaged
    network = task.network().eval()
    found = {name: whole(value) for name, value in learnt(state.averaged, state.network).items()}
    for name, value in learnt(network, network).items():
        value.copy_(found[name])
    return network


def settings_of(task: Task, options: LoopOptions) -> dict[str, Any]:
    """All that a run's folder must have been begun with."""
    begin = None
    if task.begin is not None:
        begin = sha256(task.begin / MANIFEST if task.begin.is_dir() else task.begin)
    return {"recipe": task.name, "checkpoint": begin, "set of options": asdict(options), "batch": task.per_step}


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
        return time.monotonic() - self.saved >= self.save


def _begun(task: Task, options: LoopOptions, device: torch.device, team: Team) -> _State:
    torch.manual_seed(options.seed)  # the networks' own first weights ask the one generator there is
    network = averaged = task.network().to(device)
    if options.average:
        averaged = task.network().to(device)
        averaged.load_state_dict(network.state_dict())
        averaged.requires_grad_(False).eval()
        team.take(averaged)
    team.take(network)
    learning = [value for value in network.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=options.rate, betas=(0.9, options.spread), weight_decay=options.decay)
    return _State(network, averaged, optimiser)


def _steps(
    task: Task,
    state: _State,
    options: LoopOptions,
    clock: _Clock,
    team: Team,
    places: range,
    keep: Callable[[], None],
) -> Iterator[Figures]:
    for samples in _samples(task, state.step, places):
        if team.agreed(clock.over(state.step)):
            return
        with undisturbed():  # who ends the program between two steps finds a whole state saved
            loss = _step(task, state, samples, options, team)
        due = state.step % options.validate_every == 0
        yield {"loss": loss} | (task.validate(state.averaged) if due else {})
        if team.agreed(clock.due()):
            clock.saved = time.monotonic()
            keep()


def _samples(task: Task, first: int, places: range) -> Iterator[dict[int, Batch]]:
    """This process's own of every step, in order, read ahead by threads."""
    with ThreadPoolExecutor(2) as pool:

        def read(step: int) -> dict[int, Future[Batch]]:
            return {place: pool.submit(task.sample, step, place) for place in places}

        coming = [read(first + i) for i in range(AHEAD)]
        step = first + AHEAD
        try:
            while True:
                yield {place: job.result() for place, job in coming.pop(0).items()}
                coming.append(read(step))
                step += 1
        finally:
            pool.shutdown(cancel_futures=True)


def _step(task: Task, state: _State, samples: dict[int, Batch], options: LoopOptions, team: Team) -> float:
    device = next(state.network.parameters()).device
    for group in state.optimiser.param_groups:
        group["lr"] = rate_at(state.step, options)
    state.network.train()
    state.optimiser.zero_grad(set_to_none=True)
    lost, places, each = torch.zeros((), device=device), list(samples), len(samples) // options.parts
    for first in range(0, len(places), each):
        part = places[first : first + each]
        rows = [_noised(task, samples[place], (options.seed, state.step, place), device) for place in part]
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            loss = task.loss(state.network, joined(rows)) * (len(rows) / task.per_step)
        loss.backward()
        lost += loss.detach()
    team.sum([lost])
    team.gather([p.grad for p in state.network.parameters() if p.grad is not None])
    nn.utils.clip_grad_norm_(state.network.parameters(), options.clip)
    state.optimiser.step()
    state.step += 1
    if options.average:
        _average(state, min(options.average, (1 + state.step) / (10 + state.step)))
    return float(lost)


def _noised(task: Task, one: Batch, whose: tuple[int, ...], device: torch.device) -> Batch:
    drawn = np.random.SeedSequence(whose).generate_state(1, np.uint64)[0] >> 1
    generator = torch.Generator(device).manual_seed(int(drawn))
    return task.noised({name: value.to(device) for name, value in one.items()}, generator)


def joined(rows: Sequence[Batch]) -> Batch:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def rate_at(step: int, options: LoopOptions) -> float:
    """Up evenly, then steady, then falling as 1 / sqrt(step): there is no end that it would have to know."""
    return options.rate * min(1.0, (step + 1) / options.warm) / max(1.0, step / options.steady) ** 0.5


@torch.no_grad()
def _average(state: _State, keep: float) -> None:
    for kept, new in zip(state.averaged.parameters(), state.network.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)
