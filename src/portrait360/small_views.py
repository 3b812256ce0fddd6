"""The small preset's second network at work: the proxy's views in, views with what a surface cannot hold out.

All views go from noise to a picture together. At each noise level R is asked once for the photo and the proxy's back,
C once a view; V sees windows of neighbours that overlap and close the circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from portrait360.cameras import Camera, look_at
from portrait360.checkpoints import TensorFile, load_single
from portrait360.diffusion.noise import ViewNoise, view_generators
from portrait360.diffusion.samplers import flow
from portrait360.diffusion.windows import Prepare, circular_windows, over_orbit
from portrait360.errors import UserError
from portrait360.models.presets import SMALL
from portrait360.models.view_denoiser import ViewConditions, ViewDenoiser
from portrait360.models.view_hints import TIMES, folded, hint_of, premultiplied, unfolded
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy, ProxyView
from portrait360.subject import reduced
from portrait360.view_sheet import View

Floats = NDArray[np.floating]

WEIGHTS = Path(__file__).parent / "assets" / "small" / "views.safetensors"
METHOD = "denoised"  # how this way of making views is asked for
MULTIPLE = 16  # pixels of a view that become one of the network's coarsest
STEPS = 1  # noise levels; one begins with no noise, and says the mean of all views that may be
RAMP = (0.5, 0.8)  # chance of being covered, from "no" to "yes"; in between hair stays soft
WINDOW, OVERLAP = 8, 2  # views
OnStep = Callable[[int, int], None]  # noise levels done, of how many
WITHOUT = {  # what a network may have learnt without, to see what it is worth
    "photo": "R is shown nothing",
    "back": "R is not shown the head from behind",
    "base": "it starts from noise alone, not from noise around the proxy's views (no 3D-aware noise)",
    "hint": "the proxy it is shown is a stranger's",
    "order": "V learns on the views of an arc in any order",
}


class ViewWeights(NamedTuple):
    """A trained network, and how it was taught."""

    network: ViewDenoiser
    together: bool = True  # V is in it
    without: tuple[str, ...] = ()


def shipped() -> Path:
    """The weights that come with this package."""
    if not WEIGHTS.is_file():
        raise UserError(f"This package holds no weights of the view denoiser yet, so there is no method {METHOD!r}.")
    return WEIGHTS


@lru_cache(maxsize=4)
def load_views(path: Path) -> ViewWeights:
    """Single precision, for use alone."""
    file, network = TensorFile(path), ViewDenoiser(SMALL)
    load_single(network, file, str(path))
    without = tuple(word for word in file.metadata["without"].split(",") if word)
    return ViewWeights(network.eval().requires_grad_(False), file.metadata["together"] == "yes", without)


@dataclass(frozen=True)
class Shown:
    """What the network is told of all views and of the head."""

    proxy: Tensor  # (v 4 s s) premultiplied colours and cover
    visibility: Tensor  # (v 1 s s)
    hints: Tensor  # (v HINTS s s)
    references: Tensor  # (n 64 h w)


@torch.inference_mode()
def small_views(
    portrait: Portrait,
    proxy: Proxy,
    cameras: Sequence[Camera],
    weights: ViewWeights,
    *,
    size: int = 256,
    seed: int = 0,
    steps: int = STEPS,
    on_step: OnStep = lambda done, of: None,
) -> list[View]:
    """A view does not depend on how many others there are, but for the neighbours that V sees."""
    network, together, without = weights
    shown = what_is_shown(portrait, proxy, cameras, size)
    shown = replace(shown, references=left_of(shown.references, without))
    device = next(network.parameters()).device
    proxies = folded(shown.proxy) * ("base" not in without)
    start = ViewNoise(view_generators(seed, len(cameras)), tuple(proxies.shape[1:]), device)() * (steps > 1)
    denoise = over_orbit(prepared(network, shown, together), circular_windows(len(cameras), WINDOW, OVERLAP))
    changes = flow(denoise, start, steps, lambda i, x0: on_step(i + 1, steps))
    made = decided(unfolded(proxies + changes.cpu()).clamp(0, 1), shown.proxy)
    kept = torch.where(shown.proxy[:, 3:] > 0, shown.visibility, 0) * ("hint" not in without)
    made = made + kept * (shown.proxy - made)  # the photo's own pixels
    return [as_view(picture, camera) for picture, camera in zip(made, cameras, strict=True)]


def decided(made: Tensor, proxy: Tensor) -> Tensor:
    """Views (v 4 s s) with firm outlines. The mean of all views that may be has a chance of being covered as its
    cover, a veil around heads; and the colour that it would have then, times that. As the proxy's (v 4 s s) are where
    nothing was changed."""
    chance, before = made[:, 3:], proxy[:, 3:]

    def firm(x: Tensor) -> Tensor:
        return ((x - RAMP[0]) / (RAMP[1] - RAMP[0])).clamp(0, 1)

    cover = torch.where(chance == before, before, (before + firm(chance) - firm(before)).clamp(0, 1))
    colours = (made[:, :3] / chance.clamp(min=1e-3)).clamp(max=1)
    return torch.cat([torch.where(cover == chance, made[:, :3], colours * cover), cover], 1)


def what_is_shown(portrait: Portrait, proxy: Proxy, cameras: Sequence[Camera], size: int) -> Shown:
    seen = [proxy.render(camera, size) for camera in cameras]
    behind = proxy.render(Camera(look_at(180), portrait.camera.focal), size)
    photo = premultiplied(reduced(portrait.rgb, size)[0], reduced(portrait.alpha, size)[0])
    return Shown(
        torch.stack([premultiplied(view.rgb, view.mask) for view in seen]),
        torch.from_numpy(np.stack([view.visibility for view in seen]))[:, None],
        torch.from_numpy(np.stack([hint(view, camera) for view, camera in zip(seen, cameras, strict=True)])),
        folded(torch.stack([photo, premultiplied(behind.rgb, behind.mask)])),
    )


def left_of(references: Tensor, without: Sequence[str]) -> Tensor:
    """Photo and back (2 64 h w) without those that a network is taught without."""
    there = torch.tensor([0.0 if "photo" in without else 1.0, 0.0 if {"photo", "back"} & set(without) else 1.0])
    return references * there[:, None, None, None]


def hint(seen: ProxyView, camera: Camera) -> Floats:
    return hint_of(seen.rgb, seen.visibility, seen.mask, seen.normals, seen.depth, camera)


def prepared(network: ViewDenoiser, shown: Shown, together: bool) -> Prepare:
    """At a noise level: everything that its windows share."""
    device = next(network.parameters()).device
    context = torch.zeros(1, 1, network.config.unet.context_dim, device=device)
    conditions = ViewConditions(context, shown.references.to(device)[:, None])
    conditions = network.embed_hints(conditions, shown.hints.to(device))
    return lambda x, level: network.at(conditions, x, TIMES * level, together=together).conditional


def as_view(picture: Tensor, camera: Camera) -> View:
    alpha = picture[3]
    rgb = (picture[:3] / alpha.clamp(min=1e-3)).clamp(0, 1) * (alpha > 0)
    return View(rgb.permute(1, 2, 0).numpy().astype(np.float32), alpha.numpy().astype(np.float32), camera)
