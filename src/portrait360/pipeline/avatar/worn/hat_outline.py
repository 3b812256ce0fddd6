"""Bring the outline of a hat to where the photo shows it, as `outline_fit` does for the skin.

The whole hat moves smoothly in the picture's plane, and keeps its depth, but nothing of it moves into the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.photo.exposure import look_up_points
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.outline_fit import INSIDE, find_distance_to_edge, find_label_at
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.scene import Mesh
from portrait360.utils.array_types import F32, F64, Bools
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SIDE = 256  # pixels in which the outline is drawn
REACH = 0.06  # crop sides that it may move
WIDTHS = (0.06, 0.03)  # crop sides over which moves are spread, round by round
FAINT = 0.02  # weight with which everything stays: far from the outline nothing moves
FAR_ROUND, BEHIND = (0.3, 0.5), (0.06, 0.12)
"""Canonical depths from the outline over which nothing moves any more: in the first round, and in finer ones."""
CLOSE = 0.012  # canonical distance from the skin that cloth keeps, where it has it
EVEN, ALIKE = 0.006, 0.75  # crop sides over which the matte's edge is blurred; cosine between both edges
SLOPED = 0.01  # least slope of a blurred mask at its outline


def fit_hat_outline(meshes: Sequence[Mesh], head: Head, photo: Photo) -> list[Mesh]:
    """Return the meshes, those of a hat moved to the photo's outline of it."""
    worn = [i for i, mesh in enumerate(meshes) if mesh.labels is not None and int(mesh.labels[0]) == Label.HAT]
    if not worn or not photo.shows(Label.HAT).any():
        return list(meshes)
    points = [meshes[i].vertices.astype(np.float64) for i in worn]
    for width in WIDTHS:
        field = find_moves(_draw(points, [meshes[i].triangles for i in worn], photo), photo, width)
        points = [_move(p, field, photo, FAR_ROUND if width == WIDTHS[0] else BEHIND) for p in points]
    moved = {i: _keep_out(meshes[i].vertices, p, head) for i, p in zip(worn, points, strict=True)}
    return [_replace_vertices(mesh, moved[i]) if i in moved else mesh for i, mesh in enumerate(meshes)]


def _keep_out(old: F32, new: F64, head: Head) -> F64:
    """Return points on the way from old to new ones (n, 3), as far as they come not too close to the skin."""
    before, after = head.field.distance(old), head.field.distance(new)
    free = before - np.minimum(before, CLOSE)
    share = np.clip(free / np.maximum(before - after, 1e-6), 0, 1)
    return old + np.where(after < np.minimum(before, CLOSE), share, 1)[:, None] * (new - old)


def _replace_vertices(mesh: Mesh, points: np.ndarray) -> Mesh:
    vertices = points.astype(np.float32)
    return replace(mesh, vertices=vertices, normals=vertex_normals(vertices, mesh.triangles))


def find_moves(depth: F32, photo: Photo, width: float) -> F32:
    """Return the moves, in crop sides, that take the outline of what is drawn to the photo's hat.

    Last of their three channels (SIDE, SIDE, 3) is the depth of the outline that moves.
    """
    drawn = depth > 0
    padded = cv2.copyMakeBorder(drawn.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    rim = drawn & (cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0)
    soft = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), 2.0)
    slope = -np.stack([cv2.Sobel(soft, -1, 1, 0), cv2.Sobel(soft, -1, 0, 1)], -1)
    length = np.linalg.norm(slope, axis=-1)
    y, x = np.nonzero(rim & (length > SLOPED))
    field = np.zeros((SIDE, SIDE, 4), np.float32)
    if len(x) > 0:
        direction = (slope[y, x] / length[y, x, None]).astype(np.float64)
        uv = (np.stack([x, y], -1) + 0.5) / SIDE
        distance, found = find_distance_to_edge(photo, uv, direction, np.full(len(x), REACH))
        found &= find_label_at(photo, uv + direction * (distance - INSIDE)[:, None]) == Label.HAT
        found &= _runs_alike(photo, uv + direction * distance[:, None], direction)
        field[y[found], x[found], :2] = (direction * distance[:, None])[found]
        field[y[found], x[found], 2] = depth[y, x][found]
        field[y[found], x[found], 3] = 1
    spread = cv2.GaussianBlur(field, (0, 0), width * SIDE)
    weight = spread[..., 3:]
    moves = spread[..., :2] / (weight + FAINT * max(float(weight.max()), 1e-6))
    return np.concatenate([moves, spread[..., 2:3] / np.maximum(weight, 1e-9)], -1).astype(np.float32)


def _runs_alike(photo: Photo, uv: F64, direction: F64) -> Bools:
    """Return whether the matte's edge at places (n, 2) faces much the same way: another part's edge is not meant."""
    soft = cv2.GaussianBlur(photo.alpha.astype(np.float32), (0, 0), EVEN * photo.size)
    rise = np.dstack([cv2.Sobel(soft, -1, 1, 0), cv2.Sobel(soft, -1, 0, 1)]).astype(np.float32)
    slope = -look_up_points(rise, uv)
    return (slope * direction).sum(-1) > ALIKE * np.linalg.norm(slope, axis=-1)


def _draw(points: list[F64], triangles: list[np.ndarray], photo: Photo) -> F32:
    firsts = np.cumsum([0, *map(len, points)])[:-1]
    rows = np.concatenate([t + first for t, first in zip(triangles, firsts, strict=True)])
    return rasterizer.rasterise(np.concatenate(points), rows, photo.camera, SIDE).depth


def _move(points: F64, field: F32, photo: Photo, reach: tuple[float, float]) -> F64:
    """Return points (n, 3) moved by a field of the picture, unless they lie too far behind or before its outline."""
    uv, depth = photo.camera.project(points)
    found = look_up_points(field, uv)
    near = 1 - smoothstep(*reach, np.abs(depth - found[:, 2]))
    step = found[:, :2] * (near * depth / photo.camera.focal)[:, None]
    return points + step @ photo.camera.cam2world[:3, :2].T
