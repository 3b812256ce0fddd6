"""The stage `views` without networks: the views are renders of the proxy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from portrait360.geometry.camera_files import read_orbit
from portrait360.geometry.camera_folders import EXPECTED, find_cameras
from portrait360.geometry.cameras import Camera, orbit
from portrait360.geometry.surfaces.surface_cells import find_surface_cells
from portrait360.geometry.volumes.volume import CELLS, HALF
from portrait360.pipeline.avatar.avatar import CoarseHead, load_coarse_head
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.pipeline.views import DEFAULT_VIEWS
from portrait360.pipeline.views.framing import frame_focal
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.errors import UserError
from portrait360.utils.images import to_uint8
from portrait360.utils.parallel.threads import map_in_threads

SIZE = 256  # pixels
HIGH = (20.0, 50.0)  # elevations of further views, which cover the crown
HIGH_VIEWS = 8  # at each of these elevations

OnView = Callable[[int, int, View], None]  # index, total, view


def default_cameras(views: int, elevation: float, focal: float, *, high: bool = True) -> list[Camera]:
    """Return an orbit and, with `high`, some cameras above it."""
    cameras = orbit(views, elevation=elevation, focal=focal)
    if high:
        cameras += [
            c for i, e in enumerate(HIGH) for c in orbit(HIGH_VIEWS, elevation=e, start=22.5 * i, focal=focal)
        ]
    return cameras


def render_proxy_views(
    portrait: Portrait,
    proxy: CoarseHead,
    cameras: Sequence[Camera] | None = None,
    *,
    size: int = SIZE,
    seed: int | None = None,
    on_view: OnView = lambda index, total, view: None,
    ahead: Sequence[ProxyView] = (),
) -> ViewSet:
    """Render the proxy from all cameras, but the first, of which there are views `ahead`; the reference is the photo
    itself."""
    cameras = default_cameras(DEFAULT_VIEWS, 0.0, frame_focal(proxy)) if cameras is None else cameras
    views, depths = [], []
    rest = map_in_threads(lambda camera: proxy.render(camera, size), cameras[len(ahead) :], lone_first=not ahead)
    renders = chain(ahead, rest)
    for i, (camera, rendered) in enumerate(zip(cameras, renders, strict=True)):
        views.append(View(rendered.rgb, rendered.mask, camera))
        depths.append(rendered.depth)
        on_view(i, len(cameras), views[-1])
    surface = find_surface_cells(zip(cameras, depths, strict=True), half=HALF, cells=CELLS)
    return replace(make_view_set(views, portrait, proxy, seed), surface=surface)


def make_view_set(views: Sequence[View], portrait: Portrait, proxy: CoarseHead, seed: int | None) -> ViewSet:
    """Return a view set whose reference is the photo itself."""
    return ViewSet(tuple(views), View(proxy.photo, portrait.alpha, portrait.camera, portrait.inside_photo), seed)


def write_proxy_views(
    folder: Path,
    count: int,
    size: int,
    orbit: Path | None,
    elevation: float,
    seed: int,
    advance: Callable[[str], None],
) -> int:
    """Render the proxy of a folder, save the views in its subfolder `views`, and return how many there are."""
    portrait, proxy = Portrait.load(folder / "portrait"), load_coarse_head(folder / "proxy")
    focal = frame_focal(proxy)
    cameras = read_orbit(orbit, focal) if orbit else default_cameras(count, elevation, focal, high=False)
    view_set = render_proxy_views(
        portrait, proxy, cameras, size=size, seed=seed, on_view=lambda index, total, view: advance(f"{index + 1}")
    )
    view_set.save(folder / "views")
    return len(view_set.views)


def load_or_render_views(folder: Path) -> ViewSet:
    """Load the view set of a folder or of its subfolder `views`; without one, render the proxy that is there."""
    folder = Path(folder)
    view_set = load_folder_views(folder)
    if view_set is not None:
        return view_set
    if (folder / "proxy" / "proxy.npz").is_file():
        return render_proxy_views(Portrait.load(folder / "portrait"), load_coarse_head(folder / "proxy"))
    raise UserError(
        f"{folder} has neither views with cameras nor a proxy; "
        f"make a proxy with `portrait360 proxy PHOTO -o DIR`, or add {EXPECTED}."
    )


def load_folder_views(folder: Path) -> ViewSet | None:
    """Load the view set of a folder or of its subfolder `views`, if there is one."""
    for path in (folder, folder / "views"):
        if find_cameras(path) is not None:
            return ViewSet.load(path)
    return None


def back_view_to_portrait(view: View, portrait: Portrait) -> Portrait:
    """Convert a view from behind to a portrait, with the values that its file will hold."""
    rgb, alpha = (to_uint8(values).astype(np.float32) / 255 for values in (view.rgb, view.alpha))
    return replace(
        portrait,
        rgb=rgb,
        alpha=alpha,
        inside_photo=np.ones_like(alpha),
        camera=view.camera,
        source="proxy",
        corner=(0.0, 0.0),
        side=float(view.size),
        landmarks=None,
        warnings=(),
    )
