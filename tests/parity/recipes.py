"""Rebuilds the inputs and weights of a golden file from the recipe in its metadata: names and a salt are enough."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from portrait360.models.controlnet import ControlConfig
from portrait360.models.cross_view_attention import CrossViewConfig
from portrait360.models.unet import UNetConfig
from portrait360.models.vae import VAEConfig
from portrait360.models.view_denoiser import Quirks, ViewDenoiserConfig


class Golden:
    """A golden file: its tensors, and what its metadata says."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata()
        self.salt = metadata["salt"]
        self.shapes: dict[str, list[int]] = json.loads(metadata["parameters"])
        self.metadata = metadata

    def draw(self, name: str, *shape: int) -> Tensor:
        state = np.random.RandomState(zlib.crc32((self.salt + name).encode()) & 0xFFFFFFFF)
        return torch.from_numpy(state.standard_normal(shape).astype(np.float32))

    def weight(self, name: str) -> Tensor:
        shape = self.shapes[name]
        n = self.draw(name, *shape)
        if len(shape) >= 2:
            n = n / math.sqrt(math.prod(shape[1:]))
            if any(part in name for part in ("input_hint_block", ".to_q.", ".to_k.")):
                n = n * 2
        else:
            n = 1 + 0.1 * n if name.endswith("weight") else 0.1 * n
        return n.half().float()

    def fill(self, network: nn.Module, prefix: str = "") -> None:
        """Give the network the file's weights; names and shapes must agree both ways; position tables are ours."""
        own = {prefix + name: value for name, value in network.state_dict().items()}
        published = {name: tuple(shape) for name, shape in self.shapes.items()}
        if {name: tuple(value.shape) for name, value in own.items()} != published:
            differ = sorted(set(own) ^ set(published)) or [n for n in own if tuple(own[n].shape) != published[n]]
            raise SystemExit(f"names or shapes differ: {differ[:5]}")
        tables = {name for name in own if name.endswith(".pe")}
        state = {name[len(prefix) :]: own[name] if name in tables else self.weight(name) for name in own}
        network.load_state_dict(state, strict=True)


def unet_config(config: dict[str, Any]) -> UNetConfig:
    mult = tuple(config["channel_mult"])
    return UNetConfig(
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        width=config["model_channels"],
        mult=mult,
        depth=config["num_res_blocks"],
        attention=tuple(2**level in config["attention_resolutions"] for level in range(len(mult))),
        transformer_depth=config["transformer_depth"],
        heads=config["num_heads"],
        context_dim=config["context_dim"],
    )


def cross_view_config(config: dict[str, Any], names: set[str]) -> CrossViewConfig | None:
    if not config.get("unet_additional_kwargs", {}).get("use_motion_module"):
        return None
    module = config["unet_additional_kwargs"]["motion_module_kwargs"]
    three_d = any("middle_block_motion_module" in name for name in names)
    return CrossViewConfig(
        layout="diffportrait3d" if three_d else "diffportrait360",
        positions=module["temporal_position_encoding_max_len"],
        heads=module["num_attention_heads"],
        attentions=len(module["attention_block_types"]),
        depth=module["num_transformer_block"],
    )


def view_denoiser_config(golden: Golden) -> ViewDenoiserConfig:
    config = json.loads(golden.metadata["config"])
    names = set(golden.shapes)
    cross_view = cross_view_config(config["unet"], names)
    half = golden.tensors["sched1000.alphas_cumprod"].dtype == torch.float16
    return ViewDenoiserConfig(
        unet=unet_config(config["unet"]),
        control=ControlConfig(hint_channels=config["control"]["hint_channels"]),
        cross_view=cross_view,
        quirks=Quirks(
            half_schedule=half,
            middle_cross_view_when_unconditional=cross_view is not None and cross_view.layout == "diffportrait3d",
            unused_hint_encoder_in_appearance=any(n.startswith("control_model.input_hint_block") for n in names),
        ),
    )


def vae_config(golden: Golden) -> VAEConfig:
    config = json.loads(golden.metadata["ddconfig"])
    return VAEConfig(
        width=config["ch"],
        mult=tuple(config["ch_mult"]),
        depth=config["num_res_blocks"],
        channels=config["in_channels"],
        latent_channels=config["z_channels"],
    )
