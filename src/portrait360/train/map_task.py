"""The map completer's task: from a portrait's map to the truth's, by flow matching on what is to be added."""

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

from portrait360.completer import load_completer, sample_changes, save_completer
from portrait360.errors import UserError
from portrait360.geometry.completion import Seen
from portrait360.images import eight_bits
from portrait360.models.map_completer import MapCompleter, MapCompleterConfig
from portrait360.models.map_hints import COLOUR, changed, changes_of, hints_of
from portrait360.proxy import LAYOUT
from portrait360.train.loop import Batch, Figures
from portrait360.train.samples import DATA, Sample
from portrait360.train.turns import by_identity, chosen

Floats = NDArray[np.floating]

FROM_NOISE = 0.75  # share of samples whose noise level is 1: the first step, which says what most of the head will be
LEVEL_SPREAD = 1.2  # of the others' noise level, before the logistic
MOST_WEIGHT = 8.0
COLOURS = 4.0  # weight of colours beside the radius, whose changes are larger
EDGES = 0.15  # weight of the gradients of colours
SHOWN = 0.4  # weight of what the photo shows anyway
VALIDATED, SHOWN_ROWS = 24, 4  # samples
DRAWN = 4  # steps in which details are drawn by lot
DENT, DENTS = 0.008, (11, 16)  # canonical: deviation of a varied proxy's radius; rows and columns of dents
BEND, BENDS, SWELLING = 5.0, (5, 8), 0.05  # cells by which places move; rows and columns of bends; of radii


class MapTask:
    """Samples lie in folders that `portrait360.train.samples` wrote."""

    name = "map"
    saved = "weights.safetensors"

    def __init__(
        self,
        train: Path,
        val: Path,
        config: MapCompleterConfig,
        *,
        begin: Path | None = None,
        batch: int = 4,
        seed: int = 0,
    ) -> None:
        """`begin`: weights, as `save` leaves them, from which it begins."""
        self.config, self.per_step, self.seed, self.begin = config, batch, seed, begin
        self.train, self.val = samples_in(train), samples_in(val)
        self.identities = by_identity(self.train)

    def network(self) -> nn.Module:
        network = MapCompleter(self.config)
        if self.begin is not None:
            network.load_state_dict(load_completer(self.begin).state_dict())  # copied: two networks begin with it
        return network.train().requires_grad_(True)

    def save(self, network: nn.Module, path: Path, about: dict[str, str]) -> None:
        assert isinstance(network, MapCompleter)
        save_completer(network, path, {"samples": str(len(self.train)), "data": DATA, **about})

    def sample(self, step: int, place: int) -> Batch:
        path = chosen(self.identities, step * self.per_step + place, self.seed)
        return _stacked([as_arrays(varied(Sample.load(path), np.random.default_rng([self.seed, step, place])))])

    def noised(self, batch: Batch, generator: torch.Generator) -> Batch:
        return with_noise(batch, generator)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        goal, at = batch["changes"], batch["level"][:, None, None, None]
        found = network((1 - at) * goal + at * batch["noise"], batch["level"], batch["hints"]).float()
        weight = (batch["weight"] * (at**-2).clamp(max=MOST_WEIGHT))[:, 0]
        colour = ((found - goal)[:, :3] ** 2).mean(1)
        radius = F.smooth_l1_loss(found[:, 3], goal[:, 3], reduction="none")  # a hat that is missing is not all
        error = COLOURS * colour + radius
        return (weight * error).mean() + EDGES * (batch["weight"] * slopes(found, goal)).mean()

    def validate(self, network: nn.Module) -> Figures:
        """How far colours and radii are off, and how sharp is what the photo does not show."""
        found: dict[str, list[float]] = {}
        for path in spread(self.val, VALIDATED):
            one = _stacked([as_arrays(Sample.load(path))])
            for steps in (1, DRAWN):
                made = sample_changes(network, one["hints"], [0], steps)[0]
                for name, value in judged(made, one["changes"][0], one["weight"][0, 0]).items():
                    found.setdefault(f"{name}, {steps} steps" if steps > 1 else name, []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}

    def picture(self, network: nn.Module) -> Floats:
        """Of some samples: what the photo shows, the proxy, what is made of it, the truth; colours over radii."""
        rows = []
        for path in spread(self.val, SHOWN_ROWS):
            sample = Sample.load(path)
            proxy, radius = sample.proxy / np.float32(255), sample.proxy_radius.astype(np.float32)
            hints = torch.from_numpy(as_arrays(sample)["hints"])[None]
            made = changed(proxy, radius, sample_changes(network, hints, [0], DRAWN)[0].numpy())
            trust = sample.trust[..., None] / np.float32(255)
            colours = [sample.photo * trust / 255, proxy, made[0], sample.rgb / np.float32(255)]
            depths = [sample.visible / np.float32(255), radius * 2, made[1] * 2, sample.radius.astype(np.float32) * 2]
            rows.append(np.concatenate(colours, 1))
            rows.append(np.concatenate([np.repeat(d[..., None], 3, -1) for d in depths], 1))
        return np.concatenate(rows).clip(0, 1)


