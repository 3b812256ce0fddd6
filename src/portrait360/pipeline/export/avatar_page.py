"""avatar.html: one file with the animatable head and everything needed to move it, which opens offline."""

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

from portrait360.assets import AVATAR_PAGE, THREE
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.images import to_uint8

SCRIPTS = ("file.js", "studio.js", "surfaces.js", "face.js", "panel.js", "page.js")
PHOTO_SIDE, QUALITY = 512, 82  # of the photo's WebP


def save_avatar_page(path: Path, glb: bytes, *, portrait: Portrait | None = None, title: str = "portrait360") -> None:
    """Write the page atomically.

    Args:
        path: The file.
        glb: The head, as `pack_avatar_glb` makes it.
        portrait: The photo to compare with, and where its camera stood.
        title: Any text.
    """
    page, path = make_avatar_page(glb, portrait=portrait, title=title), Path(path)
    with translate_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")


def make_avatar_page(glb: bytes, *, portrait: Portrait | None = None, title: str = "portrait360") -> str:
    """Return the page's text."""
    style, three = _read_asset("avatar.css"), THREE.read_text(encoding="utf-8")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_read_asset, SCRIPTS)) + "})();\n"
    about = {} if portrait is None else {"photo": _encode_photo(portrait), "camera": _find_place(portrait)}
    parts = {
        "title": html.escape(_clean(title) or "portrait360"),
        "policy": _state_policy(three, script, style=style),
        "style": style,
        "three": three,
        "script": script,
        "about": json.dumps(about, separators=(",", ":")),  # numbers, base64 and names: nothing to escape
        "glb": base64.b64encode(zlib.compress(glb, 9)).decode(),
    }
    # in one pass, so that a title that looks like a placeholder stays a title
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read_asset("avatar.html"))


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
    return (AVATAR_PAGE / name).read_text(encoding="utf-8")


def _state_policy(*scripts: str, style: str) -> str:
    """Return a content security policy: the page fetches nothing, and runs only these scripts."""
    allowed, styles = (" ".join(f"'sha256-{_digest(text)}'" for text in texts) for texts in (scripts, [style]))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {styles}; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
