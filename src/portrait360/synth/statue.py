"""Turning a built head to stone or metal: hair becomes carved locks, colours become veins and patina."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.distance import cdist

from portrait360.synth.meshes import make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.parameters import Statue
from portrait360.synth.scalp import spread
from portrait360.synth.scene import F32, Material, Mesh, Part, Strands
from portrait360.synth.strands import resample

METALS = ("bronze", "gold")
PATINA = np.array([0.16, 0.33, 0.27])
LOCKS = {Part.HAIR: 300, Part.BEARD: 150, Part.BROWS: 70}  # how many locks are carved of each part
PIECES = (10, 18)  # of a short lock along its length, and of one longer than LONG
LONG = 0.15
WIDEST = {Part.HAIR: 0.020, Part.BEARD: 0.011, Part.BROWS: 0.0022}  # half of a lock's width
LIE = {Part.HAIR: 0.010, Part.BEARD: 0.004, Part.BROWS: 0.0}  # over the skin: on the cap of stone
SHORTEST = 0.018  # of a strand that becomes a lock
OVERLAP = 0.055  # length from which locks of hair lie over one another
MIDDLE = np.array([0, 0.03, -0.03])  # of the head


def carve(strands: list[Strands], rng: np.random.Generator) -> list[Mesh]:
    """Hair, beard and brows as thick tapering locks; lashes are left away."""
    meshes = []
    for some in strands:
        part = Part(int(some.part[0]))
        length = np.linalg.norm(np.diff(some.points, axis=1), axis=2).sum(1)
        if part not in LOCKS or (part != Part.BROWS and np.median(length) < SHORTEST):
            continue  # stubble is left to the cap of stone beneath
        count = min(LOCKS[part], len(some.points))
        rows = spread(some.points[:, 0], count, rng)
        pieces = PIECES[int(np.median(length) > LONG)]
        paths = np.stack([resample(path, pieces) for path in some.points[rows]])
        paths = _lengthened(paths) if part == Part.HAIR else paths
        meshes.append(_locks(paths, part))
    return meshes


def _lengthened(paths: np.ndarray) -> np.ndarray:
    """Short hair laid down and drawn out along the skull, so that its locks lie over one another like shingles."""
    root = paths[:, :1]
    reach = np.linalg.norm(root - MIDDLE, axis=2, keepdims=True)
    outward = (root - MIDDLE) / reach
    off = paths - root
    grow = OVERLAP / np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1)[:, None, None]
    off = off - 0.75 * (off * outward).sum(2, keepdims=True) * outward
    laid = root + grow * off - (grow**2 * (off**2).sum(2, keepdims=True) / (2 * reach)) * outward
    return paths + np.clip(2 * (grow - 1), 0, 1) * (laid - paths)


def _locks(paths: np.ndarray, part: Part) -> Mesh:
    """Leaves of stone along the paths (g, k, 3), as wide as these stand apart, grooved and drawn to a point."""
    g, k, _ = paths.shape
    length = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1)
    apart = np.sort(cdist(paths[:, 0], paths[:, 0]), axis=1)[:, 1:4].mean(1) if g > 3 else np.full(g, 1.0)
    tangent = unit(np.gradient(paths, axis=1) + 1e-7)
    outward = unit(paths - MIDDLE)
    across = unit(np.cross(outward, tangent))
    over = np.cross(tangent, across)
    t = np.linspace(0, 1, k)
    half = np.minimum(0.8 * apart, WIDEST[part]) * np.clip(length / 0.05, 0.45, 1.0)
    radius = half[:, None] * np.clip((t + 0.06) ** 0.4 * (1 - t) ** 0.55 * 1.35, 0.04, 1)
    wide, high = _section()
    ring = wide[:, None] * across[:, :, None] + high[:, None] * over[:, :, None]
    lie = LIE[part] * np.minimum(1, 6 * t)[:, None] * outward
    vertices = (paths + lie)[:, :, None] + radius[:, :, None, None] * ring
    return make_mesh(vertices.reshape(-1, 3), _tubes(g, k, len(wide)), (0.5, 0.5, 0.5), Material.STONE, part)


def _section() -> tuple[np.ndarray, np.ndarray]:
    """Across a lock, half of its width 1: three ridges above, flat below."""
    wide = np.linspace(-1, 1, 9)
    high = np.sqrt(1 - wide**2) * (0.42 + 0.22 * np.cos(3 * np.pi * wide))
    return np.append(wide, 0.0), np.append(high, -0.35)


def _tubes(count: int, rows: int, sides: int) -> np.ndarray:
    """Triangles of as many tubes, their rings one after the other."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(sides), indexing="ij")
    a, b = (i * sides + j).ravel(), (i * sides + (j + 1) % sides).ravel()
    faces = np.concatenate([np.stack([a, b + sides, b], 1), np.stack([a, a + sides, b + sides], 1)])
    return (faces[None] + (np.arange(count) * rows * sides)[:, None, None]).reshape(-1, 3)


def petrify(meshes: list[Mesh], style: Statue, seed: int) -> list[Mesh]:
    """Every mesh in the same matter."""
    material = Material.METAL if style.stone in METALS else Material.STONE
    out = []
    for mesh in meshes:
        colour = _matter(mesh.vertices, mesh.normals, style, seed)
        if (mesh.part == Part.EYES).all():  # pupils are hollowed: what was dark stays a little darker
            tone = mesh.albedo.mean(1) / max(float(mesh.albedo.mean(1).max()), 1e-6)
            colour = colour * (0.68 + 0.32 * smoothstep(0.02, 0.5, tone))[:, None]
        out.append(
            replace(
                mesh,
                albedo=np.clip(colour, 0.002, 1).astype(np.float32),
                material=np.full_like(mesh.material, material),
                roughness=None,
            )
        )
    return out


def _matter(points: F32, normals: F32 | None, style: Statue, seed: int) -> np.ndarray:
    base = np.broadcast_to(np.array(style.colour), points.shape)
    if style.stone == "marble":
        bent = points + 0.06 * np.stack([noise(points, 6.0, seed + i, 2) - 0.5 for i in range(3)], 1)
        vein = np.abs(noise(bent * np.array([1, 0.6, 1]), 7.0, seed + 5, 2) - 0.5)
        dark = smoothstep(0.035, 0.0, vein) * style.vein
        return base * (0.94 + 0.1 * noise(points, 20.0, seed))[:, None] * (1 - 0.5 * dark)[:, None]
    if style.stone == "bronze":
        up = 0.0 if normals is None else normals[:, 1]
        green = smoothstep(0.52, 0.72, noise(points, 14.0, seed, 3) - 0.12 * np.asarray(up)) * (0.3 + style.vein)
        return (
            base * (0.8 + 0.4 * noise(points, 30.0, seed))[:, None] * (1 - green[:, None]) + PATINA * green[:, None]
        )
    if style.stone == "granite":
        speck = noise(points, 160.0, seed)
        return base * (0.55 + 0.9 * speck)[:, None]
    if style.stone == "terracotta":
        return base * (0.82 + 0.36 * noise(points, 24.0, seed, 3))[:, None]
    return base * (0.92 + 0.16 * noise(points, 18.0, seed, 2))[:, None]