def with_noise(batch: Batch, generator: torch.Generator) -> Batch:
    """For the changes, and how much of it."""
    goal = batch["changes"]
    noise = torch.randn(goal.shape, generator=generator, device=goal.device)
    return batch | {"noise": noise, "level": levels(len(goal), generator)}


def levels(count: int, generator: torch.Generator) -> Tensor:
    """Noise levels t (count,) in (0, 1]."""
    device = generator.device
    t = torch.sigmoid(LEVEL_SPREAD * torch.randn(count, generator=generator, device=device)).clamp(min=0.02)
    return torch.where(torch.rand(count, generator=generator, device=device) < FROM_NOISE, torch.ones_like(t), t)


def slopes(found: Tensor, goal: Tensor) -> Tensor:
    """(b 1 r c): how far the differences between neighbours are off; around in the columns."""
    a, b = found, goal
    across = (a.roll(-1, 3) - a) - (b.roll(-1, 3) - b)
    down = F.pad((a[:, :, 1:] - a[:, :, :-1]) - (b[:, :, 1:] - b[:, :, :-1]), (0, 0, 0, 1))
    return (across.abs() + down.abs()).mean(1, keepdim=True)


def judged(found: Tensor, goal: Tensor, weight: Tensor) -> Figures:
    """In grey levels and in thousandths of the head's frame; `added` is what the proxy alone would leave."""
    unseen = weight > SHOWN
    colour, before = (((x[:3] - goal[:3]) * COLOUR).abs().mean(0)[unseen].mean() * 255 for x in (found, 0 * goal))
    sharp, true = (((x[:3].roll(-1, 2) - x[:3]).abs().mean(0)[unseen]).mean() for x in (found, goal))
    return {
        "colour": float(colour),
        "colour of the proxy": float(before),
        "radius": float((found[3] - goal[3]).abs().mean() * 50),
        "radius of the proxy": float(goal[3].abs().mean() * 50),
        "sharpness": float(sharp / true.clamp(min=1e-6)),
    }


def as_arrays(sample: Sample) -> dict[str, Floats]:
    def bright(values: NDArray[np.uint8]) -> Floats:
        return values.astype(np.float32) / 255

    seen = Seen(bright(sample.photo), bright(sample.visible), bright(sample.trust))
    colours, radius = bright(sample.proxy), sample.proxy_radius.astype(np.float32)
    hints = hints_of(LAYOUT, seen, colours, radius, *map(float, sample.camera))
    changes = changes_of(colours, radius, bright(sample.rgb), sample.radius.astype(np.float32))
    weight = bright(sample.seen) * (1 - (1 - SHOWN) * seen.trust)
    return {"hints": hints, "changes": changes, "weight": weight[None]}


