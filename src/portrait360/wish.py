"""What a run is asked for, and the sentences for what cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrait360.completer import METHODS, check_method
from portrait360.errors import UserError
from portrait360.files import checked_size, sha256
from portrait360.head import NAMES
from portrait360.images import MAX_BYTES
from portrait360.models.presets import PRESETS
from portrait360.refine.loop import Refining
from portrait360.refined_head import Refinery
from portrait360.small_views import METHOD as DENOISED
from portrait360.small_views import MULTIPLE, shipped
from portrait360.views import MOST, VIEWS
from portrait360.weights.library import found, needed

CROP = 512  # pixels: of the portrait
SIZES = (64, 1024)
STEPS = 200
FOLD = 64  # pixels of a view that become one of the U-Net's coarsest
KNOWN_AS = {"nerf": "field"}  # what a user may call a result


@dataclass(frozen=True)
class Wish:
    """The defaults are those of the command."""

    preset: str = "small"
    method: str | None = None  # the preset's if not given
    views: int = VIEWS
    size: int | None = None  # pixels of a view; the preset's if not given
    seed: int = 0
    back: Path | None = None
    references: tuple[Path, ...] = ()
    face: int | None = None
    azimuth: float | None = None
    elevation: float | None = None
    orbit: Path | None = None
    orbit_elevation: float = 0.0
    results: tuple[str, ...] = NAMES
    fit: bool = True
    quick: bool = False
    steps: int | None = None
    device: str | None = None
    faithful: bool = False
    compiled: bool = False
    refine: bool = False
    refine_with: Path | None = None  # weights of the hybrid priors; the package's if not given

    def checked(self) -> Wish:
        """Before anything is begun."""
        if self.preset not in PRESETS:
            raise UserError(f"There is no preset {self.preset!r}; choose from {', '.join(PRESETS)}.")
        preset = PRESETS[self.preset]
        if self.method not in (None, DENOISED, *METHODS):
            raise UserError(f"There is no method {self.method!r}; choose from {', '.join((*METHODS, DENOISED))}.")
        check_method(self.proxy_method)
        if preset.steps and self.denoised:
            raise UserError(f"--method {DENOISED} is for the preset small; {preset.name} has networks of its own.")
        if preset.steps:
            needed(preset.weights, f"The preset {preset.name}")
        if self.denoised:
            shipped()
        if not preset.steps and (self.faithful or self.compiled or (self.steps is not None and not self.denoised)):
            word = "--faithful" if self.faithful else "--compile" if self.compiled else "--steps"
            raise UserError(f"{word} is for views that a network makes; the preset small does not; leave it away.")
        if self.steps is not None and not 1 <= self.steps <= STEPS:
            raise UserError(f"--steps {self.steps} does not work; choose 1 to {STEPS}.")
        fold = FOLD if preset.vae else MULTIPLE if self.denoised else 1
        if self.pixels % fold:
            raise UserError(f"--size {self.pixels} does not work; choose a multiple of {fold} pixels.")
        if not 1 <= self.views <= MOST or (self.fit and self.views < 4 and not self.orbit):
            raise UserError(f"--views {self.views} does not work; choose 4 to {MOST}, or 1 and more with --no-fit.")
        if not SIZES[0] <= self.pixels <= SIZES[1]:
            raise UserError(f"--size {self.size} does not work; choose {SIZES[0]} to {SIZES[1]} pixels.")
        if not -60 <= self.orbit_elevation <= 60:
            raise UserError(f"--orbit-elevation {self.orbit_elevation:g} does not work; choose -60 to 60 degrees.")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"--seed {self.seed} does not work; choose 0 to {2**31 - 1}.")
        if self.refine and not self.fit:
            raise UserError("--refine needs a fitted head; leave --no-fit away.")
        if self.refine:
            self.refinery.checked()
        if not self.results:
            raise UserError(f"--as names no result; choose from nerf, {', '.join(NAMES[1:])}.")
        return self

    @property
    def pixels(self) -> int:
        return self.size or PRESETS[self.preset].size

    @property
    def proxy_method(self) -> str:
        """A generator's, where the preset wants one and its weights are there."""
        if self.method is not None:
            return "completed" if self.denoised else self.method
        preset = PRESETS[self.preset]
        return "gan" if preset.gan and found(preset.gan) else preset.proxy

    @property
    def denoised(self) -> bool:
        """The small network makes the views, of the completed proxy's."""
        return self.method == DENOISED

    @property
    def refinery(self) -> Refinery:
        return Refinery(Refining(seed=self.seed), self.refine_with)

    def settings(self) -> dict[str, Any]:
        """For the record: what was asked for, files by their content."""
        return {
            "preset": self.preset,
            "seed": self.seed,
            "settings": {
                "method": self.method if self.denoised else self.proxy_method,
                "views": self.views,
                "size": self.pixels,
                "back": content(self.back),
                "references": [content(photo) for photo in self.references],
                "face": self.face,
                "azimuth": self.azimuth,
                "elevation": self.elevation,
                "orbit": content(self.orbit),
                "orbit_elevation": self.orbit_elevation,
                "results": list(self.results) if self.fit else [],
                "quick": self.quick,
                "steps": self.steps,
                "faithful": self.faithful,
                "compiled": self.compiled,
                "refine": self.refinery.made_of() if self.refine else None,
            },
        }


def results_of(text: str) -> tuple[str, ...]:
    """`nerf,splats,mesh` in the order in which they are made."""
    asked = {KNOWN_AS.get(word.strip().lower(), word.strip().lower()) for word in text.split(",") if word.strip()}
    unknown = sorted(asked - set(NAMES))
    if unknown:
        raise UserError(f"A head cannot be had as {unknown[0]!r}; choose from nerf, splats, mesh.")
    return tuple(name for name in NAMES if name in asked)


def content(file: Path | None) -> str | None:
    """The SHA-256 of an input file: the same picture under another name is the same input."""
    if file is None:
        return None
    if Path(file).is_dir():
        raise UserError(f"{file} is a folder; give the file in it.")
    checked_size(Path(file), MAX_BYTES)
    try:
        return sha256(Path(file))
    except OSError as error:
        raise UserError(f"{file} may not be read ({error.strerror}); check its permissions.") from error
