"""The small preset's first network at work: a portrait's proxy in, a better one out, all around at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.checkpoints import TensorFile, load_single, write_half
from portrait360.diffusion.samplers import flow
from portrait360.errors import UserError
from portrait360.files import sha256
from portrait360.gan_proxy import HEAD_FILE, gan_proxy
from portrait360.geometry.completion import around
from portrait360.inversion import PUBLISHED, InversionSettings, OnStep, forget
from portrait360.models.map_completer import CHANGES, MapCompleter, MapCompleterConfig
from portrait360.models.map_hints import changed, hints_of
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy, make_proxy, on_surface, pasted, to_outline
from portrait360.weights.folder import MANIFEST
from portrait360.weights.library import load_generator, needed

Floats = NDArray[np.floating]

STEPS = 1  # more of them draw fine detail by lot, which is not good enough yet (docs/log.md)
FINE = 4.0  # cells
OWN_HUE = 0.5  # share of the proxy's own hue
LIGHT = np.array([0.3, 0.59, 0.11], np.float32)
DARK = 0.05  # what is as dark has hardly a hue
WEIGHTS = Path(__file__).parent / "assets" / "small" / "completer.safetensors"
METHODS = ("proxy", "completed", "gan")  # by the fit and the photos alone, with the small network, by inversion
GENERATOR = "panohead"


def find_proxy(
    portrait: Portrait,
    others: Sequence[Portrait] = (),
    *,
    method: str = METHODS[0],
    seed: int = 0,
    faithful: bool = False,
    folder: Path | None = None,
    device: str | torch.device = "cpu",
    on_step: OnStep = lambda what, done, of, loss: None,
) -> Proxy:
    """By one of the methods. In `folder` an inversion leaves what it goes on with, and then its head."""
    check_method(method)
    if method == "gan":
        return inverted(portrait, others, seed, faithful, folder, device, on_step)
    if folder is not None:
        forget(folder)
        (folder / HEAD_FILE).unlink(missing_ok=True)
    proxy = make_proxy(portrait, others)
    return complete_proxy(portrait, proxy, others, seed=seed) if method == "completed" else proxy


def inverted(
    portrait: Portrait,
    others: Sequence[Portrait],
    seed: int,
    faithful: bool,
    folder: Path | None,
    device: str | torch.device,
    on_step: OnStep,
) -> Proxy:
    """By the generator that the user has brought."""
    generator = load_generator(needed((GENERATOR,), "--method gan")[0]).to(device)
    settings = PUBLISHED if faithful else InversionSettings()
    proxy, head = gan_proxy(portrait, generator, others, settings=settings, seed=seed, folder=folder, on_step=on_step)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        head.save(folder / HEAD_FILE)
        forget(folder)
    return proxy


def check_method(method: str) -> None:
    if method not in METHODS:
        raise UserError(f"There is no method {method!r}; choose from {', '.join(METHODS)}.")
    if method == "gan":
        needed((GENERATOR,), "--method gan")


def made_by(method: str, seed: int, faithful: bool = False) -> dict[str, Any]:
    """All that a proxy depends on besides its portraits."""
    if method == "gan":
        generator = needed((GENERATOR,), "--method gan")[0]
        return {"seed": seed, "weights": sha256(generator / MANIFEST), "faithful": faithful}
    return {"seed": seed, "weights": sha256(WEIGHTS)} if method == "completed" else {}


def complete_proxy(
    portrait: Portrait,
    proxy: Proxy,
    others: Sequence[Portrait] = (),
    *,
    network: nn.Module | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> Proxy:
    """What the photos show stays; shape and colour of all else are the network's."""
    network = load_completer() if network is None else network
    layout, camera = proxy.layout, portrait.camera
    seen = on_surface(portrait, proxy.radius, others, clean=proxy.photo).all
    hints = hints_of(layout, seen, proxy.colours, proxy.radius, camera.azimuth, camera.elevation)
    changes = sample_changes(network, torch.from_numpy(hints)[None], [seed], steps)[0].numpy()
    colours, radius = changed(proxy.colours, proxy.radius, changes)
    colours = own_hue(proxy.colours, colours)
    radius = to_outline(portrait, radius)
    photos = on_surface(portrait, radius, others, clean=proxy.photo)
    return photos.proxy(portrait, radius, pasted(colours, photos.all))


def own_hue(before: Floats, after: Floats) -> Floats:
    """Light and dark are the network's; the hue is half the proxy's, which has it from what the photo shows. Hues of
    its own are a mean of many people's: golden hair went on in olive. What gets brighter gets so by white light:
    an ear where the proxy had dark brown hair would else be orange."""
    light, was = (after @ LIGHT)[..., None], (before @ LIGHT)[..., None]
    own = np.where(light > was, before + light - was, before * (1 + (light - was) / np.maximum(was, DARK)))
    return np.asarray(after + OWN_HUE * (np.clip(own, 0, 1) - after), np.float32)


@torch.inference_mode()
def sample_changes(network: nn.Module, hints: Tensor, seeds: Sequence[int], steps: int) -> Tensor:
    """(b CHANGES rows columns): from noise to what is to be added. The first step already says the mean of all heads
    that there could be: shape, and colours but for their finest; those are drawn by lot."""
    device = next(network.parameters()).device
    noise = [torch.randn(CHANGES, *hints.shape[2:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    hints, said = hints.to(device), []
    made = flow(
        lambda x, t: network(x, t.expand(len(x)), hints).float(),
        torch.stack(noise).to(device),
        steps,
        lambda i, x0: said.append(x0),
    ).cpu()
    mean = said[0].cpu()
    mean[:, :3] += finest((made - mean)[:, :3].mean(1).numpy())[:, None]
    return mean


def finest(light: Floats) -> Tensor:
    """Light and dark (b rows columns) that changes within a few cells, as strands do."""
    return torch.from_numpy(np.stack([one - around(one, FINE, FINE) for one in light]).astype(np.float32))


def save_completer(network: MapCompleter, path: Path, about: dict[str, str]) -> None:
    """With its configuration."""
    write_half(network, path, {"config": json.dumps(asdict(network.config)), **about})


@lru_cache(maxsize=4)
def load_completer(path: Path = WEIGHTS) -> MapCompleter:
    """Single precision, for use alone."""
    file = TensorFile(path)
    said = json.loads(file.metadata["config"])
    config: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
    network = MapCompleter(MapCompleterConfig(**config))
    load_single(network, file, str(path))
    return network.eval().requires_grad_(False)
