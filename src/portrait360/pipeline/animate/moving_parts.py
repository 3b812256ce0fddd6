"""Which points of an avatar an expression moves, and how far: skin, eyes, mouth, lashes, brows and beard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from portrait360.pipeline.animate.teeth import TeethRow, make_teeth_row
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.skin.mesh import skin_sizes
from portrait360.pipeline.export.avatar_glb.expression import EYES, LIDS, SIDES, Rig, follow_matrix, make_rig
from portrait360.pipeline.export.avatar_glb.eyes import find_middle, find_turn, is_eye
from portrait360.pipeline.export.avatar_glb.face import MOUTH_MOVE, name_mouth_parts
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.synth.head.fitted_head import MOUTH_PARTS
from portrait360.synth.head.scan_shape import find_ball
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep

BACK, SHUT = 0.01, (0.55, 0.95)  # canonical way back of lashes, which else stick through shut lids, and when


class Eye(NamedTuple):
    """An eyeball that turns about its middle."""

    rows: slice  # of the surface
    middle: F32  # (3,)
    turns: F32  # (52, 3) rotation vectors of the units


class Lid(NamedTuple):
    """Skin around an eye, which slides over the eyeball instead of through it."""

    unit: int  # that closes it
    middle: F32  # (3,) of the eyeball
    share: F32  # (body,) how far each vertex takes part
    rest: F32  # (body,) distance from the middle in the photo
    closed: F32  # (body,)

    def measure_way(self, rig: Rig, weights: Floats) -> np.float32:
        """Return how far the lid has closed, from 0 in the photo to 1."""
        start = float(rig.weights[self.unit])
        return np.float32(np.clip((float(weights[self.unit]) - start) / max(1 - start, 1e-3), 0, 1))


class Shift(NamedTuple):
    """How far points have moved."""

    surface: F32  # (n, 3) of all meshes
    strands: F32  # (p, 3) of all points of strands


@dataclass(frozen=True, eq=False)
class MovingParts:
    """An avatar's points as weighted means of the vertices of the head pack."""

    rig: Rig
    eyes: tuple[Eye, ...]
    lids: tuple[Lid, ...]
    teeth: tuple[TeethRow, ...]
    _surface: sp.csr_matrix  # (n, pack)
    _strands: sp.csr_matrix  # (p, pack)
    _rest: F32  # (n, 3) of the surface
    _lashes: tuple[Bools, ...]  # (p,) which points of strands are each lid's

    def move(self, weights: Floats) -> Shift:
        """Return how far all points are from where the photo shows them when units have these weights (52,)."""
        change = np.asarray(weights, np.float32) - self.rig.weights
        moves = np.tensordot(change, self.rig.moves, 1).astype(np.float32)
        for lid in self.lids:
            moves = _slide_lid(self.rig, lid, lid.measure_way(self.rig, weights), moves)
        surface = np.asarray(self._surface @ moves, np.float32)
        for eye in self.eyes:
            arm = self._rest[eye.rows] - eye.middle
            surface[eye.rows] = rotate(arm, change @ eye.turns) - arm
        for row in self.teeth:
            surface[row.rows, 2] -= row.find_retreat(surface)
        strands = np.asarray(self._strands @ moves, np.float32)
        for lid, own in zip(self.lids, self._lashes, strict=True):
            strands[own, 2] -= BACK * smoothstep(*SHUT, np.array(lid.measure_way(self.rig, weights)))
        return Shift(surface, strands)


def rotate(arms: Floats, vector: Floats, share: Floats | float = 1.0) -> F32:
    """Turn arms (n, 3) by a share, of each or of all, of a rotation vector (3,)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.asarray(arms, np.float32)
    axis, theta = np.asarray(vector) / angle, np.asarray(angle * share)[..., None]
    along = (arms @ axis)[..., None] * axis
    turned = along + (arms - along) * np.cos(theta) + np.cross(axis, arms) * np.sin(theta)
    return np.asarray(turned, np.float32)


def find_moving_parts(avatar: Avatar) -> MovingParts:
    """Tie an avatar's meshes and strands to the head pack."""
    rig, prepared = make_rig(avatar), avatar.prepared_scene
    for name in MOUTH_PARTS:  # as in the file: teeth do not follow units that hardly move them
        part = rig.part(name)
        rig.moves[np.abs(rig.moves[:, part]).max((1, 2)) < MOUTH_MOVE, part] = 0
    blocks, eyes, teeth, first, skin, mouth = [], [], [], 0, find_skin(avatar), name_mouth_parts(avatar)
    skin_row = find_first(avatar, skin)
    for mesh in avatar.scene.meshes:
        rows = slice(first, first + len(mesh.vertices))
        blocks.append(_tie_mesh(avatar, mesh, rig))
        eyes += [_tie_eye(mesh, rows, rig)] if is_eye(mesh) else []
        is_teeth = mouth.get(id(mesh), "").endswith("teeth")
        teeth += [make_teeth_row(mesh, rows, skin, skin_row, rig.scale)] if is_teeth else []
        first = rows.stop
    if avatar.scene.outline > 0:  # the ink hull follows the surface
        blocks, eyes = blocks * 2, eyes + [eye._replace(rows=_push(eye.rows, first)) for eye in eyes]
        teeth += [replace(row, rows=_push(row.rows, first)) for row in teeth]
    lids = tuple(_find_lid(rig, side, eye) for side, eye in zip(SIDES, EYES, strict=True))
    surface, rest = sp.csr_matrix(sp.vstack(blocks)), prepared.surface.values[:, :3]
    lashes = tuple(_find_lashes(avatar, lid) for lid in lids)
    return MovingParts(rig, tuple(eyes), lids, tuple(teeth), surface, _tie_strands(avatar, rig), rest, lashes)


