"""The morphable head model: a linear model of skin (shape modes, expression units), fitted to a photo's landmarks.

`training.linear_models.face_model` computes the packaged file (assets/face_model.npz) from the CC0 head pack.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from portrait360.assets import FACE_MODEL
from portrait360.geometry.cameras import Camera, azimuth_between
from portrait360.geometry.surfaces.subdivision import Subdivision, catmull_clark
from portrait360.pipeline.portrait.face_fitting import FaceFit, FitOptions, LinearPoints, fit_face
from portrait360.utils.array_types import I32, Floats

FULL_WEIGHT_SPREAD = 0.007  # head heights: landmarks whose positions vary less than this count fully
MIN_FACING = 0.1  # cosine: landmarks on skin that is turned further away are hidden


@dataclass(frozen=True, eq=False)
class Morphable:
    skin: LinearPoints  # vertices (n, 3) of the coarse skin, canonical frame
    rows: sp.csr_matrix  # (468, n): vertices -> landmarks of the network
    spread: Floats  # (468,) spread of the network's landmarks around them, in head heights
    quads: I32  # (q, 4)
    hollow: NDArray[np.bool_]  # (q,) quads inside the mouth and the eye sockets
    habit: Floats  # (6, 2) mean error of the fitted azimuth and elevation: see `correct_pose`

    @cached_property
    def landmarks(self) -> LinearPoints:
        def move_points(points: Floats) -> Floats:
            return np.stack([self.rows @ p for p in points])

        skin = self.skin
        return LinearPoints(self.rows @ skin.mean, move_points(skin.shape), move_points(skin.expression))

    @cached_property
    def weights(self) -> Floats:
        """The weight of each landmark: its inverse variance, at most 1."""
        return np.minimum(1, 1 / np.maximum(self.spread / FULL_WEIGHT_SPREAD, 0.6) ** 2)

    @cached_property
    def subdivision(self) -> Subdivision:
        return catmull_clark(self.quads, len(self.skin.mean))

    @cached_property
    def triangles(self) -> I32:
        """Triangles of the smooth skin, without the hollows."""
        quads = self.subdivision.quads.reshape(len(self.quads), 4, 4)[~self.hollow].reshape(-1, 4)
        return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)

    def vertices(self, shape: Floats | None = None, expression: Floats | None = None) -> Floats:
        """Return the vertices (m, 3) of the smooth skin; of the average, neutral head by default."""
        skin = self.skin
        shape = np.zeros(len(skin.shape)) if shape is None else shape
        expression = np.zeros(len(skin.expression)) if expression is None else expression
        return self.subdivision(skin.at(shape, expression))

    def fit(self, points: Floats, focal: float, options: FitOptions | None = None) -> FaceFit:
        """Fit pose, crop and face to landmarks (468.., 2) in pixels; `correct_pose` removes the bias of the pose.

        The fit runs twice: the second time, landmarks that the first fit shows to be hidden hardly count.
        """
        points = np.asarray(points, np.float64)[: len(self.spread), :2]
        first = fit_face(points, self.weights, self.landmarks, focal, options)
        weights = self.weights * np.where(self.facing(first) > MIN_FACING, 1.0, 0.05)
        return fit_face(points, weights, self.landmarks, focal, options)

    def correct_pose(self, camera: Camera) -> tuple[float, float]:
        """Return azimuth and elevation without the landmark network's bias towards frontal views."""
        azimuth = azimuth_between(0, camera.azimuth)
        correction = pose_terms(np.array([azimuth]), np.array([camera.elevation]))[0] @ self.habit
        return azimuth + float(correction[0]), camera.elevation + float(correction[1])

    def facing(self, fit: FaceFit) -> Floats:
        """Return the cosine between each landmark's normal, on the average head, and the direction to the camera."""
        towards = fit.camera.position - self.landmarks.mean
        return (self.landmark_normals * towards).sum(1) / np.linalg.norm(towards, axis=1)

    @cached_property
    def landmark_normals(self) -> Floats:
        """Normals (468, 3) of the skin at the landmarks, on the average head."""
        mean = self.skin.mean
        a, b, c, d = (mean[self.quads[:, i]] for i in range(4))
        faces = np.cross(c - a, d - b)
        out = np.zeros_like(mean)
        for i in range(4):
            np.add.at(out, self.quads[:, i], faces)
        out = self.rows @ out
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def pose_terms(azimuth: Floats, elevation: Floats) -> Floats:
    """Return the terms (n, 6) of a quadratic in the two angles, clipped to the angles at which a face is visible."""
    a, e = np.clip(azimuth, -60, 60) / 30, np.clip(elevation, -30, 30) / 15
    return np.stack([np.ones_like(a), a, e, a * a, a * e, e * e], -1)


@lru_cache(maxsize=1)
def load_morphable() -> Morphable:
    """Load the packaged model."""
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
