"""Let fine strands come loose at the edge of hair that lies beside a face: no hair ends on skin as a helmet does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from portrait360.pipeline.avatar.hair.outline import trim_strands
from portrait360.pipeline.avatar.hair.undercoat import copy_look
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Material, Strands
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

CELL = 0.005  # canonical, of the grid in which hair is counted
MOST_FILLED = 5  # points for each of a strand's
AHEAD = 0.013  # canonical: no hair so far towards the face is the edge
OPEN = (0.05, 0.25)  # hair there, of that here, from which it is none, and up to which it is the edge
FACE = np.array([0.0, 0.0, 0.16])  # towards which hair ends
LOW, BEHIND, NEAR = (-0.20, -0.14), (-0.02, 0.03), (0.06, 0.035)
"""Heights, z, and distances from skin of a face's hair."""
HANGS = (0.05, 0.09)  # canonical: how far from its root hair falls beside a face; nearer, it has a hairline
SIDE_BY_SIDE, SURE = 12.0, 0.5  # wisps across the edge; share from which hair surely lies at it
WIDTHS = (0.0004, 0.0008)  # canonical
ASIDE, MOST = 0.008, 3.0  # canonical: how far wisps lie aside, on average; times this at most
TURN, TURNS = 0.09, 3.0  # canonical length over which they come and go once, at least; how often, at most
CLEAR = 0.002  # canonical: over the skin
TONE = 0.12  # how far their brightness differs, logarithm
THIN = 0.45  # share of its width that hair keeps at its edge


@dataclass(frozen=True, eq=False)
class Edge:
    """Where hair ends before a face."""

    share: F32  # (s, k) 1 at its edge, 0 within
    way: F32  # (s, k, 3) along the skin, out of the hair


def fray_edges(groups: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Return groups that are finer at the edge before a face, with wisps beside it. Carved hair has none."""
    out = list(groups)
    rows = [i for i, g in enumerate(groups) if len(g.points) and int(g.material[0]) == Material.HAIR]
    if not any((out[i].points[..., 2] > BEHIND[0]).any() for i in rows):
        return out
    edges = find_edges([groups[i].points for i in rows], head)
    lengths = [_measure_edge(groups[i].points, edge) for i, edge in zip(rows, edges, strict=True)]
    counts = _count_wisps([groups[i].points for i in rows], edges, lengths)
    rng = np.random.default_rng(71)
    for i, edge, length, count in zip(rows, edges, lengths, counts, strict=True):
        group = groups[i]
        thin = replace(group, widths=np.asarray(group.widths * (1 - (1 - THIN) * edge.share), np.float32))
        if count:
            chosen = rng.choice(len(length), count, p=length / length.sum())
            wisps = _copy_aside(group, edge, chosen, head, rng)
            thin = _join([thin, *trim_strands([wisps], head, photo)])
        out[i] = thin
    return out


def _measure_edge(points: F32, edge: Edge) -> F64:
    """Return how long each strand (s, k, 3) lies at the edge."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    return (steps * (edge.share[:, 1:] + edge.share[:, :-1]) / 2).sum(1).astype(np.float64)


def _count_wisps(points: Sequence[F32], edges: Sequence[Edge], lengths: Sequence[F64]) -> list[int]:
    """Return how many wisps each group has: as many side by side everywhere, however many strands lie there."""
    at_edge = np.concatenate([p[edge.share > SURE] for p, edge in zip(points, edges, strict=True)])
    long = np.unique(np.floor(at_edge / AHEAD).astype(int), axis=0).shape[0] * AHEAD
    every = np.concatenate(lengths)
    usual = float((every**2).sum()) / max(float(every.sum()), 1e-9)
    total = SIDE_BY_SIDE * long / max(usual, AHEAD)
    return [round(total * float(length.sum()) / max(float(every.sum()), 1e-9)) for length in lengths]


def _join(groups: Sequence[Strands]) -> Strands:
    """Return groups with as many points a strand as one: each group is coloured by itself, slowly."""
    names = ["points", "widths", "albedo", "part", "material"] + ["normals"] * (groups[0].normals is not None)
    return replace(groups[0], **{name: np.concatenate([getattr(g, name) for g in groups]) for name in names})


def find_edges(groups: Sequence[F32], head: Head) -> list[Edge]:
    """Return where the points (s, k, 3) of hair lie at its edge before a face."""
    cloud = np.concatenate([_fill(points) for points in groups])
    if len(cloud) == 0:
        return [Edge(np.zeros(p.shape[:2], np.float32), np.zeros(p.shape, np.float32)) for p in groups]
    low = cloud.min(0) - 4 * CELL
    shape = tuple(np.ceil((cloud.max(0) + 4 * CELL - low) / CELL).astype(int))
    cells = np.ravel_multi_index(tuple(((cloud - low) / CELL).astype(int).T), shape)
    filled = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).astype(np.float32)
    count = np.asarray(gaussian_filter(filled, 1.0), np.float32)
    return [_find_edge(points, head, count, low) for points in groups]


def _fill(points: F32) -> F32:
    """Return points (n, 3) along strands (s, k, 3) so close to each other that they leave no cell empty."""
    near = points[(points[..., 2] > BEHIND[0] - AHEAD).any(1) & (points[..., 1] > LOW[0] - AHEAD).any(1)]
    if len(near) == 0:
        return near.reshape(-1, 3)
    step = float(np.median(np.linalg.norm(np.diff(near, axis=1), axis=2)))
    shares = np.linspace(0, 1, int(np.clip(np.ceil(step / CELL), 1, MOST_FILLED)), endpoint=False, dtype=np.float32)
    return np.concatenate([(near[:, :-1] + share * (near[:, 1:] - near[:, :-1])).reshape(-1, 3) for share in shares])


def _find_edge(points: F32, head: Head, count: F32, low: Floats) -> Edge:
    share, way = np.zeros(points.shape[:2], np.float32), np.zeros(points.shape, np.float32)
    near = (points[..., 2] > BEHIND[0]) & (points[..., 1] > LOW[0])
    here = points[near].astype(np.float64)
    away = head.field.distance(here)
    normal = head.field.gradient(here)
    face = FACE - here
    out = unit(face - (face * normal).sum(-1, keepdims=True) * normal)
    own, ahead = (
        map_coordinates(count, ((at - low) / CELL - 0.5).T, order=1, mode="constant")
        for at in (here, here + AHEAD * out)
    )
    is_edge = 1 - smoothstep(*OPEN, ahead / np.maximum(own, 1e-6))
    inside = smoothstep(*BEHIND, here[:, 2]) * smoothstep(*LOW, here[:, 1]) * smoothstep(*NEAR, away)
    hangs = smoothstep(*HANGS, np.linalg.norm(here - points[np.nonzero(near)[0], 0], axis=1))
    share[near], way[near] = is_edge * inside * hangs, out
    return Edge(np.asarray(gaussian_filter1d(share, 0.7, axis=1, mode="nearest"), np.float32), way)


def _copy_aside(
    group: Strands, edge: Edge, rows: NDArray[np.integer], head: Head, rng: np.random.Generator
) -> Strands:
    """Return fine copies of strands at the edge that come and go before it."""
    count = len(rows)
    k = group.points.shape[1]
    t = np.linspace(0, 1, k)
    far = np.minimum(rng.exponential(ASIDE, (count, 1)), MOST * ASIDE)
    length = np.linalg.norm(np.diff(group.points[rows], axis=1), axis=2).sum(1, keepdims=True)
    turns = rng.uniform(0.3, 1, (count, 1)) * np.minimum(length / TURN, TURNS)
    sway = np.sin(np.pi * (turns * t + rng.random((count, 1)))) ** 2
    aside = gaussian_filter1d(edge.share[rows], 1.5, axis=1, mode="nearest") * far * sway
    points: F64 = group.points[rows] + aside[..., None] * edge.way[rows].astype(np.float64)
    points = head.field.push_out(points, np.minimum(head.field.distance(group.points[rows]), CLEAR))
    width = rng.uniform(*WIDTHS, (count, 1)) * np.minimum(edge.share[rows] + 0.3, 1)
    tone = np.exp(rng.normal(0, TONE, (count, 1, 1)))
    normals = None if group.normals is None else group.normals[rows]
    return copy_look(group, rows, np.asarray(points, np.float32), width, tone, normals)
