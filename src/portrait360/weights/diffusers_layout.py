"""Stable Diffusion 1.5 as a diffusers folder: the same tensors under other names."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from portrait360.checkpoints import Spec, TensorFile
from portrait360.errors import UserError
from portrait360.models.unet import UNetConfig
from portrait360.models.vae import VAEConfig
from portrait360.weights.systems import FIRST_STAGE, TEXT, UNET

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",  # the four names of older folders
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}


def unet_name(name: str, config: UNetConfig) -> str:
    """A diffusers U-Net tensor's published name."""
    per_level = config.depth + 1
    top = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    top |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    for theirs, ours in top.items():
        if name.startswith(theirs + "."):
            return ours + name[len(theirs) :]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        kind, i, rest = match[1], int(match[2]), match[3]
        return f"middle_block.{2 * i}.{_resnet(rest)}" if kind == "resnets" else f"middle_block.1.{rest}"
    if match := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", name):
        down, level, kind, i, rest = match[1] == "down", int(match[2]), match[3], int(match[4]), match[5]
        block = f"input_blocks.{1 + per_level * level + i}" if down else f"output_blocks.{per_level * level + i}"
        return f"{block}.0.{_resnet(rest)}" if kind == "resnets" else f"{block}.1.{rest}"
    if match := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", name):
        return f"input_blocks.{per_level * (int(match[1]) + 1)}.0.op.{match[2]}"
    if match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.+)", name):
        level = int(match[1])
        attends = config.attention[len(config.mult) - 1 - level]
        return f"output_blocks.{per_level * (level + 1) - 1}.{2 if attends else 1}.conv.{match[2]}"
    return name


def _resnet(rest: str) -> str:
    part, _, leaf = rest.rpartition(".")
    return f"{_RESNET.get(part, part)}.{leaf}"


def vae_name(name: str, config: VAEConfig) -> str:
    """A diffusers VAE tensor's published name."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if match := re.match(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(\w+)$", name):
        return f"{match[1]}.mid.attn_1.{_VAE_ATTENTION.get(match[2], match[2])}.{match[3]}"
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    last = len(config.mult) - 1  # their decoder counts from the coarsest level, the published one from the finest
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{last - int(m[1])}.block.{m[2]}", name)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)


class DiffusersFolder:
    """A diffusers folder that reads like a single published file (see TensorFile)."""

    metadata: dict[str, str] = {}

    def __init__(self, path: Path, unet: UNetConfig, vae: VAEConfig) -> None:
        self.path = path
        self._source: dict[str, tuple[TensorFile, str]] = {}
        self._add("unet", lambda name: UNET + unet_name(name, unet))
        self._add("vae", lambda name: FIRST_STAGE + vae_name(name, vae))
        self._add("text_encoder", lambda name: TEXT + name.removeprefix("text_model."))
        self.specs = {name: self._spec(name) for name in self._source}

    def _add(self, folder: str, rename) -> None:
        names = ("diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin")
        found = [self.path / folder / name for name in (*names, "pytorch_model.bin")]
        found = [path for path in found if path.is_file()]
        if not found:
            raise UserError(f"{self.path / folder} holds no weights; expected {names[0]} or {names[1]} there.")
        file = TensorFile(found[0])
        self._source |= {rename(name): (file, name) for name in file.specs}

    def _spec(self, name: str) -> Spec:
        file, theirs = self._source[name]
        shape, dtype = file.specs[theirs]
        return Spec((*shape, 1, 1), dtype) if self._is_flat_conv(name, shape) else Spec(shape, dtype)

    def read(self, name: str) -> Tensor:
        file, theirs = self._source[name]
        return file.read(theirs).reshape(self.specs[name].shape)

    @staticmethod
    def _is_flat_conv(name: str, shape: tuple[int, ...]) -> bool:
        """The VAE's attention is 1 x 1 convolutions in published files, linear layers in diffusers folders."""
        return name.startswith(FIRST_STAGE) and ".attn_1." in name and len(shape) == 2
