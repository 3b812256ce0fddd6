"""Refine the shape of an avatar towards views of it: offsets of its skin and clothes, and the thickness of its hair.

A view says how far the outline of a render lies from the outline of its matte. These shifts are known on the outlines
of a few views; each layer's are spread in space to a smooth field, which moves its vertices. Strands stay on the skin
at their roots and move with their own layer further out, which makes hair thicker or thinner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from portrait360.pipeline.views.view_set import View
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.render.bake import PORTRAIT, PreparedScene, prepare_scene
from portrait360.synth.render.renderer import Rendering, render
from portrait360.synth.scene import Mesh, Part, Scene, Strands
from portrait360.utils.array_types import F32, Bytes

LARGEST = 0.06  # sides of a view: an outline that is farther away shows something that the avatar lacks
CELL = 0.03  # canonical units: of the grid on which shifts are spread
REACH = 2.0  # cells: how far a shift spreads
STILL = 0.1  # weight of staying, against the shifts around a typical point of an outline
GROWN = 0.08  # canonical units from the root, along a strand, from which it moves with its layer
CLOTHES, HAIR, SKIN = int(Part.CLOTHES), int(Part.HAIR), int(Part.SKIN)


@dataclass(frozen=True, eq=False)
class Shifts:
    """Where outlines lie, and where they should."""

    points: F32  # (n, 3) of the head's surface
    shifts: F32  # (n, 3)
    part: Bytes  # (n,) the Part that makes the outline there

    def of(self, *parts: int) -> Shifts:
        chosen = np.isin(self.part, parts)
        return Shifts(self.points[chosen], self.shifts[chosen], self.part[chosen])


@dataclass(frozen=True, eq=False)
class ShiftField:
    """A smooth field of shifts on a grid."""

    corner: F32  # (3,) of the first node
    values: F32  # (x, y, z, 3)

    def look_up(self, points: F32) -> F32:
        """Return the shifts (..., 3) of points (..., 3), interpolated."""
        at = ((points.reshape(-1, 3) - self.corner) / CELL).T
        found = [map_coordinates(self.values[..., i], at, order=1, mode="nearest") for i in range(3)]
        return np.stack(found, -1).reshape(points.shape).astype(np.float32)


def refine_shape(scene: Scene, views: Sequence[View], rounds: int = 1) -> Scene:
    """Return the scene with layers whose outlines are nearer to those of the views; colours and light stay."""
    for _ in range(rounds):
        prepared = prepare_scene(scene, quality=PORTRAIT)
        found = [find_shifts(prepared, view) for view in views]
        scene = move_layers(scene, join_shifts(found))
    return scene


def join_shifts(found: Sequence[Shifts]) -> Shifts:
    points = np.concatenate([np.zeros((0, 3), np.float32), *(f.points for f in found)])
    shifts = np.concatenate([np.zeros((0, 3), np.float32), *(f.shifts for f in found)])
    return Shifts(points, shifts, np.concatenate([np.zeros(0, np.uint8), *(f.part for f in found)]))


def find_shifts(prepared: PreparedScene, view: View) -> Shifts:
    """Compare the outline of a render with that of a view's matte."""
    seen = render(prepared, view.camera, view.size)
    rows, columns = _find_outline(seen)
    distance = _measure_distance(view.alpha > 0.5)
    outward = -np.stack(np.gradient(cv2.GaussianBlur(distance, (0, 0), 1.0)), -1)[rows, columns]
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-6)
    length = distance[rows, columns]  # positive: the matte reaches farther
    near = np.abs(length) < LARGEST * view.size
    rows, columns, length, outward = rows[near], columns[near], length[near], outward[near]
    depth = seen.depth[rows, columns]
    uv = (np.stack([columns, rows], -1) + 0.5) / view.size
    moved = uv + length[:, None] * outward[:, ::-1] / view.size
    points = view.camera.unproject(uv, depth)
    shifts = view.camera.unproject(moved, depth) - points
    return Shifts(points.astype(np.float32), shifts.astype(np.float32), seen.parts[rows, columns].astype(np.uint8))


