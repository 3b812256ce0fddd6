"""One texture from many pictures: every texel takes the colours of the views that see it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.cameras import Camera
from portrait360.geometry import raster, raster_numba
from portrait360.geometry.compiled import kept

Floats = NDArray[np.floating]
Ints = NDArray[np.int32]

GRAZING = 0.15  # cosine: below, a view says nothing
POWER = 6.0  # of the cosine: views that look straight at a place win
DEEP = 0.012  # canonical: a place so far behind what a view sees is hidden
EDGE = 2.5  # pixels: so close to the matte's edge colours mix with the background
GRAIN, NEIGHBOURS = 0.004, 100_000  # canonical, and how many: as fine as colours are carried to unseen places


@dataclass(frozen=True, eq=False)
class Picture:
    """What a texture is baked from."""

    rgb: Floats  # (s, s, 3)
    trust: Floats  # (s, s) 0 where its colours must not be used
    camera: Camera
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Texels:
    """The texels that belong to a surface."""

    size: int
    where: NDArray[np.int64]  # (n,) flat index
    places: NDArray[np.float32]  # (n, 3)
    normals: NDArray[np.float32]  # (n, 3)


def texels(vertices: Floats, normals: Floats, uv: Floats, triangles: Ints, size: int) -> Texels:
    points = np.concatenate([uv * size, np.ones((len(uv), 1))], 1).astype(np.float64)
    depth = np.full((size, size, 1), np.inf, np.float32)
    ids = np.full((size, size, 1), -1, np.int32)
    raster_numba.draw(points, triangles, np.arange(len(triangles), dtype=np.int32), raster.CENTRE, depth, ids)
    barycentrics = np.zeros((size, size, 3), np.float32)
    raster_numba.weights(points, triangles, ids[..., 0], barycentrics)
    buffers = raster.Buffers(ids[..., 0], barycentrics, depth[..., 0])
    where = np.flatnonzero(ids.ravel() >= 0)
    values = raster.interpolate(buffers, triangles, np.concatenate([vertices, normals], 1)).reshape(-1, 6)[where]
    return Texels(size, where, np.ascontiguousarray(values[:, :3]), np.ascontiguousarray(values[:, 3:]))


def inner(alpha: Floats, known: Floats | None = None) -> Floats:
    """Trust (s, s) in a picture's colours: none at the matte's edge, rising over a few pixels inside."""
    solid = (alpha > 0.95).astype(np.uint8)
    if known is not None:
        solid &= (known > 0.5).astype(np.uint8)
    deep = cv2.distanceTransform(np.pad(solid, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.clip(deep / EDGE - 0.4, 0, 1).astype(np.float32)


def bake(surface: Texels, depths: Sequence[Floats], pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    """Texture (t, t, 3). Depths are the surface's own, at every picture's camera and size."""
    total = np.zeros((len(surface.where), 4), np.float32)
    for depth, picture in zip(depths, pictures, strict=True):
        size = picture.trust.shape[0]
        matrix = (picture.camera.intrinsics(size) @ picture.camera.world2cam[:3]).astype(np.float32)
        fine = picture.weight * (picture.camera.focal * size) ** 2
        images = [np.ascontiguousarray(a, np.float32) for a in (picture.rgb, picture.trust, depth)]
        eye = picture.camera.position.astype(np.float32)
        _add(surface.places, surface.normals, matrix, eye, *images, np.float32(fine), total)
    return _spread(surface, total)


def _spread(surface: Texels, total: Floats) -> NDArray[np.uint8]:
    """Places that no view saw take the colour of the nearest that one did; gutters that of their neighbours."""
    seen = total[:, 3] > 0
    colours = total[:, :3] / np.maximum(total[:, 3:], 1e-12)
    if seen.any() and not seen.all():
        colours[~seen] = colours[_nearest(surface.places, seen)]
    image = np.zeros((surface.size**2, 4), np.float32)
    image[surface.where, :3], image[surface.where, 3] = colours, 1
    image = image.reshape(surface.size, surface.size, 4)
    return np.round(np.clip(_filled(image), 0, 1) * 255).astype(np.uint8)


def _nearest(places: Floats, seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For every place that is not seen one that is, about the nearest: those within a grain share theirs."""
    some = np.flatnonzero(seen)[:: max(seen.sum() // NEIGHBOURS, 1)]
    grains, of_place = np.unique(np.round(places[~seen] / GRAIN).astype(np.int32), axis=0, return_inverse=True)
    return some[KDTree(places[some]).query(grains * GRAIN, workers=-1)[1]][of_place.ravel()]


def _filled(image: Floats) -> Floats:
    """Colours (t, t, 3) of premultiplied (t, t, 4), its holes filled from coarser and coarser means."""
    if min(image.shape[:2]) <= 2:
        return image[..., :3] / np.maximum(image[..., 3:], 1e-9)
    small = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
    coarse = cv2.resize(_filled(small), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    share = np.minimum(image[..., 3:], 1)
    own = image[..., :3] / np.maximum(image[..., 3:], 1e-9)
    return np.where(image[..., 3:] > 0, share * own + (1 - share) * coarse, coarse)


@kept(parallel=True, fastmath=True)
def _add(places, normals, matrix, eye, rgb, trust, depth, fine, total):  # noqa: ANN001, ANN202 (numba)
    size = trust.shape[0]
    for n in prange(places.shape[0]):
        x, y, z = places[n, 0], places[n, 1], places[n, 2]
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
        if cosine < GRAZING:
            continue
        c, r = int(u), int(v)
        fx, fy = u - c, v - r
        farthest = max(max(depth[r, c], depth[r, c + 1]), max(depth[r + 1, c], depth[r + 1, c + 1]))
        if farthest <= 0 or w > farthest + DEEP:
            continue
        nearest = min(min(depth[r, c], depth[r, c + 1]), min(depth[r + 1, c], depth[r + 1, c + 1]))
        if nearest > 0 and w > nearest + 4 * DEEP:  # just behind an edge that is nearer
            continue
        a, b = (1 - fx) * (1 - fy), fx * (1 - fy)
        d, e = (1 - fx) * fy, fx * fy
        sure = a * trust[r, c] + b * trust[r, c + 1] + d * trust[r + 1, c] + e * trust[r + 1, c + 1]
        if sure <= 0:
            continue
        weight = sure * fine / (distance * distance) * cosine**POWER
        for channel in range(3):
            total[n, channel] += weight * (
                a * rgb[r, c, channel]
                + b * rgb[r, c + 1, channel]
                + d * rgb[r + 1, c, channel]
                + e * rgb[r + 1, c + 1, channel]
            )
        total[n, 3] += weight
