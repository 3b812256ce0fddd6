"""The methods to evaluate: functions from a portrait and cameras to views. Every method must beat the first two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera, azimuth_between
from portrait360.pipeline.avatar.methods import METHODS as PROXY_METHODS
from portrait360.pipeline.avatar.methods import build_proxy
from portrait360.pipeline.export.writer import render_head
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.reconstruction.head import Head, head_folder
from portrait360.pipeline.views import DENOISED, require_view_denoiser
from portrait360.pipeline.views.small_denoiser import denoise_small_views, load_view_weights
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError

Method = Callable[[Portrait, Sequence[Camera], int], list[View]]

BASELINES = ("repeat", "mirror")
ORACLE = "oracle"  # the true head, in the pose that the portrait states: what a perfect head scores
CAMERA_TOLERANCE = 0.5  # degrees: a view's camera that is no further from the requested one counts as the same


def repeat(portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """Return the portrait at every view."""
    rgb, alpha = _downscale_portrait(portrait, size)
    return [View(rgb, alpha, camera) for camera in cameras]


def mirror(portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """Return the portrait for the front half, and its mirror image for the back."""
    rgb, alpha = _downscale_portrait(portrait, size)
    front = [abs(float(azimuth_between(0, camera.azimuth))) <= 90 for camera in cameras]
    images = {True: (rgb, alpha), False: (rgb[:, ::-1], alpha[:, ::-1])}
    return [View(*images[is_front], camera) for is_front, camera in zip(front, cameras, strict=True)]


def render_proxy(portrait: Portrait, cameras: Sequence[Camera], size: int, method: str) -> list[View]:
    """Render the proxy that `portrait360 make` would build by this method."""
    head = build_proxy(portrait, method=method)
    renders = [(head.render(camera, size), camera) for camera in cameras]
    return [View(rendered.rgb, rendered.mask, camera) for rendered, camera in renders]


def render_finished_run(folder: Path, portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """Render a run's fitted head; without one, return the run's own views from exactly these cameras."""
    if path := head_folder(folder):
        head = Head.load(path)
        return [View(*render_head(head, camera, size), camera) for camera in cameras]
    views = ViewSet.load(folder / "views")
    return [_nearest_view(views, folder, camera, size) for camera in cameras]


def _nearest_view(views: ViewSet, folder: Path, camera: Camera, size: int) -> View:
    def angle_to(view: View) -> float:
        cosine = view.camera.position @ camera.position / (view.camera.radius * camera.radius)
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    best = min(views.all, key=angle_to)
    if angle_to(best) > CAMERA_TOLERANCE:
        raise UserError(
            f"{folder} has no view at azimuth {camera.azimuth:.0f}; repeat the run with `portrait360 make "
            "--views 72`, or with --fit, because a fitted head can be rendered from any camera."
        )
    return View(downscale(best.rgb, size), downscale(best.alpha, size), camera)


def _downscale_portrait(portrait: Portrait, size: int) -> tuple[Floats, Floats]:
    return downscale(portrait.rgb, size), downscale(portrait.alpha, size)


def downscale(values: Floats, size: int) -> Floats:
    small = cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32, copy=False)


def render_denoised(portrait: Portrait, cameras: Sequence[Camera], size: int) -> list[View]:
    """Run both networks of the small preset: complete the head, then denoise its views."""
    return denoise_small_views(
        portrait,
        build_proxy(portrait, method="completed"),
        cameras,
        load_view_weights(require_view_denoiser()),
        size=size,
    )


METHODS: dict[str, Method] = {
    "repeat": repeat,
    "mirror": mirror,
    **{method: partial(render_proxy, method=method) for method in PROXY_METHODS},
    DENOISED: render_denoised,
}


def find_method(name: str) -> Method:
    if name == ORACLE:
        raise UserError(
            "The oracle is the true head, which only the synthetic protocols know; remove it from the command."
        )
    if name not in METHODS:
        raise UserError(f"There is no method {name!r}; choose from {', '.join((*METHODS, ORACLE))}.")
    return METHODS[name]


def make_run_method(folder: Path) -> Method:
    return partial(render_finished_run, folder)
