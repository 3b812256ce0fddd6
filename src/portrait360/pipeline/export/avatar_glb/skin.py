"""The skin: fine on the face, coarse where hair covers it, with a texture and 52 morph targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.skin.mesh import skin_sizes
from portrait360.pipeline.export.avatar_glb.expression import Rig
from portrait360.pipeline.export.avatar_glb.skin_uv import skin_uv, subdivide_uv
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.array_types import F32, I32, Bools
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

TRIANGLES = 21_000  # of the skin at detail 1
FACE, LIDS, SCALP = 2.5, 1.5, 0.5  # how much finer than the rest face, lids and lips are, and how much coarser scalp


@dataclass(frozen=True, eq=False)
class Skin:
    """The skin as it goes to the file; its vertices are some of the avatar's own."""

    vertices: F32  # (n, 3) at the photo's expression, avatar's frame
    normals: F32  # (n, 3)
    uv: F32  # (n, 2)
    triangles: I32
    rows: NDArray[np.integer]  # (n,) vertices of the first subdivision
    neutral: F32  # (n, 3)
    neutral_normals: F32
    moves: F32  # (52, n, 3)
    turns: F32  # (52, n, 3) of the normals


def find_skin(avatar: Avatar) -> Mesh:
    """Return the mesh of the avatar's skin."""
    return next(m for m in avatar.scene.meshes if m.part[0] == Part.SKIN and len(m.vertices) in skin_sizes())


def make_skin(avatar: Avatar, rig: Rig, floor: float, detail: float = 1.0) -> Skin:
    """Make the skin above the height `floor` of about `detail` times the usual number of triangles."""
    mesh, pack = find_skin(avatar), rig.pack
    level = 1 + skin_sizes().index(len(mesh.vertices))
    count = skin_sizes()[0]
    seen = find_seen_quads(mesh, level)
    low = mesh.vertices[:count][pack.subdivision(1).quads][..., 1].max(1) < floor
    corners, uv = choose_triangles(seen & ~low, mesh, round(TRIANGLES * detail))
    keys = np.concatenate([corners.reshape(-1, 1), np.round(uv.reshape(-1, 2) * 65536)], 1).astype(np.int64)
    _, first, triangles = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rows = corners.reshape(-1)[first]
    fitted = np.maximum(mesh.vertices[:count], np.array([-9, floor, -9], np.float32))
    moves = spread_moves(rig, level)
    neutral = fitted - np.tensordot(rig.weights, moves, 1)
    faces = pack.subdivision(1).triangles
    straight = vertex_normals(neutral.astype(np.float32), faces)
    turns = np.stack([vertex_normals(neutral + move, faces) - straight for move in moves])
    normals = vertex_normals(fitted, faces)
    return Skin(
        fitted[rows], normals[rows], uv.reshape(-1, 2)[first], triangles.reshape(-1, 3).astype(np.int32), rows,
        neutral[rows].astype(np.float32), straight[rows], moves[:, rows], turns[:, rows].astype(np.float32),
    )  # fmt: skip


def spread_moves(rig: Rig, level: int) -> F32:
    """Return how expression units move the vertices of the first subdivision (52, n, 3), seen at a finer level."""
    pack, count = rig.pack, skin_sizes()[0]
    matrix = pack.subdivision(1).matrix
    if level == 2:
        matrix = sp.csr_matrix(pack.subdivision(2).matrix[:count] @ matrix)
    body = rig.moves[:, : pack.body]
    flat = matrix @ np.moveaxis(body, 0, 1).reshape(pack.body, -1)
    return np.moveaxis(flat.reshape(count, len(body), 3), 1, 0).astype(np.float32)


