"""`make` with the feel of a pipeline of diffusers: loaded by name, called with a picture."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portrait360.geometry.cameras import Camera
from portrait360.models.presets import PRESETS
from portrait360.models.weights.diffusers_export import INDEX
from portrait360.models.weights.hub import local_folder
from portrait360.models.weights.installed import (
    list_imports,
    prefer_weights,
    read_manifest,
    require_weights,
)
from portrait360.models.weights.pretrained import save_weights
from portrait360.pipeline.loaded_head import LoadedHead
from portrait360.pipeline.make import MakeResult, make
from portrait360.pipeline.options import PICTURES, MakeOptions
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.views import DEFAULT_VIEWS
from portrait360.pipeline.views.view_set import View
from portrait360.utils.errors import UserError
from portrait360.utils.progress import EventHandler, ignore_event

Photo = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)
class PipelineOutput:
    """What a call made; `head` is that of an avatar, or with `fit=True` one that was fitted to the views."""

    views: tuple[View, ...]
    portrait: Portrait
    head: LoadedHead | None

    @property
    def images(self) -> list[Image.Image]:
        """The views as pictures with transparency."""
        pixels = (np.dstack([view.rgb, view.alpha]) for view in self.views)
        return [Image.fromarray((255 * np.clip(rgba, 0, 1)).round().astype(np.uint8), "RGBA") for rgba in pixels]

    @property
    def cameras(self) -> list[Camera]:
        return [view.camera for view in self.views]


class Portrait360Pipeline:
    """Turns a portrait into views around the head.

    >>> pipeline = Portrait360Pipeline.from_pretrained("small")  # or "sd15", a folder, a repository of the hub
    >>> pipeline("examples/astronaut.png", views=4).images[0].size
    (256, 256)
    """

    def __init__(self, preset: str = "small", weights: Path | None = None, device: str | None = None) -> None:
        if preset not in PRESETS:
            raise UserError(f"There is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
        self.preset, self.weights, self.device = preset, weights, device

    @classmethod
    def from_pretrained(cls, source: str | Path = "small", *, revision: str | None = None) -> Portrait360Pipeline:
        """Choose the networks.

        `source` is a preset, whose weights are the user's own; a folder of weights, as `weights import`, `train run`
        or `save_pretrained` writes it; or a repository `USER/NAME` of the hub that holds such a folder. What the
        folder lacks comes from the user's weights.
        """
        if str(source) in PRESETS:
            pipeline = cls(str(source))
        else:
            folder = local_folder(source, revision)
            pipeline = cls(_find_preset(folder), folder)
        pipeline._require_weights()
        return pipeline

    def to(self, device: str) -> Portrait360Pipeline:
        """Choose the device, "cpu" or "cuda"."""
        self.device = device
        return self

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the weights with model cards to a folder that `from_pretrained` loads."""
        if self.preset == "small":
            raise UserError("The networks of the preset small are in the package; there is nothing to save.")
        for name, path in zip(PRESETS[self.preset].weights, self._require_weights(), strict=True):
            save_weights(path, Path(folder) / name)
        return Path(folder)

    def __call__(
        self,
        image: Photo,
        views: int = DEFAULT_VIEWS,
        *,
        folder: str | Path | None = None,
        on_event: EventHandler = ignore_event,
        **options: Any,
    ) -> PipelineOutput:
        """Make views of the head in a picture: a file, an image of Pillow, or an array (h, w, 3 or 4).

        `folder` keeps all that `make` writes; without it nothing is left on the disk. `options` are those of
        MakeOptions, such as `seed`, `steps`, `faithful`, or `fit=True` for a fitted head.
        """
        given: dict[str, Any] = {"preset": self.preset, "views": views, "device": self.device}
        given |= {} if {"fit", "results"} & set(options) else {"results": ()}
        chosen = MakeOptions(**given | options)
        if chosen.results and PICTURES not in chosen.results:  # views are what a pipeline returns
            chosen = replace(chosen, results=(*chosen.results, PICTURES))
        with tempfile.TemporaryDirectory(prefix="portrait360-") as temporary, prefer_weights(self.weights):
            photo = _write_photo(image, Path(temporary))
            result: MakeResult = make(photo, folder or Path(temporary) / "run", chosen, on_event)
        assert result.views is not None
        head = result.head if folder or result.head is None else result.head.without_folder()
        return PipelineOutput(result.views.views, result.portrait, head)

    def _require_weights(self) -> list[Path]:
        with prefer_weights(self.weights):
            preset = PRESETS[self.preset]
            return require_weights(preset.weights, f"The preset {self.preset}") if preset.steps else []


def _find_preset(folder: Path) -> str:
    """Return the preset that uses the weights in a folder."""
    systems = {read_manifest(path)["system"] for path in list_imports(folder)}
    presets = [preset.name for preset in PRESETS.values() if systems & set(preset.weights)]
    if not presets:
        given = folder if (folder / INDEX).is_file() else "FILE"  # what diffusers loads has to be converted
        raise UserError(
            f"{folder} contains no imported weights for any preset; run `portrait360 weights import {given}`."
        )
    return presets[0]


def _write_photo(image: Photo, folder: Path) -> Path:
    """Return the path of the picture; one in memory is written to the folder, without loss."""
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] not in (3, 4) or 0 in image.shape:
            raise UserError(f"An array of the shape {image.shape} is not a picture; give (h, w, 3) or (h, w, 4).")
        values = image if image.dtype == np.uint8 else (255 * np.clip(image, 0, 1)).round().astype(np.uint8)
        image = Image.fromarray(values)
    image.save(folder / "photo.png")
    return folder / "photo.png"
