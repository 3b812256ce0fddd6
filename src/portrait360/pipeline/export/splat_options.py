"""What a file of Gaussians leaves open, as its writer chooses. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from portrait360.utils.errors import UserError

Up = Literal["y", "-y"]
"""The axis that points up in a file that does not say it itself."""


@dataclass(frozen=True)
class SplatFileOptions:
    """How Gaussians are written where a format leaves a choice."""

    sh_degree: Literal[0, 1, 3] = 1  # most of colours that depend on the view; 3: .ply has zeros for strict readers
    up: Up = "-y"  # .ply and .splat
    spz_version: Literal[2, 4] = 2


def parse_splat_options(sh_degree: int, up: str, spz_version: int) -> SplatFileOptions:
    """Return the options that these values, as users type them, stand for."""
    choices = {"sh": (sh_degree, (0, 1, 3)), "up": (up, ("y", "-y")), "spz_version": (spz_version, (2, 4))}
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            *first, last = map(str, allowed)
            raise UserError(f"`{name}={value}` is not valid; choose {', '.join(first)} or {last}.")
    return SplatFileOptions(sh_degree, up, spz_version)  # pyright: ignore[reportArgumentType]
