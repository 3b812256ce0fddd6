"""The morphable head: a linear model of skin (shape modes, expression units) that is fitted to a photo's landmarks.

The file that ships (assets/face_model.npz) is built by `portrait360.synth.face_model` from the CC0 head pack.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from portrait360.assets import FACE_MODEL
from portrait360.cameras import Camera, azimuth_between
from portrait360.geometry.face_fit import FaceFit, FitOptions, LinearPoints, fit_face
from portrait360.geometry.subdivision import Subdivision, catmull_clark

Floats = NDArray[np.floating]
Ints = NDArray[np.int32]

SURE = 0.007  # of a head's height: landmarks whose places spread less than this count fully
VISIBLE = 0.1  # cosine: landmarks on skin turned further away than this are hidden


@dataclass(frozen=True, eq=False)
class Morphable:
    skin: LinearPoints  # vertices (n, 3) of the coarse skin, canonical frame
    rows: sp.csr_matrix  # (468, n): where the landmark network's points lie
    spread: Floats  # (468,) how far the network strays from them, in head heights
    quads: Ints  # (q, 4)
    hollow: NDArray[np.bool_]  # (q,) quads inside of mouth and eye sockets
    habit: Floats  # (6, 2) what the fitted azimuth and elevation are off by, on average: see `posed`

    @cached_property
    def landmarks(self) -> LinearPoints:
        def carried(points: Floats) -> Floats:
            return np.stack([self.rows @ p for p in points])

        skin = self.skin
        return LinearPoints(self.rows @ skin.mean, carried(skin.shape), carried(skin.expression))

    @cached_property
    def weights(self) -> Floats:
        """How much each landmark counts: the inverse of its variance, at most 1."""
        return np.minimum(1, 1 / np.maximum(self.spread / SURE, 0.6) ** 2)

    @cached_property
    def subdivision(self) -> Subdivision:
        return catmull_clark(self.quads, len(self.skin.mean))

    @cached_property
    def triangles(self) -> Ints:
        """Of the smooth skin, without hollows."""
        quads = self.subdivision.quads.reshape(len(self.quads), 4, 4)[~self.hollow].reshape(-1, 4)
        return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)

    def vertices(self, shape: Floats | None = None, expression: Floats | None = None) -> Floats:
        """The smooth skin (m, 3); the average, neutral head by default."""
        skin = self.skin
        shape = np.zeros(len(skin.shape)) if shape is None else shape
        expression = np.zeros(len(skin.expression)) if expression is None else expression
        return self.subdivision(skin.at(shape, expression))

    def fit(self, points: Floats, focal: float, options: FitOptions | None = None) -> FaceFit:
        """Landmarks (468.., 2) in pixels -> pose, crop and face, with the network's habits (see `posed`).

        Points that turn out hidden are dropped, once.
        """
        points = np.asarray(points, np.float64)[: len(self.spread), :2]
        first = fit_face(points, self.weights, self.landmarks, focal, options)
        weights = self.weights * np.where(self.facing(first) > VISIBLE, 1.0, 0.05)
        return fit_face(points, weights, self.landmarks, focal, options)

    def posed(self, camera: Camera) -> tuple[float, float]:
        """Azimuth and elevation without the landmark network's habit of seeing faces from nearer to the front."""
        azimuth = azimuth_between(0, camera.azimuth)
        off = pose_terms(np.array([azimuth]), np.array([camera.elevation]))[0] @ self.habit
        return azimuth + float(off[0]), camera.elevation + float(off[1])

    def facing(self, fit: FaceFit) -> Floats:
        """Cosine between each landmark's normal, on the average head, and the direction to the camera."""
        towards = fit.camera.position - self.landmarks.mean
        return (self._normals * towards).sum(1) / np.linalg.norm(towards, axis=1)

    @cached_property
    def _normals(self) -> Floats:
        mean = self.skin.mean
        a, b, c, d = (mean[self.quads[:, i]] for i in range(4))
        faces = np.cross(c - a, d - b)
        out = np.zeros_like(mean)
        for i in range(4):
            np.add.at(out, self.quads[:, i], faces)
        out = self.rows @ out
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def pose_terms(azimuth: Floats, elevation: Floats) -> Floats:
    """Terms (n, 6) of a quadratic in the two angles, within what a face can be seen from."""
    a, e = np.clip(azimuth, -60, 60) / 30, np.clip(elevation, -30, 30) / 15
    return np.stack([np.ones_like(a), a, e, a * a, a * e, e * e], -1)


@lru_cache(maxsize=1)
def load_morphable() -> Morphable:
    """The model that ships with the package."""
    with np.load(FACE_MODEL) as data:
        mean = data["mean"].astype(np.float64)
        rows = sp.csr_matrix((data["row_data"], data["row_indices"], data["row_offsets"]), (468, len(mean)))
        return Morphable(
            skin=LinearPoints(mean, data["shape"].astype(np.float64), data["expression"].astype(np.float64)),
            rows=rows,
            spread=data["spread"].astype(np.float64),
            quads=data["quads"].astype(np.int32),
            hollow=data["hollow"].astype(bool),
            habit=data["habit"].astype(np.float64),
        )
