"""Corneas of an avatar, as round as those of people: they catch the light, and from aside one sees eyes bulge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from portrait360.synth.head.bare_head import Eyeball, Head
from portrait360.synth.head.eyes import SPOKES
from portrait360.synth.meshes import unit, vertex_normals
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import F32, F64

RADIUS, LARGEST = 1.36, 0.9  # of a cornea: 7.8 mm where its edge is 5.7 mm from its axis; and in radii of the ball
EDGE = 0.012  # radii of the ball over which it runs out into that


def bulge_corneas(meshes: Iterable[Mesh], head: Head, iris_size: float) -> list[Mesh]:
    """Return the meshes with corneas on the eyeballs; `iris_size` is the angle from their middle to their edge."""
    return [_bulge(mesh, head, iris_size) if _is_ball(mesh) else mesh for mesh in meshes]


def _is_ball(mesh: Mesh) -> bool:
    return bool(mesh.part[0] == Part.EYES and mesh.material[0] == Material.EYE)


def _bulge(mesh: Mesh, head: Head, iris_size: float) -> Mesh:
    side = mesh.vertices[:, 0].mean()
    eye: Eyeball = next(eye for eye in head.eyes if eye.side * side > 0)
    way = unit((mesh.vertices - eye.center) / eye.radii).astype(np.float64)
    sight = unit(way[:SPOKES].mean(0))
    reach = reach_cornea(np.arccos(np.clip(way @ sight, -1, 1)), iris_size)
    vertices: F32 = np.asarray(eye.center + way * reach[:, None] * eye.radii, np.float32)
    return replace(mesh, vertices=vertices, normals=vertex_normals(vertices, mesh.triangles))


def reach_cornea(angle: F64, iris_size: float) -> F64:
    """Return how far the eye reaches at angles (n,) from its line of sight, in radii of the ball."""
    edge = float(np.sin(iris_size))
    radius = min(RADIUS * edge, LARGEST)
    middle = float(np.cos(iris_size)) - np.sqrt(max(radius**2 - edge**2, 0.0))
    cap = middle * np.cos(angle) + np.sqrt(np.maximum(radius**2 - (middle * np.sin(angle)) ** 2, 0.0))
    return np.asarray(np.logaddexp(1 / EDGE, cap / EDGE) * EDGE, np.float64)
