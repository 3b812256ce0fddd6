"""Several processes that train one network together: each takes its share of every step's samples, and gradients
are added up, so that as many processes as one likes make the same steps. `accelerate launch` or `torchrun` starts
them; alone, one is a team. With `accelerate launch --use_fsdp` each holds a part of the network only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from portrait360.errors import UserError
from portrait360.models.layers import ResBlock, SpatialTransformer


def first() -> bool:
    """Whether this process is the one of them that tells and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def split_asked() -> bool:
    """Whether each is to hold a part of the network."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and int(os.environ.get("WORLD_SIZE", "1")) > 1


@dataclass(frozen=True)
class Team:
    rank: int = 0
    size: int = 1
    splits: bool = False

    def share(self, count: int, parts: int = 1) -> range:
        """This process's places of a step's samples: as many for everyone, in so many equal parts."""
        each, left = divmod(count, self.size * parts)
        if left or not each:
            raise UserError(
                f"{count} samples a step do not go evenly into {self.size} processes times {parts} parts; "
                "choose another --batch."
            )
        return range(self.rank * each * parts, (self.rank + 1) * each * parts)

    def same(self, step: int) -> None:
        """All have found the run where it is."""
        if self.size == 1:
            return
        found = torch.tensor([step, -step], device=told_by())
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        if int(found[0]) != -int(found[1]):
            raise UserError("Some processes do not see what the run has saved; -o must be a folder that all share.")

    def take(self, network: nn.Module) -> None:
        """Of a network that is split, this process's part of every block; blocks come together when they are run."""
        if not self.splits:
            return
        from torch.distributed.fsdp import fully_shard

        for block in network.modules():
            if isinstance(block, ResBlock | SpatialTransformer):
                fully_shard(block)
        fully_shard(network)

    def sum(self, values: Sequence[Tensor]) -> None:
        """Each in its place, over all processes."""
        if self.size > 1:
            for value in values:
                distributed.all_reduce(value)

    def gather(self, gradients: Sequence[Tensor]) -> None:
        """Added up over all processes; those of a network that is split have been averaged as they came."""
        if self.splits:
            for value in gradients:
                value.mul_(self.size)
        else:
            self.sum(gradients)

    def agreed(self, said: bool) -> bool:
        """True for all as soon as it is for one."""
        if self.size == 1:
            return said
        votes = torch.tensor(float(said), device=told_by())
        distributed.all_reduce(votes)
        return bool(votes > 0)


def told_by() -> str:
    """The device whose tensors go from process to process."""
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


@contextmanager
def gathered(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """The team that the launcher's environment tells of, and this process's own device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size(), split_asked()), device
    finally:
        distributed.destroy_process_group()


def whole(value: Tensor) -> Tensor:
    """All of a tensor that may be in parts; every process asks for it at once."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # pyright: ignore[reportAttributeAccessIssue]


def as_split(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in the parts of another one."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
