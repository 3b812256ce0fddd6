"""The names of tensors in diffusers' folders, and Stable Diffusion 1.5 read from such a folder."""

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

_DIFFUSERS_RESNET = {published: diffusers for diffusers, published in _RESNET.items()}
_DIFFUSERS_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


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


def diffusers_unet_name(name: str, config: UNetConfig) -> str:
    """Convert a published U-Net tensor name to diffusers': the inverse of `unet_name`."""
    per_level = config.depth + 1
    top = {"input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}
    top |= {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"}
    layer, _, parameter = name.rpartition(".")
    if layer in top:
        return f"{top[layer]}.{parameter}"
    if match := re.match(r"middle_block\.([02])\.(.+)", name):
        return f"mid_block.resnets.{int(match[1]) // 2}.{_diffusers_resnet_name(match[2])}"
    if name.startswith("middle_block.1."):
        return "mid_block.attentions.0." + name.removeprefix("middle_block.1.")
    match = re.match(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", name)
    if match is None:
        return name
    down, block, place, leaf = match[1] == "input", int(match[2]), match[3], match[4]
    level, i = divmod(block - 1 if down else block, per_level)
    side = f"{'down' if down else 'up'}_blocks.{level}"
    if leaf.startswith(("op.", "conv.")):
        return f"{side}.{'downsamplers' if down else 'upsamplers'}.0.conv.{leaf.partition('.')[2]}"
    return f"{side}.resnets.{i}.{_diffusers_resnet_name(leaf)}" if place == "0" else f"{side}.attentions.{i}.{leaf}"


def _diffusers_resnet_name(name: str) -> str:
    layer, _, parameter = name.rpartition(".")
    return f"{_DIFFUSERS_RESNET[layer]}.{parameter}"


def diffusers_control_name(name: str, config: UNetConfig, hint_layers: int) -> str:
    """Convert a published ControlNet tensor name to diffusers'; `hint_layers` counts the hint's convolutions."""
    if match := re.match(r"input_hint_block\.(\d+)\.(.+)", name):
        i = int(match[1]) // 2  # activations stand between the convolutions
        layer = {0: "conv_in", hint_layers - 1: "conv_out"}.get(i, f"blocks.{i - 1}")
        return f"controlnet_cond_embedding.{layer}.{match[2]}"
    name = re.sub(r"^zero_convs\.(\d+)\.0\.", r"controlnet_down_blocks.\1.", name)
    name = re.sub(r"^middle_block_out\.0\.", "controlnet_mid_block.", name)
    return name if name.startswith("controlnet_") else diffusers_unet_name(name, config)


def diffusers_vae_name(name: str, config: VAEConfig) -> str:
    """Convert a published VAE tensor name to diffusers': the inverse of `vae_name`."""
    name = name.replace("nin_shortcut", "conv_shortcut")
    name = re.sub(r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out.", name)
    name = re.sub(r"mid\.block_(\d)", lambda m: f"mid_block.resnets.{int(m[1]) - 1}", name)
    if match := re.match(r"(.+)\.mid\.attn_1\.(\w+)\.(\w+)$", name):
        return f"{match[1]}.mid_block.attentions.0.{_DIFFUSERS_VAE_ATTENTION[match[2]]}.{match[3]}"
    name = re.sub(r"down\.(\d)\.block\.(\d)", r"down_blocks.\1.resnets.\2", name)
    name = re.sub(r"down\.(\d)\.downsample", r"down_blocks.\1.downsamplers.0", name)
    last = len(config.mult) - 1
    name = re.sub(r"\bup\.(\d)\.block\.(\d)", lambda m: f"up_blocks.{last - int(m[1])}.resnets.{m[2]}", name)
    return re.sub(r"\bup\.(\d)\.upsample", lambda m: f"up_blocks.{last - int(m[1])}.upsamplers.0", name)


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
            raise UserError(f"{self.path / folder} contains no weights; expected {names[0]} or {names[1]} there.")
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
