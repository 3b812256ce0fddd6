"""A head from the coefficients of the face model, as a photo's fit gives them, in place of the pack's weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from portrait360.assets import FACE_MODEL, FACE_PARTS
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import Head, assemble_head, turn_shoulders
from portrait360.synth.head.scan_shape import clear_eye, find_ball, tie_parts
from portrait360.synth.head_pack import load_pack
from portrait360.synth.sampling.parameters import Pose
from portrait360.utils.array_types import F32

DAMPING = 0.3  # of an eyeball's moves, against 1 for each vertex of the lids
UPRIGHT = Pose()
MOUTH_PARTS = ("upper_teeth", "lower_teeth", "tongue")


@dataclass(frozen=True, eq=False)
class LinearHead:
    """All parts of the pack in the canonical frame: mean + shape modes + expression units."""

    mean: F32  # (n, 3)
    shape: F32  # (60, n, 3)
    expression: F32  # (52, n, 3)

    def at(self, shape: ArrayLike, expression: ArrayLike) -> F32:
        shape, expression = _check(shape, self.shape, "shape"), _check(expression, self.expression, "expression")
        return self.mean + np.tensordot(shape, self.shape, 1) + np.tensordot(expression, self.expression, 1)


def _check(weights: ArrayLike, modes: F32, name: str) -> F32:
    found = np.asarray(weights, np.float32)
    if found.shape != (len(modes),):
        raise ValueError(f"the face model has {len(modes)} coefficients of {name}, not {found.size}")
    return found


@lru_cache(maxsize=1)
def load_linear_head() -> LinearHead:
    """Load the packaged face model and its extension over eyes, lashes, teeth and tongue."""
    with np.load(FACE_MODEL) as skin, np.load(FACE_PARTS) as parts:
        mean = np.concatenate([skin["mean"], parts["mean"]])
        shape, expression = (np.concatenate([skin[key], parts[key]], 1) for key in ("shape", "expression"))
    return LinearHead(mean, shape.astype(np.float32), expression.astype(np.float32))


def make_fitted_head(
    shape: ArrayLike,
    expression: ArrayLike,
    *,
    offset: ArrayLike | None = None,
    pose: Pose = UPRIGHT,
    level: int = 1,
) -> Head:
    """Make the head of shape (60) and expression (52) coefficients at subdivision level 1 or 2.

    `offset` (body vertices, 3), in canonical units, is added to the skin; what lies in the head follows the skin
    around it, and lids stay on their eyeballs.
    """
    pack, vertices = load_pack(), load_linear_head().at(shape, expression)
    if offset is not None:
        vertices = _move_skin(vertices, np.asarray(offset, np.float32))
    in_heights = (vertices / HEAD_HEIGHT).astype(np.float32)
    turned = turn_shoulders(in_heights, load_average_head().base, pose)
    return assemble_head(pack, HEAD_HEIGHT * turned, level)


def _move_skin(vertices: F32, offset: F32) -> F32:
    """Add an offset (n, 3) to the skin; eyes, teeth and tongue follow it rigidly, lashes with their lids."""
    pack, ties = load_pack(), tie_parts()
    skin, moved = slice(0, pack.body), vertices.copy()
    moved[skin] += offset
    for name, lids in zip(("left_eye", "right_eye"), ties.lids, strict=True):
        ball = find_ball(pack, vertices, name)
        moved[pack.parts[name]] += _move_ball(ball[0], vertices[skin][lids], offset[lids])
        moved[skin] = clear_eye(vertices[skin], moved[skin], ball, find_ball(pack, moved, name))
    for name, lining in zip(MOUTH_PARTS, _find_linings(), strict=True):
        moved[pack.parts[name]] += offset[lining].mean(0)
    followed = moved[skin] - vertices[skin]
    for name, (near, share) in ties.lashes.items():
        moved[pack.parts[name]] += (followed[near] * share[..., None]).sum(1)
    return moved


def _move_ball(center: F32, lids: F32, offset: F32) -> F32:
    """Return the move of an eyeball that keeps its distances to the lids (k, 3): lids that open wider leave it alone.

    Gauss-Newton from the lids' mean offset; with damping, since the lids say little about moves along them.
    """
    distance, moved = np.linalg.norm(lids - center, axis=1), center + offset.mean(0)
    for _ in range(3):
        arms = lids + offset - moved
        length = np.linalg.norm(arms, axis=1)
        normals = arms / length[:, None]
        damped = normals.T @ normals + np.float32(DAMPING * len(lids)) * np.eye(3, dtype=np.float32)
        moved = moved + np.linalg.solve(damped, normals.T @ (length - distance))
    return moved - center


@lru_cache(maxsize=1)
def _find_linings() -> tuple[NDArray[np.intp], ...]:
    """Return for teeth and tongue the vertices of the mouth's lining that lie nearest to them."""
    pack, base = load_pack(), load_average_head().base
    inside = np.where(tie_parts().mouth)[0]
    tree = KDTree(base[inside])
    return tuple(inside[np.unique(tree.query(base[pack.parts[name]])[1])] for name in MOUTH_PARTS)
