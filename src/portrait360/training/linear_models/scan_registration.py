"""Register scans of heads to the head pack: one correspondence for the neutral head serves all identities.

The scans share one topology, so that a vertex of the pack that is found on the neutral scan is known on every scan.
All coordinates are in head heights, in the frame of the average head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from portrait360.assets import FACE_MODEL
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.geometry.surfaces.subdivision import mesh_laplacian, triangulate
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.noise import smoothstep
from portrait360.training.linear_models.face_model import hollow
from portrait360.utils.array_types import F64, I32
from portrait360.utils.sparse import factorise

SKIN = 11248  # vertices of face, head and neck; gums, teeth, eyes and lashes follow
ROUNDS = 14  # the first half fits the modes, the second bends the mesh
PRIOR = 1e-4  # of the modes, against squared head heights over the covered vertices
STIFF = 8.0  # resistance to bending when it begins, against a weight of 1 a vertex
ANCHOR = 0.05  # how firmly the shoulders stay, against 1 a vertex
MARK = 0.5  # weight of a landmark, against 1 a vertex
NOSTRIL, NOSTRIL_SIZE = (0.042, -0.186, 0.478), (0.022, 0.022, 0.032)  # on the average head, the subject's left
POCKET = 0.04  # head heights: how near the opposite side of a nostril is
FAR = 0.06  # head heights: nothing that is farther away corresponds

# the face network's landmarks at the 68 points that the scans name, in their order
LANDMARKS = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389, 71, 63, 105, 66, 107, 336, 296,
    334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61,
    39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
JAW = 17  # the first landmarks lie on the outline, which slides: they do not count


@dataclass(frozen=True, eq=False)
class Scans:
    neutral: F64  # (m, 3) the mean head
    identity: F64  # (k, m, 3) offsets of unit variance
    triangles: I32
    landmarks: I32  # (68,) vertices

    def at(self, weights: F64) -> F64:
        return self.neutral + np.tensordot(weights, self.identity, 1)


@dataclass(frozen=True, eq=False)
class Registration:
    skin: F64  # (n, 3) where the neutral scan has the smooth vertices of the pack's body
    identity: F64  # (k, n, 3) how each identity moves them
    cover: F64  # (n,) 0..1: how much the scans say about each vertex


def load_scans(folder: Path) -> Scans:
    """Load the skin of ICT-FaceKit."""
    with np.load(folder / "ict_face_kit.npz") as data:
        quads = data["quads"][(data["quads"] < SKIN).all(1)]
        neutral, identity = data["neutral"][:SKIN].astype(float), data["identity"][:, :SKIN].astype(float)
    marks = json.loads((folder / "vertex_indices.json").read_text())["idx_to_landmark_verts"]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return Scans(neutral, identity, triangles, np.array(marks, np.int32))


def load_modes() -> tuple[F64, F64]:
    """Return the mean (n, 3) and the shape modes (60, n, 3) of the face model, in head heights."""
    with np.load(FACE_MODEL) as data:
        return data["mean"].astype(float) / HEAD_HEIGHT, data["shape"].astype(float) / HEAD_HEIGHT


@lru_cache(maxsize=1)
def smoothing() -> sp.csr_matrix:
    """Return the matrix (n, n) from the body's vertices to their places on the subdivided skin."""
    pack = load_pack()
    return sp.csr_matrix(pack.subdivision(1).matrix[: pack.body], dtype=float)


@lru_cache(maxsize=1)
def laplacian() -> sp.csr_matrix:
    """Return the Laplacian (n, n) of the body; vertices without neighbours keep their place."""
    quads, count = load_pack().quads, load_pack().body
    alone = ~np.isin(np.arange(count), quads)
    return sp.csr_matrix(mesh_laplacian(quads, count) + sp.diags(alone * 1.0))


def above_shoulders() -> F64:
    """Return 1 on head and neck, 0 on the shoulders (n,), of which the scans know nothing."""
    _, y, z = load_average_head().base[: load_pack().body].T
    return smoothstep(-0.80, -0.60, y + 0.3 * np.maximum(z, 0)).astype(float)


def cover_skin() -> F64:
    """Return how far each vertex can be known (n,): the face fully, the skull a little, shoulders and hollows not."""
    pack, rest = load_pack(), load_average_head().base[: load_pack().body]
    x, y, z = rest.T
    face = smoothstep(-0.12, 0.06, z - 0.25 * np.maximum(y - 0.25, 0)) * smoothstep(0.47, 0.36, y)
    cover = (0.25 + 0.75 * face) * above_shoulders()
    cover *= 1 - 0.97 * pack.mask("ears")[: pack.body]  # ears have folds, in which the closest point is chance
    cover[np.unique(pack.quads[hollow()])] = 0
    cover[_find_pockets()] = 0
    return cover.astype(float)


def _find_pockets() -> I32:
    """Return the vertices in nostrils and between the lips: from them, a ray along the normal meets skin again."""
    pack, rest = load_pack(), load_average_head().base.astype(float)
    triangles = triangulate(pack.quads)
    normals = vertex_normals(rest[: pack.body].astype(np.float32), triangles).astype(float)
    x, y, z = rest[: pack.body].T
    box = (np.abs(x) < 0.14) & (y > -0.45) & (y < 0) & (z > 0.3)
    rows, triangles = np.where(box)[0], triangles[box[triangles].all(1)]
    corners = rest[triangles]
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    ray, arm = normals[rows][:, None], rest[rows][:, None] - corners[:, 0]
    across = np.cross(ray, other)
    scale = (across * edge).sum(-1)
    scale[np.abs(scale) < 1e-12] = np.inf
    u, turned = (across * arm).sum(-1) / scale, np.cross(arm, edge)
    v, distance = (turned * ray).sum(-1) / scale, (turned * other).sum(-1) / scale
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 1e-4) & (distance < POCKET)
    away = (np.column_stack([np.abs(x), y, z]) - NOSTRIL) / NOSTRIL_SIZE
    nostrils = np.flatnonzero(np.linalg.norm(away, axis=1) < 1)
    return np.union1d(rows[hit.any(1)], nostrils).astype(np.int32)


