"""Training by several processes, started by `accelerate launch` or `torchrun`.

Each process takes its share of every step's samples, and gradients are summed, so that the steps do not depend on the
number of processes. A single process is a group of one. With `accelerate launch --use_fsdp` each process holds only a
shard of the network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from portrait360.utils.errors import UserError


def is_main_process() -> bool:
    """Return whether this is the process that logs and writes files."""
    return int(os.environ.get("RANK", "0")) == 0


def fsdp_enabled() -> bool:
    """Return whether each process is to hold only a shard of the network."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and int(os.environ.get("WORLD_SIZE", "1")) > 1


@dataclass(frozen=True)
class ProcessGroup:
    rank: int = 0
    size: int = 1
    sharded: bool = False

    def local_indices(self, count: int, parts: int = 1) -> range:
        """Return the indices of this process's samples of a step: the same number for all, divisible by `parts`."""
        part_size, remainder = divmod(count, self.size * parts)
        if remainder or not part_size:
            raise UserError(
                f"{count} samples a step cannot be divided evenly among {self.size} processes with {parts} parts "
                "each; choose another `batch=`."
            )
        return range(self.rank * part_size * parts, (self.rank + 1) * part_size * parts)

    def check_same_step(self, step: int) -> None:
        """Raise an error unless all processes have loaded the same state."""
        if self.size == 1:
            return
        bounds = torch.tensor([step, -step], device=get_signal_device())  # the maxima: last step, minus first step
        distributed.all_reduce(bounds, distributed.ReduceOp.MAX)
        if int(bounds[0]) != -int(bounds[1]):
            raise UserError(
                "Some processes do not see the saved state of this run; "
                "choose a folder for -o that all processes share."
            )

    def shard_model(self, network: nn.Module) -> None:
        """Shard every block of the network, if the group is sharded; a block is gathered when it runs."""
        if not self.sharded:
            return
        from torch.distributed.fsdp import fully_shard

        from portrait360.models.layers import ResBlock, SpatialTransformer

        for block in network.modules():
            if isinstance(block, ResBlock | SpatialTransformer):
                fully_shard(block)
        fully_shard(network)

    def sum(self, values: Sequence[Tensor]) -> None:
        """Sum tensors over all processes, in place."""
        if self.size > 1:
            for value in values:
                distributed.all_reduce(value)

    def reduce_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Sum gradients over all processes, in place; those of a sharded network are already averaged by FSDP."""
        if self.sharded:
            for value in gradients:
                value.mul_(self.size)
        else:
            self.sum(gradients)

    def any_rank(self, flag: bool) -> bool:
        """Return on every process whether the flag is set on any of them."""
        if self.size == 1:
            return flag
        votes = torch.tensor(float(flag), device=get_signal_device())
        distributed.all_reduce(votes)
        return bool(votes > 0)


def get_signal_device() -> str:
    """Return the device of tensors that the backend can send between processes."""
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


@contextmanager
def join_process_group(device: torch.device) -> Iterator[tuple[ProcessGroup, torch.device]]:
    """Join the group described by the launcher's environment variables; yield it with this process's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ProcessGroup(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size(), fsdp_enabled()), device
    finally:
        distributed.destroy_process_group()


def full_tensor(value: Tensor) -> Tensor:
    """Gather a tensor that may be sharded. Every process must call this at the same time."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # pyright: ignore[reportAttributeAccessIssue]


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """Shard a full tensor in the same way as another one."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
