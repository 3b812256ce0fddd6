"""The small view denoiser's task: from the proxy's views to the true ones, by flow matching on what is to be added.

First every view by itself (R and C); then, begun with those weights, arcs of views that see each other (V).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from portrait360.cameras import Camera
from portrait360.checkpoints import TensorFile, load_single, write_half
from portrait360.diffusion.samplers import flow
from portrait360.models.view_denoiser import ViewDenoiser, ViewDenoiserConfig
from portrait360.models.view_hints import FOLD, TIMES, folded, hint_of, premultiplied, unfolded
from portrait360.small_views import STEPS, left_of
from portrait360.train.left_out import lessened
from portrait360.train.loop import Batch, Figures
from portrait360.train.map_task import MOST_WEIGHT, levels, samples_in
from portrait360.train.turns import by_identity, chosen
from portrait360.train.view_samples import VIEWS, ViewSample

Floats = NDArray[np.floating]

UNSEEN, EDGE = 1.0, 2.0  # further weight of what the photo does not show, and of the matte's edge
FROM_NOTHING = 0.6  # share of samples that begin without noise, which is how a single level is used
UNGUIDED = 0.1  # share of samples that are shown no reference
VALIDATED, SHOWN_ROWS = 8, 3
DATA = "view samples 1"
LEARNT = ("changes", "weight", "hints", "references")


class ViewTask:
    saved = "weights.safetensors"

    def __init__(
        self,
        train: Path,
        val: Path,
        config: ViewDenoiserConfig,
        *,
        begin: Path | None = None,
        together: bool = False,
        without: tuple[str, ...] = (),
        batch: int = 2,
        views: int = 4,
        seed: int = 0,
    ) -> None:
        """`together` trains V on whole arcs of neighbours; else `views` of an arc, any of them, each by itself.
        `without`: see `small_views.WITHOUT`."""
        self.name = "views" + "-together" * together + "".join(f"-without-{word}" for word in without)
        self.without = without
        self.config, self.together, self.per_step, self.views = config, together, batch, views
        self.seed, self.begin = seed, begin
        self.train, self.val = samples_in(train), samples_in(val)
        self.identities = by_identity(self.train)

    def network(self) -> nn.Module:
        network = ViewDenoiser(self.config)
        if self.begin is not None:
            file = TensorFile(self.begin)
            load_single(network, file, str(self.begin))
        return network.train().requires_grad_(True)

    def save(self, network: nn.Module, path: Path, about: dict[str, str]) -> None:
        taught = {"together": "yes" if self.together else "no", "without": ",".join(self.without)}
        write_half(network, path, {"samples": str(len(self.train)), "data": DATA, **taught, **about})

    def sample(self, step: int, place: int) -> Batch:
        rng = np.random.default_rng([self.seed, step, place])
        which = np.arange(VIEWS) if self.together else rng.permutation(VIEWS)[: self.views]
        path = chosen(self.identities, step * self.per_step + place, self.seed)
        row = self.row(path, rng.permutation(which) if "order" in self.without else which)
        return {name: row[name][None] for name in LEARNT}

    def row(self, path: Path, which: NDArray[np.integer]) -> Batch:
        row = as_tensors(lessened(ViewSample.load(path), self.without), which, based="base" not in self.without)
        return row | {"references": left_of(row["references"], self.without)}

    def noised(self, batch: Batch, generator: torch.Generator) -> Batch:
        noisy = with_some_noise(goal := batch["changes"], generator)
        guided = torch.rand(len(goal), generator=generator, device=goal.device) >= UNGUIDED
        return batch | noisy | {"shown": guided.to(goal.dtype)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        goal, at = batch["changes"], batch["level"][:, None, None, None, None]
        references = batch["references"] * batch["shown"][:, None, None, None, None]
        x = (1 - at) * goal + at * batch["noise"]
        found = predicted(network, x, batch["level"], batch["hints"], references, self.together).float()
        weight = batch["weight"] * (at**-2).clamp(max=MOST_WEIGHT)
        return (weight * (found - goal) ** 2).mean()

    @torch.inference_mode()
    def validate(self, network: nn.Module) -> Figures:
        """Decibels inside the true mattes, of the proxy's views and of ours."""
        rows = (self.row(path, np.arange(VIEWS)) for path in self.val[:VALIDATED])
        return told((pictures(row, sampled(network, row, self.together)) for row in rows), ("proxy", "views"))

    @torch.inference_mode()
    def picture(self, network: nn.Module) -> Floats:
        """Of some arcs: the truth, the proxy, ours."""
        rows = (self.row(path, np.arange(4)) for path in self.val[:SHOWN_ROWS])
        return in_rows(made for row in rows for made in pictures(row, sampled(network, row, self.together)))


def with_some_noise(goal: Tensor, generator: torch.Generator) -> Batch:
    """For the changes, a row each, and how much of it; or nothing at all to begin with."""
    noise = torch.randn(goal.shape, generator=generator, device=goal.device)
    some = (torch.rand(len(goal), generator=generator, device=goal.device) >= FROM_NOTHING).to(goal.dtype)
    level = torch.where(some > 0, levels(len(goal), generator), 1.0)
    return {"noise": noise * some.view(-1, *[1] * (goal.ndim - 1)), "level": level}


