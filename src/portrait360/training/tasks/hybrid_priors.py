"""The hybrid priors' task (Portrait Diffusion, 3.3): a view of the head, guided by a finished neighbouring view.

The base is the trained view denoiser with its appearance and control networks, frozen. The branches start as copies
of its U-Net.
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

from portrait360.diffusion.noise_levels import MAX_LEVEL_WEIGHT
from portrait360.diffusion.samplers import flow_euler
from portrait360.geometry.cameras import Camera
from portrait360.models.hybrid_priors import BranchWeights, HybridPriors, Priors
from portrait360.models.weights.tensor_files import TensorFile, load_fp32, load_into, write_half
from portrait360.pipeline.refinement.denoising_guide import SMALL_HYBRID, GuideView, SmallGuide
from portrait360.pipeline.views.pixel_latents import TIMESTEP_SCALE, depth_to_space, premultiply
from portrait360.pipeline.views.small_denoiser import STEPS
from portrait360.training.data.identity_sampler import group_by_identity, list_samples, sample_for_step
from portrait360.training.data.view_arcs import VIEWS, ViewSample
from portrait360.training.tasks.view_denoiser import VALIDATION_SAMPLES, as_tensors, draw_noise, summarise, tile_rows
from portrait360.training.trainer import Batch, Figures, concat_rows
from portrait360.utils.array_types import Floats
from portrait360.utils.images import to_uint8

MAX_OFFSET = 3  # views from the target view to the driving view
UNREFINED = 0.2  # share of driving views that are still the proxy's
PAIRS = 2  # per arc
DROPOUT = 0.1  # share of pairs without the geometry, and without the implicit branch, so that each is optional
FITTED = 0.7  # share of samples whose proxy looks like a fitted radiance field
MAX_BLUR, MAX_GRAIN, GRAIN_SIZE = 1.2, 0.02, 0.6  # pixels; standard deviation of a colour; pixels
NAMES = tuple(field.name for field in fields(Priors))
DATA = "view samples 2"


class HybridTask:
    name, saved = "hybrid", "weights.safetensors"

    def __init__(self, train: Path, val: Path, init_from: Path, *, batch: int = 3, seed: int = 0) -> None:
        self.init_from, self.batch_size, self.seed = init_from, batch, seed
        self.train, self.val = list_samples(train, "views"), list_samples(val, "views")
        self.identities = group_by_identity(self.train)

    def network(self) -> nn.Module:
        network, file = HybridPriors(SMALL_HYBRID), TensorFile(self.init_from)
        if any(name.startswith("explicit.") for name in file.specs):
            load_fp32(network, file, str(self.init_from))
        else:
            names = network.base.state_dict()
            load_into(network.base, {name: file.read(name).float() for name in names}, str(self.init_from))
            for branch in (network.explicit, network.implicit):
                copy_matching(branch, network.unet.state_dict())
        network.train().requires_grad_(True)
        network.base.requires_grad_(False)
        return network

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        write_half(network, path, {"samples": str(len(self.train)), "data": DATA, **metadata})

    def sample(self, step: int, index: int) -> Batch:
        rng, rows = np.random.default_rng([self.seed, step, index]), []
        arc = ViewSample.load(sample_for_step(self.identities, step * self.batch_size + index, self.seed))
        arc = simulate_fitting(arc, rng) if rng.random() < FITTED else arc
        for _ in range(PAIRS):
            view = int(rng.integers(VIEWS))
            neighbours = [v for v in range(VIEWS) if 0 < abs(v - view) <= MAX_OFFSET]
            row = make_pair(arc, view, int(rng.choice(neighbours)), unrefined=rng.random() < UNREFINED)
            branches = torch.tensor([[rng.random() >= DROPOUT, rng.random() >= DROPOUT]])
            rows.append(row | {"led": branches})
        return concat_rows(rows)

    def add_noise(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch | draw_noise(batch["changes"], generator)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        target, level = batch["changes"], batch["level"][:, None, None, None]
        x, predicted = (1 - level) * target + level * batch["noise"], torch.zeros_like(target)
        for geometry, implicit in product((True, False), repeat=2):
            rows = (batch["led"] == torch.tensor([geometry, implicit], device=target.device)).all(1)
            if rows.any():
                priors = {name: batch[name][rows] for name in NAMES}
                branches = BranchWeights(geometry, implicit)
                output = predict(network, x[rows], batch["level"][rows], priors, branches).float()
                predicted = predicted.index_put((rows.nonzero()[:, 0],), output)
        return (batch["weight"] * (level**-2).clamp(max=MAX_LEVEL_WEIGHT) * (predicted - target) ** 2).mean()

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> Figures:
        """Return the PSNR inside the true mattes: of the proxy's views, of the base alone, and with the branches."""
        heads = (
            (*views, sample(network, row, None), sample(network, row, BranchWeights()))
            for row, *views in map(load_pair, self.val[:VALIDATION_SAMPLES])
        )
        return summarise(heads, ("proxy", "alone", "led"))

    @torch.inference_mode()
    def preview(self, network: nn.Module) -> Floats:
        """Show the truth, the proxy, the warped driving view and the denoised view of some pairs."""
        return tile_rows(
            torch.cat([*views, depth_to_space(row["projected"]), sample(network, row, BranchWeights())])
            for row, *views in map(load_pair, self.val[:4])
        )


