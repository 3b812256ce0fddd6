"""All meshes of a scene merged into one, laid out for the kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portrait360.geometry.rasterizer import vertex_normals
from portrait360.synth.scene import LABEL_OF_PART, Mesh, join
from portrait360.utils.array_types import F32, I32, Bytes

OPAQUE = 0.999  # opacity from which a vertex counts as solid


class Surface(NamedTuple):
    """All meshes of a scene, merged."""

    values: F32  # (n, 18) interpolated attributes, adjacent because they are read together; see the slices below
    triangles: I32  # (m, 3)
    material: Bytes  # (m,)
    part: Bytes  # (m,)
    labels: Bytes  # (m,)


# AMBIENT: unoccluded share of the ambient light, per colour
POSITION, NORMAL, ALBEDO, AMBIENT, REST = (slice(i, i + 3) for i in range(0, 15, 3))
RELIEF, OPACITY, DEPTH = 15, 16, 17  # DEPTH is filled per view


def flatten(meshes: tuple[Mesh, ...]) -> tuple[Surface, I32, I32]:
    """Return the merged surface, and the indices of its solid and its transparent triangles."""
    first = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    values = np.ones((int(first[-1]), 18), np.float32)
    values[:, POSITION] = join([m.vertices for m in meshes], np.float32, 3)
    values[:, NORMAL] = join([_normals(m) for m in meshes], np.float32, 3)
    values[:, ALBEDO] = join([m.albedo for m in meshes], np.float32, 3)
    values[:, REST] = join([m.rest * _rest_scale(m) for m in meshes], np.float32, 3)
    values[:, RELIEF] = join([_relief(m) for m in meshes], np.float32)
    values[:, OPACITY] = join([m.opacity for m in meshes], np.float32)
    triangles = join([m.triangles + o for m, o in zip(meshes, first[:-1], strict=True)], np.int32, 3)
    material = join([m.material for m in meshes], np.uint8)
    part = join([m.part for m in meshes], np.uint8)
    is_transparent = (values[triangles, OPACITY] < OPAQUE).any(1)
    labels = join([LABEL_OF_PART[m.part] if m.labels is None else m.labels for m in meshes], np.uint8)
    surface = Surface(values, triangles, material, part, labels)
    return surface, np.flatnonzero(~is_transparent).astype(np.int32), np.flatnonzero(is_transparent).astype(np.int32)


def _normals(mesh: Mesh) -> F32:
    return vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals


def _relief(mesh: Mesh) -> F32:
    return np.zeros(len(mesh.vertices), np.float32) if mesh.roughness is None else mesh.roughness


def _rest_scale(mesh: Mesh) -> float:
    """Return the scale of the world over the rest coordinates, so that pores are equally fine on every head."""
    if len(mesh.triangles) == 0:
        return 1.0
    edge = mesh.triangles[:, :2]
    real = np.linalg.norm(np.diff(mesh.vertices[edge], axis=1)[:, 0], axis=1)
    rest = np.linalg.norm(np.diff(mesh.rest[edge], axis=1)[:, 0], axis=1)
    return float(np.median(real) / max(float(np.median(rest)), 1e-9))
