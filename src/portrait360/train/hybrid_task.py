"""The hybrid priors' task (Portrait Diffusion, 3.3): a view of the head, led by a neighbour that is finished.

The base is the view denoiser with its R and C, as they have been learnt, and frozen; the branches begin as copies of
its U-Net.
"""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.cameras import Camera
from portrait360.checkpoints import TensorFile, load_into, load_single, write_half
from portrait360.diffusion.samplers import flow
from portrait360.images import eight_bits
from portrait360.models.hybrid import HybridPriors, Led, Priors
from portrait360.models.view_hints import TIMES, premultiplied, unfolded
from portrait360.refine.guide import SMALL_HYBRID, Seen, SmallGuide
from portrait360.small_views import STEPS
from portrait360.train.loop import Batch, Figures, joined
from portrait360.train.map_task import MOST_WEIGHT, samples_in
from portrait360.train.turns import by_identity, chosen
from portrait360.train.view_samples import VIEWS, ViewSample
from portrait360.train.view_task import VALIDATED, as_tensors, in_rows, told, with_some_noise

Floats = NDArray[np.floating]

FARTHEST = 3  # views between the one that leads and the one that is led
UNREFINED = 0.2  # share of leading views that are still the proxy's
PAIRS = 2  # of an arc
LEFT_OUT = 0.1  # share of pairs without the geometry, and without the implicit branch, so that each may be left away
FITTED = 0.7  # share of samples whose proxy is shown as a fitted field shows it
SOFTEST, COARSEST, GRAIN = 1.2, 0.02, 0.6  # pixels; of a colour; pixels
NAMES = tuple(field.name for field in fields(Priors))
DATA = "view samples 1"


