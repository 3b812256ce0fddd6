"""viewer.html: one file that holds a head and all it takes to look at it, offline, by a double click."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from portrait360.assets import VIEWER
from portrait360.files import whole, writing_to
from portrait360.geometry.splats import Splats
from portrait360.geometry.textured import TexturedMesh
from portrait360.images import eight_bits

SCRIPTS = ("data.js", "gl.js", "camera.js", "controls.js", "sort.js", "splats.js", "mesh.js", "page.js")
SMALLEST = 1e-5  # scale of a splat: far below a pixel at any zoom, and so not worth the steps of the logarithm
QUALITY = 90  # of the texture's WebP


def save_viewer(path: Path, splats: Splats | None, mesh: TexturedMesh | None, *, title: str = "portrait360") -> None:
    """Write the page, whole or not at all."""
    page, path = viewer_page(splats, mesh, title=title), Path(path)
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")


def viewer_page(splats: Splats | None, mesh: TexturedMesh | None, *, title: str = "portrait360") -> str:
    """The page's text. What is absent cannot be switched to; one of both has to be there."""
    if splats is None and mesh is None:
        raise ValueError("a page needs splats, a mesh, or both")
    head: dict[str, Any] = {}
    if splats is not None:
        head["splats"] = packed_splats(splats)
    if mesh is not None:
        head["mesh"] = packed_mesh(mesh)
    style = _asset("viewer.css")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_asset, SCRIPTS)) + "})();\n"
    parts = {
        "title": html.escape(title.strip() or "portrait360"),
        "policy": _policy(script, style),
        "style": style,
        "script": script,
        "data": json.dumps(head, separators=(",", ":")),  # numbers, base64 and names: nothing to escape
    }
    # in one pass, so that a title that looks like a placeholder stays a title
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("viewer.html"))


def packed_splats(splats: Splats) -> dict[str, Any]:
    """17 bytes a splat, as data.js reads them: turns, places, colours with opacity, and logarithms of scales."""
    _finite(splats.means, splats.scales, splats.rotations, splats.opacities, splats.colours)
    steps, low, high = _steps(splats.means)
    logs = np.log(np.maximum(splats.scales.astype(np.float64), SMALLEST))
    least, most = float(logs.min()), float(logs.max())
    sizes = np.round((logs - least) / max(most - least, 1e-9) * 255).astype(np.uint8)
    rgba = eight_bits(np.concatenate([splats.colours, splats.opacities[:, None]], 1))
    return {
        "count": len(splats),
        "low": low,
        "high": high,
        "logs": [least, most],
        "data": _base64(_smallest_three(splats.rotations), steps, rgba, sizes),
    }


def packed_mesh(mesh: TexturedMesh) -> dict[str, Any]:
    """As data.js reads it: triangles, vertices, places in the texture; normals are left out, as nothing is lit."""
    _finite(mesh.vertices, mesh.uv)
    if not len(mesh.triangles):
        raise ValueError("a mesh without triangles shows nothing")
    steps, low, high = _steps(mesh.vertices)
    uv = np.round(np.clip(mesh.uv, 0, 1) * 65535).astype("<u2")
    triangles = mesh.triangles.astype("<u4" if len(steps) > 1 << 16 else "<u2")
    file = io.BytesIO()
    Image.fromarray(mesh.texture).save(file, "WEBP", quality=QUALITY)
    return {
        "vertices": len(steps),
        "triangles": len(triangles),
        "low": low,
        "high": high,
        "data": _base64(triangles, steps, uv),
        "texture": "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode(),
    }


def _finite(*arrays: NDArray[np.floating]) -> None:
    if not all(len(values) and np.isfinite(values).all() for values in arrays):
        raise ValueError("what is shown must be finite and not empty")


def _steps(places: ArrayLike) -> tuple[NDArray[np.uint16], list[float], list[float]]:
    """16-bit steps in the bounding box, and its corners."""
    places = np.asarray(places, np.float64)
    low, high = places.min(0), places.max(0)
    steps = np.round((places - low) / np.maximum(high - low, 1e-9) * 65535)
    return steps.astype("<u2"), low.tolist(), high.tolist()


def _smallest_three(rotations: ArrayLike) -> NDArray[np.uint32]:
    """Unit quaternions (n, 4) in 32 bits: which component is largest, and the three others in 10 bits each."""
    turns = np.asarray(rotations, np.float64)
    turns = turns / np.maximum(np.linalg.norm(turns, axis=1, keepdims=True), 1e-12)
    largest = np.abs(turns).argmax(1)
    turns = turns * np.where(np.take_along_axis(turns, largest[:, None], 1) < 0, -1, 1)  # q and -q turn alike
    others = np.arange(3) + (np.arange(3) >= largest[:, None])
    rest = np.take_along_axis(turns, others, 1)  # within 1 / sqrt(2), as the largest is larger
    steps = np.round((rest * 2**0.5 + 1) / 2 * 1023).clip(0, 1023).astype(np.uint32)
    packed = largest.astype(np.uint32) << 30 | steps[:, 0] << 20 | steps[:, 1] << 10 | steps[:, 2]
    return packed.astype("<u4")


def _base64(*arrays: NDArray[np.generic]) -> str:
    return base64.b64encode(b"".join(values.tobytes() for values in arrays)).decode()


def _asset(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Nothing is fetched, and nothing runs but this very script and the worker that it makes."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' blob:; style-src 'sha256-{hashes[1]}';"
        " worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )
