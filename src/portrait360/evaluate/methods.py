"""What is judged: functions from a portrait and cameras to views. The first two are what every method must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360 import completer
from portrait360.cameras import Camera, azimuth_between
from portrait360.completer import find_proxy
from portrait360.errors import UserError
from portrait360.export.head import seen
from portrait360.head import Head, head_folder
from portrait360.portrait import Portrait
from portrait360.small_views import METHOD as DENOISED
from portrait360.small_views import load_views, shipped, small_views
from portrait360.view_sheet import View, ViewSheet

Floats = NDArray[np.floating]
Method = Callable[[Portrait, Sequence[Camera], int], list[View]]

BASELINES = ("repeat", "mirror")
ORACLE = "oracle"  # the true head, seen where the portrait says that it is: what a perfect head scores
SAME = 0.5  # degrees: a view's camera that is no further from the one asked for is that one


def repeat(portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """The portrait at every view."""
    rgb, alpha = _shrunk(portrait, size)
    return [View(rgb, alpha, camera) for camera in cameras]


def mirror(portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """The portrait for the front half, its mirror image for the back."""
    rgb, alpha = _shrunk(portrait, size)
    front = [abs(float(azimuth_between(0, camera.azimuth))) <= 90 for camera in cameras]
    sides = {True: (rgb, alpha), False: (rgb[:, ::-1], alpha[:, ::-1])}
    return [View(*sides[side], camera) for side, camera in zip(front, cameras, strict=True)]


def head_of(portrait: Portrait, cameras: Sequence[Camera], size: int, method: str) -> list[View]:
    """The head that `portrait360 make` would fit, by one of its methods."""
    head = find_proxy(portrait, method=method)
    rendered = [(head.render(camera, size), camera) for camera in cameras]
    return [View(view.rgb, view.mask, camera) for view, camera in rendered]


def made_before(folder: Path, portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """A run's fitted head, or where it has none the views themselves, from exactly these cameras."""
    if place := head_folder(folder):
        head = Head.load(place)
        return [View(*seen(head, camera, size), camera) for camera in cameras]
    sheet = ViewSheet.load(folder / "views")
    return [_nearest(sheet, folder, camera, size) for camera in cameras]


def _nearest(sheet: ViewSheet, folder: Path, camera: Camera, size: int) -> View:
    def away(view: View) -> float:
        cosine = view.camera.position @ camera.position / (view.camera.radius * camera.radius)
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    best = min(sheet.all, key=away)
    if away(best) > SAME:
        raise UserError(
            f"{folder} has no view at azimuth {camera.azimuth:.0f}; make it with `portrait360 make --views 72`, "
            "or with a fitted head, which can be seen from anywhere."
        )
    return View(reduced(best.rgb, size), reduced(best.alpha, size), camera)


def _shrunk(portrait: Portrait, size: int) -> tuple[Floats, Floats]:
    return reduced(portrait.rgb, size), reduced(portrait.alpha, size)


def reduced(values: Floats, size: int) -> Floats:
    small = cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32, copy=False)


def denoised(portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """By the small preset's networks, both: views of the completed head, denoised."""
    return small_views(portrait, find_proxy(portrait, method="completed"), cameras, load_views(shipped()), size=size)


METHODS: dict[str, Method] = {
    "repeat": repeat,
    "mirror": mirror,
    **{method: partial(head_of, method=method) for method in completer.METHODS},
    DENOISED: denoised,
}


def find_method(name: str) -> Method:
    if name == ORACLE:
        raise UserError("The oracle is the true head, which only synthetic-v1 knows; leave it away.")
    if name not in METHODS:
        raise UserError(f"There is no method {name!r}; choose from {', '.join((*METHODS, ORACLE))}.")
    return METHODS[name]


def of_run(folder: Path) -> Method:
    return partial(made_before, folder)
