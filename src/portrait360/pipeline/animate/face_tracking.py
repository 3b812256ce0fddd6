"""Follow one face through the frames of a video by its landmarks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from portrait360.pipeline.portrait.face_detection import (
    LEFT_EYE,
    MIN_PRESENCE,
    RIGHT_EYE,
    Face,
    FaceLandmarks,
    find_confirmed_faces,
    find_landmarks,
)
from portrait360.utils.array_types import F32, Bytes, Floats

SIDES = (640, 320)  # picture sizes at which a lost face is looked for
PASSES = 2  # of the landmark network on a face that has been followed
FAR = 0.6  # face sizes that a face cannot move between two frames
FACES = 4  # that are looked at where the face is lost


def follow_face(frames: Iterable[Bytes]) -> F32:
    """Return the landmarks (n, points, 3) of the largest face that is seen first; NaN where it is lost."""
    found: list[Floats | None] = []
    last, here = None, None  # where the face was last seen, and whether it was in the last frame
    for picture in frames:
        rgb = picture.astype(np.float32) / 255
        here = None if here is None else _follow(rgb, here)
        if here is None:
            here = _find(rgb, last)
        last = here or last
        found.append(None if here is None else here.points)
    shape = next((points.shape for points in found if points is not None), (0, 3))
    nothing = np.full(shape, np.nan, np.float32)
    if not found:
        return np.zeros((0, 0, 3), np.float32)
    return np.stack([nothing if points is None else points for points in found]).astype(np.float32)


def _follow(rgb: Floats, before: FaceLandmarks) -> FaceLandmarks | None:
    """Return the face near where it was; None if it is not there."""
    face = _face_of(before)
    landmarks = find_landmarks(rgb, face, PASSES)
    moved = float(np.hypot(*(landmarks.points[:, :2].mean(0) - before.points[:, :2].mean(0))))
    is_there = landmarks.presence > MIN_PRESENCE and moved < FAR * face.size
    return landmarks if is_there else None


def _face_of(landmarks: FaceLandmarks) -> Face:
    points = landmarks.points[:, :2]
    low, size = points.min(0), np.ptp(points, axis=0)
    eyes = np.stack([points[list(RIGHT_EYE)].mean(0), points[list(LEFT_EYE)].mean(0)])
    x, y, width, height = (float(v) for v in (*low, *size))
    return Face((x, y, width, height), np.concatenate([eyes, eyes, eyes[:1]]), 1.0)


def _find(rgb: Floats, last: FaceLandmarks | None) -> FaceLandmarks | None:
    """Return the largest face; that nearest to where it was, once it has been seen."""
    faces = [landmarks for _, landmarks in find_confirmed_faces(rgb, FACES, SIDES)]
    if not faces or last is None:
        return faces[0] if faces else None
    place = last.points[:, :2].mean(0)
    return min(faces, key=lambda face: float(np.hypot(*(face.points[:, :2].mean(0) - place))))
