"""Small scenes that the tests of light, cover and depth are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.cameras import Camera, focal_from_fov, look_at
from portrait360.synth import lights
from portrait360.synth.scene import Light, Material, Mesh, Part, Scene, Strands

FOCAL = focal_from_fov(18.8)
FRONT = Camera(look_at(0, 0), FOCAL)
NO_KEYS = (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
WHITE = Light(lights.constant([1, 1, 1]), *NO_KEYS)


def mesh(points, faces, colour=(0.5, 0.5, 0.5), material=Material.CLOTH, part=Part.SKIN, opacity=1.0) -> Mesh:
    points = np.asarray(points, np.float32)
    faces = np.asarray(faces, np.int32)
    albedo = np.broadcast_to(np.asarray(colour, np.float32), points.shape).copy()
    labels = np.full(len(faces), material, np.uint8), np.full(len(faces), part, np.uint8)
    return Mesh(points, faces, albedo, *labels, np.full(len(points), opacity, np.float32), points)


def quad(left=-1.0, right=1.0, z=0.0, **more) -> Mesh:
    """A wall that faces the front camera."""
    points = [[left, -1, z], [right, -1, z], [right, 1, z], [left, 1, z]]
    return mesh(points, [[0, 1, 2], [0, 2, 3]], **more)


def ball(radius=0.2, rows=60, columns=80, **more) -> Mesh:
    polar, turn = np.linspace(0, np.pi, rows), np.arange(columns) / columns * 2 * np.pi
    t, p = np.meshgrid(polar, turn, indexing="ij")
    points = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1).reshape(-1, 3)
    i, j = np.arange(rows - 1)[:, None] * columns, np.arange(columns)[None]
    k = (j + 1) % columns
    quads = np.stack([i + j, i + columns + j, i + columns + k, i + k], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    colour = 0.45 + 0.25 * np.sin(points * 9)  # so that there is something to be reprojected
    made = mesh(points * radius, faces, **({"colour": colour} | more))
    return replace(made, normals=points.astype(np.float32))


def hair(seed=0, count=300, width=0.003, radius=0.2, colour=(0.2, 0.1, 0.05)) -> Strands:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(count, 3))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    along = np.linspace(0, 1, 8)[None, :, None]
    bend = rng.normal(0, 0.03, (count, 1, 3))
    points = root[:, None] * (radius + 0.06 * along) + bend * along**2
    return strands(points, width, colour, root)


def strands(points, width, colour, normals=None) -> Strands:
    points = np.asarray(points, np.float32)
    widths = np.full(points.shape[:2], width, np.float32)
    albedo = np.broadcast_to(np.asarray(colour, np.float32), points.shape).copy()
    labels = (np.full(len(points), kind, np.uint8) for kind in (Part.HAIR, Material.HAIR))
    return Strands(points, widths, albedo, *labels, None if normals is None else normals.astype(np.float32))


def lit() -> Light:
    return lights.light_of(lights.MOODS["softbox"], np.random.default_rng(4))


def head(**more) -> Scene:
    return Scene((ball(material=Material.SKIN),), (hair(),), lit(), **more)


def psnr(a, b) -> float:
    return float(-10 * np.log10(max(np.mean((a - b) ** 2), 1e-12)))
