"""The training recipes, as data: what is trained, on which task, with which options.

A task is imported when its recipe is used: what one task needs, the others train without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from portrait360.training.trainer import LoopOptions, Task
from portrait360.utils.errors import UserError

STAGES = ("sd15-appearance", "sd15-control", "sd15-cross-view", "sd15-back")  # of `training.tasks.published`
PUBLISHED = LoopOptions(
    rate=1e-5, warm=1, steady=10**9, spread=0.999, average=0, save_minutes=30, validate_every=1000
)
AS_PUBLISHED = replace(PUBLISHED, clip=0.5, decay=0.0, bf16=False)  # what the authors' scripts set otherwise


@dataclass(frozen=True)
class Recipe:
    task: Callable[[Path, Path, Path | None], Task]  # training samples, validation samples, initial weights
    options: LoopOptions
    shardable: bool = False  # whether it can be trained with FSDP, a shard of the network on each GPU


def _make_map_task(train: Path, val: Path, init_from: Path | None) -> Task:
    from portrait360.models.completion_unet import MapCompleterConfig
    from portrait360.pipeline.proxy.map_conditioning import HINTS
    from portrait360.training.tasks.head_map import MapTask

    config = MapCompleterConfig(hints=HINTS, widths=(80, 144, 208), attention=(False, True, True), fold=4)
    return MapTask(train, val, config, init_from=init_from)


def _make_reader_task(train: Path, val: Path, init_from: Path | None, **options: Any) -> Task:
    from portrait360.training.tasks.reader import ReaderTask

    return ReaderTask(train, val, init_from=init_from, **options)


def _make_tuned_reader_task(train: Path, val: Path, init_from: Path | None, **options: Any) -> Task:
    if init_from is None:
        raise UserError("This recipe starts from the weights of `reader`; name them with `init_from=`.")
    return _make_reader_task(train, val, init_from, **options)


def _make_view_task(train: Path, val: Path, init_from: Path | None, **options: Any) -> Task:
    from portrait360.models.network_sizes import SMALL
    from portrait360.training.tasks.view_denoiser import ViewTask

    return ViewTask(train, val, SMALL, init_from=init_from, **options)


def _make_hybrid_task(train: Path, val: Path, init_from: Path | None) -> Task:
    if init_from is None:
        raise UserError(
            "The recipe hybrid starts from the weights of `views` or from its own; name them with `init_from=`."
        )
    from portrait360.training.tasks.hybrid_priors import HybridTask

    return HybridTask(train, val, init_from)


def _make_restorer_task(train: Path, val: Path, init_from: Path | None) -> Task:
    if init_from is None:
        raise UserError("The recipe restorer is trained with the weights of `views`; name them with `init_from=`.")
    from portrait360.training.tasks.geometry_restorer import RestorerTask

    return RestorerTask(train, val, init_from)


def _published_recipe(name: str, as_published: bool = False) -> Recipe:
    """Return the recipe of a stage with the settings of the paper (A.1), or with all those of the authors' scripts.

    The learning rate is 1e-5 from the first step on. The paper trains 60,000 steps on six GPUs with one clip on each;
    as many processes with as many clips per step (--batch) do the same.
    """

    def make_task(train: Path, val: Path, init_from: Path | None) -> Task:
        if init_from is None:
            raise UserError(f"The recipe {name} starts from a checkpoint; make one with `portrait360 train init`.")
        from portrait360.training.tasks.published import DenoiserTask

        return DenoiserTask(train, val, name, init_from, as_published=as_published)

    return Recipe(make_task, AS_PUBLISHED if as_published else PUBLISHED, shardable=True)


RECIPES = {
    # the map completer: colour and radius of the whole unwrapped head
    "map": Recipe(_make_map_task, LoopOptions(rate=8e-4, steady=4000)),
    # the portrait reader: labels, matte, hair directions, normals, and what head it is
    "reader": Recipe(_make_reader_task, LoopOptions(rate=8e-4, steady=1500)),
    # what the portrait reader says of the whole head, from the weights of `reader`; pixels stay as they are
    "reader-head": Recipe(
        partial(_make_tuned_reader_task, readout_only=True, batch=32),
        LoopOptions(rate=1e-3, warm=50, steady=800, average=0.99),
    ),
    # all of the portrait reader, from weights that have learnt: a higher rate would lose what they know
    "reader-tune": Recipe(_make_tuned_reader_task, LoopOptions(rate=2.5e-4, warm=100, steady=400)),
    # the view denoiser's appearance and control networks: every view independently
    "views": Recipe(_make_view_task, LoopOptions(rate=8e-4, steady=3000)),
    # with cross-view attention, from the weights of `views`: neighbours on an arc
    "views-together": Recipe(partial(_make_view_task, together=True, batch=1), LoopOptions(rate=2e-4)),
    # branches that guide the view denoiser by a finished neighbouring view, for `refine`
    "hybrid": Recipe(_make_hybrid_task, LoopOptions()),
    # a network that restores a head's shape before `refine`, on the samples of `map`
    "restorer": Recipe(_make_restorer_task, LoopOptions()),
    **{name: _published_recipe(name) for name in STAGES},
}


def find_recipe(name: str, as_published: bool = False) -> Recipe:
    if name not in RECIPES:
        raise UserError(f"There is no recipe {name!r}; choose from {', '.join(RECIPES)}.")
    if as_published and name not in STAGES:
        raise UserError(f"`as_published=True` is for the recipes {', '.join(STAGES)}; leave it out.")
    return _published_recipe(name, as_published) if as_published else RECIPES[name]
