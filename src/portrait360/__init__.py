"""portrait360: one portrait in, a 3D head out.

>>> from portrait360 import MakeOptions, load_head, make
>>> result = make("examples/astronaut.png", "out", MakeOptions(views=4, results=()))
>>> [round(view.camera.azimuth) for view in result.views.views]
[0, 90, 180, 270]

The fields of MakeOptions are the options of the command. An interrupted run resumes where it was; a finished one is
only loaded:

>>> make("examples/astronaut.png", "out", MakeOptions(views=4, results=())).portrait.source
'face'

`result.head` is the head, and `load_head("out")` loads it again; it renders with expressions and in other light:

>>> head = load_head("out")
>>> head.render((30, 0), 64, expression={"jawOpen": 0.5}, light=(60, 20, 0.3)).size
(64, 64)

`head.export("head.spz")` writes a file and `head.show()` opens a page. Without `results=()` a run writes all of them.
`Portrait360Pipeline.from_pretrained("small")(photo, views=32).views` is the same with the feel of diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from portrait360.utils.version import __version__

if TYPE_CHECKING:
    from portrait360.pipeline.loaded_head import LoadedHead, load_head
    from portrait360.pipeline.make import MakeResult, make
    from portrait360.pipeline.options import MakeOptions
    from portrait360.pipeline.portrait.alignment import make_portrait
    from portrait360.pipeline.portrait.portrait import Portrait
    from portrait360.pipeline.portrait360_pipeline import Portrait360Pipeline
    from portrait360.pipeline.proxy.from_portrait import proxy_from_photo
    from portrait360.pipeline.proxy.proxy import Proxy
    from portrait360.pipeline.reconstruction.head import Head
    from portrait360.pipeline.views.view_set import ViewSet
    from portrait360.utils.errors import UserError

__all__ = [
    "Head",
    "LoadedHead",
    "MakeOptions",
    "MakeResult",
    "Portrait",
    "Portrait360Pipeline",
    "Proxy",
    "UserError",
    "ViewSet",
    "__version__",
    "load_head",
    "make",
    "make_portrait",
    "proxy_from_photo",
]

_HOMES = {
    "Head": "pipeline.reconstruction.head",
    "LoadedHead": "pipeline.loaded_head",
    "MakeOptions": "pipeline.options",
    "MakeResult": "pipeline.make",
    "Portrait": "pipeline.portrait.portrait",
    "Portrait360Pipeline": "pipeline.portrait360_pipeline",
    "Proxy": "pipeline.proxy.proxy",
    "UserError": "utils.errors",
    "ViewSet": "pipeline.views.view_set",
    "load_head": "pipeline.loaded_head",
    "make": "pipeline.make",
    "make_portrait": "pipeline.portrait.alignment",
    "proxy_from_photo": "pipeline.proxy.from_portrait",
}


def __getattr__(name: str) -> Any:
    """Imported when first asked for: `import portrait360` alone is quick."""
    if name in _HOMES:
        return getattr(import_module(f"portrait360.{_HOMES[name]}"), name)
    raise AttributeError(f"portrait360 has no {name!r}")


def __dir__() -> list[str]:
    return __all__
