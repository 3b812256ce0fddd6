"""The head unwrapped around its vertical axis: colour, radius and labels over (azimuth, height).

Below the height `bend` a row is a circle at one height with horizontal rays; above it the rays fan out from the point
at that height up to the crown: a cylinder closed by a hemisphere. Columns follow the azimuth, circularly; column 0
starts at the front. A cell holds the distance along its ray, so the surface is closed at every azimuth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from portrait360.geometry.numba_jit import njit_exact
from portrait360.utils.array_types import I32, Floats


@dataclass(frozen=True)
class HeadMap:
    """The layout of a map; arrays over it have shape (rows, columns, ...), row 0 at the crown."""

    columns: int = 256
    rows: int = 176
    bend: float = 0.06  # height of the fan's centre
    bottom: float = -0.62  # height of the last row
    cap: float = 0.36  # share of the rows in the fan

    @property
    def cap_rows(self) -> int:
        return round(self.cap * self.rows)

    def ray_at_row(self, row: Floats | float) -> tuple[Floats, Floats]:
        """Convert row coordinates (cell i spans i to i + 1) to ray elevations in radians and ray origin heights."""
        row = np.asarray(row, np.float64)
        elevation = np.clip(1 - row / self.cap_rows, 0, 1) * (math.pi / 2)
        down = np.clip((row - self.cap_rows) / (self.rows - self.cap_rows), 0, None)
        return elevation, self.bend + down * (self.bottom - self.bend)

    def rays(self) -> tuple[Floats, Floats]:
        """Return origins and unit directions (rows columns 3) of the cells' central rays."""
        elevation, height = self.ray_at_row(np.arange(self.rows) + 0.5)
        azimuth = (np.arange(self.columns) + 0.5) * (2 * math.pi / self.columns)
        cos, sin = np.cos(elevation)[:, None], np.sin(elevation)[:, None]
        directions = np.stack(
            [np.sin(azimuth) * cos, np.broadcast_to(sin, (self.rows, self.columns)), np.cos(azimuth) * cos], -1
        )
        origins = np.zeros_like(directions)
        origins[..., 1] = height[:, None]
        return origins, directions

    def points(self, radius: Floats) -> Floats:
        """Convert radii (rows columns) to points on the surface (rows columns 3)."""
        origins, directions = self.rays()
        return origins + radius[..., None] * directions

    def locate(self, points: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """Convert points (... 3) to column, row and distance along the ray: the inverse of `points`."""
        x, y, z = np.moveaxis(np.asarray(points, np.float64), -1, 0)
        column = np.arctan2(x, z) % (2 * math.pi) * (self.columns / (2 * math.pi))
        above = y > self.bend
        across = np.hypot(x, z)
        elevation = np.arctan2(np.where(above, y - self.bend, 0), across)
        down = (y - self.bend) / (self.bottom - self.bend)
        row = np.where(
            above,
            (1 - elevation / (math.pi / 2)) * self.cap_rows,
            self.cap_rows + down * (self.rows - self.cap_rows),
        )
        return column, row, np.where(above, np.hypot(across, y - self.bend), across)

    def mesh(self, radius: Floats) -> tuple[Floats, I32]:
        """Build the surface as vertices (rows columns + 1, 3) and triangles, closed all around and at the crown."""
        points = self.points(radius).reshape(-1, 3)
        crown = [[0.0, self.bend + float(np.mean(radius[0])), 0.0]]
        return np.concatenate([points, crown]), self.triangles()

    def triangles(self) -> I32:
        """Return the triangles (n 3) of the surface, counter-clockwise seen from outside."""
        here = np.arange(self.rows * self.columns, dtype=np.int32).reshape(self.rows, self.columns)
        east = np.roll(here, -1, 1)  # the next azimuth
        a, b, c, d = here[:-1], east[:-1], east[1:], here[1:]
        sides = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
        pole = np.full(self.columns, self.rows * self.columns, np.int32)
        return np.concatenate([sides, np.stack([pole, here[0], east[0]], -1)]).astype(np.int32)

    def sample(self, values: Floats, column: Floats, row: Floats) -> Floats:
        """Sample an array over the map bilinearly at coordinates from `locate`; circular in the columns."""
        x, y = np.asarray(column) - 0.5, np.clip(np.asarray(row) - 0.5, 0, self.rows - 1)
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        fx, fy = x - left, y - top
        bottom = np.minimum(top + 1, self.rows - 1)
        if values.ndim > 2:
            fx, fy = fx[..., None], fy[..., None]
        upper = values[top, left % self.columns] * (1 - fx) + values[top, (left + 1) % self.columns] * fx
        lower = values[bottom, left % self.columns] * (1 - fx) + values[bottom, (left + 1) % self.columns] * fx
        return upper * (1 - fy) + lower * fy

    def unwrap(self, vertices: Floats, triangles: I32) -> tuple[Floats, I32, Floats]:
        """Unwrap a mesh's outermost surface: radius (rows columns), triangle ids, barycentrics.

        Cells whose ray misses the mesh have radius 0 and id -1.
        """
        origins, directions = self.rays()
        column, row, _ = self.locate(vertices)
        out = np.zeros((self.rows, self.columns)), np.full((self.rows, self.columns), -1, np.int32)
        weights = np.zeros((self.rows, self.columns, 3))
        corners = np.ascontiguousarray(vertices[triangles], dtype=np.float64)
        _cast(corners, column[triangles], row[triangles], origins, directions, *out, weights)
        return *out, weights


@njit_exact
def _cast(corners, columns, rows, origins, directions, radius, ids, weights):  # noqa: ANN001, ANN202 (numba)
    """Intersect every triangle with the rays of the cells that its corners span; the farthest hit wins."""
    height, width = radius.shape
    for k in range(corners.shape[0]):
        low, high = int(np.floor(rows[k].min())) - 1, int(np.ceil(rows[k].max())) + 1
        first, last = columns[k].min(), columns[k].max()
        if last - first > width / 2:  # crosses column 0, or contains the crown
            shifted = np.where(columns[k] < width / 2, columns[k] + width, columns[k])
            first, last = shifted.min(), shifted.max()
        if low <= 1:  # at the crown the corners do not bound the columns of a triangle
            first, last = 0.0, float(width - 1)
        begin, end = int(np.floor(first)) - 1, int(np.ceil(last)) + 1
        end = min(end, begin + width - 1)
        ax, ay, az = corners[k, 0, 0], corners[k, 0, 1], corners[k, 0, 2]
        bx, by, bz = corners[k, 1, 0] - ax, corners[k, 1, 1] - ay, corners[k, 1, 2] - az
        cx, cy, cz = corners[k, 2, 0] - ax, corners[k, 2, 1] - ay, corners[k, 2, 2] - az
        for i in range(max(low, 0), min(high, height - 1) + 1):
            for j in range(begin, end + 1):
                j %= width
                dx, dy, dz = directions[i, j, 0], directions[i, j, 1], directions[i, j, 2]
                px, py, pz = dy * cz - dz * cy, dz * cx - dx * cz, dx * cy - dy * cx  # Moeller and Trumbore 1997
                determinant = bx * px + by * py + bz * pz
                if abs(determinant) < 1e-14:
                    continue
                sx, sy, sz = origins[i, j, 0] - ax, origins[i, j, 1] - ay, origins[i, j, 2] - az
                u = (sx * px + sy * py + sz * pz) / determinant
                qx, qy, qz = sy * bz - sz * by, sz * bx - sx * bz, sx * by - sy * bx
                v = (dx * qx + dy * qy + dz * qz) / determinant
                if u < -1e-9 or v < -1e-9 or u + v > 1 + 1e-9:
                    continue
                r = (cx * qx + cy * qy + cz * qz) / determinant
                if r > radius[i, j]:
                    radius[i, j], ids[i, j] = r, k
                    weights[i, j, 0], weights[i, j, 1], weights[i, j, 2] = 1 - u - v, u, v
