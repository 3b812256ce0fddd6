"""Carve the solid that meshes enclose out of a block: what a camera sees through is not part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.numba_jit import njit_fast
from portrait360.geometry.rasterizer import rasterise
from portrait360.utils.array_types import F32, I32

SIDES = ((-40, 9), (0, 12), (40, 9), (75, 3))  # elevation of cameras in degrees, and how many there are around
PIXELS, FIELD, ROOM = 1024, 16.0, 1.05  # of their pictures, degrees, and how much more than the solid they show
BAND = 3.0  # cells by which distances are cut off
STEEP = 1.5  # cells of depth between neighbouring pixels from which they show no one surface


@dataclass(frozen=True)
class Block:
    """A grid of points."""

    low: F32  # (3,) of its first
    cell: float
    shape: tuple[int, int, int]

    def points(self, axis: int) -> F32:
        return np.asarray(self.low[axis] + self.cell * np.arange(self.shape[axis]), np.float32)


def make_block(low: F32, high: F32, cell: float, margin: int = 4) -> Block:
    """Return the grid of this cell between two corners (3,), and `margin` cells beyond."""
    shape = np.ceil((high - low) / cell).astype(int) + 2 * margin + 1
    return Block(np.asarray(low - margin * cell, np.float32), cell, (int(shape[0]), int(shape[1]), int(shape[2])))


def carve(vertices: F32, triangles: I32, block: Block) -> F32:
    """Return distances (a, b, c) from the solid in cells, negative inside, exact only where they are small."""
    extent = np.array(block.shape) * block.cell
    middle, radius = block.low + extent / 2, float(np.linalg.norm(extent)) / 2
    away = ROOM * radius / np.sin(np.radians(FIELD / 2))
    places = [(azimuth, height) for height, count in SIDES for azimuth in np.arange(count) * 360 / count]
    depths, matrices = [], []
    for azimuth, height in places:
        camera = Camera(look_at(azimuth, height, radius=away, target=middle), focal_from_fov(FIELD))
        depths.append(rasterise(vertices, triangles, camera, PIXELS).depth)
        matrices.append(camera.intrinsics(PIXELS) @ camera.world2cam[:3])
    out = np.empty(block.shape, np.float32)
    _carve(np.stack(depths), np.stack(matrices), block.low.astype(np.float64), block.cell, out)
    return out


@njit_fast
def _carve(depths, matrices, low, cell, out):
    for i in range(out.shape[0]):
        x = low[0] + i * cell
        last = 0  # neighbours are often seen by the same camera
        for j in range(out.shape[1]):
            y = low[1] + j * cell
            for k in range(out.shape[2]):
                z = low[2] + k * cell
                value = -BAND
                for n in range(len(depths)):
                    view = (n + last) % len(depths)
                    value = max(value, _look(depths[view], matrices[view], x, y, z, cell))
                    if value >= BAND:
                        last = view
                        break
                out[i, j, k] = value


@njit_fast
def _look(depth, m, x, y, z, cell):
    """Return how many cells before the surface a point lies, up to BAND."""
    w = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
    u = (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) / w - 0.5
    v = (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) / w - 0.5
    if u < 0 or v < 0 or u >= depth.shape[1] - 1 or v >= depth.shape[0] - 1:
        return -BAND
    c, r = int(u), int(v)
    a, b, d, e = depth[r, c], depth[r, c + 1], depth[r + 1, c], depth[r + 1, c + 1]
    least, most = min(min(a, b), min(d, e)), max(max(a, b), max(d, e))
    if most <= 0:
        return BAND
    if least > 0 and most - least < STEEP * cell:
        f, g = u - c, v - r
        found = (a * (1 - f) + b * f) * (1 - g) + (d * (1 - f) + e * f) * g
    else:  # at an edge only what lies before all that the pixels show is surely seen through; others see it better
        found = np.inf
        for near in (a, b, d, e):
            if 0 < near < found:
                found = near
    return min(max((found - w) / cell, -BAND), BAND)
