"""How the 52 expression units move an avatar: the skin, and the parts that follow it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.skin.alignment import Similarity, find_similarity
from portrait360.synth.head.fitted_head import load_linear_head, make_fitted_head
from portrait360.synth.head.scan_shape import close_mouth, find_ball
from portrait360.synth.head_pack import HeadPack, load_pack
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep

EYES = ("left_eye", "right_eye")
SIDES = ("Left", "Right")
LIDS = (1.9, 1.3)  # eyeball radii from the middle of the eye over which skin takes part in closing it
NEIGHBOURS = 3  # points of the head from whose moves that of another is interpolated
OPENING = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "mouthSmile", "mouthFunnel", "mouthStretch")
LEAST_OPENING = 0.3  # norm of their weights from which a mouth is open in a photo
STILL = 2e-5  # canonical, a hundredth of a millimetre: moves below it are none


@dataclass(frozen=True, eq=False)
class Rig:
    """All vertices of the head pack in the avatar's frame, and how expression units move them."""

    pack: HeadPack
    similarity: Similarity
    fitted: F32  # (n, 3) at the expression of the photo
    weights: F32  # (52,) that expression
    moves: F32  # (52, n, 3)

    @property
    def names(self) -> tuple[str, ...]:
        return self.pack.units

    @property
    def scale(self) -> float:
        """Avatar units per canonical unit."""
        return self.similarity.scale

    def part(self, name: str) -> slice:
        return self.pack.parts[name]


def make_rig(avatar: Avatar) -> Rig:
    """Return the rig of the head that was fitted to the avatar's photo."""
    pack, linear, fit = load_pack(), load_linear_head(), avatar.fit
    similarity = find_similarity(fit.camera, avatar.camera)
    head = make_fitted_head(fit.shape, fit.expression, offset=fit.offset)
    weights = np.asarray(fit.expression, np.float32)
    moves = linear.expression.astype(np.float32).copy()
    plain = linear.at(fit.shape, fit.expression)
    for side, eye in zip(SIDES, EYES, strict=True):
        unit = pack.units.index(f"eyeBlink{side}")
        moves[unit] += _close_lids(pack, head.base, plain, moves[unit], eye)
    moves += _part_lips(pack, head.base, moves, weights)
    turned = similarity.scale * moves @ similarity.rotation.T.astype(np.float32)
    return Rig(pack, similarity, similarity.move(head.base), weights, turned.astype(np.float32))


def _close_lids(pack: HeadPack, fitted: F32, plain: F32, move: F32, eye: str) -> F32:
    """Return what is added to a blink (n, 3) so that both lids, which the photo moved apart, meet all the same.

    Args:
        pack: The head pack.
        fitted: The vertices (n, 3) as the photo shows them.
        plain: Those of the face model alone.
        move: How the face model blinks (n, 3).
        eye: The part of the pack.
    """
    body = slice(0, pack.body)
    center, radius = find_ball(pack, fitted, eye)
    arm = (fitted[body] - center) / radius
    reach = np.linalg.norm(arm, axis=1)
    near = smoothstep(LIDS[0], LIDS[1], reach) * smoothstep(-0.1, 0.3, arm[:, 2])
    offset = fitted[body] - plain[body]
    moving = np.linalg.norm(move[body], axis=1) * near
    usual = np.average(offset, axis=0, weights=moving + 1e-12)
    out = np.zeros_like(fitted)
    out[body] = near[:, None] * (usual - offset)
    return out


def _part_lips(pack: HeadPack, fitted: F32, moves: F32, weights: F32) -> F32:
    """Return what is added to the units (52, n, 3) that open the mouth in the photo: without them it is closed.

    What the landmarks say about lips beyond the units would else keep them apart in every expression.
    """
    out, opening = np.zeros_like(moves), np.array([name.startswith(OPENING) for name in pack.units])
    strength = np.where(opening, weights, 0) ** 2
    if np.sqrt(strength.sum()) < LEAST_OPENING:
        return out
    neutral = np.asarray((fitted - np.tensordot(weights, moves, 1))[: pack.body] / HEAD_HEIGHT, np.float32)
    closing = (close_mouth(pack, neutral) - neutral) * np.float32(HEAD_HEIGHT)
    share = np.where(opening, weights, 0) / strength.sum()
    out[:, : pack.body] = -share[:, None, None] * closing
    return out


def follow(points: F32, sources: F32, moves: F32) -> F32:
    """Return how points (p, 3) move with sources (s, 3) that move (u, s, 3): (u, p, 3)."""
    flat = follow_matrix(points, sources) @ np.moveaxis(moves, 0, 1).reshape(len(sources), -1)
    return np.moveaxis(flat.reshape(len(points), len(moves), 3), 1, 0).astype(np.float32)


def follow_matrix(points: F32, sources: F32) -> sp.csr_matrix:
    """Return the matrix (p, s) of how far points (p, 3) follow the sources (s, 3) beside them."""
    found = KDTree(sources).query(points, k=min(NEIGHBOURS, len(sources)))
    distance, near = (np.asarray(a).reshape(len(points), -1) for a in found)
    share = 1 / np.maximum(distance, 1e-5)
    share = (share / share.sum(1, keepdims=True)).ravel()
    rows = np.repeat(np.arange(len(points)), near.shape[1])
    return sp.csr_matrix((share, (rows, near.ravel())), (len(points), len(sources)))


def select_units(names: tuple[str, ...], moves: F32) -> dict[str, F32]:
    """Return the moves (n, 3) of the units that move anything, by name."""
    return {name: move for name, move in zip(names, moves, strict=True) if np.abs(move).max(initial=0) > STILL}
