"""How much memory the published networks take on a device, told without one: their whole way is gone through on
tensors that have a shape and no numbers, and what lives at once is counted."""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from portrait360.denoised_views import Asked, Machine, Sampling, denoised
from portrait360.models.vae import VAE
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.weights.systems import System

M = TypeVar("M", bound=nn.Module)

DEVICE = torch.device("meta")  # stands for the device that is short of memory
CONTEXT = 500_000_000  # what a GPU's driver and libraries take for themselves
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.to.device, torch.ops.aten.to.dtype_layout}


class Meter(TorchDispatchMode):
    """Bytes of all tensors without numbers that were made in it and live: now, and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in COPIES and args[0].device == DEVICE and _target(args, kwargs) == torch.device("cpu"):
            return torch.zeros((), dtype=kwargs.get("dtype") or args[0].dtype).expand(args[0].shape)
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device == DEVICE:
                self._live(tensor.untyped_storage())
        return out

    def _live(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, storage.nbytes()).atexit = False

    def _gone(self, key: int, count: int) -> None:
        self._known.discard(key)
        self.now -= count


def _target(args: Any, kwargs: Any) -> torch.device | None:
    named = kwargs.get("device") or next((a for a in args[1:] if isinstance(a, torch.device)), None)
    return None if named is None else torch.device(named)


class Imagined:
    """A system's networks without their numbers, in a memory that costs nothing."""

    def __init__(self, system: System) -> None:
        assert system.denoiser is not None
        self._text = system.text
        with DEVICE:
            self._vaes = [numberless(VAE(system.vae)) for _ in range(2)]  # encoder and decoder are asked apart
            self._denoiser = numberless(ViewDenoiser(system.denoiser))

    def vae(self) -> VAE:
        return self._vaes.pop()

    def denoiser(self) -> ViewDenoiser:
        return self._denoiser

    def prompt(self) -> Tensor:
        return empty(1, self._text.tokens, self._text.width)


def numberless(network: M) -> M:
    """Every number is the same one."""
    for module in network.modules():
        for name, value in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(empty(*value.shape), requires_grad=False))
        for name, value in module.named_buffers(recurse=False):
            setattr(module, name, empty(*value.shape))
    return network.eval()


def empty(*shape: int) -> Tensor:
    return torch.zeros((), device="cpu").expand(shape)


@lru_cache(maxsize=16)
def peak_bytes(
    system: System,
    views: int,
    size: int,
    dtype: torch.dtype,
    how: Sampling,
    *,
    thrifty: bool = True,
    references: int = 2,
) -> int:
    """Of weights and all that is computed, the most that lives at once."""
    networks, machine = Imagined(system), Machine(DEVICE, dtype, thrifty)
    asked = Asked(*(empty(count, 3, size, size) for count in (references, views, views)))
    with Meter() as meter:
        denoised(asked, networks, how, machine)
    return meter.peak
