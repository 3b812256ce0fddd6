"""portrait360: one portrait in, a head that can be seen from all sides out.

>>> from portrait360 import Wish, load_head, make
>>> made = make("examples/astronaut.png", "out", Wish(views=4, fit=False))
>>> [round(view.camera.azimuth) for view in made.views.views]
[0, 90, 180, 270]

A wish says what the command's options say. A run that was stopped goes on where it was; a finished one is only read:

>>> make("examples/astronaut.png", "out", Wish(views=4, fit=False)).portrait.source
'face'

With a fit, `made.head` holds a field, splats and a mesh, and `load_head("out")` reads them again.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from portrait360.errors import UserError
    from portrait360.export.head import open_head as load_head
    from portrait360.head import Head
    from portrait360.pipeline import Made, make
    from portrait360.portrait import Portrait, make_portrait
    from portrait360.proxy import Proxy, make_proxy
    from portrait360.view_sheet import ViewSheet
    from portrait360.wish import Wish

__all__ = [
    "Head",
    "Made",
    "Portrait",
    "Proxy",
    "UserError",
    "ViewSheet",
    "Wish",
    "load_head",
    "make",
    "make_portrait",
    "make_proxy",
]

_HOMES = {
    "Head": "head", "Made": "pipeline", "Portrait": "portrait", "Proxy": "proxy", "UserError": "errors",
    "ViewSheet": "view_sheet", "Wish": "wish", "make": "pipeline", "make_portrait": "portrait", "make_proxy": "proxy",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imported when first asked for: `import portrait360` alone is quick."""
    if name == "load_head":
        return import_module("portrait360.export.head").open_head
    if name in _HOMES:
        return getattr(import_module(f"portrait360.{_HOMES[name]}"), name)
    raise AttributeError(f"portrait360 has no {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
