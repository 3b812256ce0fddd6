"""The stage `views`: from a proxy to the view sheet that is fitted. Today the views are the proxy's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from portrait360.cameras import Camera, orbit
from portrait360.errors import UserError
from portrait360.orbit_file import read_orbit
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy
from portrait360.view_sheet import View, ViewSheet

VIEWS, SIZE = 32, 256
HIGH = (20.0, 50.0)  # elevations of further views, which close the crown
ROUND = 8  # of them each
MOST = 360  # views of an orbit

OnView = Callable[[int, int, View], None]  # which, of how many, the view


def usual_cameras(views: int, elevation: float, focal: float, *, high: bool = True) -> list[Camera]:
    """An orbit, and with `high` some cameras from above."""
    cameras = orbit(views, elevation=elevation, focal=focal)
    if high:
        cameras += [c for i, e in enumerate(HIGH) for c in orbit(ROUND, elevation=e, start=22.5 * i, focal=focal)]
    return cameras


def proxy_views(
    portrait: Portrait,
    proxy: Proxy,
    cameras: Sequence[Camera] | None = None,
    *,
    size: int = SIZE,
    seed: int | None = None,
    on_view: OnView = lambda i, of, view: None,
) -> ViewSheet:
    """What the cameras see of the proxy, and the photo itself as reference."""
    cameras = usual_cameras(VIEWS, 0.0, portrait.camera.focal) if cameras is None else cameras
    views = []
    for i, camera in enumerate(cameras):
        seen = proxy.render(camera, size)
        views.append(View(seen.rgb, seen.mask, camera))
        on_view(i, len(cameras), views[-1])
    return with_photo(views, portrait, proxy, seed)


def with_photo(views: Sequence[View], portrait: Portrait, proxy: Proxy, seed: int | None) -> ViewSheet:
    """The photo itself is the reference."""
    return ViewSheet(tuple(views), View(proxy.photo, portrait.alpha, portrait.camera, portrait.known), seed)


def folder_views(
    folder: Path,
    count: int,
    size: int,
    orbit: Path | None,
    elevation: float,
    seed: int,
    advance: Callable[[str], None],
) -> int:
    """Views of the proxy in a folder, written to its `views`; gives how many."""
    portrait, proxy = Portrait.load(folder / "portrait"), Proxy.load(folder / "proxy")
    focal = portrait.camera.focal
    cameras = read_orbit(orbit, focal) if orbit else usual_cameras(count, elevation, focal, high=False)
    sheet = proxy_views(
        portrait, proxy, cameras, size=size, seed=seed, on_view=lambda i, of, view: advance(f"{i + 1}")
    )
    sheet.save(folder / "views")
    return len(sheet.views)


def find_views(folder: Path) -> ViewSheet:
    """The view sheet of a folder: its own, that in its `views`, or one made from the proxy that lies there."""
    folder = Path(folder)
    sheet = own_views(folder)
    if sheet is not None:
        return sheet
    if (folder / "proxy" / "proxy.npz").is_file():
        return proxy_views(Portrait.load(folder / "portrait"), Proxy.load(folder / "proxy"))
    raise UserError(
        f"{folder} holds neither views with a transforms.json nor a proxy; "
        "make one with `portrait360 proxy PHOTO -o DIR`, or bring views of a head with their cameras."
    )


def own_views(folder: Path) -> ViewSheet | None:
    """The view sheet that lies in a folder or in its `views`."""
    for place in (folder, folder / "transforms.json", folder / "views"):
        if place.name.endswith(".json") and place.is_file() or (place / "transforms.json").is_file():
            return ViewSheet.load(place)
    return None
