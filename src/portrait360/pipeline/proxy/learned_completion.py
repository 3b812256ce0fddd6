"""Run the first network of the small preset: improve a portrait's proxy on all sides at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from portrait360.assets import COMPLETER
from portrait360.diffusion.samplers import flow_euler
from portrait360.models.completion_unet import CHANGES, MapCompleter, MapCompleterConfig
from portrait360.models.weights.tensor_files import TensorFile, load_fp32, write_half
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.animal_shape import is_animal
from portrait360.pipeline.proxy.from_portrait import fit_to_silhouette, paste_photo, sample_photos
from portrait360.pipeline.proxy.map_conditioning import apply_changes, make_hints
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.proxy.texture_completion import map_gaussian
from portrait360.utils.array_types import Floats

STEPS = 1  # more steps sample random fine detail, which is not good enough yet (docs/research/log.md)
FINE_SIGMA = 4.0  # cells: detail below this size is fine detail
PROXY_HUE = 0.5  # share of the proxy's hue in the result
LUMA_WEIGHTS = np.array([0.3, 0.59, 0.11], np.float32)  # weights of luma
MIN_LUMA = 0.05  # darker colours have hardly any hue


def complete_with_network(
    portrait: Portrait,
    proxy: Proxy,
    others: Sequence[Portrait] = (),
    *,
    network: nn.Module | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> Proxy:
    """Keep what the photos show, and let the network predict shape and colour of everything else.

    An animal's proxy stays as it is: the network has learnt people's heads, and flattens muzzles and ears.
    """
    if is_animal(portrait):
        return proxy
    network = load_completer() if network is None else network
    layout, camera = proxy.layout, portrait.camera
    samples = sample_photos(portrait, proxy.radius, others, clean=proxy.photo).all
    hints = make_hints(layout, samples, proxy.colours, proxy.radius, camera.azimuth, camera.elevation)
    changes = sample_changes(network, torch.from_numpy(hints)[None], [seed], steps)[0].numpy()
    colours, radius = apply_changes(proxy.colours, proxy.radius, changes)
    colours = restore_hue(proxy.colours, colours)
    radius = fit_to_silhouette(portrait, radius)
    photos = sample_photos(portrait, radius, others, clean=proxy.photo)
    return photos.proxy(portrait, radius, paste_photo(colours, photos.all))


def restore_hue(before: Floats, after: Floats) -> Floats:
    """Combine the network's luma with a hue that is half the network's and half the proxy's.

    The proxy's hue comes from the photo, the network's is a mean over many people: it continued golden hair in olive.
    Cells that become brighter gain white light; otherwise an ear where the proxy had dark brown hair would be orange.
    """
    new, old = (after @ LUMA_WEIGHTS)[..., None], (before @ LUMA_WEIGHTS)[..., None]
    relit = np.where(new > old, before + new - old, before * (1 + (new - old) / np.maximum(old, MIN_LUMA)))
    return np.asarray(after + PROXY_HUE * (np.clip(relit, 0, 1) - after), np.float32)


@torch.inference_mode()
def sample_changes(network: nn.Module, hints: Tensor, seeds: Sequence[int], steps: int) -> Tensor:
    """Sample the changes (b CHANGES rows columns) that turn a proxy into a better one, by flow matching from noise.

    Shape and colours come from the first step, which predicts the mean of all possible heads; only fine detail comes
    from the final sample.
    """
    device = next(network.parameters()).device
    noise = [torch.randn(CHANGES, *hints.shape[2:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    hints, predictions = hints.to(device), []
    sample = flow_euler(
        lambda x, t: network(x, t.expand(len(x)), hints).float(),
        torch.stack(noise).to(device),
        steps,
        lambda i, x0: predictions.append(x0),
    ).cpu()
    mean = predictions[0].cpu()
    mean[:, :3] += high_pass((sample - mean)[:, :3].mean(1).numpy())[:, None]
    return mean


def high_pass(light: Floats) -> Tensor:
    """Keep only the variation of maps (b rows columns) within a few cells, as between strands."""
    details = [values - map_gaussian(values, FINE_SIGMA, FINE_SIGMA) for values in light]
    return torch.from_numpy(np.stack(details).astype(np.float32))


def save_completer(network: MapCompleter, path: Path, metadata: dict[str, str]) -> None:
    """Save the network in half precision, with its configuration and further metadata."""
    write_half(network, path, {"config": json.dumps(asdict(network.config)), **metadata})


@lru_cache(maxsize=4)
def load_completer(path: Path = COMPLETER) -> MapCompleter:
    """Load the network in single precision, for inference."""
    file = TensorFile(path)
    record = json.loads(file.metadata["config"])
    config: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
    network = MapCompleter(MapCompleterConfig(**config))
    load_fp32(network, file, str(path))
    return network.eval().requires_grad_(False)