def varied(sample: Sample, rng: np.random.Generator) -> Sample:
    """Seen in a mirror, or with its colours changed, the head is another head; its proxy may be dented elsewhere."""
    if rng.random() < 0.5:
        flipped = {name: getattr(sample, name)[:, ::-1] for name in MAPS}
        sample = replace(sample, **flipped, camera=sample.camera * np.array([-1, 1], np.float32))
    if rng.random() < 0.6:
        mixed = other_colours(rng)
        sample = replace(sample, **{name: mixed(getattr(sample, name)) for name in ("photo", "proxy", "rgb")})
    if rng.random() < 0.7:
        sample = bent(sample, rng)
    if rng.random() < 0.5:
        dents = waves(rng, DENTS, sample.radius.shape) * rng.uniform(0, DENT)
        sample = replace(sample, proxy_radius=(sample.proxy_radius + dents).astype(np.float16))
    return sample


def bent(sample: Sample, rng: np.random.Generator) -> Sample:
    """Hairlines, ears and collars lie elsewhere, and all of it is thicker or thinner."""
    rows, columns = size = sample.radius.shape
    edge = columns // 8
    down, along = (waves(rng, BENDS, size) * rng.uniform(0, BEND) for _ in range(2))
    wrapped = lambda values: np.concatenate([values[:, -edge:], values, values[:, :edge]], 1)  # noqa: E731
    at = np.arange(columns, dtype=np.float32) + edge + np.clip(along, 1 - edge, edge - 1)
    high = np.arange(rows, dtype=np.float32)[:, None] + down

    def moved(values: NDArray[Any]) -> NDArray[Any]:
        whole = values.astype(np.float32) if values.dtype == np.float16 else values
        return np.asarray(cv2.remap(wrapped(whole), at, high, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    maps = {name: moved(getattr(sample, name)) for name in MAPS}
    thicker = np.exp(waves(rng, BENDS, size) * rng.uniform(0, SWELLING))
    radii = {name: (maps[name] * thicker).astype(np.float16) for name in ("radius", "proxy_radius")}
    return replace(sample, **{**maps, **radii})


def waves(rng: np.random.Generator, coarse: tuple[int, int], size: tuple[int, ...]) -> Floats:
    """Smooth heights (rows, columns) about zero, most of them within one, that close around the head."""
    drawn = rng.normal(0, 1, coarse).astype(np.float32)
    wide = np.concatenate([drawn[:, -2:], drawn, drawn[:, :2]], 1)
    step = size[1] // coarse[1]
    return cv2.resize(wide, (step * wide.shape[1], size[0]), interpolation=cv2.INTER_CUBIC)[
        :, 2 * step : -2 * step
    ].astype(np.float32)


def other_colours(rng: np.random.Generator) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Another light, camera or dye: gamma and gain of each channel, then more or less saturation."""
    gamma, gain, saturation = rng.uniform(0.8, 1.25, 3), rng.uniform(0.8, 1.2, 3), rng.uniform(0.5, 1.3)
    order = rng.permutation(3) if rng.random() < 0.1 else np.arange(3)
    table = ((np.arange(256)[:, None] / 255) ** gamma * gain).astype(np.float32)

    def mixed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.stack([table[picture[..., c], i] for i, c in enumerate(order)], -1)
        grey = out.mean(-1, keepdims=True)
        return eight_bits(np.clip(grey + saturation * (out - grey), 0, 1))

    return mixed


MAPS = ("photo", "visible", "trust", "proxy", "proxy_radius", "rgb", "radius", "kinds", "seen")


def spread(paths: list[Path], count: int) -> list[Path]:
    """So many of them, of as many identities as there can be."""
    return [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else paths


def _stacked(rows: list[dict[str, Floats]]) -> Batch:
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


def samples_in(folder: Path) -> list[Path]:
    """In an order that does not depend on the disk; those of unfinished identities are left out."""
    done = {path.stem for path in folder.glob("*.done")}
    found = sorted(path for path in folder.glob("*.npz") if path.stem.split("-")[0] in done)
    if not found:
        raise UserError(
            f"{folder} holds no samples; make some with `python -m portrait360.train.samples -o {folder}`."
        )
    return found
