"""Rasterise a triangle mesh for any camera: ids, barycentrics, depth, attributes, texture, normals, visibility.

`rasterise` finds the triangle at each pixel centre; everything else is looked up from its result. The same functions
over tensors, on any device, are in `tests/oracles/raster_torch.py`, the test oracle of this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrait360.geometry import rasterizer_kernels as kernels
from portrait360.geometry.cameras import Camera
from portrait360.utils.array_types import F32, F64, I32

CENTRE = np.array([[0.5, 0.5]])


@dataclass(frozen=True)
class Buffers:
    """The visible triangle at every pixel centre."""

    ids: I32  # (h, w) index of the triangle, -1 where empty
    barycentrics: F32  # (h, w, 3) perspective-correct, 0 where empty
    depth: F32  # (h, w) along the optical axis, 0 where empty


@dataclass(frozen=True)
class Drawing:
    """The image of a coloured mesh."""

    rgb: F32  # (h, w, c), 0 where empty
    normals: F32  # (h, w, 3) unit, in the world, 0 where empty
    buffers: Buffers

    @property
    def mask(self) -> NDArray[np.bool_]:
        return self.buffers.ids >= 0


def height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of an image, given as its side or as both."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"an image needs at least one pixel, got {height} x {width}")
    return height, width


def homogeneous(vertices: ArrayLike, camera: Camera, height: int, width: int) -> F64:
    """Convert world points (n, 3) -> homogeneous pixel coordinates K (x, y, z) (n, 3); the last one is the depth."""
    with np.errstate(invalid="ignore"):  # a vertex at infinity becomes NaN, and its triangles are not drawn
        local = (np.asarray(vertices, np.float64) - camera.position) @ camera.cam2world[:3, :3]
        return np.ascontiguousarray(local @ camera.intrinsics(width, height).T)


def rasterise(vertices: ArrayLike, triangles: ArrayLike, camera: Camera, size: int | tuple[int, int]) -> Buffers:
    """Find the nearest triangle at every pixel centre; both sides of a triangle are visible."""
    height, width = height_width(size)
    faces = _check_faces(triangles)
    points = homogeneous(vertices, camera, height, width)
    depth = np.full((height, width, 1), np.inf, np.float32)
    ids = np.full((height, width, 1), -1, np.int32)
    kernels.draw(points, faces, np.arange(len(faces), dtype=np.int32), CENTRE, depth, ids)
    barycentrics = np.zeros((height, width, 3), np.float32)
    kernels.weights(points, faces, ids[..., 0], barycentrics)
    return Buffers(ids[..., 0], barycentrics, np.where(ids < 0, np.float32(0), depth)[..., 0])


def interpolate(buffers: Buffers, triangles: ArrayLike, attributes: ArrayLike) -> F32:
    """Interpolate attributes of the vertices (n, c) -> image (h, w, c), 0 where empty.

    `triangles` may have other indices than the rasterised ones (texture seams), but must be in the same order.
    """
    values = np.ascontiguousarray(attributes, np.float32)
    out = np.zeros((*buffers.ids.shape, values.shape[1]), np.float32)
    kernels.gather(_check_faces(triangles), values, buffers.ids, buffers.barycentrics, out)
    return out


def texture_colours(buffers: Buffers, triangles: ArrayLike, uv: ArrayLike, texture: ArrayLike) -> F32:
    """Sample the texture (th, tw, c) bilinearly at uv (n, 2) -> image (h, w, c), 0 where empty.

    u points right and v down; (0, 0) is the outer corner of the first texel.
    """
    image = np.ascontiguousarray(texture, np.float32)
    out = np.zeros((*buffers.ids.shape, image.shape[2]), np.float32)
    coordinates = np.ascontiguousarray(uv, np.float32)
    kernels.bilinear(image, _check_faces(triangles), coordinates, buffers.ids, buffers.barycentrics, out)
    return out


def vertex_normals(vertices: ArrayLike, triangles: ArrayLike) -> F32:
    """Return unit normals of the vertices (n, 3), weighted by the area of the triangles around them."""
    points = np.ascontiguousarray(vertices, np.float64)
    out = np.zeros_like(points)
    kernels.add_area_normals(points, _check_faces(triangles), out)
    return out.astype(np.float32)


def draw(
    vertices: ArrayLike,
    triangles: ArrayLike,
    camera: Camera,
    size: int | tuple[int, int],
    *,
    colours: ArrayLike | None = None,
    uv: ArrayLike | None = None,
    texture: ArrayLike | None = None,
    normals: ArrayLike | None = None,
) -> Drawing:
    """Draw a mesh with colours (n, c) on its vertices, or with a texture and its uv (n, 2)."""
    buffers = rasterise(vertices, triangles, camera, size)
    if colours is not None and uv is None and texture is None:
        rgb = interpolate(buffers, triangles, colours)
    elif colours is None and uv is not None and texture is not None:
        rgb = texture_colours(buffers, triangles, uv, texture)
    else:
        raise ValueError("give either colours, or uv and texture")
    directions = interpolate(buffers, triangles, vertex_normals(vertices, triangles) if normals is None else normals)
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    return Drawing(rgb, directions / np.maximum(length, 1e-12), buffers)


def visible(points: ArrayLike, depth: F32, camera: Camera, *, tolerance: float = 0.01) -> NDArray[np.bool_]:
    """Return which world points (n, 3) are inside the image and not behind the surface in `depth` (h, w).

    A point is compared with the farthest of the four pixel centres around it, so that a slope does not hide itself.
    """
    height, width = depth.shape
    uv, z = camera.project(points)
    x, y = uv[:, 0] * width - 0.5, uv[:, 1] * height - 0.5
    inside = (z > kernels.NEAR) & (np.abs(uv - 0.5) <= 0.5).all(-1)
    farthest = np.zeros(len(z))
    surface = np.where(depth > 0, depth, np.inf)
    x, y = np.where(inside, x, 0), np.where(inside, y, 0)
    for dy in (0, 1):
        for dx in (0, 1):
            row = np.clip(np.floor(y).astype(int) + dy, 0, height - 1)
            column = np.clip(np.floor(x).astype(int) + dx, 0, width - 1)
            farthest = np.maximum(farthest, surface[row, column])
    return inside & (z <= farthest + tolerance)


def _check_faces(triangles: ArrayLike) -> I32:
    faces = np.ascontiguousarray(triangles, np.int32)
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"triangles must have shape (m, 3), got {faces.shape}")
    return faces
