"""Memory: checked before a stage begins; fallbacks that use less where a GPU turns out to be too small."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from portrait360.utils.errors import UserError
from portrait360.utils.progress import TITLES

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

CGROUP = Path("/sys/fs/cgroup")  # the memory limits of a container on Linux


def available_memory() -> int:
    """Return the bytes that this process may still allocate."""
    import psutil

    free = psutil.virtual_memory().available
    if (limit := address_space_limit()) is not None:
        free = min(free, limit - psutil.Process().memory_info().vms)
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, int(limit) - int(used) + reclaimable_memory())
    except (OSError, ValueError):
        return free


def reclaimable_memory() -> int:
    """Return the bytes of a container that hold files which nobody uses; Linux frees them as soon as others ask."""
    try:
        rows = [row.split() for row in (CGROUP / "memory.stat").read_text().splitlines()]
        return sum(int(value) for name, value in rows if name == "inactive_file")
    except (OSError, ValueError):
        return 0


def address_space_limit() -> int | None:
    """Return the bytes of address space that this process may have (`ulimit -v`); None if there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device."""
    if device.type != "cuda":
        return available_memory()
    import torch

    return torch.cuda.mem_get_info(device)[0]


def require_memory(stage: str, required: int, advice: str, free: int | None = None) -> None:
    """Raise a UserError before a stage that needs more than the `free` bytes (default: this machine's)."""
    free = available_memory() if free is None else free
    if required > free:
        raise UserError(
            f"The stage “{TITLES.get(stage, stage)}” needs about {required / 1e9:.1f} GB of memory, but only "
            f"{max(free, 0) / 1e9:.1f} GB is free; close other programs, or {advice}."
        )


def with_oom_fallbacks(attempts: Sequence[tuple[str, Callable[[], T]]], on_fallback: Callable[[str], None]) -> T:
    """Return the result of the first attempt that fits into the GPU's memory.

    Each attempt is a pair: what it does differently ("in tiles"), and the function to run. `on_fallback` gets a
    warning for the user before each further attempt.
    """
    import torch

    for i, (_, run) in enumerate(attempts):
        try:
            return run()
        except torch.OutOfMemoryError as error:
            if i + 1 == len(attempts):
                raise UserError(
                    "The GPU does not have enough memory; use `device=cpu`, or a smaller `size=`."
                ) from error
            on_fallback(f"the GPU has too little memory, so the fit continues {attempts[i + 1][0]}")
        torch.cuda.empty_cache()  # after the handler, whose traceback would keep the tensors alive
    raise ValueError("at least one attempt is needed")
