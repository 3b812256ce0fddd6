"""The lower end of the bust, and how it follows the head when the neck turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.export.avatar_glb.expression import Rig
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import PIVOT, head_share
from portrait360.synth.meshes import grid, vertex_normals
from portrait360.synth.wear.necklines import cut_above
from portrait360.utils.array_types import F32, I32, Floats

FLOOR = -0.60  # canonical height at which the bust ends
ANGLES = 144  # of the outline of its base
RINGS = np.array(
    [[1.003, -0.1], [1.004, 0.0], [0.99, 0.35], [0.96, 0.62], [0.85, 0.88], [0.6, 0.97], [0.3, 1.0], [0.0, 1.0]]
)
"""Of the base from its edge inward: radius and depth."""
DEPTH = 0.022  # canonical; of the base below the floor
NEAREST = 6


@dataclass(frozen=True, eq=False)
class Neck:
    """The joint about which the head turns."""

    pivot: F32  # (3,)
    _tree: KDTree
    _share: F32

    def head_share(self, points: F32) -> F32:
        """Return how far points (n, 3) follow the head: as the skin beside them."""
        distance, near = self._tree.query(points, k=NEAREST)
        weight = 1 / np.maximum(np.asarray(distance), 1e-4)
        return np.asarray((self._share[near] * weight).sum(1) / weight.sum(1), np.float32)


def make_neck(rig: Rig) -> Neck:
    skin = rig.fitted[: rig.pack.body]
    share = head_share(load_average_head().base[: rig.pack.body])
    return Neck(rig.similarity.move(HEAD_HEIGHT * PIVOT[None])[0], KDTree(skin), share.astype(np.float32))


def cut_at_floor(values: Floats, triangles: I32) -> tuple[F32, I32]:
    """Return vertices with their attributes (n, 3 + k) above the floor, and their triangles."""
    if (values[:, 1] >= FLOOR).all():
        return np.asarray(values, np.float32), triangles
    out, faces, _ = cut_above(values, triangles, values[:, 1] - FLOOR)
    return out.astype(np.float32), faces


def make_base(rims: list[F32], colours: list[F32]) -> tuple[F32, F32, F32, I32]:
    """Return vertices, normals, colours and triangles of what closes the bust below.

    Args:
        rims: Points (n, 3) at the floor, of all that ends there.
        colours: Their colours (n, 3).
    """
    points, tint = np.concatenate(rims), np.concatenate(colours)
    middle = (points.min(0) + points.max(0)) / 2
    across = points[:, [0, 2]] - middle[[0, 2]]
    angle, radius = np.arctan2(across[:, 1], across[:, 0]), np.linalg.norm(across, axis=1)
    slot = np.rint((angle + np.pi) / (2 * np.pi) * ANGLES).astype(int) % ANGLES
    furthest = np.zeros(ANGLES)
    np.maximum.at(furthest, slot, radius)
    known = np.flatnonzero(furthest > 0)
    outline = np.interp(np.arange(ANGLES), known, furthest[known], period=ANGLES)
    turn = np.arange(ANGLES) / ANGLES * 2 * np.pi - np.pi
    edge = np.stack([outline * np.cos(turn), outline * np.sin(turn)], 1)
    flat = middle[[0, 2]] + RINGS[:, 0, None, None] * edge
    height = FLOOR - DEPTH * np.broadcast_to(RINGS[:, 1, None], flat.shape[:2])
    vertices = np.stack([flat[..., 0], height, flat[..., 1]], -1).reshape(-1, 3).astype(np.float32)
    triangles = grid(len(RINGS), ANGLES, closed=True)
    triangles = triangles[(triangles >= (len(RINGS) - 1) * ANGLES).sum(1) < 2]  # the last ring is one point
    rim = vertices[:ANGLES]
    _, near = KDTree(points).query(rim, k=min(8, len(points)))
    ring = tint[np.asarray(near).reshape(ANGLES, -1)].mean(1)
    fade = RINGS[:, 0, None, None]
    shades = (fade * ring + (1 - fade) * ring.mean(0)).reshape(-1, 3)
    normals = vertex_normals(vertices, triangles)
    if normals[-1, 1] > 0:
        triangles, normals = triangles[:, ::-1], -normals
    return vertices, normals, shades.astype(np.float32), np.ascontiguousarray(triangles, np.int32)
