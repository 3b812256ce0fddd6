"""The stage `views`: from a proxy to the view sheet that is fitted. Today the views are the proxy's own pictures."""

from __future__ import annotations

from pathlib import Path

from portrait360.cameras import orbit
from portrait360.errors import UserError
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy
from portrait360.view_sheet import View, ViewSheet

VIEWS, SIZE = 32, 256
HIGH = (20.0, 50.0)  # elevations of further views, which close the crown
ROUND = 8  # of them each


def proxy_views(portrait: Portrait, proxy: Proxy, *, views: int = VIEWS, size: int = SIZE) -> ViewSheet:
    """An orbit of the proxy, some views from above, and the photo itself as reference."""
    focal = portrait.camera.focal
    cameras = orbit(views, focal=focal)
    cameras += [c for i, e in enumerate(HIGH) for c in orbit(ROUND, elevation=e, start=22.5 * i, focal=focal)]
    seen = [(camera, proxy.render(camera, size)) for camera in cameras]
    photo = View(proxy.photo, portrait.alpha, portrait.camera, portrait.known)
    return ViewSheet(tuple(View(view.rgb, view.mask, camera) for camera, view in seen), photo)


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
