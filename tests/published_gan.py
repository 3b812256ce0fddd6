"""A 3D GAN's file as its authors publish it: Python objects with the source of their classes, by pickle."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from portrait360.models.gan3d import GAN3D, GAN3DConfig
from portrait360.models.trigrid import RayConfig

TINY = GAN3DConfig(
    z=16,
    w=32,
    grids=16,
    base=1024,
    widest=16,
    size=16,
    rays=RayConfig(2.35, 3.3, 6, 6, 1.0),
    clamp=256.0,
    larger=(8, 8),
)


@torch.no_grad()
def filled(config: GAN3DConfig, seed: int = 0) -> GAN3D:
    """Every weight as large as these networks have them, zero-initialised ones too."""
    network, generator = GAN3D(config), torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("resample_filter"):
            continue
        n = torch.randn(value.shape, generator=generator)
        if name.endswith(("bias", "noise_strength", "w_avg")):
            n = 0.1 * n + (".affine." in name)
        value.copy_(100 * n if name.startswith("backbone.mapping.fc") else n)
    network.decoder.net[2].bias[0] = 3.0
    return network.eval().requires_grad_(False)


MODULE_SOURCE = "import os\nos.system('this must never run')\n"


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("the published program's own function was called")


class EasyDict(dict):
    pass


class RaySampler(nn.Module):
    pass


@contextmanager
def published_modules():
    """The modules whose names stand in the file, as long as it is written."""
    made = {
        "torch_utils.persistence": [_reconstruct_persistent_obj],
        "dnnlib.util": [EasyDict],
        "training.volumetric_rendering.ray_sampler": [RaySampler],
    }
    names = {
        part for name in made for part in (name, *(name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)))
    }
    before = [(thing, thing.__module__) for things in made.values() for thing in things]
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    for name, things in made.items():
        for thing in things:
            setattr(sys.modules[name], thing.__name__, thing)
            thing.__module__ = name
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        for thing, module in before:
            thing.__module__ = module


class Persistent:
    """An object that says how it is to be built again."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": MODULE_SOURCE, "class_name": name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (EasyDict(self.meta),)


def as_published(module: nn.Module, **attributes: Any) -> Any:
    parts = OrderedDict((name, as_published(part)) for name, part in module._modules.items() if part is not None)
    if isinstance(module, nn.Sequential | nn.Softplus):
        made = type(module)()
        made._modules = parts  # pyright: ignore[reportAttributeAccessIssue]
        return made
    state = {"training": False, "_parameters": module._parameters, "_buffers": module._buffers, "_modules": parts}
    return Persistent(type(module).__name__, state | attributes)


def attributes_of(config: GAN3DConfig) -> dict[str, Any]:
    rendering = EasyDict(
        depth_resolution=config.rays.coarse,
        depth_resolution_importance=config.rays.fine,
        ray_start=2.25,
        ray_end=config.rays.far,
        box_warp=config.rays.box,
        c_scale=config.label_scale,
        c_gen_conditioning_zero=config.label_zero,
        decoder_lr_mul=config.rate,
        decoder_activation=config.activation,
        use_torgb_raw=config.raw_by_style,
        triplane_size=config.grids,
        triplane_depth=config.layers,
        use_background=config.background,
        superresolution_noise_mode="none",
        density_reg=np.float64(0.25),
    )
    asked = EasyDict(
        z_dim=config.z,
        c_dim=25,
        w_dim=config.w,
        img_resolution=512,
        img_channels=3,
        channel_base=config.base,
        channel_max=config.widest,
        mapping_kwargs=EasyDict(num_layers=config.mapping_layers),
        sr_num_fp16_res=4 if config.clamp else 0,
        rendering_kwargs=rendering,
    )
    later = {"rendering_kwargs": EasyDict(rendering, ray_start=config.rays.near)}
    return {"_init_args": (), "_init_kwargs": asked, "neural_rendering_resolution": config.size, **later}


def pickled(network: GAN3D, **more: Any) -> bytes:
    """{G, D, G_ema, ...}, as the training program leaves it."""
    with published_modules():
        sampler = RaySampler()
        generator = as_published(network, **attributes_of(network.config), ray_sampler=sampler)
        held = {
            "training_set_kwargs": EasyDict(path="x.zip"),
            "G": None,
            "D": as_published(nn.Sequential(nn.Linear(2, 2), nn.ReLU())),
            "G_ema": generator,
            "augment_pipe": None,
        }
        file = io.BytesIO()
        pickle.Pickler(file, protocol=4).dump(held | more)
    return file.getvalue()


def save(network: GAN3D, path: Path, **more: Any) -> Path:
    path.write_bytes(pickled(network, **more))
    return path
