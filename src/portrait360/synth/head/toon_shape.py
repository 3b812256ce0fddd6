"""Toon proportions: big low eyes, a small nose and chin, round cheeks, a large skull on a child's shoulders."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve

from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import HeadPack, load_pack
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import Toon
from portrait360.utils.array_types import F32

EYE_LIFT = 0.15  # lift of the outer eye corners, which would droop when the eyes grow


def restyle(vertices: F32, rest: F32, pack: HeadPack, style: Toon) -> F32:
    """Apply the style to vertices in head heights; `rest` holds the same vertices on the average head."""
    v = vertices.astype(np.float64)
    v = _shape_skull(v, rest, style)
    v = _shape_lower_face(v, rest, style)
    v = _shape_nose(v, rest, style)
    v = _shape_eyes(v, rest, pack, style)
    v = _smooth_skin(v, style)
    return _shape_body(v, rest, style).astype(np.float32)


def scale_about(
    v: np.ndarray,
    rest: F32,
    center: np.ndarray,
    anchor: np.ndarray,
    inner: float,
    outer: float,
    factor: np.ndarray,
) -> np.ndarray:
    """Scale vertices within `inner` of `center` (on the average head) about `anchor`, fading out at `outer`."""
    distance = np.linalg.norm(rest - center, axis=1)
    weight = smoothstep(outer, inner, distance)[:, None]
    return v + weight * (v - anchor) * (factor - 1)


def _shape_skull(v: np.ndarray, rest: F32, style: Toon) -> np.ndarray:
    high = smoothstep(-0.12, 0.28, rest[:, 1])[:, None] * style.cranium
    v = v * (1 + high * np.array([0.20, 0.16, 0.14]))
    cheek = np.exp(-(((np.abs(rest[:, 0]) - 0.19) / 0.11) ** 2) - ((rest[:, 1] + 0.2) / 0.13) ** 2)
    cheek *= style.cheeks * smoothstep(0.0, 0.2, rest[:, 2])
    return v + np.stack([np.sign(rest[:, 0]) * cheek * 0.035, -0.01 * cheek, cheek * 0.04], 1)


def _shape_lower_face(v: np.ndarray, rest: F32, style: Toon) -> np.ndarray:
    x, y, z = rest.T
    head = smoothstep(-0.75, -0.5, y + 0.5 * np.maximum(z, 0))
    low = smoothstep(-0.16, -0.5, y) * head * style.chin
    v[:, 0] *= 1 - 0.30 * low * smoothstep(-0.05, 0.2, z)
    v[:, 1] += 0.10 * smoothstep(-0.12, -0.5, y) * head * style.chin  # a short lower face
    v[:, 2] -= 0.05 * low * smoothstep(0.1, 0.3, z)
    mouth = np.array([0.0, -0.32, 0.36])
    anchor = np.array([0.0, v[nearest_vertex(rest, mouth), 1], v[nearest_vertex(rest, mouth), 2] - 0.02])
    v = scale_about(v, rest, mouth, anchor, 0.09, 0.2, np.array([1.16 - 0.12 * style.chin, 1.0, 0.85]))
    corner = np.exp(-(((np.abs(x) - 0.115) / 0.05) ** 2) - ((y + 0.325) / 0.06) ** 2) * (z > 0.15)
    v[:, 1] += 0.016 * corner  # a slight smile in the neutral expression
    return v


def nearest_vertex(rest: F32, point: np.ndarray) -> int:
    return int(np.argmin(((rest - point) ** 2).sum(1)))


def _shape_nose(v: np.ndarray, rest: F32, style: Toon) -> np.ndarray:
    tip = np.array([0.0, -0.17, 0.40])
    anchor = v[nearest_vertex(rest, tip)] * np.array([0, 1, 1]) - np.array([0, -0.02, 0.10])
    small = 1 - 0.42 * style.nose
    v = scale_about(v, rest, tip, anchor, 0.085, 0.19, np.array([small, small, 1 - 0.45 * style.nose]))
    bridge = np.exp(-((rest[:, 0] / 0.05) ** 2) - ((rest[:, 1] + 0.06) / 0.09) ** 2) * (rest[:, 2] > 0.25)
    v[:, 2] -= 0.035 * style.nose * bridge
    return v


def _shape_eyes(v: np.ndarray, rest: F32, pack: HeadPack, style: Toon) -> np.ndarray:
    grow = style.eyes
    factor = np.array([1 + grow, 1 + 1.15 * grow, 1 + 0.6 * grow])
    displacement = np.zeros_like(v)
    for name, side, weight in zip(("left_eye", "right_eye"), (1, -1), _eye_weights(), strict=True):
        points = v[pack.parts[name]][np.unique(pack.part_quads[name])]
        anchor = (points.min(0) + points.max(0)) / 2
        shift = np.array([side * 0.02, 0.0, -0.075])
        displacement += weight[:, None] * ((v - anchor) * (factor - 1) + grow * shift)
        displacement[:, 1] += EYE_LIFT * grow * weight * side * (v[:, 0] - anchor[0])
    return v + displacement


def _smooth_skin(v: np.ndarray, style: Toon) -> np.ndarray:
    """Smooth the skin round the eyes and on the cheeks, to remove bags."""
    mean, share = _smoothing_operator()
    body = v[: len(share)]
    for _ in range(60):
        body = body + share * (mean @ body - body)
    return np.concatenate([body, v[len(share) :]])


@lru_cache(maxsize=1)
def _smoothing_operator() -> tuple[sp.csr_matrix, np.ndarray]:
    """Return the neighbour-averaging matrix, and the strength of the smoothing at every body vertex."""
    pack, rest = load_pack(), load_average_head().base
    body = rest[: pack.body]
    x, y, z = np.abs(body[:, 0]), body[:, 1], body[:, 2]
    points = rest[pack.parts["left_eye"]][np.unique(pack.part_quads["left_eye"])]
    distance = np.linalg.norm(np.abs(body) * [1, 0, 0] + body * [0, 1, 1] - points.mean(0), axis=1)
    share = smoothstep(0.058, 0.085, distance) * smoothstep(0.36, 0.26, distance) * smoothstep(0.0, 0.1, z)
    share *= smoothstep(0.05, 0.10, np.hypot(x * 0.9, np.maximum(np.abs(y + 0.17) - 0.05, 0)))  # not the nose
    share *= smoothstep(0.10, 0.14, np.hypot(x, (y + 0.33) * 1.2))  # nor the mouth
    return _neighbour_average(pack.quads, pack.body), (0.6 * share)[:, None]


def _neighbour_average(quads: np.ndarray, n: int) -> sp.csr_matrix:
    """Return the matrix (n, n) that averages over the mesh neighbours of each vertex."""
    ends = np.stack([quads, np.roll(quads, -1, axis=1)], -1).reshape(-1, 2)
    links = sp.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    links = ((links + links.T) > 0).astype(np.float64)
    return (sp.diags(1 / np.maximum(np.asarray(links.sum(1)).ravel(), 1)) @ links).tocsr()


@lru_cache(maxsize=1)
def _eye_weights() -> tuple[F32, F32]:
    """Return how far each vertex follows when an eye is scaled, per eye.

    1 on the lids, 0 on the nose, the mouth and the other half of the face; in between biharmonic over the mesh, so
    that no fold appears.
    """
    pack = load_pack()
    rest = load_average_head().base
    body = rest[: pack.body]
    x, y, _ = body.T
    fixed = (np.abs(x) < 0.075) & (y < -0.07) & (y > -0.26) | (y < -0.27) | (np.abs(x) < 0.02)
    weights = []
    for name in ("left", "right"):
        points = rest[pack.parts[f"{name}_eye"]][np.unique(pack.part_quads[f"{name}_eye"])]
        distance = np.linalg.norm(body - (points.min(0) + points.max(0)) / 2, axis=1)
        value = np.full(pack.body, np.nan)
        value[(distance > 0.26) | fixed] = 0
        value[distance < 0.092] = 1
        weight = np.zeros(len(rest), np.float32)
        weight[: pack.body] = fill_biharmonic(pack.quads, value)
        for part in ("eye", "lashes"):
            weight[pack.parts[f"{name}_{part}"]] = 1
        weights.append(weight)
    return weights[0], weights[1]


def fill_biharmonic(quads: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Fill the unknown (nan) values so that the bi-Laplacian over the mesh vanishes."""
    n = len(value)
    laplacian = sp.identity(n) - _neighbour_average(quads, n)
    energy = (laplacian.T @ laplacian).tocsr()
    free = np.isnan(value)
    right = -energy[free][:, ~free] @ value[~free]
    out = value.copy()
    system = sp.csc_matrix(energy[free][:, free] + 1e-9 * sp.identity(int(free.sum())))
    out[free] = np.clip(np.asarray(spsolve(system, right)), 0, 1)
    return out


def _shape_body(v: np.ndarray, rest: F32, style: Toon) -> np.ndarray:
    """Make a thin short neck on narrow shoulders."""
    y = rest[:, 1] + 0.5 * np.maximum(rest[:, 2], 0)
    neck = smoothstep(-0.42, -0.62, y) * smoothstep(-1.05, -0.72, y) * style.neck
    v[:, 0] *= 1 - 0.42 * neck
    v[:, 2] = (v[:, 2] + 0.06) * (1 - 0.36 * neck) - 0.06
    low = (smoothstep(-0.55, -0.9, y) * (0.5 + 0.5 * style.neck))[:, None]
    root = np.array([0.0, -0.62, -0.08])
    return v + low * ((v - root) * (np.array([0.58, 0.78, 0.70]) - 1) + np.array([0.0, 0.11, 0.0]))
