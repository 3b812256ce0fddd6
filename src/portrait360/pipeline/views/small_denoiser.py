"""The small view denoiser, the second network of the preset `small`: it turns renders of the proxy into views with
details that a surface cannot represent.

All views are denoised together. At each noise level R (appearance) encodes the photo and the proxy's back once, and
C (control) encodes each view once; V (cross-view attention) sees overlapping windows of neighbours around the orbit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from portrait360.diffusion.multiview import Prepare, ViewNoise, circular_windows, predict_orbit, view_generators
from portrait360.diffusion.samplers import flow_euler
from portrait360.geometry.cameras import Camera, look_at
from portrait360.models.network_sizes import SMALL
from portrait360.models.view_denoiser import ViewConditions, ViewDenoiser
from portrait360.models.weights.tensor_files import TensorFile, load_fp32
from portrait360.pipeline.avatar.avatar import CoarseHead
from portrait360.pipeline.portrait.matting import downscale
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.pipeline.views.pixel_latents import (
    TIMESTEP_SCALE,
    build_hint,
    depth_to_space,
    premultiply,
    space_to_depth,
)
from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import Floats
from portrait360.utils.progress import ProgressCallback, ignore_progress

STEPS = 1  # noise levels; with one, sampling starts without noise and returns the mean of all plausible views
RAMP = (0.5, 0.8)  # probabilities of being covered that become alpha 0 and 1; in between, hair stays soft
WINDOW, OVERLAP = 8, 2  # views


class ViewWeights(NamedTuple):
    """A trained network and the settings of its training."""

    network: ViewDenoiser
    together: bool = True  # with cross-view attention


@lru_cache(maxsize=4)
def load_view_weights(path: Path) -> ViewWeights:
    """Load weights for inference, in single precision.

    What the file's key `without` names is not left out here; `benchmarks.ablations` does that."""
    file, network = TensorFile(path), ViewDenoiser(SMALL)
    load_fp32(network, file, str(path))
    return ViewWeights(network.eval().requires_grad_(False), file.metadata["together"] == "yes")


@dataclass(frozen=True)
class ViewInputs:
    """What the views are made of: what the network gets, and the proxy's renders."""

    proxy: Tensor  # (v 4 s s) premultiplied colours and alpha
    base: Tensor  # (v 64 h w) latents of the proxy's views, around which the noise is
    visibility: Tensor  # (v 1 s s)
    hints: Tensor  # (v HINT_CHANNELS s s)
    references: Tensor  # (n 64 h w)


def denoise_small_views(
    portrait: Portrait,
    proxy: CoarseHead,
    cameras: Sequence[Camera],
    weights: ViewWeights,
    *,
    size: int = 256,
    seed: int = 0,
    steps: int = STEPS,
    on_step: ProgressCallback = ignore_progress,
) -> list[View]:
    """Make the views of all cameras. A view does not depend on the number of views, only on the neighbours that
    cross-view attention sees."""
    inputs = prepare_inputs(portrait, proxy, cameras, size)
    return denoise_prepared(inputs, cameras, weights, seed=seed, steps=steps, on_step=on_step)


@torch.inference_mode()
def denoise_prepared(
    inputs: ViewInputs,
    cameras: Sequence[Camera],
    weights: ViewWeights,
    *,
    seed: int = 0,
    steps: int = STEPS,
    on_step: ProgressCallback = ignore_progress,
) -> list[View]:
    """Make the views of all cameras from their inputs, which `prepare_inputs` makes."""
    network, cross_view = weights
    device = next(network.parameters()).device
    noise = ViewNoise(view_generators(seed, len(cameras)), tuple(inputs.base.shape[1:]), device)() * (steps > 1)
    denoise = predict_orbit(
        make_window_denoiser(network, inputs, cross_view), circular_windows(len(cameras), WINDOW, OVERLAP)
    )
    changes = flow_euler(denoise, noise, steps, lambda i, x0: on_step("noise level", i + 1, steps))
    pictures = harden_alpha(depth_to_space(inputs.base + changes.cpu()).clamp(0, 1), inputs.proxy)
    photo_share = torch.where(inputs.proxy[:, 3:] > 0, inputs.visibility, 0)
    pictures = pictures + photo_share * (inputs.proxy - pictures)  # keep the photo's own pixels
    return [as_view(picture, camera) for picture, camera in zip(pictures, cameras, strict=True)]


def harden_alpha(pictures: Tensor, proxy: Tensor) -> Tensor:
    """Give views (v 4 s s) firm outlines.

    In the mean of all plausible views, alpha is the probability of being covered, which is a veil around heads, and
    the colours are premultiplied by it. Where nothing was changed, the views stay equal to the proxy's (v 4 s s)."""
    probability, proxy_alpha = pictures[:, 3:], proxy[:, 3:]

    def ramp(x: Tensor) -> Tensor:
        return ((x - RAMP[0]) / (RAMP[1] - RAMP[0])).clamp(0, 1)

    alpha = torch.where(
        probability == proxy_alpha, proxy_alpha, (proxy_alpha + ramp(probability) - ramp(proxy_alpha)).clamp(0, 1)
    )
    colours = (pictures[:, :3] / probability.clamp(min=1e-3)).clamp(max=1)
    return torch.cat([torch.where(alpha == probability, pictures[:, :3], colours * alpha), alpha], 1)


def prepare_inputs(portrait: Portrait, proxy: CoarseHead, cameras: Sequence[Camera], size: int) -> ViewInputs:
    renders = [proxy.render(camera, size) for camera in cameras]
    back = proxy.render(Camera(look_at(180), portrait.camera.focal), size)
    photo = premultiply(downscale(portrait.rgb, size)[0], downscale(portrait.alpha, size)[0])
    pictures = torch.stack([premultiply(view.rgb, view.mask) for view in renders])
    return ViewInputs(
        pictures,
        space_to_depth(pictures),
        torch.from_numpy(np.stack([view.visibility for view in renders]))[:, None],
        torch.from_numpy(
            np.stack([hint_of_proxy(view, camera) for view, camera in zip(renders, cameras, strict=True)])
        ),
        space_to_depth(torch.stack([photo, premultiply(back.rgb, back.mask)])),
    )


def hint_of_proxy(view: ProxyView, camera: Camera) -> Floats:
    return build_hint(view.rgb, view.visibility, view.mask, view.normals, view.depth, camera)


def make_window_denoiser(network: ViewDenoiser, inputs: ViewInputs, cross_view: bool) -> Prepare:
    """Return a function that computes once per noise level what all windows share."""
    device = next(network.parameters()).device
    context = torch.zeros(1, 1, network.config.unet.context_dim, device=device)
    conditions = ViewConditions(context, inputs.references.to(device)[:, None])
    conditions = network.embed_hints(conditions, inputs.hints.to(device))
    return lambda x, level: (
        network.prepare_level(conditions, x, TIMESTEP_SCALE * level, together=cross_view).conditional
    )


def as_view(picture: Tensor, camera: Camera) -> View:
    """Convert premultiplied colours and alpha (4 s s) to a view with straight alpha."""
    alpha = picture[3]
    rgb = (picture[:3] / alpha.clamp(min=1e-3)).clamp(0, 1) * (alpha > 0)
    return View(rgb.permute(1, 2, 0).numpy().astype(np.float32), alpha.numpy().astype(np.float32), camera)
