"""Several processes that train one network together: each takes its share of every batch, and their gradients are
added up, so that as many processes as one likes make the same steps. `torchrun` starts them; alone, one is a team.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


def first() -> bool:
    """Whether this process is the one of them that tells and writes."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Team:
    rank: int = 0
    size: int = 1

    def share(self, batch: dict[str, Tensor], parts: int = 1) -> Iterator[dict[str, Tensor]]:
        """This process's samples, in so many parts one after the other."""
        count = len(next(iter(batch.values())))
        if count < self.size * parts:
            raise ValueError(f"{count} samples do not go into {self.size} processes times {parts} parts")
        pieces = torch.arange(count).tensor_split(self.size * parts)
        for which in pieces[self.rank * parts : (self.rank + 1) * parts]:
            yield {name: values[which[0] : which[-1] + 1] for name, values in batch.items()}

    def sum(self, values: Sequence[Tensor]) -> None:
        """Each in its place, over all processes."""
        if self.size > 1:
            for value in values:
                distributed.all_reduce(value)

    def agreed(self, said: bool) -> bool:
        """True for all as soon as it is for one."""
        if self.size == 1:
            return said
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        votes = torch.tensor(float(said), device=device)
        distributed.all_reduce(votes)
        return bool(votes > 0)


@contextmanager
def gathered(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """The team that torchrun's environment tells of, and this process's own device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()
