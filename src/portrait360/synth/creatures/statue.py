"""Turn a built head to stone or metal: hair becomes carved locks, colours become veins and patina."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.distance import cdist

from portrait360.synth.creatures.carved_hair import CARVED
from portrait360.synth.hair.scalp import farthest_point_sample
from portrait360.synth.hair.strands import resample
from portrait360.synth.meshes import make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Statue
from portrait360.synth.scene import Material, Mesh, Part, Strands
from portrait360.utils.array_types import F32

METALS = ("bronze", "gold")
PATINA = np.array([0.16, 0.33, 0.27])
LOCKS = {Part.HAIR: 300, Part.BEARD: 150, Part.BROWS: 70}  # number of carved locks per part
CLOSED_LOCKS = 500  # of hair without gaps
WIDTH, CLOSED_WIDTH = 0.8, 1.8  # half width of a lock, in the distance of its neighbours
LOCK_POINTS = (10, 18)  # points along a short lock, and along one longer than LONG
LONG = 0.15
MAX_HALF_WIDTH = {Part.HAIR: 0.020, Part.BEARD: 0.011, Part.BROWS: 0.0022}  # half width of a lock, at most
LOCK_HEIGHT = {Part.HAIR: 0.010, Part.BEARD: 0.004, Part.BROWS: 0.0}  # height of locks over the skin
MIN_LENGTH = 0.018  # length from which a strand becomes a lock
OVERLAP = 0.055  # length at which locks of hair overlap
CENTER = np.array([0, 0.03, -0.03])  # centre of the head


def carve(strands: list[Strands], rng: np.random.Generator, *, closed: bool = False) -> list[Mesh]:
    """Turn hair, beard and brows into thick tapering locks; lashes are dropped.

    If `closed`, locks of hair are so many and wide that no gaps are left.
    """
    meshes = []
    for group in strands:
        part = Part(int(group.part[0]))
        length = np.linalg.norm(np.diff(group.points, axis=1), axis=2).sum(1)
        if part not in LOCKS or (part != Part.BROWS and np.median(length) < MIN_LENGTH):
            continue  # the stone cap beneath represents stubble
        is_closed = closed and part == Part.HAIR
        count = min(CLOSED_LOCKS if is_closed else LOCKS[part], len(group.points))
        rows = farthest_point_sample(group.points[:, 0], count, rng)
        lock_points = LOCK_POINTS[int(np.median(length) > LONG and not is_closed)]
        paths = np.stack([resample(path, lock_points) for path in group.points[rows]])
        paths = _flatten_and_lengthen(paths) if part == Part.HAIR else paths
        meshes.append(_lock_mesh(paths, part, CLOSED_WIDTH if is_closed else WIDTH))
    return meshes


def _flatten_and_lengthen(paths: np.ndarray) -> np.ndarray:
    """Flatten short hair along the skull and lengthen it, so that its locks overlap like shingles."""
    root = paths[:, :1]
    distance = np.linalg.norm(root - CENTER, axis=2, keepdims=True)
    outward = (root - CENTER) / distance
    offset = paths - root
    factor = OVERLAP / np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1)[:, None, None]
    offset = offset - 0.75 * (offset * outward).sum(2, keepdims=True) * outward
    flattened = root + factor * offset - (factor**2 * (offset**2).sum(2, keepdims=True) / (2 * distance)) * outward
    return paths + np.clip(2 * (factor - 1), 0, 1) * (flattened - paths)


def _lock_mesh(paths: np.ndarray, part: Part, width: float = WIDTH) -> Mesh:
    """Make pointed, grooved leaves along the paths (g, k, 3), as wide as the paths are apart."""
    g, k, _ = paths.shape
    length = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1)
    spacing = np.sort(cdist(paths[:, 0], paths[:, 0]), axis=1)[:, 1:4].mean(1) if g > 3 else np.full(g, 1.0)
    tangent = unit(np.gradient(paths, axis=1) + 1e-7)
    outward = unit(paths - CENTER)
    across = unit(np.cross(outward, tangent))
    over = np.cross(tangent, across)
    t = np.linspace(0, 1, k)
    half_width = np.minimum(width * spacing, MAX_HALF_WIDTH[part]) * np.clip(length / 0.05, 0.45, 1.0)
    radius = half_width[:, None] * np.clip((t + 0.06) ** 0.4 * (1 - t) ** 0.55 * 1.35, 0.04, 1)
    wide, high = _cross_section()
    ring = wide[:, None] * across[:, :, None] + high[:, None] * over[:, :, None]
    height = LOCK_HEIGHT[part] * np.minimum(1, 6 * t)[:, None] * outward
    vertices = (paths + height)[:, :, None] + radius[:, :, None, None] * ring
    return make_mesh(vertices.reshape(-1, 3), _tube_triangles(g, k, len(wide)), CARVED, Material.STONE, part)


def _cross_section() -> tuple[np.ndarray, np.ndarray]:
    """Return the cross-section of a lock of half width 1: three ridges above, flat below."""
    wide = np.linspace(-1, 1, 9)
    high = np.sqrt(1 - wide**2) * (0.42 + 0.22 * np.cos(3 * np.pi * wide))
    return np.append(wide, 0.0), np.append(high, -0.35)


def _tube_triangles(count: int, rows: int, sides: int) -> np.ndarray:
    """Return the triangles of `count` tubes whose rings follow one after the other."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(sides), indexing="ij")
    a, b = (i * sides + j).ravel(), (i * sides + (j + 1) % sides).ravel()
    faces = np.concatenate([np.stack([a, b + sides, b], 1), np.stack([a, a + sides, b + sides], 1)])
    return (faces[None] + (np.arange(count) * rows * sides)[:, None, None]).reshape(-1, 3)


