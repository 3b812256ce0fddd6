"""What is trained, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from portrait360.errors import UserError
from portrait360.models.map_completer import MapCompleterConfig
from portrait360.models.map_hints import HINTS
from portrait360.train.loop import LoopOptions, Task
from portrait360.train.map_task import MapTask

COMPLETER = MapCompleterConfig(hints=HINTS)


@dataclass(frozen=True)
class Recipe:
    about: str
    task: Callable[[Path, Path], Task]  # of folders of training and of validation samples
    options: LoopOptions


RECIPES = {
    "map": Recipe(
        "the map completer: colour and radius of the whole unwrapped head",
        lambda train, val: MapTask(train, val, COMPLETER),
        LoopOptions(),
    ),
}


def find_recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise UserError(f"There is no recipe {name!r}; choose from {', '.join(RECIPES)}.")
    return RECIPES[name]
