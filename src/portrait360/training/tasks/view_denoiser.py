"""The small view denoiser's task: flow matching on the changes that take the proxy's views to the true ones.

Its appearance and control networks are trained first, on independent views. Cross-view attention is trained next,
from those weights, on arcs of views.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.diffusion.noise_levels import MAX_LEVEL_WEIGHT, draw_noise_levels
from portrait360.diffusion.samplers import flow_euler
from portrait360.geometry.cameras import Camera
from portrait360.models.view_denoiser import ViewDenoiser, ViewDenoiserConfig
from portrait360.models.weights.tensor_files import TensorFile, load_fp32, write_half
from portrait360.pipeline.views.pixel_latents import (
    FOLD,
    TIMESTEP_SCALE,
    build_hint,
    depth_to_space,
    premultiply,
    space_to_depth,
)
from portrait360.pipeline.views.small_denoiser import STEPS
from portrait360.training.data.identity_sampler import group_by_identity, list_samples, sample_for_step
from portrait360.training.data.view_arcs import VIEWS, ViewSample
from portrait360.training.trainer import Batch, Figures
from portrait360.utils.array_types import Floats

UNSEEN_WEIGHT, EDGE_WEIGHT = 1.0, 2.0  # additional weight of what the photo does not show, and of the matte's edge
ZERO_NOISE = 0.6  # share of samples whose noise is zero at level 1, as when a single step is used
NO_REFERENCE = 0.1  # share of samples without references
VALIDATION_SAMPLES, PREVIEW_SAMPLES = 8, 3
DATA = "view samples 2"
BATCH_KEYS = ("changes", "weight", "hints", "references")


class ViewTask:
    saved = "weights.safetensors"

    def __init__(
        self,
        train: Path,
        val: Path,
        config: ViewDenoiserConfig,
        *,
        init_from: Path | None = None,
        together: bool = False,
        batch: int = 2,
        views: int = 4,
        seed: int = 0,
    ) -> None:
        """`together` trains cross-view attention on whole arcs; otherwise a sample is `views` random views of an arc,
        denoised independently."""
        self.name = "views" + "-together" * together
        self.config, self.together, self.batch_size, self.views = config, together, batch, views
        self.seed, self.init_from = seed, init_from
        self.train, self.val = list_samples(train, "views"), list_samples(val, "views")
        self.identities = group_by_identity(self.train)

    def network(self) -> nn.Module:
        network = ViewDenoiser(self.config)
        if self.init_from is not None:
            file = TensorFile(self.init_from)
            load_fp32(network, file, str(self.init_from))
        return network.train().requires_grad_(True)

    def save(self, network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
        training = {"together": "yes" if self.together else "no", "without": ""}  # benchmarks.ablations
        write_half(network, path, {"samples": str(len(self.train)), "data": DATA, **training, **metadata})

    def sample(self, step: int, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, step, index])
        path = sample_for_step(self.identities, step * self.batch_size + index, self.seed)
        row = self.row(path, self.draw_views(rng))
        return {name: row[name][None] for name in BATCH_KEYS}

    def draw_views(self, rng: np.random.Generator) -> NDArray[np.integer]:
        """Draw the indices of an arc's views that make a sample, in their order."""
        return np.arange(VIEWS) if self.together else rng.permutation(VIEWS)[: self.views]

    def row(self, path: Path, views: NDArray[np.integer]) -> Batch:
        return as_tensors(ViewSample.load(path), views)

    def add_noise(self, batch: Batch, generator: torch.Generator) -> Batch:
        noise = draw_noise(target := batch["changes"], generator)
        mask = torch.rand(len(target), generator=generator, device=target.device) >= NO_REFERENCE
        return batch | noise | {"reference_mask": mask.to(target.dtype)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        target, level = batch["changes"], batch["level"][:, None, None, None, None]
        references = batch["references"] * batch["reference_mask"][:, None, None, None, None]
        x = (1 - level) * target + level * batch["noise"]
        predicted = predict(network, x, batch["level"], batch["hints"], references, self.together).float()
        weight = batch["weight"] * (level**-2).clamp(max=MAX_LEVEL_WEIGHT)
        return (weight * (predicted - target) ** 2).mean()

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> Figures:
        """Return the PSNR inside the true mattes, of the proxy's views and of the denoised ones."""
        rows = (self.row(path, np.arange(VIEWS)) for path in self.val[:VALIDATION_SAMPLES])
        return summarise((decode_views(row, sample(network, row, self.together)) for row in rows), ("proxy", "views"))

    @torch.inference_mode()
    def preview(self, network: nn.Module) -> Floats:
        """Show the truth, the proxy and the denoised views of some arcs."""
        rows = (self.row(path, np.arange(4)) for path in self.val[:PREVIEW_SAMPLES])
        return tile_rows(views for row in rows for views in decode_views(row, sample(network, row, self.together)))


def draw_noise(target: Tensor, generator: torch.Generator) -> Batch:
    """Draw noise and a level for each row of the changes; the noise of some rows is zero, at level 1."""
    noise = torch.randn(target.shape, generator=generator, device=target.device)
    noisy = (torch.rand(len(target), generator=generator, device=target.device) >= ZERO_NOISE).to(target.dtype)
    level = torch.where(noisy > 0, draw_noise_levels(len(target), generator), 1.0)
    return {"noise": noise * noisy.view(-1, *[1] * (target.ndim - 1)), "level": level}


def summarise(heads: Iterable[Sequence[Tensor]], names: Sequence[str]) -> Figures:
    """Return the mean PSNR inside the true mattes.

    Each head is a sequence of views (v 4 s s): the true ones, then one result per name.
    """
    figures = [[masked_psnr(views, true) for views in results] for true, *results in heads]
    return dict(zip(names, np.mean(figures, 0).tolist(), strict=True))


def tile_rows(heads: Iterable[Tensor]) -> Floats:
    """Composite premultiplied views (v 4 s s) over grey and tile them, one row each."""
    rows = (views[:, :3] + 0.5 * (1 - views[:, 3:]) for views in heads)
    return torch.cat([row.permute(2, 0, 3, 1).flatten(1, 2) for row in rows]).clamp(0, 1).numpy()


def as_tensors(sample: ViewSample, views: NDArray[np.integer]) -> Batch:
    """Return changes, weight and base (v 64 h w), hints (v c s s), proxy (v 4 s s), references (2 64 h w)."""
    hints, proxies = [], []
    for hint, depth, label in zip(sample.hint[views], sample.depth[views], sample.cameras[views], strict=True):
        values = to_float(hint)
        rgb, visibility, mask, normals = values[..., :3], values[..., 3], values[..., 4], values[..., 5:] * 2 - 1
        hints.append(build_hint(rgb, visibility, mask, normals, depth.astype(np.float32), Camera.from_label(label)))
        proxies.append(premultiply(rgb, mask))
    target, proxy, hint = (
        premultiply_rgba(sample.rgba[views]),
        torch.stack(proxies),
        torch.from_numpy(np.stack(hints)),
    )
    base = space_to_depth(proxy)
    return {
        "changes": space_to_depth(target) - base,
        "base": base,
        "weight": compute_weights(target, hint[:, 3:4]),
        "hints": hint,
        "proxy": proxy,
        "references": space_to_depth(premultiply_rgba(np.stack([sample.photo, sample.behind]))),
    }


def premultiply_rgba(pictures: NDArray[np.uint8]) -> Tensor:
    """Return pictures (v s s 4) as premultiplied colours and alpha (v 4 s s)."""
    return torch.stack([premultiply(rgba[..., :3], rgba[..., 3]) for rgba in to_float(pictures)])


def to_float(values: NDArray[np.uint8]) -> Floats:
    return values.astype(np.float32) / 255


def masked_psnr(views: Tensor, true: Tensor) -> float:
    """Return the PSNR of premultiplied colours (v 4 s s) inside the true mattes."""
    mask = (true[:, 3:] > 0.5).float()
    error = ((views - true)[:, :3] ** 2 * mask).sum() / (3 * mask.sum())
    return float(-10 * torch.log10(error))


def compute_weights(target: Tensor, visibility: Tensor) -> Tensor:
    """Return the loss weights (v 64 h w) of the changes from true views (v 4 s s) and photo visibility (v 1 s s)."""
    cover = target[:, 3:]
    weight = 1 + UNSEEN_WEIGHT * cover * (1 - visibility) + EDGE_WEIGHT * 4 * cover * (1 - cover)
    return torch.nn.functional.pixel_unshuffle(weight.expand(-1, 4, -1, -1), FOLD)


def predict(
    network: nn.Module, x: Tensor, level: Tensor, hints: Tensor, references: Tensor, together: bool
) -> Tensor:
    """Predict the clean changes, of the shape of x.

    x (b v 64 h w), level (b), hints (b v HINT_CHANNELS s s), references (b n 64 h w).
    """
    assert isinstance(network, ViewDenoiser)
    batch, views = x.shape[:2]
    context = torch.zeros(1, 1, network.config.unet.context_dim, device=x.device)
    tokens = network.encode_references(references.transpose(0, 1), TIMESTEP_SCALE * level, context)
    tokens = tuple(layer.repeat_interleave(views, 0) for layer in tokens)
    flat, t = x.flatten(0, 1), TIMESTEP_SCALE * level.repeat_interleave(views)
    hint = network.control.embed_hint(hints.flatten(0, 1))
    residuals = network.control(flat, hint, t, context)
    out = network.predict(flat, t, context, views if together else None, tokens, residuals, unconditional=False)
    return out.unflatten(0, (batch, -1))


def sample(network: nn.Module, row: Batch, together: bool, seed: int = 0) -> Tensor:
    """Sample the changes (v 64 h w) of one sample's views in STEPS steps."""
    device = next(network.parameters()).device
    noise = torch.randn(row["changes"].shape, generator=torch.Generator().manual_seed(seed)).to(device)[None]
    noise = noise * (STEPS > 1)
    hints, references = row["hints"][None].to(device), row["references"][None].to(device)
    changes = flow_euler(lambda x, t: predict(network, x, t, hints, references, together).float(), noise, STEPS)
    return changes[0].cpu()


def decode_views(row: Batch, changes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return three sets of views (v 4 s s): the true ones, the proxy's, and the proxy's with the changes."""
    base = row["base"]
    return depth_to_space(base + row["changes"]), row["proxy"], depth_to_space(base + changes).clamp(0, 1)
