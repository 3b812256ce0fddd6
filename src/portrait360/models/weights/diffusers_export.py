"""`portrait360 weights export --diffusers`: an import as folders of diffusers, for its classes and other programs.

U-Net, autoencoder, ControlNet and appearance network are stock, so diffusers loads them. The cross-view attention is
not: it follows a block's upsampling, which it precedes in diffusers' AnimateDiff. It is written under its own names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from portrait360.models.controlnet import ControlConfig
from portrait360.models.unet import UNetConfig
from portrait360.models.vae import VAEConfig
from portrait360.models.weights.checkpoint_folder import Progress, new_folder, require_space
from portrait360.models.weights.diffusers_names import (
    diffusers_control_name,
    diffusers_unet_name,
    diffusers_vae_name,
)
from portrait360.models.weights.installed import find_size_mismatches, read_manifest
from portrait360.models.weights.model_card import ModelCard
from portrait360.models.weights.published_files import PUBLISHED, PublishedFile
from portrait360.models.weights.registry import ModelSpec
from portrait360.models.weights.store import load_spec
from portrait360.models.weights.tensor_files import Spec, TensorFile, write_safetensors
from portrait360.utils.errors import UserError
from portrait360.utils.version import __version__

DIFFUSERS_VERSION = "0.32.0"  # whose configurations these are
INDEX, WEIGHTS, PROMPT = "model_index.json", "diffusion_pytorch_model.safetensors", "empty_prompt.safetensors"
MOTION_MODULE = "_motion_module."  # in the names of the cross-view attention's tensors
STOCK_STRIDES = (1, 1, 2, 1, 2, 1, 2)  # of the hint's convolutions in diffusers' ControlNet

Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class Part:
    """A folder of the export: whose tensors, under which names, for which class."""

    folder: str
    source: str  # file of the import, without its ending
    library: str
    kind: str  # name of the class
    config: Mapping[str, Any]
    rename: Callable[[str], str | None]  # None: left out
    extra: Mapping[str, Tensor]  # what the class has and the import has not


def export_diffusers(
    source: Path, target: Path, on_progress: Progress = lambda part, count, total: None
) -> dict[str, Any]:
    """Write the import in the folder `source` as diffusers' folders to `target`, and return its model index."""
    record = read_manifest(source)
    if problems := find_size_mismatches(source):
        raise UserError(f"{source}: {problems[0]}; import these weights again.")
    if not {"unet.safetensors", "vae.safetensors"} <= record["files"].keys():
        raise UserError(
            f"{source} contains {record['system']}, which has no diffusion network to export; choose other weights."
        )
    system = load_spec(source)
    parts = list_parts(system)
    total = sum(file["bytes"] for file in record["files"].values())
    with new_folder(target, "export") as folder:
        require_space(folder, total)
        for part in parts:
            _write_part(part, source, folder, lambda count, part=part: on_progress(part.folder, count, total))
        index = _model_index(system, parts, record)
        _write_json(folder / INDEX, index)
        (folder / "scheduler").mkdir()
        _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
        shutil.copyfile(source / PROMPT, folder / PROMPT)
        make_card(system, parts, record).write(folder)
    return index


def list_parts(system: ModelSpec) -> list[Part]:
    unet = system.denoiser.unet if system.denoiser else system.unet
    parts = [
        Part("unet", "unet", *UNET_CLASS, unet_config(unet), _without_motion(unet), {}),
        Part("vae", "vae", "diffusers", "AutoencoderKL", vae_config(system.vae), _vae_renamer(system.vae), {}),
    ]
    if system.denoiser is None:
        return parts
    control = system.denoiser.control
    parts.append(
        Part("appearance", "appearance", *UNET_CLASS, unet_config(unet), _without_hint(unet), no_output(unet))
    )
    if system.denoiser.quirks.unused_hint_encoder_in_appearance:
        parts.append(Part("appearance_hint", "appearance", "portrait360", "HintEncoder", {}, _only_hint, {}))
    parts.append(_control_part(unet, control))
    if system.denoiser.cross_view is not None:
        config = {"layout": system.denoiser.cross_view.layout, "positions": system.denoiser.cross_view.positions}
        config |= {"heads": system.denoiser.cross_view.heads}
        parts.append(Part("cross_view", "unet", "portrait360", "CrossView", config, _only_motion, {}))
    return parts