def told(heads: Iterable[Sequence[Tensor]], names: Sequence[str]) -> Figures:
    """Mean decibels inside the true mattes. Of every head (v 4 s s): the truth, then what bears these names."""
    found = [[decibels_inside(made, true) for made in rest] for true, *rest in heads]
    return dict(zip(names, np.mean(found, 0).tolist(), strict=True))


def in_rows(views: Iterable[Tensor]) -> Floats:
    """Premultiplied views (v 4 s s), a row each, before grey."""
    grey = (made[:, :3] + 0.5 * (1 - made[:, 3:]) for made in views)
    return torch.cat([rearrange(one, "v c y x -> y (v x) c") for one in grey]).clamp(0, 1).numpy()


def as_tensors(sample: ViewSample, which: NDArray[np.integer], *, based: bool = True) -> Batch:
    """changes, weight, base (v 64 h w), hints (v HINTS s s), proxy (v 4 s s), references (2 64 h w)."""

    def bright(values: NDArray[np.uint8]) -> Floats:
        return values.astype(np.float32) / 255

    true = [premultiplied(bright(p[..., :3]), bright(p[..., 3])) for p in sample.rgba[which]]
    hints, proxies = [], []
    for hint, depth, label in zip(sample.hint[which], sample.depth[which], sample.cameras[which], strict=True):
        values = bright(hint)
        rgb, visibility, mask, normals = values[..., :3], values[..., 3], values[..., 4], values[..., 5:] * 2 - 1
        hints.append(hint_of(rgb, visibility, mask, normals, depth.astype(np.float32), Camera.from_label(label)))
        proxies.append(premultiplied(rgb, mask))
    goal, proxy, seen = torch.stack(true), torch.stack(proxies), torch.from_numpy(np.stack(hints))
    references = [premultiplied(bright(p[..., :3]), bright(p[..., 3])) for p in (sample.photo, sample.behind)]
    base = folded(proxy) * based
    return {
        "changes": folded(goal) - base,
        "base": base,
        "weight": weights_of(goal, seen[:, 3:4]),
        "hints": seen,
        "proxy": proxy,
        "references": folded(torch.stack(references)),
    }


def decibels_inside(made: Tensor, true: Tensor) -> float:
    """Of premultiplied colours (v 4 s s), inside the true mattes."""
    inside = (true[:, 3:] > 0.5).float()
    error = ((made - true)[:, :3] ** 2 * inside).sum() / (3 * inside.sum())
    return float(-10 * torch.log10(error))


def weights_of(goal: Tensor, known: Tensor) -> Tensor:
    """Of the changes (v 64 h w): true pictures (v 4 s s), and how much of them (v 1 s s) is the photo's."""
    cover = goal[:, 3:]
    weight = 1 + UNSEEN * cover * (1 - known) + EDGE * 4 * cover * (1 - cover)
    return torch.nn.functional.pixel_unshuffle(weight.expand(-1, 4, -1, -1), FOLD)


def predicted(
    network: nn.Module, x: Tensor, level: Tensor, hints: Tensor, references: Tensor, together: bool
) -> Tensor:
    """x (b v 64 h w), level (b), hints (b v HINTS s s), references (b n 64 h w) -> the clean changes, like x."""
    assert isinstance(network, ViewDenoiser)
    batch, views = x.shape[:2]
    context = torch.zeros(1, 1, network.config.unet.context_dim, device=x.device)
    memory = network.remember(rearrange(references, "b n c h w -> n b c h w"), TIMES * level, context)
    memory = tuple(tokens.repeat_interleave(views, 0) for tokens in memory)
    flat, t = rearrange(x, "b v c h w -> (b v) c h w"), TIMES * level.repeat_interleave(views)
    hint = network.control.embed_hint(rearrange(hints, "b v c h w -> (b v) c h w"))
    residuals = network.control(flat, hint, t, context)
    out = network.predict(flat, t, context, views if together else None, memory, residuals, unconditional=False)
    return rearrange(out, "(b v) c h w -> b v c h w", b=batch)


def sampled(network: nn.Module, row: Batch, together: bool, seed: int = 0) -> Tensor:
    """(v 64 h w) changes of one sample's views, in a few steps from noise."""
    device = next(network.parameters()).device
    noise = torch.randn(row["changes"].shape, generator=torch.Generator().manual_seed(seed)).to(device)[None]
    noise = noise * (STEPS > 1)
    hints, references = row["hints"][None].to(device), row["references"][None].to(device)
    made = flow(lambda x, t: predicted(network, x, t, hints, references, together).float(), noise, STEPS)
    return made[0].cpu()


def pictures(row: Batch, changes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(v 4 s s) each: the truth, the proxy's, with the changes."""
    base = row["base"]
    return unfolded(base + row["changes"]), row["proxy"], unfolded(base + changes).clamp(0, 1)
