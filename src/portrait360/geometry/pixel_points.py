"""The points that the pixels of a view show, and where other cameras see them: `Camera.unproject` and `project` for
whole pictures, compiled."""

from __future__ import annotations

import math

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.geometry.numba_jit import njit_exact
from portrait360.utils.array_types import F32, F64, Floats

LEAST = 1e-6  # length of a normal, and cosine, by which nothing is divided


def unproject_pixels(camera: Camera, depth: Floats) -> F64:
    """Return the points (h, w, 3) at these depths (h, w) behind the centres of a view's pixels."""
    out = np.empty((*depth.shape, 3))
    _unproject(depth, np.ascontiguousarray(camera.cam2world), camera.focal, *map(float, camera.center), out)
    return out


def project_points(camera: Camera, points: Floats) -> tuple[F64, F64]:
    """Return where a camera sees points (h, w, 3), in image sides (h, w, 2), and their depths (h, w)."""
    uv, depth = np.empty((*points.shape[:2], 2)), np.empty(points.shape[:2])
    _project(points, np.ascontiguousarray(camera.cam2world), camera.focal, *map(float, camera.center), uv, depth)
    return uv, depth


def measure_angles(points: Floats, first: Floats, second: Floats) -> F32:
    """Return the angles (h, w) in degrees under which a place (3,) and another, or one for each, are seen from points
    (h, w, 3)."""
    out, seconds = np.empty(points.shape[:2], np.float32), np.broadcast_to(second, points.shape)
    _measure_angles(points, np.asarray(first, np.float64), seconds, out)
    return out


def measure_resolution(
    points: Floats, normals: Floats, cameras: tuple[Camera, Camera], least: tuple[float, float]
) -> F32:
    """Return how many pixels of a first camera show the surface at points (h, w, 3) per pixel of a second (h, w).

    Args:
        points: Where the surface is.
        normals: Of any length (h, w, 3).
        cameras: Both cameras, with pictures of equal size.
        least: For each, the cosine that counts where a surface is seen more aslant.
    """
    out = np.empty(points.shape[:2], np.float32)
    (first, second), (low, lower) = cameras, least
    places = np.stack([first.position, second.position])
    _measure_resolution(points, normals, places, (first.focal, second.focal), (low, lower), out)
    return out


@njit_exact
def _unproject(depth, pose, focal, x, y, out):  # noqa: ANN001, ANN202 (numba)
    height, width = depth.shape
    for i in range(height):
        v = ((i + 0.5) / height - y) / focal
        for j in range(width):
            u = ((j + 0.5) / width - x) / focal
            z = depth[i, j]
            for c in range(3):
                out[i, j, c] = pose[c, 0] * (u * z) + pose[c, 1] * (v * z) + pose[c, 2] * z + pose[c, 3]


@njit_exact
def _project(points, pose, focal, x, y, uv, depth):  # noqa: ANN001, ANN202 (numba)
    for i in range(points.shape[0]):
        for j in range(points.shape[1]):
            a, b, c = points[i, j, 0] - pose[0, 3], points[i, j, 1] - pose[1, 3], points[i, j, 2] - pose[2, 3]
            z = a * pose[0, 2] + b * pose[1, 2] + c * pose[2, 2]
            uv[i, j, 0] = (a * pose[0, 0] + b * pose[1, 0] + c * pose[2, 0]) / z * focal + x
            uv[i, j, 1] = (a * pose[0, 1] + b * pose[1, 1] + c * pose[2, 1]) / z * focal + y
            depth[i, j] = z


@njit_exact
def _measure_angles(points, first, seconds, out):  # noqa: ANN001, ANN202 (numba)
    for i in range(points.shape[0]):
        for j in range(points.shape[1]):
            product = one = two = 0.0
            for c in range(3):
                a, b = first[c] - points[i, j, c], seconds[i, j, c] - points[i, j, c]
                product += a * b
                one += a * a
                two += b * b
            out[i, j] = math.degrees(math.acos(min(max(product / (math.sqrt(one) * math.sqrt(two)), -1.0), 1.0)))


@njit_exact
def _measure_resolution(points, normals, places, focals, least, out):  # noqa: ANN001, ANN202 (numba)
    for i in range(points.shape[0]):
        for j in range(points.shape[1]):
            a, b, c = normals[i, j, 0], normals[i, j, 1], normals[i, j, 2]
            length = max(math.sqrt(a * a + b * b + c * c), LEAST)
            density = 1.0
            for k in range(2):
                x, y, z = (
                    places[k, 0] - points[i, j, 0],
                    places[k, 1] - points[i, j, 1],
                    places[k, 2] - points[i, j, 2],
                )
                distance = math.sqrt(x * x + y * y + z * z)
                cosine = max((a * x + b * y + c * z) / (length * distance), least[k])
                seen = cosine * (focals[k] / distance) ** 2
                density = seen if k == 0 else density / seen
            out[i, j] = density
