"""The training loop of every network. A stopped run resumes as if it had never stopped.

All randomness of a sample comes from the seed, the step and the sample's index in the step. A resumed run therefore
sees the same samples and the same noise, whatever the number of processes, and no generator state has to be saved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from portrait360.models.weights.installed import MANIFEST
from portrait360.training.acceleration import accelerate
from portrait360.training.distributed import ProcessGroup, full_tensor, join_process_group, shard_like
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, lock_folder, sha256, translate_write_errors
from portrait360.utils.parallel.workers import defer_signals

STATE = "state.pt"
PREFETCH = 4  # steps whose samples are read ahead while the network trains
Batch = dict[str, Tensor]
Figures = dict[str, float]


class Task(Protocol):
    """A network, its samples and its loss."""

    name: str
    saved: str  # name of the file or folder that `save` writes in the run's folder
    batch_size: int  # samples per step, over all processes

    @property
    def init_from(self) -> Path | None: ...  # initial weights: a file or a folder written by this package

    def network(self) -> nn.Module: ...

    def sample(self, step: int, index: int) -> Batch: ...  # the same number of rows for every index

    def add_noise(self, batch: Batch, generator: torch.Generator) -> Batch: ...  # adds all random inputs

    def loss(self, network: nn.Module, batch: Batch) -> Tensor: ...  # mean over the samples

    def validate(self, network: nn.Module) -> Figures: ...

    def preview(self, network: nn.Module) -> Floats: ...  # (h, w, 3) current outputs

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None: ...  # as inference loads it


@dataclass(frozen=True)
class LoopOptions:
    rate: float = 4e-4  # learning rate
    warm: int = 200  # warm-up steps
    steady: int = 2000  # steps after which the rate falls with the root of the step (Karras et al. 2024, eq. 15)
    decay: float = 0.01  # weight decay
    clip: float = 1.0  # largest norm of the gradient
    spread: float = 0.99  # beta2 of AdamW
    average: float = 0.999  # decay of the weights' moving average; 0 saves the weights of the last step
    validate_every: int = 500
    save_minutes: float = 3.0
    bf16: bool = True
    parts: int = 1  # micro-batches per step, for gradient accumulation where memory is short
    seed: int = 0


@dataclass
class _State:
    network: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0

    def state_dict(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the unsharded state. Every process must call this at the same time."""
        optimiser = self.optimiser.state_dict()
        optimiser["state"] = {
            i: {key: full_tensor(x) for key, x in values.items()} for i, values in optimiser["state"].items()
        }
        network = get_trainable(self.network, self.network)
        averaged = get_trainable(self.averaged, self.network)
        return {
            "network": {name: full_tensor(value) for name, value in network.items()},
            "averaged": {name: full_tensor(value) for name, value in averaged.items()},
            "optimiser": optimiser,
            "step": self.step,
            "settings": settings,
        }

    def load(self, path: Path, settings: dict[str, Any], device: torch.device) -> None:
        state = torch.load(path, map_location=device, weights_only=True)
        previous = state.get("settings", {})
        differences = [name for name, value in settings.items() if previous.get(name) != value]
        if differences:
            raise UserError(
                f"{path.parent} contains a run of {previous.get('recipe')!r} that was started with a different "
                f"{differences[0]}; use the same one, or choose another folder with -o."
            )
        for name, module in (("network", self.network), ("averaged", self.averaged)):
            for key, value in get_trainable(module, self.network).items():
                value.copy_(shard_like(state[name][key], value))
        parameters = self.optimiser.param_groups[0]["params"]
        for i, values in state["optimiser"]["state"].items():
            moments = {key: x for key, x in values.items() if x.shape == parameters[i].shape}
            values |= {key: shard_like(x, parameters[i]) for key, x in moments.items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def get_trainable(module: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """Return those parameters of `module` that are trained in `network`; all others keep their initial values."""
    names = {name for name, value in network.named_parameters() if value.requires_grad}
    return {name: value.detach() for name, value in module.named_parameters() if name in names}


def train(
    task: Task,
    folder: Path,
    options: LoopOptions = LoopOptions(),  # noqa: B008 (frozen)
    *,
    steps: int | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    accelerated: bool = False,
    on_start: Callable[[int], None] = lambda step: None,
    on_event: Callable[[int, Figures], None] = lambda step, figures: None,
    on_validation: Callable[[int, nn.Module], None] = lambda step, averaged: None,
) -> nn.Module:
    """Train a network and return its averaged weights.

    A run found in `folder` is resumed, and `steps` counts from its very beginning. `on_start` receives the step to
    start from, `on_event` the figures of every step, `on_validation` the averaged network after each validation.
    Every process calls them, since a sharded network needs all processes; only rank 0 writes. `accelerated` is for
    networks that fit on a GPU as they are.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = get_settings(task, options)
    with (
        join_process_group(torch.device(device)) as (group, local_device),
        lock_folder(folder) if group.rank == 0 else nullcontext(),
    ):
        indices = group.local_indices(task.batch_size, options.parts)
        state = _init_state(task, options, local_device, group)
        if (folder / STATE).is_file():
            state.load(folder / STATE, settings, local_device)
        group.check_same_step(state.step)
        if accelerated:
            accelerate(state.network, local_device)
        on_start(state.step)

        def save() -> None:
            _save_state(state, folder / STATE, settings, group)

        clock = _Clock(steps, minutes, options.save_minutes)
        completed = False
        try:
            for figures in _run_steps(task, state, options, clock, group, indices, save):
                on_event(state.step, figures)
                if len(figures) > 1:
                    on_validation(state.step, state.averaged)
            completed = True
        finally:
            if completed or not group.sharded:  # after a failure, gathering the shards of other processes could hang
                save()
        return _gather_averaged(task, state, group)


def _save_state(state: _State, path: Path, settings: dict[str, Any], group: ProcessGroup) -> None:
    if group.rank and not group.sharded:
        return
    state_dict = state.state_dict(settings)
    if group.rank == 0:
        with translate_write_errors(path.parent), atomic_write(path) as temporary:
            torch.save(state_dict, temporary)


def _gather_averaged(task: Task, state: _State, group: ProcessGroup) -> nn.Module:
    """Return the averaged network, unsharded."""
    if not group.sharded:
        return state.averaged
    network = task.network().eval()
    averaged = {name: full_tensor(value) for name, value in get_trainable(state.averaged, state.network).items()}
    for name, value in get_trainable(network, network).items():
        value.copy_(averaged[name])
    return network


def get_settings(task: Task, options: LoopOptions) -> dict[str, Any]:
    """Return the settings that a run must be resumed with."""
    checkpoint = None
    if task.init_from is not None:
        checkpoint = sha256(task.init_from / MANIFEST if task.init_from.is_dir() else task.init_from)
    return {
        "recipe": task.name,
        "checkpoint": checkpoint,
        "set of options": asdict(options),
        "batch": task.batch_size,
    }


class _Clock:
    """Decides when to stop, and when to save."""

    def __init__(self, steps: int | None, minutes: float | None, save_minutes: float) -> None:
        self.steps, self.save_seconds = steps, 60 * save_minutes
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.last_save = time.monotonic()

    def should_stop(self, step: int) -> bool:
        out_of_time = self.deadline is not None and time.monotonic() >= self.deadline
        return out_of_time or (self.steps is not None and step >= self.steps)

    def should_save(self) -> bool:
        return time.monotonic() - self.last_save >= self.save_seconds


def _init_state(task: Task, options: LoopOptions, device: torch.device, group: ProcessGroup) -> _State:
    torch.manual_seed(options.seed)  # the networks draw their initial weights from torch's global generator
    network = averaged = task.network().to(device)
    if options.average:
        averaged = task.network().to(device)
        averaged.load_state_dict(network.state_dict())
        averaged.requires_grad_(False).eval()
        group.shard_model(averaged)
    group.shard_model(network)
    parameters = [value for value in network.parameters() if value.requires_grad]
    betas = (0.9, options.spread)
    optimiser = torch.optim.AdamW(parameters, lr=options.rate, betas=betas, weight_decay=options.decay)
    return _State(network, averaged, optimiser)


def _run_steps(
    task: Task,
    state: _State,
    options: LoopOptions,
    clock: _Clock,
    group: ProcessGroup,
    indices: range,
    save: Callable[[], None],
) -> Iterator[Figures]:
    for samples in _load_samples(task, state.step, indices):
        if group.any_rank(clock.should_stop(state.step)):
            return
        with defer_signals():  # a signal takes effect between two steps, so that the saved state is consistent
            loss = _run_step(task, state, samples, options, group)
        validate = state.step % options.validate_every == 0
        yield {"loss": loss} | (task.validate(state.averaged) if validate else {})
        if group.any_rank(clock.should_save()):
            clock.last_save = time.monotonic()
            save()


def _load_samples(task: Task, first_step: int, indices: range) -> Iterator[dict[int, Batch]]:
    """Yield this process's samples of every step, in order, prefetched by threads."""
    with ThreadPoolExecutor(max(2, min(8, (os.cpu_count() or 2) // 2))) as pool:

        def submit(step: int) -> dict[int, Future[Batch]]:
            return {index: pool.submit(task.sample, step, index) for index in indices}

        queue = [submit(first_step + i) for i in range(PREFETCH)]
        step = first_step + PREFETCH
        try:
            while True:
                yield {index: future.result() for index, future in queue.pop(0).items()}
                queue.append(submit(step))
                step += 1
        finally:
            pool.shutdown(cancel_futures=True)


def _run_step(
    task: Task, state: _State, samples: dict[int, Batch], options: LoopOptions, group: ProcessGroup
) -> float:
    device = next(state.network.parameters()).device
    for param_group in state.optimiser.param_groups:
        param_group["lr"] = learning_rate_at(state.step, options)
    state.network.train()
    state.optimiser.zero_grad(set_to_none=True)
    total, indices, part_size = torch.zeros((), device=device), list(samples), len(samples) // options.parts
    for start in range(0, len(indices), part_size):
        part = indices[start : start + part_size]
        rows = [_noise_batch(task, samples[index], (options.seed, state.step, index), device) for index in part]
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            loss = task.loss(state.network, concat_rows(rows)) * (len(rows) / task.batch_size)
        loss.backward()
        total += loss.detach()
    group.sum([total])
    group.reduce_gradients([p.grad for p in state.network.parameters() if p.grad is not None])
    nn.utils.clip_grad_norm_(state.network.parameters(), options.clip)
    state.optimiser.step()
    state.step += 1
    if options.average:
        _update_average(state, min(options.average, (1 + state.step) / (10 + state.step)))
    return float(total)


def _noise_batch(task: Task, sample: Batch, seed_key: tuple[int, ...], device: torch.device) -> Batch:
    seed = np.random.SeedSequence(seed_key).generate_state(1, np.uint64)[0] >> 1
    generator = torch.Generator(device).manual_seed(int(seed))
    return task.add_noise({name: value.to(device) for name, value in sample.items()}, generator)


def concat_rows(rows: Sequence[Batch]) -> Batch:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def learning_rate_at(step: int, options: LoopOptions) -> float:
    """Return the learning rate: linear warm-up, then constant, then falling as 1 / sqrt(step).

    The schedule does not depend on the length of the run.
    """
    return options.rate * min(1.0, (step + 1) / options.warm) / max(1.0, step / options.steady) ** 0.5


@torch.no_grad()
def _update_average(state: _State, decay: float) -> None:
    for average, value in zip(state.averaged.parameters(), state.network.parameters(), strict=True):
        average.lerp_(value, 1 - decay)
