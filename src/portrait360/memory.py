"""Memory: asked for before a stage begins, and less of it taken where a GPU turns out to be too small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from portrait360.errors import UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

CGROUP = Path("/sys/fs/cgroup")  # where Linux says how much a container may use


def available() -> int:
    """Bytes that this process may still take."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def free_on(device: torch.device) -> int:
    """Bytes that are left on a device."""
    if device.type != "cuda":
        return available()
    import torch

    return torch.cuda.mem_get_info(device)[0]


def check(stage: str, needed: int, advice: str, there: int | None = None) -> None:
    """Before a stage begins: better one sentence now than a machine that stands still. `there`: free bytes."""
    there = available() if there is None else there
    if needed > there:
        raise UserError(
            f"The stage {stage} needs about {needed / 1e9:.1f} GB of memory, but {max(there, 0) / 1e9:.1f} GB are "
            f"free; close other programs, or {advice}."
        )


def lighter(rungs: Sequence[tuple[str, Callable[[], T]]], say: Callable[[str], None]) -> T:
    """The first of several ways that the GPU's memory is enough for; each says what it does differently."""
    import torch

    for i, (_, way) in enumerate(rungs):
        try:
            return way()
        except torch.OutOfMemoryError as error:
            if i + 1 == len(rungs):
                raise UserError(
                    "The GPU has too little memory even so; use --device cpu, or a smaller --size."
                ) from error
            say(f"the GPU has too little memory, so it goes on {rungs[i + 1][0]}")
        torch.cuda.empty_cache()  # outside of the handler: the traceback would hold what is to be freed
    raise ValueError("at least one way is needed")
