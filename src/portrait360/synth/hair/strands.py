"""Give bare curves tapering widths and varying colours, and compose twists and braids of many strands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Hair
from portrait360.synth.scene import Material, Part, Strands
from portrait360.utils.array_types import F32

WHITE = np.array([0.56, 0.55, 0.53])
STREAKS_PER_UNIT = 34.0  # a streak is some 1.5 cm wide on a head
MAX_ALBEDO = 0.72  # greatest hair albedo; more would clip in strong light


@dataclass(frozen=True)
class Dye:
    """The colours of hair: base, tips, share of grey strands, variation."""

    colour: ArrayLike
    tips: ArrayLike | None = None
    grey: float = 0.0
    vary: float = 0.13
    root: float = 0.72  # brightness at the root
    streaks: ArrayLike | None = None
    streaks_share: float = 0.0
    streaks_from: float = 0.0  # share of the length
    regrowth: ArrayLike | None = None  # colour of the first part from the root
    wet: float = 0.0


def hair_dye(hair: Hair) -> Dye:
    return Dye(
        hair.colour,
        hair.tips,
        hair.grey,
        streaks=hair.streaks,
        streaks_share=hair.streaks_share,
        streaks_from=hair.streaks_from,
        regrowth=hair.roots,
        wet=hair.wet,
    )


def make_strands(
    points: ArrayLike,
    width: ArrayLike,
    dye: Dye,
    rng: np.random.Generator,
    *,
    part: Part = Part.HAIR,
    material: Material = Material.HAIR,
    taper: float = 0.3,
    normals: ArrayLike | None = None,
    thin_root: ArrayLike = 0.75,
) -> Strands:
    """Make strands of one part and material; `width` (s,) is the greatest width, `taper` its share at the tip."""
    points = np.asarray(points, np.float32)
    count, k, _ = points.shape
    t = np.linspace(0, 1, k)[None]
    root_width = np.broadcast_to(np.asarray(thin_root, np.float32), count)[:, None]
    profile = (1 - (1 - taper) * t**2) * (root_width + (1 - root_width) * np.minimum(t * 4, 1))
    base = np.broadcast_to(np.asarray(dye.colour, np.float64), (count, 3))
    base = base * np.exp(rng.normal(0, dye.vary, (count, 1))) * (1 + rng.normal(0, 0.03, (count, 3)))
    if dye.grey > 0:  # every strand whitens, by a different amount
        white = np.clip(dye.grey + rng.normal(0, 0.07, (count, 1)), 0, 1)
        base = base + (WHITE * rng.uniform(0.8, 1.05, (count, 1)) - base) * white
    colour = base[:, None] * (dye.root + (1.06 - dye.root) * t[..., None])
    if dye.tips is not None:
        start = np.clip(0.45 + rng.normal(0, 0.08, count), 0.2, 0.8)[:, None]
        share = np.clip((t - start) / 0.3, 0, 1)[..., None]
        colour = colour + (np.asarray(dye.tips) * (base / np.asarray(dye.colour))[:, None] - colour) * share
    colour = _lay_colours(colour, points, dye, base / np.asarray(dye.colour))
    return Strands(
        points=points,
        widths=(np.broadcast_to(np.asarray(width), count)[:, None] * profile).astype(np.float32),
        albedo=np.clip(colour, 0.002, MAX_ALBEDO).astype(np.float32),
        part=np.full(count, part, np.uint8),
        material=np.full(count, material, np.uint8),
        normals=None if normals is None else np.asarray(normals, np.float32),
    )


def _lay_colours(colour: np.ndarray, points: F32, dye: Dye, tint: np.ndarray) -> np.ndarray:
    """Return the colours (s, k, 3) with streaks, grown roots and wetness; `tint` (s, 3) is how a strand differs."""
    t = np.linspace(0, 1, colour.shape[1])[None, :, None]
    share = np.clip(tint, 0.6, 1.6)[:, None]
    if dye.streaks is not None and len(points):
        # strands that lie side by side share a streak
        rank = noise(points[:, points.shape[1] // 2], STREAKS_PER_UNIT, 11) + 0.5 * noise(points[:, -1], 400.0, 12)
        amount = smoothstep(-0.08, 0.08, np.quantile(rank, dye.streaks_share) - rank)[:, None, None]
        amount = amount * smoothstep(dye.streaks_from - 0.3, dye.streaks_from, t)
        colour = colour + (np.asarray(dye.streaks) * share - colour) * amount
    if dye.regrowth is not None:
        colour = colour + (np.asarray(dye.regrowth) * share - colour) * smoothstep(0.34, 0.10, t)
    return colour * (1 - 0.5 * dye.wet) if dye.wet > 0 else colour


def resample(path: ArrayLike, count: int) -> np.ndarray:
    """Resample a path (k, 3) to `count` points at equal distances along it."""
    path = np.asarray(path, np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    position = np.linspace(0, along[-1], count)
    return np.stack([np.interp(position, along, path[:, a]) for a in range(3)], 1)


def path_frames(paths: np.ndarray, outward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors across and over (g, k, 3) guides (g, k, 3), with over as close to `outward` as possible."""
    tangent = unit(np.gradient(paths, axis=1))
    outward = np.broadcast_to(outward, paths.shape)
    across = unit(np.cross(outward, tangent))
    return across, np.cross(tangent, across)


def twist(
    paths: np.ndarray, outward: np.ndarray, radius: float, each: int, turns: float, rng: np.random.Generator
) -> F32:
    """Wind `each` strands about every guide (g, k, 3) into twisted locks (g * each, k, 3)."""
    across, over = path_frames(paths, outward)
    g, k, _ = paths.shape
    t = np.linspace(0, 1, k)[None, None]
    angle = rng.uniform(0, 2 * np.pi, (g, each, 1)) + 2 * np.pi * turns * t
    size = radius * np.sqrt(rng.uniform(0.25, 1, (g, each, 1)))
    size = size * np.minimum(0.55 + 2.5 * t, 1) * (1 - 0.55 * t**3)
    bumps = 1 + 0.12 * np.sin(2 * np.pi * 7 * t + rng.uniform(0, 6, (g, 1, 1)))
    offset = (np.cos(angle) * size * bumps)[..., None] * across[:, None]
    offset = offset + (np.sin(angle) * size * bumps)[..., None] * over[:, None]
    return (paths[:, None] + offset).reshape(-1, k, 3).astype(np.float32)


def braid(
    paths: np.ndarray, outward: np.ndarray, radius: float, each: int, turns: float, rng: np.random.Generator
) -> F32:
    """Make a three-strand braid along every guide (g, k, 3), `each` strands in each of the three."""
    across, over = path_frames(paths, outward)
    g, k, _ = paths.shape
    t = np.linspace(0, 1, k)[None, None]
    strand = np.repeat(np.arange(3), each)[None, :, None] * (2 * np.pi / 3)
    angle = strand + 2 * np.pi * turns * t + rng.uniform(0, 0.2, (g, 1, 1))
    shrink = (1 - 0.45 * t**2) * np.minimum(0.75 + 2 * t, 1)
    spread = rng.normal(0, 0.30, (g, 3 * each, 2, 1)).clip(-0.5, 0.5)
    x = (np.sin(angle) + spread[:, :, 0]) * radius * shrink
    y = (0.55 * np.sin(2 * angle) + spread[:, :, 1]) * radius * 0.8 * shrink
    offset = x[..., None] * across[:, None] + y[..., None] * over[:, None]
    return (paths[:, None] + offset).reshape(-1, k, 3).astype(np.float32)
