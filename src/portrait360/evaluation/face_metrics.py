"""Metrics from a face detector: the azimuth a view was taken from, and faces on the back of the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from portrait360.geometry.cameras import azimuth_between
from portrait360.pipeline.portrait.alignment import fit_face_and_pose
from portrait360.pipeline.portrait.face_detection import (
    DETECTION_SIDES,
    STOCK_SCORE,
    Face,
    find_confirmed_faces,
    find_faces,
)
from portrait360.pipeline.portrait.morphable_model import load_morphable
from portrait360.utils.array_types import Floats

MAX_FACE_AZIMUTH = 135.0  # degrees: from further round than this no face may be visible
SIDES = DETECTION_SIDES[:2]  # a head fills our views, so small faces beside it are not searched for
MIN_LANDMARK_WEIGHT = 0.3  # landmarks that the network places less reliably are left out of the pose


@dataclass(frozen=True, eq=False)
class FaceObservation:
    """The face of a view, and two estimates of the camera's azimuth from it."""

    face: Face
    by_landmarks: float  # degrees
    by_fit: float


def observe_face(rgb: Floats, focal: float) -> FaceObservation | None:
    """Find the largest face, if there is one. The focal length of all our pictures is known."""
    faces = find_confirmed_faces(rgb, 1, SIDES)
    if not faces:
        return None
    face, landmarks = faces[0]
    points = landmarks.points[:, :2].astype(np.float64)
    _, fit = fit_face_and_pose(rgb, points, focal)
    return FaceObservation(face, estimate_azimuth(points, rgb.shape[0], focal), fit.camera.azimuth)


def estimate_azimuth(points: Floats, size: int, focal: float) -> float:
    """Return the azimuth in degrees from which the average face has its landmarks at `points` (n, 2). It comes from
    OpenCV's PnP alone, not from our own fit."""
    model = load_morphable()
    reliable = model.weights > MIN_LANDMARK_WEIGHT
    K = np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1.0]])
    model_points = model.landmarks.mean[reliable]
    image_points = np.ascontiguousarray(points[: len(reliable)][reliable])
    _, rotation_vector, translation = cv2.solvePnP(model_points, image_points, K, None, flags=cv2.SOLVEPNP_SQPNP)
    rotation = cv2.Rodrigues(rotation_vector)[0]
    x, _, z = (-rotation.T @ translation)[:, 0]
    return float(np.degrees(np.arctan2(x, z)))


def pose_error(estimates: Sequence[float], azimuths: Sequence[float]) -> float:
    """Return the median error in degrees; NaN if no face was found."""
    errors = [abs(float(azimuth_between(a, b))) for a, b in zip(estimates, azimuths, strict=True)]
    return float(np.median(errors)) if errors else float("nan")


def share_of_faces_behind(pictures: Sequence[Floats], azimuths: Sequence[float]) -> float:
    """Return the share of the views from behind in which the detector, at its stock threshold, finds a face; NaN if
    there are no such views."""
    behind = [
        p for p, a in zip(pictures, azimuths, strict=True) if abs(float(azimuth_between(0, a))) > MAX_FACE_AZIMUTH
    ]
    if not behind:
        return float("nan")
    unique = {p.tobytes(): p for p in behind}  # detect only once in repeated pictures
    has_face = {key: bool(find_faces(np.asarray(p, np.float32), STOCK_SCORE, SIDES)) for key, p in unique.items()}
    return sum(has_face[p.tobytes()] for p in behind) / len(behind)
