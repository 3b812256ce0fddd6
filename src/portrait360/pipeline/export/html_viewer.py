"""viewer.html: one file with a head and everything needed to view and move it, which opens offline."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portrait360.assets import THREE, VIEWER
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_rig.packing import make_rig
from portrait360.pipeline.export.glb import read_tree
from portrait360.pipeline.export.viewer_splats import pack_splats
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.images import to_uint8
from portrait360.utils.parallel.threads import map_in_threads

SCRIPTS = (
    "camera.js", "file.js", "unpack_splats.js", "sort_splats.js", "splats.js", "skin_depth.js", "moving_mesh.js",
    "bound_splats.js", "studio.js", "surfaces.js", "views.js", "face.js", "panel.js", "tools.js", "page.js",
)  # fmt: skip
PHOTO_SIDE, QUALITY = 512, 82  # of the photo's WebP


def save_viewer(
    path: Path,
    *,
    splats: GaussianSplats | None = None,
    glb: bytes | None = None,
    portrait: Portrait | None = None,
    title: str = "portrait360",
) -> None:
    """Write the page atomically; the arguments are those of `make_viewer`."""
    page, path = make_viewer(splats=splats, glb=glb, portrait=portrait, title=title), Path(path)
    with translate_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")


def make_viewer(
    *,
    splats: GaussianSplats | None = None,
    glb: bytes | None = None,
    portrait: Portrait | None = None,
    title: str = "portrait360",
) -> str:
    """Return the page's text. It opens with the splats, if there are any, and switches to the mesh.

    Where the mesh has expressions, the splats on it move with it.

    Args:
        splats: The head as Gaussians.
        glb: The head as a .glb file; where its meshes have morph targets, the page moves the face.
        portrait: The photo to compare with, and where its camera stood.
        title: Any text.
    """
    if splats is None and glb is None:
        raise ValueError("a page needs splats, a mesh, or both")
    about: dict[str, Any] = {}
    data = b""
    rig = make_rig(splats, glb) if splats is not None and glb is not None else None
    if rig is not None:
        splats, about["rig"] = rig.splats, rig.about
    if splats is not None:
        about["splats"], data = pack_splats(splats)
    if glb is not None:
        about |= {"mesh": True} | _find_expression(glb)
    if portrait is not None:
        about |= {"photo": _encode_photo(portrait), "camera": _find_place(portrait)}
    style, three = _read_asset("viewer.css"), THREE.read_text(encoding="utf-8")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_read_asset, SCRIPTS)) + "})();\n"
    packed = (data, b"" if rig is None else rig.data, glb or b"")
    parts = dict(zip(("splats", "rig", "glb"), map_in_threads(_compress, packed, lone_first=False), strict=True))
    parts |= {
        "title": html.escape(_clean(title) or "portrait360"),
        "policy": _state_policy(three, script, style=style),
        "style": style,
        "three": three,
        "script": script,
        "about": json.dumps(about, separators=(",", ":")).replace("<", "\\u003c"),
    }
    # in one pass, so that a title that looks like a placeholder stays a title
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read_asset("viewer.html"))


def _find_expression(glb: bytes) -> dict[str, Any]:
    """Return the weights of a file's morph targets by name, if it has any."""
    weights: dict[str, float] = {}
    for mesh in read_tree(glb).get("meshes", []):
        names = mesh.get("extras", {}).get("targetNames", [])
        for name, weight in zip(names, mesh.get("weights", [0.0] * len(names)), strict=True):
            weights[name] = max(weight, weights.get(name, 0.0))
    return {"face": weights} if weights else {}


def _compress(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _clean(title: str) -> str:
    """Return a title without control characters and halves of characters, which no file can hold as UTF-8."""
    return "".join(c for c in title if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF).strip()


def _encode_photo(portrait: Portrait) -> str:
    """Return the part of the crop that lies inside the photo."""
    rows, columns = np.nonzero(portrait.inside_photo > 0.5)
    part = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    picture, file = Image.fromarray(to_uint8(portrait.rgb[part])), io.BytesIO()
    picture.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
    picture.save(file, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _find_place(portrait: Portrait) -> dict[str, Any]:
    """Return where the photo's camera stood around the head, in degrees; nothing where that is not known."""
    place = {"azimuth": float(portrait.camera.azimuth), "elevation": float(portrait.camera.elevation)}
    return {name: round(value, 2) for name, value in place.items() if math.isfinite(value)}


def _read_asset(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")


def _state_policy(*scripts: str, style: str) -> str:
    """Return a content security policy: the page fetches nothing, and runs only these scripts and their worker."""
    allowed, styles = (" ".join(f"'sha256-{_digest(text)}'" for text in texts) for texts in (scripts, [style]))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {styles}; worker-src blob:; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
