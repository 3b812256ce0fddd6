"""Reads Stable Diffusion 1.5 from a diffusers folder, which holds the same tensors under other names."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from portrait360.models.unet import UNetConfig
from portrait360.models.vae import VAEConfig
from portrait360.models.weights.registry import FIRST_STAGE, TEXT, UNET
from portrait360.models.weights.tensor_files import Spec, TensorFile
from portrait360.utils.errors import UserError

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
    "query": "q",  # these four names occur in older folders
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}


def unet_name(name: str, config: UNetConfig) -> str:
    """Convert a diffusers U-Net tensor name to the published name."""
    per_level = config.depth + 1
    top = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    top |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    for diffusers, published in top.items():
        if name.startswith(diffusers + "."):
            return published + name[len(diffusers) :]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        kind, i, leaf = match[1], int(match[2]), match[3]
        return f"middle_block.{2 * i}.{_resnet_name(leaf)}" if kind == "resnets" else f"middle_block.1.{leaf}"
    if match := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", name):
        down, level, kind, i, leaf = match[1] == "down", int(match[2]), match[3], int(match[4]), match[5]
        block = f"input_blocks.{1 + per_level * level + i}" if down else f"output_blocks.{per_level * level + i}"
        return f"{block}.0.{_resnet_name(leaf)}" if kind == "resnets" else f"{block}.1.{leaf}"
    if match := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", name):
        return f"input_blocks.{per_level * (int(match[1]) + 1)}.0.op.{match[2]}"
    if match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.+)", name):
        level = int(match[1])
        attention = config.attention[len(config.mult) - 1 - level]
        return f"output_blocks.{per_level * (level + 1) - 1}.{2 if attention else 1}.conv.{match[2]}"
    return name


def _resnet_name(name: str) -> str:
    layer, _, parameter = name.rpartition(".")
    return f"{_RESNET.get(layer, layer)}.{parameter}"


def vae_name(name: str, config: VAEConfig) -> str:
    """Convert a diffusers VAE tensor name to the published name."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if match := re.match(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(\w+)$", name):
        return f"{match[1]}.mid.attn_1.{_VAE_ATTENTION.get(match[2], match[2])}.{match[3]}"
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    last = (
        len(config.mult) - 1
    )  # diffusers counts decoder levels from the coarsest, the published code from the finest
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{last - int(m[1])}.block.{m[2]}", name)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)


class DiffusersFolder:
    """A diffusers folder with the interface of a single published file (see TensorFile)."""

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
        paths = [self.path / folder / name for name in (*names, "pytorch_model.bin")]
        paths = [path for path in paths if path.is_file()]
        if not paths:
            raise UserError(f"{self.path / folder} holds no weights; expected {names[0]} or {names[1]} there.")
        file = TensorFile(paths[0])
        self._source |= {rename(name): (file, name) for name in file.specs}

    def _spec(self, name: str) -> Spec:
        file, diffusers_name = self._source[name]
        shape, dtype = file.specs[diffusers_name]
        return Spec((*shape, 1, 1), dtype) if self._is_flat_conv(name, shape) else Spec(shape, dtype)

    def read(self, name: str) -> Tensor:
        file, diffusers_name = self._source[name]
        return file.read(diffusers_name).reshape(self.specs[name].shape)

    @staticmethod
    def _is_flat_conv(name: str, shape: tuple[int, ...]) -> bool:
        """Whether a linear layer of the VAE's attention is a 1 x 1 convolution in published files."""
        return name.startswith(FIRST_STAGE) and ".attn_1." in name and len(shape) == 2
