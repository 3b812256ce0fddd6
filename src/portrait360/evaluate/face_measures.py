"""What a face detector says of views: where each was taken from, whether a face is behind, what faces look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import azimuth_between
from portrait360.faces import DETECTION_SIDES, STOCK_SCORE, Face, find_faces, sure_faces
from portrait360.geometry.morphable import load_morphable
from portrait360.portrait import fitted_face

Floats = NDArray[np.floating]

BEHIND = 135.0  # degrees: further round than this nothing of a face may show
SIDES = DETECTION_SIDES[:2]  # a head fills our views: small faces beside it need not be looked for
SURE = 0.3  # weight: landmarks that the network places less surely say nothing of the pose


@dataclass(frozen=True, eq=False)
class FaceSeen:
    """The face of a view and what it says of the camera's azimuth."""

    face: Face
    by_landmarks: float  # degrees
    by_fit: float


def look(rgb: Floats, focal: float) -> FaceSeen | None:
    """The largest face, if there is one; the lens is known in all our pictures."""
    faces = sure_faces(rgb, 1, SIDES)
    if not faces:
        return None
    face, landmarks = faces[0]
    points = landmarks.points[:, :2].astype(np.float64)
    _, fit = fitted_face(rgb, points, focal)
    return FaceSeen(face, azimuth_of(points, rgb.shape[0], focal), fit.camera.azimuth)


def azimuth_of(points: Floats, size: int, focal: float) -> float:
    """Degrees from which the average face has its landmarks (n, 2) where they are: no fit of ours, only OpenCV's."""
    model = load_morphable()
    used = model.weights > SURE
    lens = np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1.0]])
    places, seen = model.landmarks.mean[used], np.ascontiguousarray(points[: len(used)][used])
    _, turn, move = cv2.solvePnP(places, seen, lens, None, flags=cv2.SOLVEPNP_SQPNP)
    rotation = cv2.Rodrigues(turn)[0]
    x, _, z = (-rotation.T @ move)[:, 0]
    return float(np.degrees(np.arctan2(x, z)))


def pose_error(said: Sequence[float], true: Sequence[float]) -> float:
    """Median in degrees; not a number if no face was found."""
    off = [abs(float(azimuth_between(a, b))) for a, b in zip(said, true, strict=True)]
    return float(np.median(off)) if off else float("nan")


def faces_behind(pictures: Sequence[Floats], azimuths: Sequence[float]) -> float:
    """Share of the views from behind in which the detector, as it comes, calls something a face."""
    behind = [p for p, a in zip(pictures, azimuths, strict=True) if abs(float(azimuth_between(0, a))) > BEHIND]
    if not behind:
        return float("nan")
    told = {p.tobytes(): p for p in behind}  # what is repeated is looked at once
    faces = {name: bool(find_faces(np.asarray(p, np.float32), STOCK_SCORE, SIDES)) for name, p in told.items()}
    return sum(faces[p.tobytes()] for p in behind) / len(behind)
