"""Turning a built head to stone or metal: hair becomes carved locks, colours become veins and patina."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.meshes import make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.parameters import Statue
from portrait360.synth.scalp import spread
from portrait360.synth.scene import F32, Material, Mesh, Part, Strands
from portrait360.synth.strands import resample

METALS = ("bronze", "gold")
PATINA = np.array([0.16, 0.33, 0.27])
LOCKS = {Part.HAIR: 300, Part.BEARD: 150, Part.BROWS: 70}  # how many locks are carved of each part
SIDES = 7
SHORTEST = 0.018  # of a strand that becomes a lock


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
        paths = np.stack([resample(path, 9) for path in some.points[rows]])
        meshes.append(_locks(paths, part))
    return meshes


def _locks(paths: np.ndarray, part: Part) -> Mesh:
    """Flattened tubes (g, k, 3) -> one mesh, as thick as their spacing asks for."""
    g, k, _ = paths.shape
    length = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1)
    tangent = unit(np.gradient(paths, axis=1) + 1e-7)
    outward = unit(paths - np.array([0, 0.03, -0.03]))
    across = unit(np.cross(outward, tangent))
    over = np.cross(tangent, across)
    t = np.linspace(0, 1, k)
    widest = {Part.HAIR: 0.0135, Part.BEARD: 0.0075, Part.BROWS: 0.0022}[part]
    widest = widest * np.clip(length / 0.05, 0.45, 1.0)
    profile = np.sqrt(np.clip(1 - (2 * t - 0.85) ** 2 / 1.4, 0.02, 1)) * (1 - 0.3 * t)
    radius = widest[:, None] * profile
    angle = np.arange(SIDES) / SIDES * 2 * np.pi
    ridge = 1 + 0.22 * np.cos(3 * angle)  # a groove or two along every lock
    ring = (np.cos(angle) * ridge)[:, None] * across[:, :, None] + (0.75 * np.sin(angle) * ridge)[:, None] * over[
        :, :, None
    ]
    vertices = paths[:, :, None] + radius[:, :, None, None] * ring
    i, j = np.meshgrid(np.arange(k - 1), np.arange(SIDES), indexing="ij")
    a, b = (i * SIDES + j).ravel(), (i * SIDES + (j + 1) % SIDES).ravel()
    faces = np.concatenate([np.stack([a, b, b + SIDES], 1), np.stack([a, b + SIDES, a + SIDES], 1)])
    triangles = (faces[None] + (np.arange(g) * k * SIDES)[:, None, None]).reshape(-1, 3)
    return make_mesh(vertices.reshape(-1, 3), triangles, (0.5, 0.5, 0.5), Material.STONE, part)


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
