"""Splats, fitted to views: placed on a known surface, then moved, split and pruned (Kerbl et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from portrait360.geometry.splat_blend import blend
from portrait360.geometry.splat_project import matrices, project
from portrait360.geometry.splats import Splats
from portrait360.view_sheet import View

RATES = {"means": 4e-4, "scales": 8e-3, "rotations": 2e-3, "opacities": 4e-2, "colours": 8e-3}


@dataclass(frozen=True)
class SplatFit:
    steps: int = 1500
    count: int = 24_000
    every: int = 150  # steps between prunings
    until: float = 0.6  # of the steps: later none are split
    finest: float = 0.4  # pixels of the views: smaller splats are dots and needles in any larger picture
    faint: float = 0.02  # opacity below which a splat is pruned
    last_rate: float = 0.05
    huber: float = 0.1
    seed: int = 0


class _State:
    """What is optimised: logarithms, logits, and plain values."""

    def __init__(self, start: Splats, options: SplatFit, finest: float, device: torch.device | str) -> None:
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
        self.optimiser = self._optimiser()

    def _optimiser(self) -> torch.optim.Adam:
        groups = [{"params": [value.requires_grad_()], "lr": RATES[name]} for name, value in self.values.items()]
        return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12, fused=True)

    def plain(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        v = self.values
        scales = (torch.exp(2 * v["scales"]) + self.finest**2).sqrt()
        return v["means"], scales, v["rotations"], v["opacities"].sigmoid(), v["colours"]

    def set_rates(self, share: float) -> None:
        for group, rate in zip(self.optimiser.param_groups, RATES.values(), strict=True):
            group["lr"] = rate * share

    def replace(self, values: dict[str, Tensor], old: Tensor, fresh: Tensor) -> None:
        """Other splats; those at `old` bring their moments along, `fresh` ones begin without."""
        states = [self.optimiser.state[value] for value in self.values.values()]
        self.values = {name: value.detach() for name, value in values.items()}
        self.optimiser = self._optimiser()
        for value, state in zip(self.values.values(), states, strict=True):
            moments = {}
            for name in ("exp_avg", "exp_avg_sq"):
                moment = state[name][old]
                moment[fresh] = 0
                moments[name] = moment
            self.optimiser.state[value] = {"step": state["step"], **moments}


def fit_splats(
    start: Splats,
    views: Sequence[View],
    options: SplatFit = SplatFit(),  # noqa: B008 (frozen)
    *,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> Splats:
    generator = torch.Generator(device).manual_seed(options.seed)
    pixel = float(np.median([view.camera.radius / (view.camera.focal * view.size) for view in views]))
    state = _State(start, options, options.finest * pixel, device)
    goals = [_goal(view, device) for view in views]
    order: list[int] = []
    blame = torch.zeros(len(start), device=device)
    for step in range(options.steps):
        if not order:
            order = torch.randperm(len(views), generator=generator, device=device).tolist()
        i = order.pop()
        state.set_rates(options.last_rate ** (step / options.steps))
        loss, gradient = _step(state, views[i], goals[i], options, generator)
        blame += gradient
        if (step + 1) % options.every == 0 and step < options.until * options.steps:
            _renew(state, blame, options, generator)
            blame = torch.zeros(len(state.values["means"]), device=device)
        if on_step:
            on_step(step, loss)
    splats = _finished(state)
    return splats[often_framed(splats.means, views)]


def often_framed(places: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Which places at least half as many views have in their frame as they have a usual one: at the rim, where a bust
    leaves most of the frames, splats cover what few views see, and look torn from anywhere else."""
    projected = (view.camera.project(places)[0] for view in views)
    share = np.mean([((uv > 0) & (uv < 1)).all(-1) for uv in projected], 0)
    return np.flatnonzero(share >= 0.5 * np.median(share))


def _goal(view: View, device: torch.device | str) -> Tensor:
    """(s, s, 5): premultiplied colour, alpha, weight."""
    known = np.ones_like(view.alpha) if view.known is None else view.known
    parts = [view.rgb * view.alpha[..., None], view.alpha[..., None], view.weight * known[..., None]]
    return torch.tensor(np.concatenate(parts, -1), dtype=torch.float32, device=device)


def _step(
    state: _State, view: View, goal: Tensor, options: SplatFit, generator: torch.Generator
) -> tuple[float, Tensor]:
    splats = project(*state.plain(), view.camera, view.size)
    splats.means.retain_grad()
    seen = blend(splats, view.size)
    behind = torch.rand(3, generator=generator, device=goal.device)
    error = seen[..., :3] - goal[..., :3] + behind * (goal[..., 3:4] - seen[..., 3:4])
    each = torch.nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=options.huber)
    loss = (each * goal[..., 4:]).sum() / (goal[..., 3] > 0).sum()
    state.optimiser.zero_grad()
    loss.backward()
    state.optimiser.step()
    gradient = splats.means.grad
    assert gradient is not None
    return float(loss.detach()), gradient.norm(dim=1)


@torch.no_grad()
def _renew(state: _State, blame: Tensor, options: SplatFit, generator: torch.Generator) -> None:
    """Prune the faint, split those that pull hardest, so that as many as before are there."""
    values = state.values
    faint = values["opacities"].sigmoid() < options.faint
    keep = torch.nonzero(~faint)[:, 0]
    room = max(options.count - len(keep), 0)
    worst = keep[torch.argsort(blame[keep], descending=True)[: min(room, len(keep) // 4)]]
    old = torch.cat([keep, worst])
    new = {name: value[old].clone() for name, value in values.items()}
    fresh = torch.zeros(len(old), dtype=torch.bool, device=old.device)
    fresh[len(keep) :] = True
    parent = torch.searchsorted(keep, worst)
    fresh[parent] = True
    axes = matrices(new["rotations"][fresh]) * new["scales"][fresh].exp()[:, None]
    noise = torch.randn(len(axes), 3, 1, generator=generator, device=old.device)
    new["means"][fresh] += (axes @ noise)[..., 0] * 0.7
    new["scales"][fresh] -= 0.47  # of two splats in place of one: 1 / 1.6 as wide
    state.replace(new, old, fresh)


def _finished(state: _State) -> Splats:
    means, scales, rotations, opacities, colours = (value.detach().cpu() for value in state.plain())
    rotations = torch.nn.functional.normalize(rotations, dim=1)
    parts = (means, scales, rotations, opacities, colours.clamp(0, 1))
    return Splats(*(part.numpy() for part in parts))


def on_surface(points: np.ndarray, colours: np.ndarray, count: int, rng: np.random.Generator) -> Splats:
    """Round splats at some of the points, as wide as these lie apart."""
    pick = rng.permutation(len(points))[:count]
    points, colours = points[pick], colours[pick]
    apart = KDTree(points).query(points, k=4)[0][:, 1:].mean(1)
    turns = np.zeros((len(points), 4))
    turns[:, 0] = 1
    scales = np.repeat(apart[:, None] * 0.6, 3, 1).clip(5e-4, 0.02)
    return Splats(points, scales, turns, np.full(len(points), 0.7), colours)  # type: ignore[arg-type]
