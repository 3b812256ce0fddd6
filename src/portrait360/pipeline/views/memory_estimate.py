"""Estimates how much device memory the published networks take, without such a device: the whole procedure runs on
meta tensors, which have shapes but no values, and the bytes that are alive at the same time are counted."""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from portrait360.models.vae import VAE
from portrait360.models.view_denoiser import ViewDenoiser
from portrait360.models.weights.registry import ModelSpec
from portrait360.pipeline.views.multiview_sampler import ComputeConfig, DenoiserInputs, SamplerConfig, denoise_views

M = TypeVar("M", bound=nn.Module)

DEVICE = torch.device("meta")  # stands for the device whose memory is limited
CONTEXT = 500_000_000  # bytes that a GPU's driver and libraries take for themselves
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.to.device, torch.ops.aten.to.dtype_layout}


class Meter(TorchDispatchMode):
    """Counts the bytes of all meta tensors that are created in it and still alive: now, and at the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._live_keys: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in COPIES and args[0].device == DEVICE and _target_device(args, kwargs) == torch.device("cpu"):
            return torch.zeros((), dtype=kwargs.get("dtype") or args[0].dtype).expand(args[0].shape)
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device == DEVICE:
                self._track(tensor.untyped_storage())
        return out

    def _track(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._live_keys:
            return
        self._live_keys.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key, storage.nbytes()).atexit = False

    def _release(self, key: int, count: int) -> None:
        self._live_keys.discard(key)
        self.now -= count


def _target_device(args: Any, kwargs: Any) -> torch.device | None:
    device = kwargs.get("device") or next((a for a in args[1:] if isinstance(a, torch.device)), None)
    return None if device is None else torch.device(device)


class WeightlessNetworks:
    """The networks of a system without their weights, so that they take no memory on the host."""

    def __init__(self, system: ModelSpec) -> None:
        assert system.denoiser is not None
        self._text = system.text
        with DEVICE:
            self._vaes = [strip_weights(VAE(system.vae)) for _ in range(2)]  # one to encode and one to decode
            self._denoiser = strip_weights(ViewDenoiser(system.denoiser))

    def vae(self) -> VAE:
        return self._vaes.pop()

    def denoiser(self) -> ViewDenoiser:
        return self._denoiser

    def prompt(self) -> Tensor:
        return broadcast_zero(1, self._text.tokens, self._text.width)


def strip_weights(network: M) -> M:
    """Replace every parameter and buffer by a broadcast zero."""
    for module in network.modules():
        for name, value in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(broadcast_zero(*value.shape), requires_grad=False))
        for name, value in module.named_buffers(recurse=False):
            setattr(module, name, broadcast_zero(*value.shape))
    return network.eval()


def broadcast_zero(*shape: int) -> Tensor:
    """A CPU tensor of this shape whose elements are all the same number in memory."""
    return torch.zeros((), device="cpu").expand(shape)


@lru_cache(maxsize=16)
def peak_bytes(
    system: ModelSpec,
    views: int,
    size: int,
    dtype: torch.dtype,
    config: SamplerConfig,
    *,
    offload: bool = True,
    references: int = 2,
    mixed: bool = False,
) -> int:
    """Return the most bytes of weights and activations that are alive at once; a bound of it for mixed precision."""
    networks, compute = WeightlessNetworks(system), ComputeConfig(DEVICE, dtype, offload, mixed=mixed)
    inputs = DenoiserInputs(*(broadcast_zero(count, 3, size, size) for count in (references, views, views)))
    with Meter() as meter:
        denoise_views(inputs, networks, config, compute)
    if not mixed:
        return meter.peak
    # norms leave activations in fp32, which are not counted: at most twice as many bytes, beside the same weights
    denoiser = networks.denoiser()
    weights = (*denoiser.unet.parameters(), *denoiser.control.parameters())
    return 2 * meter.peak - sum(value.numel() for value in weights) * dtype.itemsize