def load_pair(path: Path) -> tuple[Batch, Tensor, Tensor]:
    """Load a pair for validation, with the true and the proxy's target view (1 4 s s)."""
    row = make_pair(simulate_fitting(ViewSample.load(path), np.random.default_rng(0)), 4, 3)
    return row, depth_to_space(row["coarse"] + row["changes"]), depth_to_space(row["coarse"])


def simulate_fitting(sample: ViewSample, rng: np.random.Generator) -> ViewSample:
    """Return the sample with its proxy blurred and grainy, as if rendered from a fitted radiance field."""
    blur, grain = MAX_BLUR * rng.random(), MAX_GRAIN * rng.random()
    hints = []
    for hint in sample.hint.astype(np.float32) / 255:
        rgb, cover = hint[..., :3] * hint[..., 4:5], np.ascontiguousarray(hint[..., 4])
        noise = rng.standard_normal(rgb.shape).astype(np.float32)
        rgb, cover, noise = (
            cv2.GaussianBlur(v, (0, 0), s) for v, s in ((rgb, blur), (cover, blur), (noise, GRAIN_SIZE))
        )
        rgb = rgb / np.maximum(cover, 1e-3)[..., None] + grain * noise / max(float(noise.std()), 1e-6)
        hints.append(np.concatenate([rgb, hint[..., 3:4], cover[..., None], hint[..., 5:]], -1))
    return replace(sample, hint=to_uint8(np.stack(hints).clip(0, 1)))


def copy_matching(branch: nn.Module, base: dict[str, Tensor]) -> None:
    """Copy the tensors that have the same name and shape."""
    with torch.no_grad():
        for name, value in branch.state_dict().items():
            if name in base and base[name].shape == value.shape:
                value.copy_(base[name])


def make_pair(sample: ViewSample, view: int, driving: int, *, unrefined: bool = False) -> Batch:
    """Return one row for a target and a driving view: changes, weight and coarse as latents, and the priors."""
    row = as_tensors(sample, np.array([view]))
    target_view, driving_view = (make_guide_view(sample, index) for index in (view, driving))
    true = premultiply(*split_rgba(sample.rgba[driving]))
    guide = SmallGuide(network=None)  # pyright: ignore[reportArgumentType] (priors do not use the network)
    priors = guide.priors(target_view, driving_view, driving_view.picture if unrefined else true)
    priors = replace(priors, references=row["references"][None], hints=row["hints"])
    tensors = {name: getattr(priors, name) for name in NAMES}
    return {"changes": row["changes"], "weight": row["weight"], "coarse": row["base"], **tensors}


def make_guide_view(sample: ViewSample, index: int) -> GuideView:
    hint = sample.hint[index].astype(np.float32) / 255
    camera = Camera.from_label(sample.cameras[index])
    return GuideView(camera, premultiply(hint[..., :3], hint[..., 4]), sample.depth[index].astype(np.float32))


def split_rgba(rgba: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    values = rgba.astype(np.float32) / 255
    return values[..., :3], values[..., 3]


def predict(
    network: nn.Module, x: Tensor, level: Tensor, row: Batch, branches: BranchWeights | None = None
) -> Tensor:
    """Predict the clean changes from x (b 64 h w) and level (b). By default, both branches have full weight."""
    assert isinstance(network, HybridPriors)
    context = torch.zeros(1, 1, network.config.unet.context_dim, device=x.device)
    return network(x, TIMESTEP_SCALE * level, context, Priors(*(row[name] for name in NAMES)), branches)


def sample(network: nn.Module, row: Batch, branches: BranchWeights | None, seed: int = 0) -> Tensor:
    """Sample a premultiplied view (1 4 s s) in STEPS steps. Without `branches`, only the base is used."""
    assert isinstance(network, HybridPriors)
    device = next(network.parameters()).device
    conditions = {name: value.to(device) for name, value in row.items()}
    noise = torch.randn(row["changes"].shape, generator=torch.Generator().manual_seed(seed)).to(device)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return predict(network, x, t, conditions, branches or BranchWeights(weight=0.0)).float()

    changes = flow_euler(denoise, noise * (STEPS > 1), STEPS)
    return depth_to_space(row["coarse"] + changes.cpu()).clamp(0, 1)