class HybridTask:
    name, saved = "hybrid", "weights.safetensors"

    def __init__(self, train: Path, val: Path, begin: Path, *, batch: int = 3, seed: int = 0) -> None:
        self.begin, self.per_step, self.seed = begin, batch, seed
        self.train, self.val = samples_in(train), samples_in(val)
        self.identities = by_identity(self.train)

    def network(self) -> nn.Module:
        network, file = HybridPriors(SMALL_HYBRID), TensorFile(self.begin)
        if any(name.startswith("explicit.") for name in file.specs):
            load_single(network, file, str(self.begin))
        else:
            wanted = network.base.state_dict()
            load_into(network.base, {name: file.read(name).float() for name in wanted}, str(self.begin))
            for branch in (network.explicit, network.implicit):
                copy_into(branch, network.unet.state_dict())
        network.train().requires_grad_(True)
        network.base.requires_grad_(False)
        return network

    def save(self, network: nn.Module, path: Path, about: dict[str, str]) -> None:
        write_half(network, path, {"samples": str(len(self.train)), "data": DATA, **about})

    def sample(self, step: int, place: int) -> Batch:
        rng, rows = np.random.default_rng([self.seed, step, place]), []
        arc = ViewSample.load(chosen(self.identities, step * self.per_step + place, self.seed))
        arc = as_fitted(arc, rng) if rng.random() < FITTED else arc
        for _ in range(PAIRS):
            view = int(rng.integers(VIEWS))
            near = [v for v in range(VIEWS) if 0 < abs(v - view) <= FARTHEST]
            row = pair(arc, view, int(rng.choice(near)), unrefined=rng.random() < UNREFINED)
            led = torch.tensor([[rng.random() >= LEFT_OUT, rng.random() >= LEFT_OUT]])
            rows.append(row | {"led": led})
        return joined(rows)

    def noised(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch | with_some_noise(batch["changes"], generator)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        goal, at = batch["changes"], batch["level"][:, None, None, None]
        x, found = (1 - at) * goal + at * batch["noise"], torch.zeros_like(goal)
        for geometry, implicit in product((True, False), repeat=2):
            rows = (batch["led"] == torch.tensor([geometry, implicit], device=goal.device)).all(1)
            if rows.any():
                own = {name: batch[name][rows] for name in NAMES}
                made = predicted(network, x[rows], batch["level"][rows], own, Led(geometry, implicit)).float()
                found = found.index_put((rows.nonzero()[:, 0],), made)
        return (batch["weight"] * (at**-2).clamp(max=MOST_WEIGHT) * (found - goal) ** 2).mean()

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> Figures:
        """Decibels inside the true mattes, of the proxy's views, of those alone, and of those that are led."""
        made = (
            (*before, sampled(network, row, None), sampled(network, row, Led()))
            for row, *before in map(as_shown, self.val[:VALIDATED])
        )
        return told(made, ("proxy", "alone", "led"))

    @torch.inference_mode()
    def picture(self, network: nn.Module) -> Floats:
        """Of some pairs: the truth, the proxy's, what leads as it is seen from here, ours."""
        return in_rows(
            torch.cat([*before, unfolded(row["projected"]), sampled(network, row, Led())])
            for row, *before in map(as_shown, self.val[:4])
        )


def as_shown(path: Path) -> tuple[Batch, Tensor, Tensor]:
    """A pair of a sample for validation; of the view that is led the truth and the proxy's (1 4 s s)."""
    row = pair(as_fitted(ViewSample.load(path), np.random.default_rng(0)), 4, 3)
    return row, unfolded(row["coarse"] + row["changes"]), unfolded(row["coarse"])


def as_fitted(sample: ViewSample, rng: np.random.Generator) -> ViewSample:
    """Its proxy as a field that was fitted to it shows it: softer, and with grain."""
    soft, grain = SOFTEST * rng.random(), COARSEST * rng.random()
    hints = []
    for hint in sample.hint.astype(np.float32) / 255:
        rgb, cover = hint[..., :3] * hint[..., 4:5], np.ascontiguousarray(hint[..., 4])
        noise = rng.standard_normal(rgb.shape).astype(np.float32)
        rgb, cover, noise = (cv2.GaussianBlur(v, (0, 0), s) for v, s in ((rgb, soft), (cover, soft), (noise, GRAIN)))
        rgb = rgb / np.maximum(cover, 1e-3)[..., None] + grain * noise / max(float(noise.std()), 1e-6)
        hints.append(np.concatenate([rgb, hint[..., 3:4], cover[..., None], hint[..., 5:]], -1))
    return replace(sample, hint=eight_bits(np.stack(hints).clip(0, 1)))


def copy_into(branch: nn.Module, base: dict[str, Tensor]) -> None:
    """What has the same name and shape."""
    with torch.no_grad():
        for name, value in branch.state_dict().items():
            if name in base and base[name].shape == value.shape:
                value.copy_(base[name])


def pair(sample: ViewSample, view: int, leading: int, *, unrefined: bool = False) -> Batch:
    """One row: changes, weight and coarse as latents, and the priors."""
    row = as_tensors(sample, np.array([view]))
    seen, driving = (shown_of(sample, place) for place in (view, leading))
    true = premultiplied(*straight(sample.rgba[leading]))
    guide = SmallGuide(network=None)  # pyright: ignore[reportArgumentType] (it is not asked)
    priors = guide.priors(seen, driving, driving.picture if unrefined else true)
    priors = replace(priors, references=row["references"][None], hints=row["hints"])
    told = {name: getattr(priors, name) for name in NAMES}
    return {"changes": row["changes"], "weight": row["weight"], "coarse": row["base"], **told}


def shown_of(sample: ViewSample, place: int) -> Seen:
    hint = sample.hint[place].astype(np.float32) / 255
    camera = Camera.from_label(sample.cameras[place])
    return Seen(camera, premultiplied(hint[..., :3], hint[..., 4]), sample.depth[place].astype(np.float32))


def straight(rgba: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    values = rgba.astype(np.float32) / 255
    return values[..., :3], values[..., 3]


def predicted(network: nn.Module, x: Tensor, level: Tensor, row: Batch, led: Led | None = None) -> Tensor:
    """x (b 64 h w), level (b) -> the clean changes; without `led` it is led in full."""
    assert isinstance(network, HybridPriors)
    context = torch.zeros(1, 1, network.config.unet.context_dim, device=x.device)
    return network(x, TIMES * level, context, Priors(*(row[name] for name in NAMES)), led)


def sampled(network: nn.Module, row: Batch, led: Led | None, seed: int = 0) -> Tensor:
    """(1 4 s s) premultiplied, in as many steps as other small views; without `led` by the base alone."""
    assert isinstance(network, HybridPriors)
    device = next(network.parameters()).device
    there = {name: value.to(device) for name, value in row.items()}
    noise = torch.randn(row["changes"].shape, generator=torch.Generator().manual_seed(seed)).to(device)
    at_level = lambda x, t: predicted(network, x, t, there, led or Led(weight=0.0)).float()  # noqa: E731
    made = flow(at_level, noise * (STEPS > 1), STEPS)
    return unfolded(row["coarse"] + made.cpu()).clamp(0, 1)
