"""The map completer's task: flow matching on the changes that take a portrait's head map to the true map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from portrait360.diffusion.noise_levels import MAX_LEVEL_WEIGHT, draw_noise_levels
from portrait360.models.completion_unet import MapCompleter, MapCompleterConfig
from portrait360.pipeline.proxy.learned_completion import load_completer, sample_changes, save_completer
from portrait360.pipeline.proxy.map_conditioning import COLOUR, apply_changes, encode_changes, make_hints
from portrait360.pipeline.proxy.proxy import LAYOUT
from portrait360.pipeline.proxy.texture_completion import SurfaceSamples
from portrait360.training.data.head_map_samples import DATA, Sample
from portrait360.training.data.identity_sampler import group_by_identity, list_samples, sample_for_step, spread_evenly
from portrait360.training.trainer import Batch, Figures
from portrait360.utils.array_types import Floats
from portrait360.utils.images import to_uint8

COLOUR_WEIGHT = 4.0  # weight of colours relative to the radius, whose changes are larger
GRADIENT_WEIGHT = 0.15  # weight of the gradients
VISIBLE_WEIGHT = 0.4  # weight of what the photo shows anyway
VALIDATION_SAMPLES, PREVIEW_SAMPLES = 24, 4
DETAIL_STEPS = 4  # sampling steps that draw random details
DENT, DENTS = 0.008, (11, 16)  # canonical units: deviation of a dented proxy's radius; rows and columns of dents
BEND, BENDS, SWELLING = 5.0, (5, 8), 0.05  # shift in cells; rows and columns of bends; relative change of radii


class MapTask:
    """Trains the map completer on folders written by `portrait360.training.data.head_map_samples`."""

    name = "map"
    saved = "weights.safetensors"

    def __init__(
        self,
        train: Path,
        val: Path,
        config: MapCompleterConfig,
        *,
        init_from: Path | None = None,
        batch: int = 4,
        seed: int = 0,
    ) -> None:
        """`init_from`: initial weights, as `save` writes them."""
        self.config, self.batch_size, self.seed, self.init_from = config, batch, seed, init_from
        self.train, self.val = list_samples(train), list_samples(val)
        self.identities = group_by_identity(self.train)

    def network(self) -> nn.Module:
        network = MapCompleter(self.config)
        if self.init_from is not None:
            # copied, since the loaded network is cached and shared
            network.load_state_dict(load_completer(self.init_from).state_dict())
        return network.train().requires_grad_(True)

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        assert isinstance(network, MapCompleter)
        save_completer(network, path, {"samples": str(len(self.train)), "data": DATA, **metadata})

    def sample(self, step: int, index: int) -> Batch:
        path = sample_for_step(self.identities, step * self.batch_size + index, self.seed)
        return _stack([to_arrays(augment(Sample.load(path), np.random.default_rng([self.seed, step, index])))])

    def add_noise(self, batch: Batch, generator: torch.Generator) -> Batch:
        return draw_noise(batch, generator)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        target, level = batch["changes"], batch["level"][:, None, None, None]
        noisy = (1 - level) * target + level * batch["noise"]
        predicted = network(noisy, batch["level"], batch["hints"]).float()
        weight = (batch["weight"] * (level**-2).clamp(max=MAX_LEVEL_WEIGHT))[:, 0]
        colour = ((predicted - target)[:, :3] ** 2).mean(1)
        radius = F.smooth_l1_loss(predicted[:, 3], target[:, 3], reduction="none")  # a missing hat must not dominate
        error = COLOUR_WEIGHT * colour + radius
        gradient_error = batch["weight"] * measure_gradient_error(predicted, target)
        return (weight * error).mean() + GRADIENT_WEIGHT * gradient_error.mean()

    def validate(self, network: nn.Module) -> Figures:
        """Return the errors of colours and radii, and the sharpness where the photo shows nothing."""
        figures: dict[str, list[float]] = {}
        for path in spread_evenly(self.val, VALIDATION_SAMPLES):
            batch = _stack([to_arrays(Sample.load(path))])
            for steps in (1, DETAIL_STEPS):
                changes = sample_changes(network, batch["hints"], [0], steps)[0]
                for name, value in compare_changes(changes, batch["changes"][0], batch["weight"][0, 0]).items():
                    figures.setdefault(f"{name}, {steps} steps" if steps > 1 else name, []).append(value)
        return {name: float(np.mean(values)) for name, values in figures.items()}

    def preview(self, network: nn.Module) -> Floats:
        """Show photo, proxy, completed map and truth of some samples; colours over radii."""
        rows = []
        for path in spread_evenly(self.val, PREVIEW_SAMPLES):
            sample = Sample.load(path)
            proxy, radius = sample.proxy / np.float32(255), sample.proxy_radius.astype(np.float32)
            hints = torch.from_numpy(to_arrays(sample)["hints"])[None]
            changes = sample_changes(network, hints, [0], DETAIL_STEPS)[0].numpy()
            completed = apply_changes(proxy, radius, changes)
            true_radius = sample.radius.astype(np.float32)
            trust = sample.trust[..., None] / np.float32(255)
            colours = [sample.photo * trust / 255, proxy, completed[0], sample.rgb / np.float32(255)]
            depths = [sample.visible / np.float32(255), radius * 2, completed[1] * 2, true_radius * 2]
            rows.append(np.concatenate(colours, 1))
            rows.append(np.concatenate([np.repeat(d[..., None], 3, -1) for d in depths], 1))
        return np.concatenate(rows).clip(0, 1)


def draw_noise(batch: Batch, generator: torch.Generator) -> Batch:
    """Add noise for the changes, and its level, to a batch."""
    target = batch["changes"]
    noise = torch.randn(target.shape, generator=generator, device=target.device)
    return batch | {"noise": noise, "level": draw_noise_levels(len(target), generator)}


def measure_gradient_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the error (b 1 r c) of the differences between neighbouring cells; columns wrap around."""
    a, b = predicted, target
    across = (a.roll(-1, 3) - a) - (b.roll(-1, 3) - b)
    down = F.pad((a[:, :, 1:] - a[:, :, :-1]) - (b[:, :, 1:] - b[:, :, :-1]), (0, 0, 0, 1))
    return (across.abs() + down.abs()).mean(1, keepdim=True)


