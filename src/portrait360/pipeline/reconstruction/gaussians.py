"""Fit splats to views: place them on a known surface, then optimise, split and prune them (Kerbl et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from portrait360.geometry.gaussians.projection import project, rotation_matrices
from portrait360.geometry.gaussians.rasterizer import rasterize
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.views.view_set import View

LEARNING_RATES = {"means": 4e-4, "scales": 8e-3, "rotations": 2e-3, "opacities": 4e-2, "colours": 8e-3}


@dataclass(frozen=True)
class SplatFit:
    steps: int = 1500
    count: int = 24_000
    every: int = 150  # steps between prunings
    until: float = 0.6  # share of the steps after which no splats are split or pruned
    finest: float = 0.4  # pixels of the views: smaller splats would be dots and needles in any larger image
    faint: float = 0.02  # opacity below which a splat is pruned
    last_rate: float = 0.05  # factor of all learning rates at the end
    huber: float = 0.1
    seed: int = 0


class _TrainableSplats:
    """The optimised parameters: logarithms of scales, logits of opacities, and plain values."""

    def __init__(self, start: GaussianSplats, options: SplatFit, finest: float, device: torch.device | str) -> None:
        def tensor(values: np.ndarray) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        self.values = {
            "means": tensor(start.means),
            "scales": tensor(np.log(start.scales)),
            "rotations": tensor(start.rotations),
            "opacities": torch.logit(tensor(start.opacities).clamp(1e-3, 1 - 1e-3)),
            "colours": tensor(start.colours),
        }
        self.options, self.finest = options, finest
        self.optimiser = self._make_optimiser()

    def _make_optimiser(self) -> torch.optim.Adam:
        groups = [
            {"params": [value.requires_grad_()], "lr": LEARNING_RATES[name]} for name, value in self.values.items()
        ]
        return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12, fused=True)

    def activate(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return means, scales, rotations, opacities and colours; scales get a lower limit."""
        v = self.values
        scales = (torch.exp(2 * v["scales"]) + self.finest**2).sqrt()
        return v["means"], scales, v["rotations"], v["opacities"].sigmoid(), v["colours"]

    def set_learning_rates(self, factor: float) -> None:
        for group, rate in zip(self.optimiser.param_groups, LEARNING_RATES.values(), strict=True):
            group["lr"] = rate * factor

    def replace(self, values: dict[str, Tensor], source: Tensor, is_new: Tensor) -> None:
        """Replace all splats. Each takes the moments of the old splat `source`, or starts with 0 where `is_new`."""
        states = [self.optimiser.state[value] for value in self.values.values()]
        self.values = {name: value.detach() for name, value in values.items()}
        self.optimiser = self._make_optimiser()
        for value, state in zip(self.values.values(), states, strict=True):
            moments = {}
            for name in ("exp_avg", "exp_avg_sq"):
                moment = state[name][source]
                moment[is_new] = 0
                moments[name] = moment
            self.optimiser.state[value] = {"step": state["step"], **moments}


