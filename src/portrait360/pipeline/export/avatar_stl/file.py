"""Binary STL, in millimetres with z up, as programs for printers read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.avatar_stl.solid import make_solid
from portrait360.utils.array_types import F32, I32
from portrait360.utils.files import atomic_write, translate_write_errors

MILLIMETRES = 1000.0  # of a metre
TITLE = b"portrait360, millimetres, z up"
ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])


def write_avatar_stl(path: Path, avatar: Avatar, *, detail: float = 1.0) -> None:
    """Write an avatar as a solid that can be printed, atomically."""
    data = pack_stl(*make_solid(avatar, detail=detail))
    with translate_write_errors(path), atomic_write(path) as temporary:
        temporary.write_bytes(data)


def pack_stl(vertices: F32, triangles: I32) -> bytes:
    """Return the bytes of a file of vertices (n, 3) in metres with y up, and triangles (m, 3)."""
    points = (vertices[:, [0, 2, 1]] * np.array([1, -1, 1]) * MILLIMETRES).astype(np.float32)
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).astype(np.float64)
    rows = np.zeros(len(triangles), ROW)
    rows["normal"] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    rows["corners"] = corners
    return TITLE.ljust(80) + np.uint32(len(rows)).astype("<u4").tobytes() + rows.tobytes()
