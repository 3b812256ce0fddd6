"""Values on the vertices of an avatar's skin: where they lie on the head, and how they spread over its mesh."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head_pack import load_pack
from portrait360.utils.array_types import F32, F64, Bytes, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import count_threads
from portrait360.utils.sparse import factorise

FEATURES = (  # of the average head, head heights: |x| and y of the middle, half the width and height
    (0.12, 0.035, 0.115, 0.08),  # eye and brow
    (0.0, -0.10, 0.075, 0.14),  # nose
    (0.0, -0.315, 0.125, 0.075),  # mouth
)
FEATURE_EDGE = (1.0, 1.25)  # of these sizes
FRONT = (0.11, 0.18)  # head heights before the middle of the head
STEP = 0.12  # share of the difference to its neighbours that a vertex takes in a step of diffusion
BLOCKED = 0.003  # what passes over the border between two kinds of skin, of what passes elsewhere


@lru_cache(maxsize=1)
def mirror_vertices() -> np.ndarray:
    """Return the vertex on the other side of the head of each vertex of the first subdivision."""
    rest = load_average_head().fine[1]
    return np.asarray(KDTree(rest).query(rest * np.array([-1, 1, 1]), workers=count_threads())[1])


@lru_cache(maxsize=1)
def mirror_fine_vertices() -> np.ndarray:
    """Return the vertex on the other side of the head of each vertex of the second subdivision."""
    rest = load_average_head().fine[2]
    return np.asarray(KDTree(rest).query(rest * np.array([-1, 1, 1]), workers=count_threads())[1])


@lru_cache(maxsize=1)
def skin_edges() -> tuple[np.ndarray, float]:
    """Return the edges (e, 2) of the first subdivision and their mean length, canonical."""
    average, quads = load_average_head(), load_pack().subdivision(1).quads
    edges = np.unique(np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1), axis=0)
    rest = average.fine[1]
    return edges, float(np.linalg.norm(rest[edges[:, 0]] - rest[edges[:, 1]], axis=1).mean()) * HEAD_HEIGHT


@lru_cache(maxsize=1)
def skin_sizes() -> tuple[int, ...]:
    return tuple(len(load_pack().subdivision(level).corner) for level in (1, 2))


@lru_cache(maxsize=1)
def fine_edges() -> F32:
    """Return the length of the longest edge at each vertex of the second subdivision, canonical."""
    rest, quads = load_average_head().fine[2], load_pack().subdivision(2).quads
    length = np.linalg.norm(rest[quads] - rest[np.roll(quads, -1, 1)], axis=-1) * HEAD_HEIGHT
    longest = np.zeros(len(rest), np.float32)
    for ends in (quads, np.roll(quads, -1, 1)):
        np.maximum.at(longest, ends.ravel(), length.ravel().astype(np.float32))
    return longest


def coarse_count() -> int:
    return skin_sizes()[0]


def graph_laplacian(edges: np.ndarray, weight: np.ndarray, count: int) -> sp.csr_matrix:
    """Return the matrix of the sum of weight * (difference over an edge)^2 / 2."""
    ends = np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]]
    links = sp.csr_matrix((np.r_[weight, weight], ends), shape=(count, count))
    return sp.csr_matrix(sp.diags(links @ np.ones(count)) - links)


@lru_cache(maxsize=1)
def plain_laplacian() -> sp.csr_matrix:
    edges, _ = skin_edges()
    return graph_laplacian(edges, np.ones(len(edges)), coarse_count())


def laplacian_within(kinds: Bytes) -> sp.csr_matrix:
    """Return the Laplacian of the first subdivision over which hardly anything passes between kinds (n,) of skin."""
    edges, _ = skin_edges()
    passes = np.where(kinds[edges[:, 0]] == kinds[edges[:, 1]], 1.0, BLOCKED)
    return graph_laplacian(edges, passes, coarse_count())


def solve(system: sp.spmatrix, wanted: Floats) -> F64:
    return factorise(system).solve(np.asarray(wanted, np.float64))


def restrict(values: Floats, count: int, weight: Floats | None = None) -> F64:
    """Return values of `count` vertices as weighted means at the vertices of the first subdivision."""
    if count == coarse_count():
        return np.asarray(values, np.float64)
    fine = load_pack().subdivision(2).matrix
    weight = np.ones(count, np.float32) if weight is None else np.asarray(weight, np.float32)
    total = np.asarray(fine.T @ weight)
    spread = weight if values.ndim == 1 else weight[:, None]
    summed = np.asarray(fine.T @ (spread * values))
    return np.asarray(summed / np.maximum(total if values.ndim == 1 else total[:, None], 1e-6), np.float64)


def prolong(values: Floats, count: int) -> F64:
    """Return values of the vertices of the first subdivision at `count` vertices."""
    return np.asarray(values if count == len(values) else load_pack().subdivision(2).matrix @ values, np.float64)


def soften(share: Floats, steps: int) -> F32:
    """Blur a share (n,) of the skin's vertices over its mesh."""
    coarse, matrix = np.asarray(share[: coarse_count()], np.float64), plain_laplacian()
    for _ in range(steps):
        coarse = coarse - STEP * (matrix @ coarse)
    return np.clip(prolong(coarse, len(share)), 0, 1).astype(np.float32)


@lru_cache(maxsize=2)
def find_features(count: int) -> F32:
    """Return 1 for the vertices of eyes, brows, nose and mouth, whose details matter, to 0 for those around them."""
    x, y, z = prolong(load_average_head().fine[1], count).T
    inside = np.zeros(count)
    for across, up, width, height in FEATURES:
        distance = (((np.abs(x) - across) / width) ** 4 + ((y - up) / height) ** 4) ** 0.25
        inside = np.maximum(inside, 1 - smoothstep(*FEATURE_EDGE, distance))
    return np.asarray(inside * smoothstep(*FRONT, z), np.float32)
