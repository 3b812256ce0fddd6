"""The colours that the avatar's own views show at points: cards that lie over one another then show no edges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.geometry.numba_jit import njit_fast
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.synth.render.lights import reflected_light
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.synth.scene import Material
from portrait360.utils.array_types import F32, I32
from portrait360.utils.parallel.threads import map_in_threads

PLACES = ((0, 0), (35, 0), (-35, 0), (75, 5), (-75, 5), (125, 5), (-125, 5), (180, 10), (30, 60), (180, 60))
"""Azimuth and elevation of the views in degrees."""
SIZE = 384
FACING = 10  # power of the cosine between a normal and the way to the camera, by which a view counts
HAIR_REACH, SKIN_REACH = (0.04, 0.015, 0.06, 0.02), (0.012, 0.004, 0.01, 0.0)
"""Canonical distances before and behind a view's surface up to which it shows a point, and behind it from which not,
and how far it counts nevertheless: hair below has the colours of that above it, but less light."""
SOFT = 3.0  # pixels over which the depth of hair, which is rough, is smooth
OVER = 0.006  # canonical depth before a surface from which a pixel is hair
ENOUGH = 0.003  # sum of the views' weights from which a point's colour is theirs alone
CHUNK = 1 << 17  # points that a thread looks up at a time
DIMMEST = 0.45  # of the mean light of all directions: what is darker would be divided by almost nothing


@dataclass(frozen=True, eq=False)
class ShownColours:
    """What views of an avatar from all around show of one kind of thing."""

    radiance: F32  # (v, s, s, 3)
    mask: F32  # (v, s, s) how far pixels show it
    depth: F32  # (v, s, s)
    rotations: F32  # (v, 3, 3) of the world to the cameras
    positions: F32  # (v, 3)
    focal: float
    reach: tuple[float, float, float, float]

    def find(self, points: F32, normals: F32) -> tuple[F32, F32]:
        """Return the radiance (n, 3) that views show at points with these normals, and how far they show it (n,)."""
        out, trust = np.zeros((len(points), 3), np.float32), np.zeros(len(points), np.float32)
        places, ways = np.ascontiguousarray(points, np.float32), np.ascontiguousarray(normals, np.float32)
        views = self.radiance, self.mask, self.depth, self.rotations, self.positions, self.focal

        def look_up(part: slice) -> None:
            _look_up(places[part], ways[part], *views, *self.reach, out[part], trust[part])

        parts = [slice(first, first + CHUNK) for first in range(0, len(points), CHUNK)]
        for _ in map_in_threads(look_up, parts):
            pass
        return out, np.minimum(trust / np.float32(ENOUGH), 1)


def show_colours(avatar: Avatar) -> tuple[ShownColours, ShownColours]:
    """Return what views of an avatar show of its hair, and of its skin."""
    cameras = [Camera(look_at(*place), focal_from_fov(FOV)) for place in PLACES]
    solid = join_solids(avatar)
    shots = list(map_in_threads(lambda camera: show_pixels(avatar, solid, camera), cameras))
    radiance, hair, hair_depth, skin, depth = (np.stack([shot[k] for shot in shots]) for k in range(5))
    places = (
        np.stack([camera.cam2world[:3, :3].T for camera in cameras]).astype(np.float32),
        np.stack([camera.position for camera in cameras]).astype(np.float32),
        float(cameras[0].focal),
    )
    return (
        ShownColours(radiance, hair, hair_depth, *places, HAIR_REACH),
        ShownColours(radiance, skin, depth, *places, SKIN_REACH),
    )


def join_solids(avatar: Avatar) -> tuple[F32, I32]:
    """Return vertices and triangles of all that is not hair and not of glass."""
    meshes = [mesh for mesh in avatar.scene.meshes if len(mesh.vertices) and mesh.material[0] != Material.GLASS]
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    triangles = [mesh.triangles + n for mesh, n in zip(meshes, first[:-1], strict=True)]
    return np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles).astype(np.int32)


def show_pixels(avatar: Avatar, solid: tuple[F32, I32], camera: Camera) -> tuple[F32, ...]:
    """Return a view's radiance, how far its pixels are hair, the smooth depth of it, how far they are not, and depth.

    All are pictures (s, s); hair is what lies before all that is solid.
    """
    view = avatar.render(camera, SIZE)
    mask, depth = view.mask.astype(np.float32), view.depth.astype(np.float32)
    behind = rasterise(*solid, camera, SIZE).depth
    over = np.clip(np.where(behind > 0, (behind - depth) / np.float32(OVER), 1), 0, 1)
    hair = mask * over
    total = np.maximum(cv2.GaussianBlur(hair, (0, 0), SOFT), 1e-6)
    smooth = cv2.GaussianBlur(hair * depth, (0, 0), SOFT) / total
    found = srgb_to_radiance(view.rgb), hair, smooth, mask * (1 - over), depth
    return tuple(np.asarray(picture, np.float32) for picture in found)


def find_light(avatar: Avatar, normals: NDArray[np.float32]) -> F32:
    """Return the avatar's own light (n, 3) on surfaces with these normals (n, 3), without shadows, nowhere dark."""
    light = avatar.scene.light
    keys = np.maximum(normals @ light.key_directions.T, 0) @ light.key_colours
    out = reflected_light(light.ambient, normals) + keys
    mean = 0.28209479 * light.ambient[0] + light.key_colours.sum(0) / 4
    return np.maximum(out, DIMMEST * mean).astype(np.float32)


@njit_fast
def _look_up(
    points, normals, radiance, mask, depth, rotations, positions, focal, before, behind, gone, least, out, trust
):  # fmt: skip
    count, size = mask.shape[0], mask.shape[1]
    for n in range(len(points)):
        total = 0.0
        for v in range(count):
            x, y, z = points[n, 0] - positions[v, 0], points[n, 1] - positions[v, 1], points[n, 2] - positions[v, 2]
            facing = -(x * normals[n, 0] + y * normals[n, 1] + z * normals[n, 2])
            if facing <= 0.0:
                continue
            turn = rotations[v]
            far = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z
            column = (focal * (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z) / far + 0.5) * size - 0.5
            row = (focal * (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z) / far + 0.5) * size - 0.5
            i, j = int(row + 0.5), int(column + 0.5)
            if i < 1 or j < 1 or i >= size - 1 or j >= size - 1 or mask[v, i, j] < 0.02:
                continue
            below = far - depth[v, i, j]
            share = 1.0 - (below - behind) / (gone - behind) if below > 0 else 3.0 + 3.0 * below / before
            share = min(max(share, least if below > 0 else 0.0), 1.0)
            if share <= 0.0:
                continue
            weight = (facing / (x * x + y * y + z * z) ** 0.5) ** FACING * share
            if weight <= 1e-7:
                continue
            i, j = int(row), int(column)
            f, g = row - i, column - j
            light = 1.0 / (1.0 + max(below - behind, 0.0) / gone)
            for a in range(2):
                for b in range(2):
                    part = weight * (f if a else 1 - f) * (g if b else 1 - g) * mask[v, i + a, j + b]
                    total += part
                    for c in range(3):
                        out[n, c] += part * light * radiance[v, i + a, j + b, c]
        trust[n] = total
        for c in range(3):
            out[n, c] /= max(total, 1e-6)
