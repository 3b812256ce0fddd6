"""Bake one texture from many images: every texel takes its colour from the views that see it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.geometry import rasterizer, rasterizer_kernels
from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import cached_njit
from portrait360.utils.array_types import I32, Floats

MIN_COSINE = 0.15  # between the normal and the direction to the camera: below it, a view is not used
COSINE_POWER = 6.0  # of the weight: views that look straight at a texel win
DEPTH_TOLERANCE = 0.012  # canonical: a texel farther than this behind a view's surface is hidden
EDGE = 2.5  # pixels: this close to the matte's edge, colours mix with the background
GRID_STEP, MAX_SOURCES = 0.004, 100_000  # canonical cell size, and seen texels that unseen ones can copy


@dataclass(frozen=True, eq=False)
class Picture:
    """A view that a texture is baked from."""

    rgb: Floats  # (s, s, 3)
    trust: Floats  # (s, s) in [0, 1]; 0 where its colours must not be used
    camera: Camera
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Texels:
    """The texels that belong to a surface."""

    size: int
    where: NDArray[np.int64]  # (n,) flat index
    places: NDArray[np.float32]  # (n, 3)
    normals: NDArray[np.float32]  # (n, 3)


def find_texels(vertices: Floats, normals: Floats, uv: Floats, triangles: I32, size: int) -> Texels:
    """Find the texels that the triangles cover in uv (n, 2), and interpolate their positions and normals."""
    points = np.concatenate([uv * size, np.ones((len(uv), 1))], 1).astype(np.float64)
    depth = np.full((size, size, 1), np.inf, np.float32)
    ids = np.full((size, size, 1), -1, np.int32)
    rasterizer_kernels.draw(
        points, triangles, np.arange(len(triangles), dtype=np.int32), rasterizer.CENTRE, depth, ids
    )
    barycentrics = np.zeros((size, size, 3), np.float32)
    rasterizer_kernels.weights(points, triangles, ids[..., 0], barycentrics)
    buffers = rasterizer.Buffers(ids[..., 0], barycentrics, depth[..., 0])
    index = np.flatnonzero(ids.ravel() >= 0)
    values = rasterizer.interpolate(buffers, triangles, np.concatenate([vertices, normals], 1)).reshape(-1, 6)[index]
    return Texels(size, index, np.ascontiguousarray(values[:, :3]), np.ascontiguousarray(values[:, 3:]))


def matte_trust(alpha: Floats, known_mask: Floats | None = None) -> Floats:
    """Return the trust (s, s) in an image's colours: 0 at the matte's edge, rising over a few pixels inside it."""
    solid = (alpha > 0.95).astype(np.uint8)
    if known_mask is not None:
        solid &= (known_mask > 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(np.pad(solid, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.clip(distance / EDGE - 0.4, 0, 1).astype(np.float32)


def bake(surface: Texels, depths: Sequence[Floats], pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    """Bake a texture (t, t, 3). `depths` are the depth maps of the surface at every image's camera and size."""
    total = np.zeros((len(surface.where), 4), np.float32)
    for depth, picture in zip(depths, pictures, strict=True):
        size = picture.trust.shape[0]
        matrix = (picture.camera.intrinsics(size) @ picture.camera.world2cam[:3]).astype(np.float32)
        weight = picture.weight * (picture.camera.focal * size) ** 2
        images = [np.ascontiguousarray(a, np.float32) for a in (picture.rgb, picture.trust, depth)]
        eye = picture.camera.position.astype(np.float32)
        _add_view(surface.places, surface.normals, matrix, eye, *images, np.float32(weight), total)
    return _fill_unseen(surface, total)


def _fill_unseen(surface: Texels, total: Floats) -> NDArray[np.uint8]:
    """Give texels that no view saw the colour of the nearest seen one, and gutters that of their neighbours."""
    visible = total[:, 3] > 0
    colours = total[:, :3] / np.maximum(total[:, 3:], 1e-12)
    if visible.any() and not visible.all():
        colours[~visible] = colours[_nearest_visible(surface.places, visible)]
    image = np.zeros((surface.size**2, 4), np.float32)
    image[surface.where, :3], image[surface.where, 3] = colours, 1
    image = image.reshape(surface.size, surface.size, 4)
    return np.round(np.clip(_fill_holes(image), 0, 1) * 255).astype(np.uint8)


def _nearest_visible(points: Floats, visible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return an approximately nearest visible point for every other one; points in one grid cell share theirs."""
    sources = np.flatnonzero(visible)[:: max(visible.sum() // MAX_SOURCES, 1)]
    cells, cell_of = np.unique(np.round(points[~visible] / GRID_STEP).astype(np.int32), axis=0, return_inverse=True)
    return sources[KDTree(points[sources]).query(cells * GRID_STEP, workers=-1)[1]][cell_of.ravel()]


def _fill_holes(image: Floats) -> Floats:
    """Return colours (t, t, 3) of a premultiplied image (t, t, 4); fill its holes from coarser and coarser means."""
    if min(image.shape[:2]) <= 2:
        return image[..., :3] / np.maximum(image[..., 3:], 1e-9)
    small = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
    coarse = cv2.resize(_fill_holes(small), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    alpha = np.minimum(image[..., 3:], 1)
    fine = image[..., :3] / np.maximum(image[..., 3:], 1e-9)
    return np.where(image[..., 3:] > 0, alpha * fine + (1 - alpha) * coarse, coarse)


@cached_njit(parallel=True, fastmath=True)
def _add_view(points, normals, matrix, eye, rgb, trust, depth, view_weight, total):  # noqa: ANN001, ANN202 (numba)
    """Add a view's weighted colours and weights to total (n, 4) at the points (n, 3) that it sees."""
    size = trust.shape[0]
    for n in prange(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
        if w <= 1e-3:
            continue
        u = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]) / w - np.float32(0.5)
        v = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]) / w - np.float32(0.5)
        if not (u >= 0 and v >= 0 and u < size - 1 and v < size - 1):
            continue
        dx, dy, dz = eye[0] - x, eye[1] - y, eye[2] - z
        distance = np.sqrt(dx * dx + dy * dy + dz * dz)
        cosine = (normals[n, 0] * dx + normals[n, 1] * dy + normals[n, 2] * dz) / distance
        if cosine < MIN_COSINE:
            continue
        c, r = int(u), int(v)
        fx, fy = u - c, v - r
        farthest = max(max(depth[r, c], depth[r, c + 1]), max(depth[r + 1, c], depth[r + 1, c + 1]))
        if farthest <= 0 or w > farthest + DEPTH_TOLERANCE:
            continue
        nearest = min(min(depth[r, c], depth[r, c + 1]), min(depth[r + 1, c], depth[r + 1, c + 1]))
        if nearest > 0 and w > nearest + 4 * DEPTH_TOLERANCE:  # just behind a nearer edge
            continue
        a, b = (1 - fx) * (1 - fy), fx * (1 - fy)
        d, e = (1 - fx) * fy, fx * fy
        confidence = a * trust[r, c] + b * trust[r, c + 1] + d * trust[r + 1, c] + e * trust[r + 1, c + 1]
        if confidence <= 0:
            continue
        weight = confidence * view_weight / (distance * distance) * cosine**COSINE_POWER
        for channel in range(3):
            total[n, channel] += weight * (
                a * rgb[r, c, channel]
                + b * rgb[r, c + 1, channel]
                + d * rgb[r + 1, c, channel]
                + e * rgb[r + 1, c + 1, channel]
            )
        total[n, 3] += weight
