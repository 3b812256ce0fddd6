"""All meshes of a scene as one, laid out for the kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portrait360.geometry.raster import vertex_normals
from portrait360.synth.scene import F32, I32, U8, Mesh, join

OPAQUE = 0.999  # vertices from this opacity on are solid


class Surface(NamedTuple):
    """All meshes as one."""

    values: F32  # (n, 18) what is interpolated, side by side since it is read together: see the slices below
    triangles: I32  # (m, 3)
    material: U8  # (m,)
    part: U8  # (m,)


PLACE, NORMAL, ALBEDO, OPEN, REST = (slice(i, i + 3) for i in range(0, 15, 3))  # OPEN: share of ambient light
RELIEF, OPACITY, DEPTH = 15, 16, 17  # DEPTH is filled per view


def flatten(meshes: tuple[Mesh, ...]) -> tuple[Surface, I32, I32]:
    """The surface, and which of its triangles are solid and which are clear."""
    first = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    values = np.ones((int(first[-1]), 18), np.float32)
    values[:, PLACE] = join([m.vertices for m in meshes], np.float32, 3)
    values[:, NORMAL] = join([_normals(m) for m in meshes], np.float32, 3)
    values[:, ALBEDO] = join([m.albedo for m in meshes], np.float32, 3)
    values[:, REST] = join([m.rest * _rest_scale(m) for m in meshes], np.float32, 3)
    values[:, RELIEF] = join([_relief(m) for m in meshes], np.float32)
    values[:, OPACITY] = join([m.opacity for m in meshes], np.float32)
    triangles = join([m.triangles + o for m, o in zip(meshes, first[:-1], strict=True)], np.int32, 3)
    material = join([m.material for m in meshes], np.uint8)
    part = join([m.part for m in meshes], np.uint8)
    clear = (values[triangles, OPACITY] < OPAQUE).any(1)
    surface = Surface(values, triangles, material, part)
    return surface, np.flatnonzero(~clear).astype(np.int32), np.flatnonzero(clear).astype(np.int32)


def _normals(mesh: Mesh) -> F32:
    return vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals


def _relief(mesh: Mesh) -> F32:
    return np.zeros(len(mesh.vertices), np.float32) if mesh.roughness is None else mesh.roughness


def _rest_scale(mesh: Mesh) -> float:
    """Size of the world over that of the rest coordinates, so that pores are as fine on every head."""
    if len(mesh.triangles) == 0:
        return 1.0
    edge = mesh.triangles[:, :2]
    real = np.linalg.norm(np.diff(mesh.vertices[edge], axis=1)[:, 0], axis=1)
    rest = np.linalg.norm(np.diff(mesh.rest[edge], axis=1)[:, 0], axis=1)
    return float(np.median(real) / max(float(np.median(rest)), 1e-9))