def petrify(meshes: list[Mesh], style: Statue, seed: int) -> list[Mesh]:
    """Give every mesh the colour and material of the statue."""
    material = Material.METAL if style.stone in METALS else Material.STONE
    out = []
    for mesh in meshes:
        colour = _material_colour(mesh.vertices, mesh.normals, style, seed)
        if (mesh.part == Part.EYES).all():  # dark pupils stay slightly darker, as if hollowed
            tone = mesh.albedo.mean(1) / max(float(mesh.albedo.mean(1).max()), 1e-6)
            colour = colour * (0.68 + 0.32 * smoothstep(0.02, 0.5, tone))[:, None]
        if (mesh.material == Material.STONE).all():  # carved: light does not reach into its grooves
            colour = colour * (mesh.albedo / CARVED)
        out.append(
            replace(
                mesh,
                albedo=np.clip(colour, 0.002, 1).astype(np.float32),
                material=np.full_like(mesh.material, material),
                roughness=None,
            )
        )
    return out


def _material_colour(points: F32, normals: F32 | None, style: Statue, seed: int) -> np.ndarray:
    base = np.broadcast_to(np.array(style.colour), points.shape)
    if style.stone == "marble":
        warped = points + 0.06 * np.stack([noise(points, 6.0, seed + i, 2) - 0.5 for i in range(3)], 1)
        vein = np.abs(noise(warped * np.array([1, 0.6, 1]), 7.0, seed + 5, 2) - 0.5)
        dark = smoothstep(0.035, 0.0, vein) * style.vein
        return base * (0.94 + 0.1 * noise(points, 20.0, seed))[:, None] * (1 - 0.5 * dark)[:, None]
    if style.stone == "bronze":
        upward = 0.0 if normals is None else normals[:, 1]
        green = smoothstep(0.52, 0.72, noise(points, 14.0, seed, 3) - 0.12 * np.asarray(upward)) * (0.3 + style.vein)
        return (
            base * (0.8 + 0.4 * noise(points, 30.0, seed))[:, None] * (1 - green[:, None]) + PATINA * green[:, None]
        )
    if style.stone == "granite":
        speck = noise(points, 160.0, seed)
        return base * (0.55 + 0.9 * speck)[:, None]
    if style.stone == "terracotta":
        return base * (0.82 + 0.36 * noise(points, 24.0, seed, 3))[:, None]
    return base * (0.92 + 0.16 * noise(points, 18.0, seed, 2))[:, None]