def compare_changes(predicted: Tensor, target: Tensor, weight: Tensor) -> Figures:
    """Return errors in grey levels and in thousandths of the head's frame, beside those of the unchanged proxy."""
    unseen = weight > VISIBLE_WEIGHT
    colour, proxy_colour = (
        ((x[:3] - target[:3]) * COLOUR).abs().mean(0)[unseen].mean() * 255 for x in (predicted, 0 * target)
    )
    sharpness, true_sharpness = (
        ((x[:3].roll(-1, 2) - x[:3]).abs().mean(0)[unseen]).mean() for x in (predicted, target)
    )
    return {
        "colour": float(colour),
        "colour of the proxy": float(proxy_colour),
        "radius": float((predicted[3] - target[3]).abs().mean() * 50),
        "radius of the proxy": float(target[3].abs().mean() * 50),
        "sharpness": float(sharpness / true_sharpness.clamp(min=1e-6)),
    }


def to_arrays(sample: Sample) -> dict[str, Floats]:
    def to_float(values: NDArray[np.uint8]) -> Floats:
        return values.astype(np.float32) / 255

    photo = SurfaceSamples(to_float(sample.photo), to_float(sample.visible), to_float(sample.trust))
    colours, radius = to_float(sample.proxy), sample.proxy_radius.astype(np.float32)
    hints = make_hints(LAYOUT, photo, colours, radius, *map(float, sample.camera))
    changes = encode_changes(colours, radius, to_float(sample.rgb), sample.radius.astype(np.float32))
    weight = to_float(sample.seen) * (1 - (1 - VISIBLE_WEIGHT) * photo.trust)
    return {"hints": hints, "changes": changes, "weight": weight[None]}


def augment(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror, recolour and bend the head at random, and dent its proxy."""
    if rng.random() < 0.5:
        flipped = {name: getattr(sample, name)[:, ::-1] for name in MAPS}
        sample = replace(sample, **flipped, camera=sample.camera * np.array([-1, 1], np.float32))
    if rng.random() < 0.6:
        recolour = make_recolouring(rng)
        sample = replace(sample, **{name: recolour(getattr(sample, name)) for name in ("photo", "proxy", "rgb")})
    if rng.random() < 0.7:
        sample = bend(sample, rng)
    if rng.random() < 0.5:
        dents = draw_waves(rng, DENTS, sample.radius.shape) * rng.uniform(0, DENT)
        sample = replace(sample, proxy_radius=(sample.proxy_radius + dents).astype(np.float16))
    return sample


def bend(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return the sample with its maps warped and its radii scaled by smooth random waves."""
    rows, columns = size = sample.radius.shape
    edge = columns // 8
    down, along = (draw_waves(rng, BENDS, size) * rng.uniform(0, BEND) for _ in range(2))
    x = np.arange(columns, dtype=np.float32) + edge + np.clip(along, 1 - edge, edge - 1)
    y = np.arange(rows, dtype=np.float32)[:, None] + down

    def warp(values: NDArray[Any]) -> NDArray[Any]:
        values = values.astype(np.float32) if values.dtype == np.float16 else values
        padded = np.concatenate([values[:, -edge:], values, values[:, :edge]], 1)
        return np.asarray(cv2.remap(padded, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    maps = {name: warp(getattr(sample, name)) for name in MAPS}
    swelling = np.exp(draw_waves(rng, BENDS, size) * rng.uniform(0, SWELLING))
    radii = {name: (maps[name] * swelling).astype(np.float16) for name in ("radius", "proxy_radius")}
    return replace(sample, **{**maps, **radii})


def draw_waves(rng: np.random.Generator, coarse: tuple[int, int], size: tuple[int, ...]) -> Floats:
    """Draw smooth heights (rows, columns) around zero, mostly within [-1, 1], that are periodic in the columns."""
    noise = rng.normal(0, 1, coarse).astype(np.float32)
    wide = np.concatenate([noise[:, -2:], noise, noise[:, :2]], 1)
    step = size[1] // coarse[1]
    return cv2.resize(wide, (step * wide.shape[1], size[0]), interpolation=cv2.INTER_CUBIC)[
        :, 2 * step : -2 * step
    ].astype(np.float32)


def make_recolouring(rng: np.random.Generator) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return a random change of colours: gamma and gain of each channel, then more or less saturation."""
    gamma, gain, saturation = rng.uniform(0.8, 1.25, 3), rng.uniform(0.8, 1.2, 3), rng.uniform(0.5, 1.3)
    order = rng.permutation(3) if rng.random() < 0.1 else np.arange(3)
    table = ((np.arange(256)[:, None] / 255) ** gamma * gain).astype(np.float32)

    def recolour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.stack([table[picture[..., c], i] for i, c in enumerate(order)], -1)
        grey = out.mean(-1, keepdims=True)
        return to_uint8(np.clip(grey + saturation * (out - grey), 0, 1))

    return recolour


MAPS = ("photo", "visible", "trust", "proxy", "proxy_radius", "rgb", "radius", "kinds", "seen")


def _stack(rows: list[dict[str, Floats]]) -> Batch:
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