def find_first(avatar: Avatar, mesh: Mesh) -> int:
    """Return the first vertex of a mesh in the surface of all meshes."""
    before = next(i for i, other in enumerate(avatar.scene.meshes) if other is mesh)
    return sum(len(other.vertices) for other in avatar.scene.meshes[:before])


def _push(rows: slice, count: int) -> slice:
    return slice(rows.start + count, rows.stop + count)


def _tie_mesh(avatar: Avatar, mesh: Mesh, rig: Rig) -> sp.csr_matrix:
    """Return how the vertices of a mesh are made of those of the pack; zeros where nothing moves it."""
    count, total = len(mesh.vertices), len(rig.fitted)
    if mesh is find_skin(avatar):
        pack = rig.pack
        matrix = sp.csr_matrix(pack.subdivision(1).matrix)
        if count == skin_sizes()[1]:
            matrix = sp.csr_matrix(pack.subdivision(2).matrix @ matrix)
        return sp.csr_matrix((matrix.data, matrix.indices, matrix.indptr), (count, total))
    name = name_mouth_parts(avatar).get(id(mesh))
    if name is None:
        return sp.csr_matrix((count, total), dtype=np.float32)
    return _place(follow_matrix(mesh.vertices, rig.fitted[rig.part(name)]), rig.part(name).start, (count, total))


def _place(matrix: sp.csr_matrix, first: int, shape: tuple[int, int]) -> sp.csr_matrix:
    """Return a matrix over a part of the pack as one over all of it."""
    return sp.csr_matrix((matrix.data, matrix.indices + first, matrix.indptr), shape)


def _tie_eye(mesh: Mesh, rows: slice, rig: Rig) -> Eye:
    left = bool(mesh.vertices[:, 0].mean() > 0)
    middle, name, side = find_middle(mesh), EYES[0 if left else 1], SIDES[0 if left else 1]
    turns = np.zeros((len(rig.names), 3), np.float32)
    for i, unit in enumerate(rig.names):
        if unit.startswith("eyeLook") and unit.endswith(side):
            turns[i] = find_turn(middle, rig, name, unit)
    return Eye(rows, middle, turns)


def _tie_strands(avatar: Avatar, rig: Rig) -> sp.csr_matrix:
    """Return how points of strands are made of the pack: lashes of its own, brows and beard of the skin."""
    curves, total = avatar.prepared_scene.curves, len(rig.fitted)
    begins = np.zeros(len(curves.points), bool)
    begins[curves.segments[(curves.ends & 1) > 0]] = True
    root = np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))
    out = sp.csr_matrix((len(curves.points), total), dtype=np.float32)
    lashes = np.r_[rig.part("left_lashes"), rig.part("right_lashes")]
    kinds = (
        (Part.EYES, np.arange(len(begins)), lashes),
        (Part.BROWS, root, np.arange(rig.pack.body)),
        (Part.BEARD, root, np.arange(rig.pack.body)),
    )
    for part, point, sources in kinds:
        rows = np.flatnonzero(curves.part == part)
        if len(rows):
            ties = follow_matrix(curves.points[point[rows]], rig.fitted[sources]).tocoo()
            places = (rows[ties.row], sources[ties.col])
            out = out + sp.csr_matrix((ties.data, places), (len(begins), total))
    return sp.csr_matrix(out)


def _find_lid(rig: Rig, side: str, eye: str) -> Lid:
    body, unit = slice(0, rig.pack.body), rig.names.index(f"eyeBlink{side}")
    middle, radius = find_ball(rig.pack, rig.fitted, eye)
    arm = rig.fitted[body] - middle
    rest = np.linalg.norm(arm, axis=1)
    share = smoothstep(LIDS[0], LIDS[1], rest / radius) * smoothstep(-0.1, 0.3, arm[:, 2] / radius)
    left = max(1 - float(rig.weights[unit]), 1e-3)
    closed = np.linalg.norm(arm + left * rig.moves[unit, body], axis=1)
    return Lid(unit, middle, np.asarray(share, np.float32), rest, closed)


def _find_lashes(avatar: Avatar, lid: Lid) -> Bools:
    """Return which points of strands (p,) are lashes on the side of a lid."""
    curves = avatar.prepared_scene.curves
    return (curves.part == Part.EYES) & (curves.points[:, 0] * lid.middle[0] > 0)


def _slide_lid(rig: Rig, lid: Lid, way: np.float32, moves: F32) -> F32:
    """Return the moves (pack, 3) with a closing lid no nearer to its eyeball's middle than on a straight way."""
    if way == 0:
        return moves
    body, out = slice(0, rig.pack.body), moves.copy()
    arm = rig.fitted[body] + moves[body] - lid.middle
    length = np.maximum(np.linalg.norm(arm, axis=1), 1e-6)
    wanted = lid.rest + way * (lid.closed - lid.rest)
    gain = lid.share * np.maximum(wanted / length - 1, 0)
    out[body] += gain[:, None] * arm
    return out
