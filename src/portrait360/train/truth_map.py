"""A synthetic head unwrapped like its proxy: what the map of a perfect completion would hold.

The head is looked at by cameras all around, and each cell of the map takes what the cameras that look along its ray
see of the outermost surface there. The map is in the frame of a portrait: that of its crop and of its fitted angles,
so that the photo's pixels lie where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera, look_at, pixel_centres
from portrait360.geometry.completion import around
from portrait360.geometry.head_map import HeadMap
from portrait360.synth.portrayed import Frame
from portrait360.synth.prepare import Prepared
from portrait360.synth.render import render
from portrait360.synth.scene import Part

Floats = NDArray[np.floating]

SCANS = ((0.0, 24), (40.0, 12), (70.0, 6), (88.0, 1))  # elevation, cameras
SIZE, WIDER = 288, 0.7  # pixels of a scan, and its focal length against the portrait's: down to the bust's edge
ALONG = 0.8  # cosine between a cell's ray and the direction to a camera that may fill it
SOLID = 0.6  # alpha from which a pixel counts: stray hairs are no surface
OUTER = 0.85  # quantile of a cell's radii that is its surface
THICK = 0.015  # canonical: what lies no deeper than this below it belongs to it
KINDS = {Part.SKIN: 0, Part.EYES: 0, Part.BROWS: 0, Part.BEARD: 1, Part.HAIR: 1, Part.CLOTHES: 2, Part.ACCESSORY: 2}


@dataclass(frozen=True, eq=False)
class TruthMap:
    rgb: Floats  # (rows, columns, 3)
    radius: Floats  # (rows, columns)
    kinds: Floats  # (3, rows, columns) share of skin, hair and cloth
    seen: Floats  # (rows, columns) 1 where a camera saw the cell, 0 where it was filled


@dataclass(frozen=True, eq=False)
class Scan:
    """Every surface point that the scanning cameras saw, in the head's frame."""

    points: Floats  # (n, 3)
    towards: Floats  # (n, 3) unit, to the camera
    rgb: Floats  # (n, 3)
    kind: NDArray[np.int8]  # (n,) skin, hair, cloth


def scan(head: Prepared, focal: float) -> Scan:
    """The head from all around, a little from above and from the top."""
    grid = pixel_centres(SIZE, SIZE)
    table = np.zeros(len(Part), np.int8)
    for part, kind in KINDS.items():
        table[part] = kind
    parts = []
    for elevation, count in SCANS:
        for i in range(count):
            camera = Camera(look_at(360 * i / count, elevation), focal * WIDER)
            seen = render(head, camera, SIZE)
            there = (seen.alpha > SOLID) & (seen.depth > 0)
            points = camera.unproject(grid[there], seen.depth[there])
            towards = camera.position - points
            towards /= np.linalg.norm(towards, axis=1, keepdims=True)
            parts.append((points, towards, seen.rgb[there], table[seen.parts[there]]))
    points, towards, rgb, kind = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scan(points.astype(np.float32), towards.astype(np.float32), rgb, kind)


def truth_map(seen: Scan, frame: Frame, layout: HeadMap) -> TruthMap:
    """The scan in the portrait's frame, cell by cell."""
    column, row, radius = layout.locate((seen.points / frame.scale + frame.shift) @ frame.turn)
    row, column = np.floor(row).astype(int), np.floor(column).astype(int) % layout.columns
    inside = (row >= 0) & (row < layout.rows)
    cell = np.where(inside, row, 0) * layout.columns + column
    along = (layout.rays()[1].reshape(-1, 3)[cell] * (seen.towards @ frame.turn)).sum(1)
    inside &= along > ALONG
    outer = _quantiles(cell[inside], radius[inside], layout.rows * layout.columns)
    inside &= radius > outer[cell] - THICK
    cell, weight = cell[inside], along[inside] ** 8
    values = [*seen.rgb[inside].T, *(seen.kind[inside] == kind for kind in range(3)), radius[inside]]
    sums = np.stack([np.bincount(cell, weight * value, len(outer)) for value in values], -1)
    total = np.bincount(cell, weight, len(outer))
    shape = (layout.rows, layout.columns)
    known = (total > 0).reshape(shape)
    mean = _filled((sums / np.maximum(total, 1e-9)[:, None]).reshape(*shape, 7), known)
    kinds = mean[..., 3:6] / np.maximum(mean[..., 3:6].sum(-1, keepdims=True), 1e-6)
    return TruthMap(mean[..., :3], mean[..., 6], kinds.transpose(2, 0, 1), known.astype(np.float64))


def _quantiles(cell: Floats, radius: Floats, cells: int) -> Floats:
    """(cells,) the radius of each cell's outer surface; 0 where there is none."""
    order = np.lexsort((radius, cell))
    cell, radius = cell[order], radius[order]
    first = np.searchsorted(cell, np.arange(cells))
    count = np.searchsorted(cell, np.arange(cells), "right") - first
    at = (first + np.floor(OUTER * (count - 1)).astype(int)).clip(0, len(radius) - 1)
    return np.where(count > 0, radius[at], 0)


def _filled(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Cells that no camera saw, from what lies around them."""
    out, holes = values.copy(), ~known
    weight = known.astype(np.float64)
    for sigma in (1, 2, 4, 8, 16, 32):
        total = around(weight, sigma, sigma)
        now = holes & (total > 0.05)
        for channel in range(values.shape[-1]):
            near = around(np.where(known, values[..., channel], 0), sigma, sigma) / np.maximum(total, 1e-9)
            out[..., channel][now] = near[now]
        holes = holes & ~now
    return out
