"""Which Gaussians move with which triangles of an avatar's mesh."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.export.avatar_rig.moving_mesh import EYES, FRINGE, MovingMesh
from portrait360.pipeline.export.units import METRES
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import count_threads, map_in_threads

MILLIMETRE = 1e-3 / METRES
SPACING = 0.6 * MILLIMETRE  # of points over the triangles, the nearest of which binds a Gaussian
FINEST = 12  # most such points along an edge
STILL = 0.1 * MILLIMETRE  # what no unit moves further stays
NEAR, FAR = 2.5 * MILLIMETRE, 6 * MILLIMETRE
"""Distances from skin between which what lies on it fades into what hangs before it, such as hair and glasses."""
FRINGE_SPARE = 2.0 * MILLIMETRE  # lashes and beards bind what lies nearer to them than to skin by so much
SHUT = 0.5  # weight of blinks from which lids hide the eyes
VIEWS = ((0, 0), (-35, 0), (35, 0), (0, -25), (-70, 0), (70, 0))  # azimuth and elevation
FIELD, SIZE = 0.6 * FOV, 640  # of a view: the face, at half a millimetre a pixel


class Binding(NamedTuple):
    """Where Gaussians hang on a moving mesh."""

    triangles: np.ndarray  # (n,)
    places: F32  # (n, 3) barycentric
    weights: F32  # (n,) how far they follow; 0 for those that do not lie on it

    def select(self, rows: np.ndarray) -> Binding:
        return Binding(self.triangles[rows], self.places[rows], self.weights[rows])


def bind(splats: GaussianSplats, mesh: MovingMesh) -> Binding:
    """Bind Gaussians in the photo's expression to what is seen of the mesh in it.

    Only what is seen counts, so what lies on an upper lip never hangs on the inside of the lower one.
    """
    points = mesh.pose(mesh.weights)
    fringe = mesh.mark(FRINGE)
    surface = find_shown(mesh) & ~fringe  # also what keeps still: else it would hang on what moves beside it
    triangles, places, distance = _find_nearest(splats.means, points, mesh, np.flatnonzero(surface))
    if fringe.any():
        others, spots, beside = _find_nearest(splats.means, points, mesh, np.flatnonzero(fringe))
        nearer = beside < distance - FRINGE_SPARE
        triangles = np.where(nearer, others, triangles)
        places = np.where(nearer[:, None], spots, places)
        distance = np.where(nearer, beside, distance)
    weights = 1 - smoothstep(NEAR, FAR, distance)
    return Binding(triangles, places.astype(np.float32), weights.astype(np.float32))


def find_moved(binding: Binding, mesh: MovingMesh) -> Bools:
    """Return which Gaussians (n,) some unit moves."""
    return (binding.weights > 0) & (mesh.find_reach()[mesh.triangles[binding.triangles]].max(1) > STILL)


def is_painted(mesh: MovingMesh) -> bool:
    """Return whether eyes and mouth are painted on the face, as in a drawing: open lids show nothing of the eyes."""
    eyes = mesh.mark(EYES)
    shut = max(mesh.weights.get(f"eyeBlink{side}", 0.0) for side in ("Left", "Right"))
    return bool(eyes.any() and shut < SHUT and not (find_shown(mesh) & eyes).any())


@lru_cache(maxsize=1)
def find_shown(mesh: MovingMesh) -> Bools:
    """Return which triangles (m,) are seen in the photo's expression; several steps ask for the same mesh."""
    return find_seen(mesh, mesh.pose(mesh.weights))


def find_seen(mesh: MovingMesh, points: F32, views: tuple[tuple[int, int], ...] = VIEWS) -> Bools:
    """Return which triangles (m,) are seen from the front or the sides, with the vertices at these points."""
    rows = np.flatnonzero(~mesh.mark(FRINGE))
    seen = np.zeros(len(mesh.triangles), bool)
    triangles = mesh.triangles[rows]

    def find_front(view: tuple[int, int]) -> np.ndarray:
        ids = rasterise(points, triangles, Camera(look_at(*view), focal_from_fov(FIELD)), SIZE).ids
        return np.unique(ids[ids >= 0])

    for front in map_in_threads(find_front, views, lone_first=False):
        seen[rows[front]] = True
    return seen


def spread_points(corners: Floats, spacing: float) -> tuple[np.ndarray, F64]:
    """Return triangles and barycentric coordinates (k, 3) of points all over triangles (m, 3, 3)."""
    edges = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
    counts = np.clip(np.ceil(edges / spacing), 1, FINEST).astype(int)
    rows, places = [], []
    for count in np.unique(counts):
        i, j = (values.ravel() for values in np.mgrid[:count, :count])
        i, j = i[i + j < count], j[i + j < count]
        grid = (np.stack([i, j], 1) + 1 / 3) / count
        chosen = np.flatnonzero(counts == count)
        rows.append(np.repeat(chosen, len(grid)))
        places.append(np.tile(np.column_stack([1 - grid.sum(1), grid]), (len(chosen), 1)))
    if not rows:
        return np.zeros(0, int), np.zeros((0, 3))
    return np.concatenate(rows), np.concatenate(places)


def _find_nearest(means: Floats, points: F32, mesh: MovingMesh, rows: np.ndarray) -> tuple[np.ndarray, F64, F64]:
    """Return the nearest of the triangles `rows`, the place in it, and its distance; infinite beyond FAR."""
    corners = points[mesh.triangles[rows]].astype(np.float64)
    triangles, places = spread_points(corners, SPACING)
    spots = (corners[triangles] * places[..., None]).sum(1)
    reach = FAR + FRINGE_SPARE
    distance, near = KDTree(spots).query(means, distance_upper_bound=reach, workers=count_threads())
    near = np.minimum(near, len(spots) - 1)
    return rows[triangles[near]], places[near], np.asarray(distance)
