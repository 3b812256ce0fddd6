"""Where hair grows: the hairline, the regions of a style, and roots sampled over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.hairstyles import HairStyle
from portrait360.synth.sampling.parameters import Hairline, HeadParameters
from portrait360.utils.array_types import F32, I32

# the hairline of the average head: azimuth in degrees from the front, and height in head heights
LINE_AZIMUTH = (0, 12, 24, 34, 43, 52, 59, 64, 68, 73, 77, 82, 92, 103, 108, 114, 124, 140, 160, 180)
LINE_HEIGHT = (
    *(0.300, 0.300, 0.287, 0.255, 0.205, 0.145, 0.075, 0.00, -0.06, -0.085, -0.04),
    *(0.035, 0.045, 0.035, -0.03, -0.12, -0.20, -0.255, -0.28, -0.285),
)


STRAIGHT = Hairline()


@dataclass(frozen=True, eq=False)
class Roots:
    points: F32  # (s, 3)
    normals: F32  # (s, 3)
    rest: F32  # (s, 3) on the average head
    edge: F32  # (s,) 0 at the hairline .. 1 well inside the region
    triangle: I32  # (s,)
    corner: F32  # (s, 3) weights of the triangle's corners

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: np.ndarray) -> Roots:
        return Roots(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def azimuth(rest: F32) -> F32:
    """Return degrees from the front, the same on either side."""
    return np.degrees(np.arctan2(np.abs(rest[:, 0]), rest[:, 2] + 0.02)).astype(np.float32)


def above_hairline(rest: F32, receding: float, seed: int, shape: Hairline = STRAIGHT) -> F32:
    """Return the height over the hairline in head heights; the hairline is slightly irregular."""
    around = azimuth(rest)
    line = np.interp(around, LINE_AZIMUTH, LINE_HEIGHT)
    temple = np.exp(-(((around - 36) / 16) ** 2))
    line = line + receding * (0.10 * temple + 0.05 * smoothstep(40, 10, around))
    line = line + 0.022 * (noise(rest, 14.0, seed + 3) - 0.5)
    if shape != STRAIGHT:
        line = line + _shift_of_hairline(around, shape)
    return (rest[:, 1] - line).astype(np.float32)


def _shift_of_hairline(around: F32, shape: Hairline) -> F32:
    """Return how much higher than usual the hairline of this shape is, in head heights."""
    peak = -0.055 * np.exp(-((around / 6.5) ** 2)) + 0.018 * np.exp(-(((around - 18) / 9) ** 2))
    temples = np.exp(-(((around - 34) / 13) ** 2))
    shift = shape.peak * peak + 0.12 * shape.temples * temples + 0.05 * shape.height * smoothstep(62, 30, around)
    return shift.astype(np.float32)


def hair_density(head: Head, style: HairStyle, parameters: HeadParameters) -> F32:
    """Return the share of the full hair density at every vertex (m,)."""
    rest = head.rest
    high = above_hairline(rest, parameters.hair.receding, parameters.seed, parameters.hair.hairline)
    density = smoothstep(-0.012, 0.03, high) * (1 - smoothstep(0.10, 0.35, head.mask("ears")))
    x, y, z = rest.T
    crown = np.hypot(x, z + 0.10)
    if style.region == "strip":
        density = density * smoothstep(0.085, 0.065, np.abs(x))
    elif style.region == "ring":
        density = density * smoothstep(0.17, 0.24, crown + 0.9 * np.maximum(0.33 - y, 0)) * smoothstep(0.33, 0.24, y)
    elif style.region == "patchy":
        thin = smoothstep(0.08, 0.26, crown + 0.6 * np.maximum(0.38 - y, 0))
        density = density * (0.25 + 0.75 * thin) * smoothstep(0.0, 0.09, high + 0.10 * (z < 0.1))
    return density


def region_length(rest: F32, style: HairStyle) -> F32:
    """Return the style's hair length at every root, in head heights."""
    around, y = azimuth(rest), rest[:, 1]
    top, side, back, nape = style.lengths
    behind = smoothstep(95, 130, around)
    low = side + (back - side) * behind
    low = low + (nape - low) * smoothstep(-0.06, -0.22, y) * behind
    out = low + (top - low) * smoothstep(0.13, 0.28, y)
    if style.fade > 0:
        out = 0.012 + (out - 0.012) * smoothstep(style.fade - 0.22, style.fade, y)
    return out.astype(np.float32)


@lru_cache(maxsize=2)  # a search grows many hairstyles on one head
def _triangle_areas(head: Head) -> F32:
    a, b, c = (head.body[column] for column in head.triangles.T)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1)


def scatter_roots(head: Head, density: F32, count: int, rng: np.random.Generator) -> Roots:
    """Sample roots by area times density; none where the density vanishes."""
    triangles = head.triangles
    a, b, c = (density[column] for column in triangles.T)
    weight = _triangle_areas(head) * ((a + b + c) / np.float32(3)) * (np.minimum(np.minimum(a, b), c) > 0.01)
    if count == 0 or weight.sum() <= 0:
        count, weight = 0, np.ones_like(weight)
    triangle = rng.choice(len(triangles), count, p=weight / weight.sum()).astype(np.int32)
    bary = rng.dirichlet([1.0, 1.0, 1.0], count).astype(np.float32)
    rows = triangles[triangle]

    def interpolate(values: F32) -> F32:
        a, b, c = (values[rows[:, i]] * bary[:, i, None] for i in range(3))
        return (a + b + c).astype(np.float32)

    edge = interpolate(density[:, None])[:, 0]
    return Roots(
        interpolate(head.body),
        unit(interpolate(head.normals)).astype(np.float32),
        interpolate(head.rest),
        edge,
        triangle,
        bary,
    )


def farthest_point_sample(points: F32, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of about `count` points that are far from each other, by farthest-point sampling."""
    count = min(count, len(points))
    rows = np.empty(count, np.int64)
    rows[0] = rng.integers(len(points))
    distance = np.full(len(points), np.inf)
    for i in range(1, count):
        distance = np.minimum(distance, ((points - points[rows[i - 1]]) ** 2).sum(1))
        rows[i] = np.argmax(distance)
    return rows