def register(scans: Scans) -> Registration:
    """Register the neutral scan, and carry the correspondence over to the identities."""
    (mean, modes), cover, smooth = load_modes(), cover_skin(), smoothing()
    marks, target = _load_landmarks()[JAW:], scans.landmarks[JAW:]
    triangles = triangulate(load_pack().quads)
    smooth_modes = np.stack([smooth @ m for m in modes])
    body, points, turn = mean, *_align(scans.neutral, scans.neutral[target], marks @ mean, np.ones(len(target)))
    for step in range(ROUNDS):
        rows, near = _closest_points(smooth @ body, triangles, points, scans.triangles)
        weight, goal = cover * near, rows @ points
        if step < ROUNDS // 2:
            coefficients = fit_modes(smooth_modes, goal - smooth @ mean, weight, PRIOR)
            body = mean + np.tensordot(coefficients, modes, 1)
            points, turn = _align(scans.neutral, rows @ scans.neutral, smooth @ body, weight)
        else:
            stiffness = STIFF * 0.6 ** (step - ROUNDS // 2)
            anchors = points[target] - marks @ body
            body = body + bend(goal - smooth @ body, weight, stiffness, marks, anchors)
    rows, _ = _closest_points(smooth @ body, triangles, points, scans.triangles)
    identity = np.stack([rows @ offsets @ turn.T for offsets in scans.identity])
    return Registration(rows @ points, identity, cover)


def fit_modes(modes: F64, offsets: F64, weight: F64, prior: float) -> F64:
    """Return the coefficients (k,) whose modes (k, n, 3) come closest to the offsets, by ridge regression."""
    rows = (modes * weight[:, None]).reshape(len(modes), -1)
    gram = rows @ modes.reshape(len(modes), -1).T + prior * np.eye(len(modes))
    return np.linalg.solve(gram, rows @ offsets.ravel())


def bend(
    offsets: F64,
    weight: F64,
    stiffness: float,
    marks: sp.csr_matrix | None = None,
    anchors: F64 | None = None,
) -> F64:
    """Return smooth offsets (n, 3) of the body that bring its subdivided skin close to the wanted ones."""
    smooth, stiff = smoothing(), laplacian()
    weights = sp.diags(weight)
    still = sp.diags(1e-5 + ANCHOR * (1 - above_shoulders()))
    system = smooth.T @ weights @ smooth + stiffness * stiff.T @ stiff + still
    wanted = smooth.T @ (weights @ offsets)
    if marks is not None and anchors is not None:
        system, wanted = system + MARK * marks.T @ marks, wanted + MARK * marks.T @ anchors
    return factorise(system).solve(wanted)


def _load_landmarks() -> sp.csr_matrix:
    """Return the matrix (68, n) from the body's vertices to the landmarks."""
    with np.load(FACE_MODEL) as data:
        count = len(data["mean"])
        marks = sp.csr_matrix((data["row_data"], data["row_indices"], data["row_offsets"]), (468, count))
    return sp.csr_matrix(marks[list(LANDMARKS)], dtype=float)


def _align(points: F64, source: F64, target: F64, weight: F64) -> tuple[F64, F64]:
    """Move the points by the similarity that takes source to target; return them and its linear part (3, 3)."""
    share = (weight / weight.sum())[:, None]
    middle, goal = (share * source).sum(0), (share * target).sum(0)
    a, b = source - middle, target - goal
    u, sizes, vt = np.linalg.svd((share * b).T @ a)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    linear = (u * signs) @ vt * ((sizes * signs).sum() / (share * a**2).sum())
    return (points - middle) @ linear.T + goal, linear


def _closest_points(
    vertices: F64, triangles: I32, points: F64, scan_triangles: I32, neighbours: int = 16
) -> tuple[sp.csr_matrix, F64]:
    """Return the matrix (n, m) to the closest places on the scan that face alike, and how far to trust each."""
    normals = vertex_normals(vertices.astype(np.float32), triangles)
    corners = points[scan_triangles]
    edges = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], -1)
    facing = np.cross(edges[..., 0], edges[..., 1])
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-12)
    near = np.asarray(KDTree(corners.mean(1)).query(vertices, k=neighbours)[1])
    uv = (np.linalg.pinv(edges)[near] @ (vertices[:, None] - corners[near, 0])[..., None])[..., 0].clip(0, 1)
    uv = uv / np.maximum(uv.sum(-1, keepdims=True), 1)
    gap = np.linalg.norm(corners[near, 0] + (edges[near] @ uv[..., None])[..., 0] - vertices[:, None], axis=-1)
    alike = (facing[near] * normals[:, None]).sum(-1)
    row = np.arange(len(vertices))
    best = np.argmin(gap + FAR * (alike < 0.5), 1)
    u, v = uv[row, best].T
    columns = scan_triangles[near[row, best]]
    data = np.stack([1 - u - v, u, v], 1).ravel()
    rows = sp.csr_matrix((data, (np.repeat(row, 3), columns.ravel())), (len(row), len(points)))
    trust = smoothstep(FAR, 0.6 * FAR, gap[row, best]) * smoothstep(0.4, 0.7, alike[row, best])
    return rows, trust.astype(float)
