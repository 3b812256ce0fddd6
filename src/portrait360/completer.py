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

from portrait360.checkpoints import TensorFile, load_into, write_half
from portrait360.diffusion.samplers import flow
from portrait360.geometry.completion import Seen
from portrait360.models.map_completer import CHANGES, MapCompleter, MapCompleterConfig
from portrait360.models.map_hints import changed, hints_of
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy, on_surface

Floats = NDArray[np.floating]

STEPS = 4


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
    seen = on_surface(portrait, proxy.radius, others).all
    hints = hints_of(layout, seen, proxy.colours, proxy.radius, camera.azimuth, camera.elevation)
    changes = sample_changes(network, torch.from_numpy(hints)[None], [seed], steps)[0].numpy()
    colours, radius = changed(proxy.colours, proxy.radius, changes)
    photos = on_surface(portrait, radius, others)
    return photos.proxy(portrait, radius, pasted(colours, photos.all))


def pasted(colours: Floats, seen: Seen) -> Floats:
    """The photo where it can be trusted."""
    return colours + seen.trust[..., None] * (seen.rgb - colours)


@torch.inference_mode()
def sample_changes(network: nn.Module, hints: Tensor, seeds: Sequence[int], steps: int) -> Tensor:
    """(b CHANGES rows columns): from noise to what is to be added."""
    device = next(network.parameters()).device
    noise = [torch.randn(CHANGES, *hints.shape[2:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    hints = hints.to(device)
    made = flow(lambda x, t: network(x, t.expand(len(x)), hints).float(), torch.stack(noise).to(device), steps)
    return made.cpu()


def save_completer(network: MapCompleter, path: Path, about: dict[str, str]) -> None:
    """With its configuration."""
    write_half(network, path, {"config": json.dumps(asdict(network.config)), **about})


@lru_cache(maxsize=4)
def load_completer(path: Path = Path(__file__).parent / "assets" / "small" / "completer.safetensors") -> MapCompleter:
    """Single precision, for use alone."""
    file = TensorFile(path)
    said = json.loads(file.metadata["config"])
    config: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
    network = MapCompleter(MapCompleterConfig(**config))
    load_into(network, {name: file.read(name).float() for name in file.specs}, str(path))
    return network.eval().requires_grad_(False)