def fit_splats(
    start: GaussianSplats,
    views: Sequence[View],
    options: SplatFit = SplatFit(),  # noqa: B008 (frozen)
    *,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> GaussianSplats:
    """Fit splats to views, starting from `start`; drop those that few views have in their frame."""
    generator = torch.Generator(device).manual_seed(options.seed)
    pixel = float(np.median([view.camera.radius / (view.camera.focal * view.size) for view in views]))
    state = _TrainableSplats(start, options, options.finest * pixel, device)
    targets = [_make_target(view, device) for view in views]
    order: list[int] = []
    grad_sum = torch.zeros(len(start), device=device)
    for step in range(options.steps):
        if not order:
            order = torch.randperm(len(views), generator=generator, device=device).tolist()
        i = order.pop()
        state.set_learning_rates(options.last_rate ** (step / options.steps))
        loss, gradient = _train_step(state, views[i], targets[i], options, generator)
        grad_sum += gradient
        if (step + 1) % options.every == 0 and step < options.until * options.steps:
            _densify_and_prune(state, grad_sum, options, generator)
            grad_sum = torch.zeros(len(state.values["means"]), device=device)
        if on_step:
            on_step(step, loss)
    splats = _to_splats(state)
    return splats[select_often_framed(splats.means, views)]


def select_often_framed(points: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Return the indices of points (n, 3) that at least half as many views have in their frame as the median point.

    At the rim, where a bust leaves most frames, splats cover what few views see, and look torn from anywhere else.
    """
    projections = (view.camera.project(points)[0] for view in views)
    share = np.mean([((uv > 0) & (uv < 1)).all(-1) for uv in projections], 0)
    return np.flatnonzero(share >= 0.5 * np.median(share))


def _make_target(view: View, device: torch.device | str) -> Tensor:
    """Return (s, s, 5): premultiplied colour, alpha, weight."""
    known_mask = np.ones_like(view.alpha) if view.known_mask is None else view.known_mask
    parts = [view.rgb * view.alpha[..., None], view.alpha[..., None], view.weight * known_mask[..., None]]
    return torch.tensor(np.concatenate(parts, -1), dtype=torch.float32, device=device)


def _train_step(
    state: _TrainableSplats, view: View, target: Tensor, options: SplatFit, generator: torch.Generator
) -> tuple[float, Tensor]:
    """Take one step on a view over a random background; return the loss and the norms of the 2D means' gradients."""
    splats = project(*state.activate(), view.camera, view.size)
    splats.means.retain_grad()
    rendered = rasterize(splats, view.size)
    background = torch.rand(3, generator=generator, device=target.device)
    error = rendered[..., :3] - target[..., :3] + background * (target[..., 3:4] - rendered[..., 3:4])
    huber = torch.nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=options.huber)
    loss = (huber * target[..., 4:]).sum() / (target[..., 3] > 0).sum()
    state.optimiser.zero_grad()
    loss.backward()
    state.optimiser.step()
    gradient = splats.means.grad
    assert gradient is not None
    return float(loss.detach()), gradient.norm(dim=1)


@torch.no_grad()
def _densify_and_prune(
    state: _TrainableSplats, grad_sum: Tensor, options: SplatFit, generator: torch.Generator
) -> None:
    """Prune splats of low opacity and split those with the largest gradients, up to the number in the options."""
    values = state.values
    low_opacity = values["opacities"].sigmoid() < options.faint
    keep = torch.nonzero(~low_opacity)[:, 0]
    room = max(options.count - len(keep), 0)
    split = keep[torch.argsort(grad_sum[keep], descending=True)[: min(room, len(keep) // 4)]]
    source = torch.cat([keep, split])
    new = {name: value[source].clone() for name, value in values.items()}
    is_new = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    is_new[len(keep) :] = True
    parent = torch.searchsorted(keep, split)
    is_new[parent] = True
    axes = rotation_matrices(new["rotations"][is_new]) * new["scales"][is_new].exp()[:, None]
    noise = torch.randn(len(axes), 3, 1, generator=generator, device=source.device)
    new["means"][is_new] += (axes @ noise)[..., 0] * 0.7
    new["scales"][is_new] -= 0.47  # each of the two halves is 1 / 1.6 as wide
    state.replace(new, source, is_new)


def _to_splats(state: _TrainableSplats) -> GaussianSplats:
    means, scales, rotations, opacities, colours = (value.detach().cpu() for value in state.activate())
    rotations = torch.nn.functional.normalize(rotations, dim=1)
    parts = (means, scales, rotations, opacities, colours.clamp(0, 1))
    return GaussianSplats(*(part.numpy() for part in parts))


def init_splats(points: np.ndarray, colours: np.ndarray, count: int, rng: np.random.Generator) -> GaussianSplats:
    """Place round splats at `count` random points; their scale is proportional to the spacing of the points."""
    index = rng.permutation(len(points))[:count]
    points, colours = points[index], colours[index]
    spacing = KDTree(points).query(points, k=4)[0][:, 1:].mean(1)
    rotations = np.zeros((len(points), 4))
    rotations[:, 0] = 1
    scales = np.repeat(spacing[:, None] * 0.6, 3, 1).clip(5e-4, 0.02)
    return GaussianSplats(points, scales, rotations, np.full(len(points), 0.7), colours)  # type: ignore[arg-type]
