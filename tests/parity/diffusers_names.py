"""Weights of diffusers' networks put into ours, layer by layer in the order in which they run.

Made without a table of names: both list the same layers, and only the names inside one layer differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from torch import nn

from portrait360.models.controlnet import ControlNet
from portrait360.models.unet import Encoder, UNet
from portrait360.models.vae import VAE

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

INSIDE = {  # kind of our layer -> our name: diffusers' name; other names are the same in both
    "ResBlock": {
        "in_layers.0": "norm1",
        "in_layers.2": "conv1",
        "emb_layers.1": "time_emb_proj",
        "out_layers.0": "norm2",
        "out_layers.3": "conv2",
        "skip_connection": "conv_shortcut",
        "nin_shortcut": "conv_shortcut",
    },
    "SelfAttention": {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"},
    "Downsample": {"op": "conv"},
    "Sequential": {"0": "linear_1", "2": "linear_2"},  # the embedding of the timestep
}

Layers = Iterator[nn.Module]


def copy_unet(theirs: UNet2DConditionModel, ours: UNet) -> None:
    copy([*encoder_of(theirs), *decoder_of(theirs)], [*encoder(ours), *stages(ours.output_blocks), *ends(ours.out)])


def copy_control(theirs: ControlNetModel, ours: ControlNet) -> None:
    hint = theirs.controlnet_cond_embedding
    copy(
        [*encoder_of(theirs), hint.conv_in, *hint.blocks, hint.conv_out]
        + [*theirs.controlnet_down_blocks, theirs.controlnet_mid_block],
        [*encoder(ours), *ends(ours.input_hint_block), *stages(ours.zero_convs), *ours.middle_block_out],
    )


def copy_vae(theirs: AutoencoderKL, ours: VAE) -> None:
    for half, own, blocks, levels in (
        (theirs.encoder, ours.encoder, theirs.encoder.down_blocks, list(ours.encoder.down)),
        (theirs.decoder, ours.decoder, theirs.decoder.up_blocks, list(ours.decoder.up)[::-1]),
    ):
        down_or_up = [layer for block in blocks for layer in layers_of(block)]
        own_down_or_up = [layer for level in levels for layer in (*level.block, *list(level.children())[1:])]
        middle, own_middle = [*layers_of(half.mid_block)], [*own.mid.children()]
        if half is theirs.encoder:
            copy([*down_or_up, *middle], [*own_down_or_up, *own_middle])
        else:
            copy([*middle, *down_or_up], [*own_middle, *own_down_or_up])
        copy([half.conv_in, half.conv_norm_out, half.conv_out], [own.conv_in, own.norm_out, own.conv_out])
    copy([theirs.quant_conv, theirs.post_quant_conv], [ours.quant_conv, ours.post_quant_conv])


def encoder_of(network: UNet2DConditionModel | ControlNetModel) -> Layers:
    yield from (network.time_embedding, network.conv_in)
    for block in (*network.down_blocks, network.mid_block):
        yield from layers_of(block)


def decoder_of(network: UNet2DConditionModel) -> Layers:
    for block in network.up_blocks:
        yield from layers_of(block)
    yield from (network.conv_norm_out, network.conv_out)


def layers_of(block: nn.Module) -> Layers:
    """Residual blocks and attentions take turns, then comes a change of size."""
    for resnet, attention in zip_longest(block.resnets, getattr(block, "attentions", [])):
        yield resnet
        if attention is not None:
            yield attention
    for name in ("downsamplers", "upsamplers"):
        yield from getattr(block, name, None) or []


def encoder(network: Encoder) -> Layers:
    yield network.time_embed
    yield from stages([*network.input_blocks, network.middle_block])


def stages(blocks) -> Layers:
    for stage in blocks:
        yield from stage


def ends(sequence) -> Layers:
    yield from (layer for layer in sequence if len(list(layer.parameters())))


def copy(theirs: list[nn.Module], ours: list[nn.Module]) -> None:
    for source, target in zip(theirs, ours, strict=True):
        state = source.state_dict()
        own = target.state_dict()
        table = INSIDE.get(type(target).__name__, {})
        names = {name: rename(name, table) for name in own}
        if set(names.values()) != set(state):
            raise ValueError(f"{type(target).__name__}: {sorted(set(names.values()) ^ set(state))}")
        # diffusers' VAE has linear layers where ours, like the published one, has 1 x 1 convolutions
        target.load_state_dict({name: state[names[name]].view(own[name].shape) for name in own})
        check_eps(source, target, table)


def check_eps(theirs: nn.Module, ours: nn.Module, table: dict[str, str]) -> None:
    """A norm's eps hides behind inputs of ordinary size, so that outputs alone would not tell one from another."""
    for name, layer in ours.named_modules():
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm):
            other = theirs.get_submodule(table.get(name, name))
            if (type(layer), layer.eps) != (type(other), other.eps):
                raise ValueError(f"{type(ours).__name__}.{name}: {layer}, but there {other}")


def rename(name: str, table: dict[str, str]) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{table.get(layer, layer)}.{kind}" if layer else kind