def find_seen_quads(mesh: Mesh, level: int) -> Bools:
    """Return which quads of the first subdivision the avatar shows: clothes cover the others."""
    pack, per_quad = load_pack(), 4 ** (level - 1)
    quads = pack.subdivision(level).quads
    owner = np.tile(np.arange(len(quads)) // per_quad, 2)
    every, kept = (
        _number_triangles(t, len(mesh.vertices)) for t in (pack.subdivision(level).triangles, mesh.triangles)
    )
    shown = np.zeros(len(pack.subdivision(1).quads), bool)
    shown[owner[np.isin(every, kept)]] = True
    return shown


def _number_triangles(triangles: I32, count: int) -> NDArray[np.int64]:
    """Return a number for each triangle, the same for the same corners; `count` is that of the vertices."""
    a, b, c = triangles.astype(np.int64).T
    return (a * count + b) * count + c


def choose_triangles(seen: Bools, mesh: Mesh, target: int) -> tuple[NDArray[np.integer], F32]:
    """Return corners (m, 3) and texture coordinates (m, 3, 2) of the seen skin in about `target` triangles.

    Quads of the coarse mesh are divided where it matters; one that is not, beside one that is, becomes a fan.
    """
    pack = load_pack()
    fine, fine_uv = pack.subdivision(1).quads.reshape(-1, 4, 4), subdivide_uv(skin_uv()).reshape(-1, 4, 4, 2)
    shown = seen.reshape(-1, 4)
    partly = shown.any(1) & ~shown.all(1)
    whole = shown.all(1)
    order = np.argsort(-np.where(whole, rank_quads(mesh), -1), kind="stable")
    spare = target - 2 * int(whole.sum()) - 2 * int(shown[partly].sum())
    divided = partly.copy()
    divided[order[: min(max(spare // 6, 0), int(whole.sum()))]] = True
    kept = divided[:, None] & shown
    quads, uv = fine[kept], fine_uv[kept]
    corners = [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    places = [uv[:, [0, 1, 2]], uv[:, [0, 2, 3]]]
    used = np.zeros(int(fine.max()) + 1, bool)
    used[quads] = True
    coarse, coarse_uv = fine[whole & ~divided], fine_uv[whole & ~divided]
    split = used[coarse[:, :, 1]]  # sides whose middle a finer neighbour has
    plain = ~split.any(1)
    for three in ([0, 1, 2], [0, 2, 3]):
        corners.append(coarse[plain][:, three, 0])
        places.append(coarse_uv[plain][:, three, 0])
    for k in range(4):
        after = (k + 1) % 4
        for rows, nodes in (
            (~plain & ~split[:, k], ((k, 2), (k, 0), (after, 0))),
            (split[:, k], ((k, 2), (k, 0), (k, 1))),
            (split[:, k], ((k, 2), (k, 1), (after, 0))),
        ):
            corners.append(np.stack([coarse[rows, q, c] for q, c in nodes], 1))
            places.append(np.stack([coarse_uv[rows, q, c] for q, c in nodes], 1))
    return np.concatenate(corners), np.concatenate(places).astype(np.float32)


def rank_quads(mesh: Mesh) -> F32:
    """Return how much each quad of the pack is in need of being divided."""
    pack, rest = load_pack(), load_average_head().base
    length = np.linalg.norm(rest[pack.quads] - rest[np.roll(pack.quads, -1, 1)], axis=-1).mean(1)
    face, lids, lips = (pack.mask(name)[: pack.body][pack.quads].max(1) for name in ("face", "eyelids", "lips"))
    inside = pack.mask("inside_mouth")[: pack.body][pack.quads].min(1)
    front = smoothstep(-0.05, 0.15, rest[pack.quads][..., 2].mean(1))
    rank = length * (1 + FACE * face * front + LIDS * np.maximum(lids, lips)) * (1 - 0.8 * (inside > 0.9))
    if mesh.labels is not None:
        hair = np.zeros(len(mesh.vertices), bool)
        hair[mesh.triangles[mesh.labels == Label.HAIR]] = True
        rank = np.where(hair[pack.quads].all(1), SCALP * rank, rank)
    return rank.astype(np.float32)
