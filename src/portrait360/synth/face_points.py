"""Points on the skin named by where they lie on the average face, seen from the front."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from portrait360.synth.head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.pack import load_pack
from portrait360.synth.reference import reference
from portrait360.synth.scene import F32

CANDIDATES = 16  # triangles tried for every point


def on_face(head: Head, places: ArrayLike) -> tuple[F32, F32]:
    """Skin points and normals (n, 3) for (x, y) on the average face (n, 2), in head heights."""
    tree, front, corners = _front(head.level)
    places = np.asarray(places, np.float64).reshape(-1, 2)
    tries = front[tree.query(places, k=CANDIDATES)[1]]  # (n, k)
    a, b, c = (corners[tries][:, :, i] for i in range(3))  # (n, k, 2)
    p = places[:, None]
    area = _cross(b - a, c - a)
    u, v = _cross(p - a, c - a) / area, _cross(b - a, p - a) / area
    inside = np.minimum(np.minimum(u, v), 1 - u - v)
    best = np.argmax(inside, axis=1)
    row = np.arange(len(places))
    u, v = np.clip(u[row, best], 0, 1)[:, None], np.clip(v[row, best], 0, 1)[:, None]
    t = head.triangles[tries[row, best]]

    def mix(values: F32) -> np.ndarray:
        return values[t[:, 0]] * (1 - u - v) + values[t[:, 1]] * u + values[t[:, 2]] * v

    return mix(head.body).astype(np.float32), unit(mix(head.normals)).astype(np.float32)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


@lru_cache(maxsize=2)
def _front(level: int) -> tuple[KDTree, np.ndarray, np.ndarray]:
    """The triangles of the face that look forward: a tree of their middles, their numbers, all corners."""
    pack, rest = load_pack(), reference().fine[level]
    triangles = pack.subdivision(level).triangles
    corners = rest[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inner = pack.mask("inside_mouth", level)[triangles].max(1) > 0.3
    behind = (pack.mask("eyelids", level)[triangles].mean(1) > 0.5) & (corners[:, :, 2].mean(1) < 0.24)
    front = np.where((normal[:, 2] > 0) & (corners[:, :, 2].mean(1) > 0.05) & ~inner & ~behind)[0]
    flat = corners[:, :, :2].astype(np.float64)
    return KDTree(flat[front].mean(1)), front, flat