def _without_motion(config: UNetConfig) -> Callable[[str], str | None]:
    return lambda name: None if MOTION_MODULE in name else diffusers_unet_name(name, config)


def _only_motion(name: str) -> str | None:
    return name if MOTION_MODULE in name else None


def _without_hint(config: UNetConfig) -> Callable[[str], str | None]:
    """Leave out DiffPortrait3D's hint encoder in the appearance network, which is never run."""
    return lambda name: None if _only_hint(name) else diffusers_unet_name(name, config)


def _only_hint(name: str) -> str | None:
    return name if name.startswith("input_hint_block.") else None


def _vae_renamer(config: VAEConfig) -> Callable[[str], str | None]:
    return lambda name: diffusers_vae_name(name, config)


def _control_part(unet: UNetConfig, control: ControlConfig) -> Part:
    if is_stock_hint(control):
        config = control_config(unet, control)
        layers = len(control.hint_widths) + 1

        def rename(name: str) -> str | None:
            return diffusers_control_name(name, unet, layers)

        return Part("controlnet", "control", "diffusers", "ControlNetModel", config, rename, {})
    return Part("controlnet", "control", "portrait360", "ControlNet", {}, lambda name: name, {})


def is_stock_hint(control: ControlConfig) -> bool:
    """Whether diffusers' ControlNet can have this hint encoder: pairs of layers, the second of which is smaller."""
    widths = control.hint_widths
    return control.hint_strides == STOCK_STRIDES and widths[0::2][:-1] == widths[1::2]


def no_output(config: UNetConfig) -> dict[str, Tensor]:
    """The last layers, which the class wants and the appearance network has not; they give zero."""
    c = config.level_widths[0]
    return {
        "conv_norm_out.weight": torch.ones(c),
        "conv_norm_out.bias": torch.zeros(c),
        "conv_out.weight": torch.zeros(config.out_channels, c, 3, 3),
        "conv_out.bias": torch.zeros(config.out_channels),
    }


UNET_CLASS = ("diffusers", "UNet2DConditionModel")
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": DIFFUSERS_VERSION,
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


