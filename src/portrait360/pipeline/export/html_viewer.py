"""viewer.html: one file with a head and everything needed to view it, which opens offline with a double click."""

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
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.utils.files import atomic_write, translate_write_errors
from portrait360.utils.images import to_uint8

SCRIPTS = ("data.js", "gl.js", "camera.js", "controls.js", "sort.js", "splats.js", "mesh.js", "page.js")
MIN_SCALE = 1e-5  # of a splat: far below a pixel at any zoom, so smaller scales need no steps of the logarithm
QUALITY = 90  # of the texture's WebP


def save_viewer(
    path: Path, splats: GaussianSplats | None, mesh: TexturedMesh | None, *, title: str = "portrait360"
) -> None:
    """Write the page atomically."""
    page, path = viewer_page(splats, mesh, title=title), Path(path)
    with translate_write_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")


def viewer_page(splats: GaussianSplats | None, mesh: TexturedMesh | None, *, title: str = "portrait360") -> str:
    """Return the page's text. It needs splats or a mesh; with both, the viewer can switch between them."""
    if splats is None and mesh is None:
        raise ValueError("a page needs splats, a mesh, or both")
    head: dict[str, Any] = {}
    if splats is not None:
        head["splats"] = pack_splats(splats)
    if mesh is not None:
        head["mesh"] = pack_mesh(mesh)
    style = _read_asset("viewer.css")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_read_asset, SCRIPTS)) + "})();\n"
    parts = {
        "title": html.escape(title.strip() or "portrait360"),
        "policy": _content_policy(script, style),
        "style": style,
        "script": script,
        "data": json.dumps(head, separators=(",", ":")),  # numbers, base64 and names: nothing to escape
    }
    # in one pass, so that a title that looks like a placeholder stays a title
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read_asset("viewer.html"))


def pack_splats(splats: GaussianSplats) -> dict[str, Any]:
    """Pack splats as data.js reads them, in 17 bytes each: rotation, position, colour, opacity, log scales."""
    _check_finite(splats.means, splats.scales, splats.rotations, splats.opacities, splats.colours)
    steps, low, high = _quantise(splats.means)
    logs = np.log(np.maximum(splats.scales.astype(np.float64), MIN_SCALE))
    min_log, max_log = float(logs.min()), float(logs.max())
    scales = np.round((logs - min_log) / max(max_log - min_log, 1e-9) * 255).astype(np.uint8)
    rgba = to_uint8(np.concatenate([splats.colours, splats.opacities[:, None]], 1))
    return {
        "count": len(splats),
        "low": low,
        "high": high,
        "logs": [min_log, max_log],
        "data": _encode_base64(_pack_smallest_three(splats.rotations), steps, rgba, scales),
    }


def pack_mesh(mesh: TexturedMesh) -> dict[str, Any]:
    """Pack a mesh as data.js reads it: triangles, vertices, uv; normals are left out, because the mesh is unlit."""
    _check_finite(mesh.vertices, mesh.uv)
    if not len(mesh.triangles):
        raise ValueError("a mesh needs triangles")
    steps, low, high = _quantise(mesh.vertices)
    uv = np.round(np.clip(mesh.uv, 0, 1) * 65535).astype("<u2")
    triangles = mesh.triangles.astype("<u4" if len(steps) > 1 << 16 else "<u2")
    file = io.BytesIO()
    Image.fromarray(mesh.texture).save(file, "WEBP", quality=QUALITY)
    return {
        "vertices": len(steps),
        "triangles": len(triangles),
        "low": low,
        "high": high,
        "data": _encode_base64(triangles, steps, uv),
        "texture": "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode(),
    }


def _check_finite(*arrays: NDArray[np.floating]) -> None:
    if not all(len(values) and np.isfinite(values).all() for values in arrays):
        raise ValueError("arrays must be finite and not empty")


def _quantise(points: ArrayLike) -> tuple[NDArray[np.uint16], list[float], list[float]]:
    """Return points in 16-bit steps within their bounding box, and its corners."""
    points = np.asarray(points, np.float64)
    low, high = points.min(0), points.max(0)
    steps = np.round((points - low) / np.maximum(high - low, 1e-9) * 65535)
    return steps.astype("<u2"), low.tolist(), high.tolist()


def _pack_smallest_three(rotations: ArrayLike) -> NDArray[np.uint32]:
    """Pack unit quaternions (n, 4) in 32 bits: the index of the largest component, and 10 bits for each other one."""
    quaternions = np.asarray(rotations, np.float64)
    quaternions = quaternions / np.maximum(np.linalg.norm(quaternions, axis=1, keepdims=True), 1e-12)
    largest = np.abs(quaternions).argmax(1)
    sign = np.where(np.take_along_axis(quaternions, largest[:, None], 1) < 0, -1, 1)
    quaternions = quaternions * sign  # q and -q are the same rotation
    indices = np.arange(3) + (np.arange(3) >= largest[:, None])
    others = np.take_along_axis(quaternions, indices, 1)  # within 1 / sqrt(2), because the largest is not smaller
    steps = np.round((others * 2**0.5 + 1) / 2 * 1023).clip(0, 1023).astype(np.uint32)
    packed = largest.astype(np.uint32) << 30 | steps[:, 0] << 20 | steps[:, 1] << 10 | steps[:, 2]
    return packed.astype("<u4")


def _encode_base64(*arrays: NDArray[np.generic]) -> str:
    return base64.b64encode(b"".join(values.tobytes() for values in arrays)).decode()


def _read_asset(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")


def _content_policy(script: str, style: str) -> str:
    """Return a content security policy: the page fetches nothing, and runs only this script and its own worker."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' blob:; style-src 'sha256-{hashes[1]}';"
        " worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )
