"""The folds of ears, which the pack's mesh has only flat: helix, antihelix, the hollows between them, ear canal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from portrait360.synth.head.average_head import load_average_head
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import unit, vertex_normals
from portrait360.synth.noise import smoothstep
from portrait360.utils.array_types import F32, F64


@dataclass(frozen=True)
class Fold:
    """A ridge, or a hollow, along a line on the average head's ear as it is seen from the side; head heights."""

    line: tuple[tuple[float, float], ...]  # (z, y)
    width: float
    height: float
    ends: float = 1.0  # of the height at its last point


FOLDS = (
    Fold(  # helix
        ((0.028, -0.012), (0.0, 0.001), (-0.024, 0.005), (-0.050, -0.008), (-0.067, -0.035), (-0.076, -0.07),
         (-0.074, -0.10), (-0.064, -0.13), (-0.052, -0.15)), 0.0085, 0.0065, 0.2,
    ),
    Fold(  # scapha
        ((0.008, -0.024), (-0.010, -0.018), (-0.028, -0.018), (-0.045, -0.030), (-0.056, -0.050), (-0.062, -0.075),
         (-0.061, -0.100), (-0.054, -0.122), (-0.044, -0.140)), 0.0085, -0.0120, 0.25,
    ),
    Fold(((-0.030, -0.034), (-0.042, -0.055), (-0.048, -0.08), (-0.047, -0.105), (-0.037, -0.128)), 0.0115, 0.0050),
    Fold(((0.004, -0.070), (-0.018, -0.068), (-0.034, -0.064)), 0.0090, 0.0020),  # lower crus of the antihelix
    Fold(((0.004, -0.052), (-0.012, -0.048), (-0.020, -0.042)), 0.0110, -0.0085),  # triangular fossa
    Fold(((0.034, -0.108), (0.032, -0.122)), 0.0095, 0.0065),  # tragus
    Fold(((-0.030, -0.138), (-0.012, -0.148), (0.004, -0.153)), 0.0075, 0.0055),  # antitragus
    Fold(((0.022, -0.146), (0.019, -0.154)), 0.0065, -0.007),  # notch between the two
    Fold(((0.015, -0.110), (0.012, -0.122)), 0.0085, -0.016),  # ear canal
)  # fmt: skip
OUTER = (-0.05, 0.35)  # outward share of normals over which a surface becomes the ear's outer side


def fold_ears(head: Head) -> Head:
    """Return a head whose ears have all of their folds."""
    heights, ears, outer = find_fold_heights(head.level), head.mask("ears") > 0.02, _find_outer(head.level)
    body = head.body.copy()
    for side in (-1, 1):
        rows = np.flatnonzero(ears & (head.rest[:, 0] * side > 0))
        outward = unit((outer[rows, None] * head.normals[rows]).sum(0))
        size = np.ptp(head.body[rows, 1]) / np.ptp(head.rest[rows, 1])
        body[rows] += (size * heights[rows, None] * outward).astype(np.float32)
    return replace(head, body=body, normals=vertex_normals(body, head.triangles))


@lru_cache(maxsize=2)
def find_fold_heights(level: int) -> F32:
    """Return by how much folds raise each vertex of a level of subdivision (n,), in head heights."""
    rest = load_average_head().fine[level]
    height = np.zeros(len(rest))
    for fold in FOLDS:
        height += _raise(rest[:, [2, 1]].astype(np.float64), fold)
    return (height * _find_outer(level) * smoothstep(0.0, 0.5, load_pack().mask("ears", level))).astype(np.float32)


@lru_cache(maxsize=2)
def _find_outer(level: int) -> F32:
    """Return how far the vertices of a level of subdivision (n,) face away from the head's middle, 0..1."""
    rest = load_average_head().fine[level]
    normals = vertex_normals(rest.astype(np.float32), load_pack().subdivision(level).triangles)
    return np.asarray(smoothstep(*OUTER, normals[:, 0] * np.sign(rest[:, 0])), np.float32)


def _raise(points: F64, fold: Fold) -> F64:
    """Return the height (n,) of one fold at points (n, 2)."""
    nearest, height = np.full(len(points), np.inf), np.zeros(len(points))
    line = np.array(fold.line)
    levels = fold.height * np.linspace(1.0, fold.ends, len(line))
    for a, b, low, high in zip(line[:-1], line[1:], levels[:-1], levels[1:], strict=True):
        t = np.clip(((points - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
        distance = np.linalg.norm(points - (a + t[:, None] * (b - a)), axis=1)
        closer = distance < nearest
        nearest, height = np.where(closer, distance, nearest), np.where(closer, low + t * (high - low), height)
    return height * np.exp(-((nearest / fold.width) ** 2))