def _encoder_config(config: UNetConfig) -> dict[str, Any]:
    kinds = ["CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in config.attention]
    return {
        "in_channels": config.in_channels,
        "block_out_channels": list(config.level_widths),
        "layers_per_block": config.depth,
        "down_block_types": kinds,
        "cross_attention_dim": config.context_dim,
        "attention_head_dim": config.heads,  # diffusers' name for how many heads there are
        "transformer_layers_per_block": config.transformer_depth,
    }


def unet_config(config: UNetConfig) -> dict[str, Any]:
    kinds = ["CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(config.attention)]
    return _encoder_config(config) | {"out_channels": config.out_channels, "up_block_types": kinds, "sample_size": 64}


def control_config(config: UNetConfig, control: ControlConfig) -> dict[str, Any]:
    widths = list(control.hint_widths[0::2])
    hint = {"conditioning_channels": control.hint_channels, "conditioning_embedding_out_channels": widths}
    return _encoder_config(config) | hint


def vae_config(config: VAEConfig) -> dict[str, Any]:
    levels = len(config.mult)
    return {
        "in_channels": config.channels,
        "out_channels": config.channels,
        "latent_channels": config.latent_channels,
        "block_out_channels": list(config.level_widths),
        "layers_per_block": config.depth,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "scaling_factor": config.scale,
        "sample_size": 512,
    }


def _write_part(part: Part, source: Path, folder: Path, on_bytes: Callable[[int], None]) -> None:
    file = TensorFile(source / f"{part.source}.safetensors")
    names = {new: name for name in file.specs if (new := part.rename(name)) is not None}
    specs = {new: to_diffusers_spec(file.specs[name], new) for new, name in names.items()}
    dtype = next(iter(specs.values())).dtype
    specs |= {new: Spec(tuple(value.shape), dtype) for new, value in part.extra.items()}

    def read(new: str) -> Tensor:
        return part.extra[new] if new in part.extra else file.read(names[new]).reshape(specs[new].shape)

    (folder / part.folder).mkdir()
    write_safetensors(folder / part.folder / WEIGHTS, specs, read, {"format": "pt"}, on_bytes)
    about = {"_class_name": part.kind, "_diffusers_version": DIFFUSERS_VERSION}
    _write_json(folder / part.folder / "config.json", about | dict(part.config))


def to_diffusers_spec(spec: Spec, name: str) -> Spec:
    """Return the spec of a tensor, called `name` by diffusers, in diffusers: the VAE's attention has linear layers
    there, and 1 x 1 convolutions in the published files."""
    is_linear = name.startswith(("encoder.mid_block.attentions", "decoder.mid_block.attentions"))
    return Spec(spec.shape[:2], spec.dtype) if is_linear and len(spec.shape) == 4 else spec


def _model_index(system: ModelSpec, parts: list[Part], record: Mapping[str, Any]) -> dict[str, Any]:
    index: dict[str, Any] = {"_diffusers_version": DIFFUSERS_VERSION, "_portrait360": __version__}
    index |= {"_system": system.name, "_origin": record.get("origin", "import")}
    index |= {part.folder: [part.library, part.kind] for part in parts}
    index["scheduler"] = ["diffusers", "DDIMScheduler"]
    if system.denoiser is not None:
        return {"_class_name": "Portrait360Pipeline", **index}
    absent = ("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder")
    return {"_class_name": "StableDiffusionPipeline", **index} | {name: [None, None] for name in absent}


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n")


def make_card(system: ModelSpec, parts: list[Part], record: Mapping[str, Any]) -> ModelCard:
    rows = "\n".join(f"- `{part.folder}`: {part.kind} ({part.library}){ROLES[part.folder]}" for part in parts)
    published = PUBLISHED.get(system.name)
    text = (
        f"{system.name} as folders of diffusers, in half precision, written by portrait360 {__version__}.\n\n{rows}\n"
        "- `empty_prompt.safetensors`: the text encoder's answer to the empty prompt, the only one that is used; "
        "give it as `prompt_embeds`\n\n"
        f"Licence: {_licence(published, record)}.\n\n"
        "```python\nfrom diffusers import UNet2DConditionModel\n"
        'unet = UNet2DConditionModel.from_pretrained("DIR", subfolder="unet")\n```\n'
    )
    facts = {"made from": str(record["source"].get("name", "")), "origin": str(record.get("origin", "import"))}
    base = PUBLISHED["sd15"].repository
    return ModelCard(system.name, text, "other", "diffusers", base, facts=facts)


def _licence(published: PublishedFile | None, record: Mapping[str, Any]) -> str:
    if record.get("origin", "import") == "import" and published is not None:
        return published.licence
    return f"that of what it was trained from, {PUBLISHED['sd15'].licence} for Stable Diffusion 1.5"


ROLES = {
    "unet": ", without the cross-view attention",
    "vae": "",
    "appearance": ": the tokens before each self-attention are what the U-Net's self-attentions also read. Its "
    "last two layers are not part of it; they give zero",
    "appearance_hint": ": in the published file, but never run; kept so that nothing is lost",
    "controlnet": ": takes hints in -1..1",
    "cross_view": ": runs after each block of the U-Net, behind its upsampling, so that it is no MotionAdapter",
}
