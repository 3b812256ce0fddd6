"""The texture of what is worn: its colours as seen from the front and from behind, with the photo's detail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portrait360.geometry import rasterizer, rasterizer_kernels
from portrait360.pipeline.export.avatar_glb.photo_detail import PhotoDetail
from portrait360.pipeline.export.avatar_glb.texture import fill_texture
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32, I32, Bools, Bytes
from portrait360.utils.portrait_labels import Label

SIDE = 1024  # texels across each of the two charts
MARGIN = 0.015  # of a chart's side, free around it


class Charts(NamedTuple):
    """Two charts side by side: of triangles that look forward, and of those that look back."""

    low: F32  # (2,) canonical x and y of the lower corner
    extent: float

    def place(self, points: F32, back: Bools | bool) -> F32:
        """Return the texture coordinates (n, 2) of points."""
        across = MARGIN + (1 - 2 * MARGIN) * (points[:, :2] - self.low) / self.extent
        return np.stack([(across[:, 0] + back) / 2, 1 - across[:, 1]], 1).astype(np.float32)


def make_charts(points: F32) -> Charts:
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Charts(low, max(float((high - low).max()), 1e-6))


def looks_back(normals: F32, triangles: I32) -> Bools:
    """Return which triangles (t,) look away from the front."""
    return np.asarray(normals[triangles, 2].sum(1) < 0)


def split_charts(triangles: I32, back: Bools) -> tuple[I32, Bools, I32]:
    """Return triangles of vertices that each lie in one chart, which lie in that of the back, and their old rows."""
    codes, compact = np.unique(2 * triangles + back[:, None], return_inverse=True)
    return compact.reshape(-1, 3).astype(np.int32), codes % 2 == 1, (codes // 2).astype(np.int32)


def bake_cloth(
    charts: Charts, values: F32, triangles: I32, labels: tuple[Label, ...], detail: PhotoDetail, *, shown: bool
) -> Bytes:
    """Return the texture (SIDE, 2 SIDE, 3) in sRGB.

    Args:
        charts: Where points lie in it.
        values: Points, normals and linear colours (n, 9).
        triangles: All of them, before they are simplified.
        labels: What the photo calls it.
        detail: What the photo shows.
        shown: Whether colours are as they are shown, with light.
    """
    split, back, rows = split_charts(triangles, looks_back(values[:, 3:6], triangles))
    values = values[rows]
    place = charts.place(values[:, :3], back) * np.array([2 * SIDE, SIDE])
    # of what lies behind one another in a chart the outermost is drawn; nearly without perspective
    depth = 1 - 0.01 * values[:, 2:3] * np.where(back, -1, 1)[:, None]
    points = np.concatenate([place * depth, depth], 1).astype(np.float64)
    nearest, ids = np.full((SIDE, 2 * SIDE, 1), np.inf, np.float32), np.full((SIDE, 2 * SIDE, 1), -1, np.int32)
    numbers = np.arange(len(split), dtype=np.int32)
    rasterizer_kernels.draw(points, split, numbers, rasterizer.CENTRE, nearest, ids)
    barycentrics = np.zeros((SIDE, 2 * SIDE, 3), np.float32)
    rasterizer_kernels.weights(points, split, ids[..., 0], barycentrics)
    where = np.flatnonzero(ids.ravel() >= 0)
    buffers = rasterizer.Buffers(ids[..., 0], barycentrics, nearest[..., 0])
    found = rasterizer.interpolate(buffers, split, values).reshape(-1, 9)[where]
    gain, seen = detail.on_things(
        np.ascontiguousarray(found[:, :3]), np.asarray(unit(found[:, 3:6]), np.float32), labels
    )
    texture = np.zeros((2 * SIDE * SIDE, 3), np.float32)
    texture[where] = found[:, 6:9] * np.exp(seen[:, None] * gain)
    return fill_texture(texture.reshape(SIDE, 2 * SIDE, 3), where, shown=shown)