def _find_outline(seen: Rendering) -> tuple[np.ndarray, np.ndarray]:
    """Return the covered pixels beside the background; those beside the picture's border do not count."""
    inside = (seen.alpha > 0.5) & (seen.depth > 0)
    edge = inside & ~cv2.erode((seen.alpha > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    edge[[0, -1]], edge[:, [0, -1]] = False, False
    rows, columns = np.nonzero(edge)
    return rows, columns


def _measure_distance(matte: np.ndarray) -> F32:
    """Return the distances (s, s) to the outline of a matte in pixels, positive inside; the border is no outline."""
    padded = cv2.copyMakeBorder(matte.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    if not matte.any() or matte.all():
        return np.full(matte.shape, 2 * len(matte), np.float32)  # no outline: farther away than any
    inside, outside = (cv2.distanceTransform(side, cv2.DIST_L2, 5)[1:-1, 1:-1] for side in (padded, 1 - padded))
    return np.where(matte, inside - 0.5, 0.5 - outside).astype(np.float32)


def spread(shifts: Shifts, points: F32) -> ShiftField:
    """Spread shifts to a smooth field around the points; it fades where no outline is near."""
    corner = (points.min(0) - CELL).astype(np.float32)
    shape = np.ceil((points.max(0) - corner) / CELL).astype(int) + 2
    if not len(shifts.points):
        return ShiftField(corner, np.zeros((*shape, 3), np.float32))
    cells = np.rint((shifts.points - corner) / CELL).astype(int).clip(0, shape - 1)
    flat = np.ravel_multi_index(tuple(cells.T), tuple(shape))
    size = int(np.prod(shape))
    weight = gaussian_filter(np.bincount(flat, minlength=size).reshape(shape).astype(np.float64), REACH)
    typical = float(np.median(weight[tuple(cells.T)]))
    values = [
        gaussian_filter(np.bincount(flat, shifts.shifts[:, i], size).reshape(shape), REACH)
        / (weight + STILL * typical)
        for i in range(3)
    ]
    return ShiftField(corner, np.stack(values, -1).astype(np.float32))


def move_layers(scene: Scene, shifts: Shifts) -> Scene:
    """Move skin and what sits on it, clothes, and hair, each by the shifts of its own outlines."""
    points = np.concatenate([mesh.vertices for mesh in scene.meshes])
    skin = spread(shifts.of(SKIN), points)
    clothes, hair = spread(shifts.of(CLOTHES), points), spread(shifts.of(HAIR), points)

    def move_mesh(mesh: Mesh) -> Mesh:
        field = {CLOTHES: clothes, HAIR: hair}.get(int(mesh.part[0]), skin)
        vertices = mesh.vertices + field.look_up(mesh.vertices)
        normals = None if mesh.normals is None else vertex_normals(vertices, mesh.triangles)
        return replace(mesh, vertices=vertices, normals=normals)

    def move_strands(group: Strands) -> Strands:
        own = hair if group.part[:1].tolist() == [HAIR] else skin
        return replace(group, points=_move_strands(group.points, skin, own))

    meshes, strands = tuple(map(move_mesh, scene.meshes)), tuple(map(move_strands, scene.strands))
    landmarks = {name: point + skin.look_up(point) for name, point in scene.landmarks.items()}
    return replace(scene, meshes=meshes, strands=strands, landmarks=landmarks)


def _move_strands(points: F32, skin: ShiftField, own: ShiftField) -> F32:
    """Move strands (s, k, 3): with the skin at their roots, with their own layer from `GROWN` on."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    along = np.concatenate([np.zeros((len(points), 1), np.float32), np.cumsum(steps, 1)], 1)
    grown = np.minimum(along / GROWN, 1)[..., None].astype(np.float32)
    root = skin.look_up(points[:, :1])
    return (points + (1 - grown) * root + grown * own.look_up(points)).astype(np.float32)
