"""The training recipes, as data: what is trained, on which task, with which options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from portrait360.models.completion_unet import MapCompleterConfig
from portrait360.models.network_sizes import SMALL
from portrait360.pipeline.proxy.map_conditioning import HINTS
from portrait360.training.tasks.geometry_restorer import RestorerTask
from portrait360.training.tasks.head_map import MapTask
from portrait360.training.tasks.hybrid_priors import HybridTask
from portrait360.training.tasks.published import STAGES, DenoiserTask
from portrait360.training.tasks.view_denoiser import ViewTask
from portrait360.training.trainer import LoopOptions, Task
from portrait360.utils.errors import UserError

COMPLETER = MapCompleterConfig(hints=HINTS, widths=(80, 144, 208), attention=(False, True, True), fold=4)

PUBLISHED = LoopOptions(
    rate=1e-5, warm=1, steady=10**9, spread=0.999, average=0, save_minutes=30, validate_every=1000
)


@dataclass(frozen=True)
class Recipe:
    task: Callable[[Path, Path, Path | None], Task]  # training samples, validation samples, initial weights
    options: LoopOptions
    shardable: bool = False  # whether it can be trained with FSDP, a shard of the network on each GPU


RECIPES = {
    "map": Recipe(  # the map completer: colour and radius of the whole unwrapped head
        lambda train, val, init_from: MapTask(train, val, COMPLETER, init_from=init_from),
        LoopOptions(rate=8e-4, steady=4000),
    ),
    "views": Recipe(  # the view denoiser's appearance and control networks: every view independently
        lambda train, val, init_from: ViewTask(train, val, SMALL, init_from=init_from),
        LoopOptions(rate=8e-4, steady=3000),
    ),
    "views-together": Recipe(  # with cross-view attention, from the weights of `views`: neighbours on an arc
        lambda train, val, init_from: ViewTask(train, val, SMALL, init_from=init_from, together=True, batch=1),
        LoopOptions(rate=2e-4),
    ),
}


def _make_hybrid_task(train: Path, val: Path, init_from: Path | None) -> Task:
    if init_from is None:
        raise UserError(
            "The recipe hybrid starts from the weights of `views` or from its own; name them with `init_from=`."
        )
    return HybridTask(train, val, init_from)


def _make_restorer_task(train: Path, val: Path, init_from: Path | None) -> Task:
    if init_from is None:
        raise UserError("The recipe restorer is trained with the weights of `views`; name them with `init_from=`.")
    return RestorerTask(train, val, init_from)


def _published_recipe(name: str) -> Recipe:
    """Return the recipe of a stage with the settings of the paper (A.1).

    The learning rate is 1e-5 from the first step on. The paper trains 60,000 steps on six GPUs with one clip on each;
    as many processes with as many clips per step (--batch) do the same.
    """

    def make_task(train: Path, val: Path, init_from: Path | None) -> Task:
        if init_from is None:
            raise UserError(f"The recipe {name} starts from a checkpoint; make one with `portrait360 train init`.")
        return DenoiserTask(train, val, name, init_from)

    return Recipe(make_task, PUBLISHED, shardable=True)


# branches that guide the view denoiser by a finished neighbouring view, for `refine`
RECIPES["hybrid"] = Recipe(_make_hybrid_task, LoopOptions())
# a network that restores a head's shape before `refine`, on the samples of `map`
RECIPES["restorer"] = Recipe(_make_restorer_task, LoopOptions())
RECIPES |= {name: _published_recipe(name) for name in STAGES}


def find_recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise UserError(f"There is no recipe {name!r}; choose from {', '.join(RECIPES)}.")
    return RECIPES[name]
