"""The golden file of the 3D GAN: its weights and inputs from the recipe, its outputs from our network."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from portrait360.geometry.cameras import Camera, look_at
from portrait360.models.panohead import GAN3D, GAN3DConfig
from portrait360.models.stylegan2 import low_pass
from portrait360.models.trigrid import RayConfig, compute_rays
from tests.parity.recipes import Golden

TURN = 3.14  # the published program's


def config_of(golden: Golden) -> GAN3DConfig:
    net, how = (json.loads(golden.metadata[name]) for name in ("net", "rendering_kwargs"))
    return GAN3DConfig(
        z=net["z_dim"],
        w=net["w_dim"],
        grids=how["triplane_size"],
        layers=how["triplane_depth"],
        base=net["channel_base"],
        widest=net["channel_max"],
        mapping_layers=net["mapping_layers"],
        rate=how["decoder_lr_mul"],
        activation=how["decoder_activation"],
        raw_by_style=how["use_torgb_raw"],
        background=how["use_background"],
        clamp=None,
        label_scale=how["c_scale"],
        label_zero=how["c_gen_conditioning_zero"],
        size=net["neural_rendering_resolution"],
        rays=RayConfig(
            how["ray_start"],
            how["ray_end"],
            how["depth_resolution"],
            how["depth_resolution_importance"],
            how["box_warp"],
        ),
    )


def weight_of(golden: Golden, name: str, shape: list[int]) -> Tensor:
    if name.endswith("resample_filter"):
        return low_pass()
    n = golden.draw(name, *shape)
    if name.endswith(("noise_strength", "w_avg")):
        n = 0.1 * n
    elif name.endswith("bias"):
        n = 1 + 0.1 * n if ".affine." in name else 0.1 * n
    if name.startswith("backbone.mapping.fc"):
        n = 100 * n
    elif name.startswith("t_mapping"):
        n = 0.05 * n
    n = n.half().float()
    if name == "decoder.net.2.bias":
        n[0] = 3.0
    return n


def generator_of(golden: Golden) -> GAN3D:
    network = GAN3D(config_of(golden))
    shapes = golden.shapes | json.loads(golden.metadata["buffers"])
    network.load_state_dict({name: weight_of(golden, name, shape) for name, shape in shapes.items()}, strict=True)
    return network.eval()


def outputs(golden: Golden) -> Iterator[tuple[str, Tensor]]:
    network = generator_of(golden)
    z, label = golden.draw("in.z", 2, network.config.z), golden.tensors["in.c"]
    yield "in.c", torch.from_numpy(np.stack([Camera.from_label(c).label() for c in label.numpy()]))
    yield "cams.sweep32_cam2world", published_orbit(32)
    ws = network.map_styles(z, label)
    yield "out.ws", ws
    yield "out.ws_psi0.7", network.map_styles(z, label, 0.7)
    moved, shift = network.shift_labels(z, label)
    yield "out.c_shifted", moved
    yield "out.delta_c", shift
    seen = compute_rays(label, network.config.size)
    yield "out.ray_origins", seen.origins[:, :4]
    yield "out.ray_dirs", seen.directions[:, ::16]
    head = network.generate_head(ws)
    yield "out.planes", head.grids.flatten(1, 3)[:1, ::16]
    draws = iter([golden.tensors["rand.0.rand_like"], golden.tensors["rand.1.rand"]])
    made = head.render(moved, uniform=lambda shape: next(draws))
    yield "out.image", made.rgb[:1, :, ::4, ::4]
    yield "out.image_raw", made.raw
    yield "out.image_depth", made.depth
    yield "out.image_mask", made.cover


def published_orbit(count: int) -> Tensor:
    """Angles as the published program has them, pi as 3.14 and the pitch from the pole."""
    yaw = TURN / 2 + 2 * TURN * np.arange(count) / count
    poses = [look_at(np.degrees(a - np.pi / 2), np.degrees(np.pi / 2 - np.arccos(1 - TURN / np.pi))) for a in yaw]
    return torch.from_numpy(np.stack(poses))
