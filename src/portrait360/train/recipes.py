"""What is trained, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from portrait360.errors import UserError
from portrait360.models.map_completer import MapCompleterConfig
from portrait360.models.map_hints import HINTS
from portrait360.models.presets import SMALL
from portrait360.small_views import WITHOUT
from portrait360.train.denoiser_task import STAGES, DenoiserTask
from portrait360.train.hybrid_task import HybridTask
from portrait360.train.loop import LoopOptions, Task
from portrait360.train.map_task import MapTask
from portrait360.train.restorer_task import RestorerTask
from portrait360.train.view_task import ViewTask

COMPLETER = MapCompleterConfig(hints=HINTS, widths=(80, 144, 208), attention=(False, True, True), fold=4)

PUBLISHED = LoopOptions(
    rate=1e-5, warm=1, steady=10**9, spread=0.999, average=0, save_minutes=30, validate_every=1000
)


@dataclass(frozen=True)
class Recipe:
    about: str
    task: Callable[[Path, Path, Path | None], Task]  # training samples, validation samples, weights to begin with
    options: LoopOptions
    splits: bool = False  # it can be trained in parts, a part of the network a GPU


RECIPES = {
    "map": Recipe(
        "the map completer: colour and radius of the whole unwrapped head",
        lambda train, val, begin: MapTask(train, val, COMPLETER, begin=begin),
        LoopOptions(rate=8e-4, steady=4000),
    ),
    "views": Recipe(
        "the view denoiser's R and C: every view by itself",
        lambda train, val, begin: ViewTask(train, val, SMALL, begin=begin),
        LoopOptions(rate=8e-4, steady=3000),
    ),
    "views-together": Recipe(
        "with V, begun with what `views` has learnt: neighbours on an arc",
        lambda train, val, begin: ViewTask(train, val, SMALL, begin=begin, together=True, batch=1),
        LoopOptions(rate=2e-4),
    ),
}


def _hybrid(train: Path, val: Path, begin: Path | None) -> Task:
    if begin is None:
        raise UserError(
            "The recipe hybrid begins with the weights of `views` or with its own; name them with --begin."
        )
    return HybridTask(train, val, begin)


def _restorer(train: Path, val: Path, begin: Path | None) -> Task:
    if begin is None:
        raise UserError("The recipe restorer learns from the weights of `views`; name them with --begin.")
    return RestorerTask(train, val, begin)


def _published(name: str) -> Recipe:
    """Settings of the paper (A.1): a rate of 1e-5 from the first step on, for 60,000 steps of a clip on each of six
    GPUs; with as many processes a batch holds as many clips."""

    def task(train: Path, val: Path, begin: Path | None) -> Task:
        if begin is None:
            raise UserError(f"The recipe {name} begins with a checkpoint; make one with `portrait360 train init`.")
        return DenoiserTask(train, val, name, begin)

    return Recipe(STAGES[name].about, task, PUBLISHED, splits=True)


def _ablation(word: str) -> Recipe:
    """The recipe in which this is left out, else unchanged."""
    whole = "views-together" if word == "order" else "views"
    together = {"together": True, "batch": 1} if word == "order" else {}
    return Recipe(
        f"`{whole}`, but {WITHOUT[word]}",
        lambda train, val, begin: ViewTask(train, val, SMALL, begin=begin, without=(word,), **together),
        RECIPES[whole].options,
    )


RECIPES["hybrid"] = Recipe(
    "branches that lead the view denoiser by a finished neighbour, for `refine`", _hybrid, LoopOptions()
)
RECIPES["restorer"] = Recipe(
    "a network that mends a head's shape before `refine`; samples are those of `map`", _restorer, LoopOptions()
)
RECIPES |= {name: _published(name) for name in STAGES}
RECIPES |= {f"views-without-{word}": _ablation(word) for word in WITHOUT}


def find_recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise UserError(f"There is no recipe {name!r}; choose from {', '.join(RECIPES)}.")
    return RECIPES[name]
