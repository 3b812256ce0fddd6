"""Points on the skin, addressed by their position on the average face in front view."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32

CANDIDATES = 16  # triangles tested for every point


def locate_on_face(head: Head, positions: ArrayLike) -> tuple[F32, F32]:
    """Return skin points and normals (n, 3) for positions (x, y) on the average face (n, 2), in head heights."""
    tree, front, corners = _front_triangles(head.level)
    positions = np.asarray(positions, np.float64).reshape(-1, 2)
    candidates = front[tree.query(positions, k=CANDIDATES)[1]]  # (n, k)
    a, b, c = (corners[candidates][:, :, i] for i in range(3))  # (n, k, 2)
    p = positions[:, None]
    area = _cross(b - a, c - a)
    u, v = _cross(p - a, c - a) / area, _cross(b - a, p - a) / area
    inside = np.minimum(np.minimum(u, v), 1 - u - v)
    best = np.argmax(inside, axis=1)
    row = np.arange(len(positions))
    u, v = np.clip(u[row, best], 0, 1)[:, None], np.clip(v[row, best], 0, 1)[:, None]
    t = head.triangles[candidates[row, best]]

    def interpolate(values: F32) -> np.ndarray:
        return values[t[:, 0]] * (1 - u - v) + values[t[:, 1]] * u + values[t[:, 2]] * v

    return interpolate(head.body).astype(np.float32), unit(interpolate(head.normals)).astype(np.float32)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


@lru_cache(maxsize=2)
def _front_triangles(level: int) -> tuple[KDTree, np.ndarray, np.ndarray]:
    """Return the forward-facing triangles of the face: a tree of their centres, their indices, and all corners."""
    pack, rest = load_pack(), load_average_head().fine[level]
    triangles = pack.subdivision(level).triangles
    corners = rest[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    in_mouth = pack.mask("inside_mouth", level)[triangles].max(1) > 0.3
    hidden = (pack.mask("eyelids", level)[triangles].mean(1) > 0.5) & (corners[:, :, 2].mean(1) < 0.24)
    front = np.where((normal[:, 2] > 0) & (corners[:, :, 2].mean(1) > 0.05) & ~in_mouth & ~hidden)[0]
    flat = corners[:, :, :2].astype(np.float64)
    return KDTree(flat[front].mean(1)), front, flat
