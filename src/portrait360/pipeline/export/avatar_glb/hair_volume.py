"""Hair as a volume: its closed surface below the cards, and the direction outward at every point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, maximum_filter
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from portrait360.geometry.surfaces.simplification import simplify
from portrait360.geometry.surfaces.surface_nets import surface_nets
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, I32
from portrait360.utils.parallel.threads import count_threads

CELL = 0.009  # canonical side of a cell, four millimetres
MOST_CELLS = 160  # in one direction
SAMPLES = 40  # points along a strand
WIDE = 3.0  # cells over which directions are smooth
LEVEL = 0.3  # of the usual density within the hair, from which a cell counts as hair
INSET = 0.017  # canonical depth of the surface below the outermost hair
BELOW = 6  # cells around hair in which the head counts as filled
UNDER_SKIN = 0.004  # canonical depth below the skin at which the surface ends


@dataclass(frozen=True, eq=False)
class HairVolume:
    """The density of strands on a grid."""

    density: F32  # (a, b, c), 1 where it is usual
    smooth: F32  # the same, blurred
    origin: F32  # (3,)
    cell: float

    def outward(self, points: F32) -> F32:
        """Return the directions (n, 3) in which hair becomes less dense."""
        place = ((points - self.origin) / self.cell).T
        slope = [map_coordinates(axis, place, order=1, mode="nearest") for axis in np.gradient(self.smooth)]
        return np.asarray(unit(-np.stack(slope, 1)), np.float32)


def make_hair_volume(groups: list[Strands]) -> HairVolume:
    """Return the volume that strands fill; at least one group has strands."""
    points, mass = _sample(groups)
    low, high = points.min(0), points.max(0)
    cell = max(CELL, float((high - low).max()) / MOST_CELLS)
    origin = low - 5 * cell
    shape = tuple(int(n) for n in np.ceil((high - origin) / cell) + 6)
    index = np.rint((points - origin) / cell).astype(np.int64)
    total = np.bincount(np.ravel_multi_index(tuple(index.T), shape), mass, int(np.prod(shape)))
    soft = np.asarray(gaussian_filter(total.reshape(shape).astype(np.float32), 1.0), np.float32)
    density = (soft / max(float(np.median(soft[tuple(index.T)])), 1e-9)).astype(np.float32)
    smooth = np.asarray(gaussian_filter(density, WIDE), np.float32)
    return HairVolume(density, smooth, origin.astype(np.float32), cell)


def _sample(groups: list[Strands]) -> tuple[F32, F32]:
    """Return points along all strands, and the area that each stands for."""
    points, mass = [], []
    for group in groups:
        k = group.points.shape[1]
        t = np.linspace(0, k - 1, SAMPLES)
        i, f = np.minimum(t.astype(int), k - 2), (t - np.minimum(t.astype(int), k - 2)).astype(np.float32)
        a, b = group.points[:, i], group.points[:, i + 1]
        points.append((a + (b - a) * f[:, None]).reshape(-1, 3))
        step = np.linalg.norm(b - a, axis=2) * (k - 1) / SAMPLES
        width = group.widths[:, i] + (group.widths[:, i + 1] - group.widths[:, i]) * f
        mass.append((step * width).ravel())
    return np.concatenate(points).astype(np.float32), np.concatenate(mass).astype(np.float32)


def make_undercoat(volume: HairVolume, skin: F32, normals: F32, triangles: int) -> tuple[F32, I32]:
    """Return a surface within the hair (vertices, triangles), without what lies under the skin (n, 3)."""
    tree, shape = KDTree(skin), volume.density.shape
    places = volume.origin + volume.cell * np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3).astype(np.float32)
    hair = volume.density > LEVEL
    filled = hair.ravel()
    # deeper in the head only its own inner surface would lie, hidden
    around = np.asarray(maximum_filter(hair, 2 * BELOW + 1), np.bool_)
    free = np.flatnonzero(around.ravel() & ~filled)
    near = np.asarray(tree.query(places[free], workers=count_threads())[1])
    filled[free] = ((places[free] - skin[near]) * normals[near]).sum(1) < 0
    padded = np.pad(filled.reshape(shape), 1, mode="edge")
    depth = volume.cell * np.asarray(distance_transform_edt(padded))[1:-1, 1:-1, 1:-1]
    field = np.asarray(gaussian_filter(INSET - depth.astype(np.float32), 0.7), np.float32)
    if not (field < 0).any():
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    corners, faces = surface_nets(field)
    vertices = (volume.origin + corners * volume.cell).astype(np.float32)
    near = np.asarray(tree.query(vertices, workers=count_threads())[1])
    hidden = ((vertices - skin[near]) * normals[near]).sum(1) < -UNDER_SKIN
    faces = np.ascontiguousarray(faces[~hidden[faces].all(1)], np.int32)
    if len(faces) == 0:
        return np.zeros((0, 3), np.float32), faces
    faces = simplify(vertices, _drop_crumbs(faces, len(vertices)), triangles)
    used, compact = np.unique(faces, return_inverse=True)
    return vertices[used], compact.reshape(-1, 3).astype(np.int32)


def _drop_crumbs(faces: NDArray[np.integer], count: int, share: float = 0.01) -> I32:
    """Return the triangles of all pieces that are not tiny."""
    graph = sp.csr_matrix(
        (np.ones(len(faces) * 2), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), (count,) * 2
    )
    piece = connected_components(graph, directed=False)[1][faces[:, 0]]
    return np.ascontiguousarray(faces[np.bincount(piece)[piece] > share * len(faces)], np.int32)
