"""Where the eyes of a portrait look, so that the irises of the layers lie where the photo shows them.

Eyes that look at a camera beside the head do not look ahead of it; straight ahead, they would be another look.
"""

from __future__ import annotations

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.synth.head.bare_head import Eyeball, Head
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F64, Floats

IRISES = (473, 468)  # landmarks at the middle of the left and the right one
CONVERGENCE = 0.025  # by which lines of sight turn to each other, see `eye_meshes`
CORNEA = 1.05  # distance of the pupil from the middle of the ball, in its radii
IRIS_SIZES = (0.36, 0.46)  # radians from the middle of the least and of the largest one
MOST = np.array([32.0, 12.0])  # degrees to the side, and up, beyond which eyes hardly turn alone


def find_gaze(head: Head, camera: Camera, landmarks: Floats | None) -> tuple[float, float]:
    """Return azimuth and elevation, degrees, of the line of sight of a head, from the landmarks in its photo."""
    if landmarks is None or len(landmarks) <= max(IRISES):
        return 0.0, 0.0
    sights = [look_through(eye, camera, landmarks[i]) for eye, i in zip(head.eyes, IRISES, strict=True)]
    x, y, z = unit(np.sum(sights, 0))
    turned = np.degrees([np.arctan2(x, z), np.arcsin(np.clip(y, -1, 1))])
    azimuth, elevation = np.round(MOST * np.tanh(turned / MOST), 1)
    return float(azimuth), float(elevation)


def measure_irises(head: Head, camera: Camera, landmarks: Floats | None) -> float | None:
    """Return the angle from the middle of irises to their edge, from the landmarks around them; None without any.

    Lids hide much of an iris, whose edge landmarks then guess too far out to the sides and too far in above.
    """
    if landmarks is None or len(landmarks) <= max(IRISES) + 4:
        return None
    sizes = []
    for eye, i in zip(head.eyes, IRISES, strict=True):
        edge = landmarks[i + 1 : i + 5, :2]
        across = (np.linalg.norm(edge[0] - edge[2]) + np.linalg.norm(edge[1] - edge[3])) / 2
        ends = eye.center + np.outer([-1, 1], camera.cam2world[:3, 0] * eye.radii)
        sizes.append(across / float(np.linalg.norm(np.diff(camera.project(ends)[0], axis=0))))
    return float(np.round(np.arcsin(np.clip(max(sizes), *np.sin(IRIS_SIZES))), 3))


def look_through(eye: Eyeball, camera: Camera, place: Floats) -> F64:
    """Return the direction (3,) from the middle of an eyeball to what the photo shows of it at a place (2,)."""
    far = camera.unproject(np.asarray(place, np.float64)[None], np.array([camera.radius]))[0]
    start, end = ((point - eye.center) / eye.radii for point in (camera.position, far))
    ray = unit(end - start)
    nearest = start - (start @ ray) * ray
    sight = nearest - np.sqrt(max(CORNEA**2 - float(nearest @ nearest), 0.0)) * ray
    return np.asarray(unit(sight) + np.array([CONVERGENCE * eye.side, 0, 0]), np.float64)
