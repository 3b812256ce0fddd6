"""Find the face of a flat drawing, whose eyes are too big and whose chin is too small for any face model.

The detector of landmarks puts a person's face there: its eyes near the drawn ones, its mouth on the chin, and its
chin on the neck. The jaw of a drawing is a line, and its eyes have been read; landmarks are moved by what lies where.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.geometry.cameras import azimuth_between
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

EYE_SHARE = 3.0  # drawn eyes in pixels of the landmarks': people, paintings and modelled cartoons have at most 2.1
TURNED = 20.0  # degrees
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
"""Landmarks around the subject's right and left eye."""
OVAL = (
    (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    (356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
)
"""Landmarks of the outline from the temples to the chin: right, and left."""
REACH = (0.72, 1.15)  # distance of the drawn jaw from between the eyes, in that of the landmarks'
STEPS, RAYS, WIDEST = 44, 61, 60.0  # places along each of so many rays, and degrees from the chin up to which they go
SOFT, SMOOTH = 0.003, 1.5  # picture sides over which edges are sought, and rays over which the jaw is smooth
FAINT = 0.08  # sRGB of three channels: less of a step is no line
STIFF, SLOPE = 0.15, 2  # cost of a step from ray to ray, in usual edges; steps at most
END, FURTHEST = (60.0, 100.0), 100.0  # degrees from the chin over which landmarks go back, and up to which is a jaw


def is_painted(portrait: Portrait, photo: Photo) -> bool:
    """Return whether a portrait is a drawing from the front, with eyes that no face model has.

    The far eye of a turned face is too narrow to be painted on a head: such a drawing gets eyes of its own.
    """
    assert portrait.reading is not None and portrait.landmarks is not None
    is_turned = abs(float(azimuth_between(0, portrait.camera.azimuth))) > TURNED
    if is_turned or portrait.reading.best("kind")[0] != "toon":
        return False
    known = sum(cv2.contourArea(portrait.landmarks[list(eye)].astype(np.float32)) for eye in EYES)
    return bool(photo.shows(Label.EYE).mean() > EYE_SHARE * known)


def follow_jaw(landmarks: Floats, photo: Photo) -> F64:
    """Return the landmarks of a painted face with the lower half where its drawn jaw says."""
    frame = find_frame(landmarks)
    arms = landmarks - frame.middle
    factor = measure_jaw(frame, photo, frame.measure(arms))
    return np.asarray(frame.middle + factor[:, None] * arms, np.float64)


def measure_jaw(frame: FaceFrame, photo: Photo, turn: Floats) -> F64:
    """Return how far the drawn jaw lies at angles (n,), in distances of the landmarks'; 1 beside the jaw."""
    angles, jaw = trace_jaw(frame, photo)
    factor = np.interp(turn, angles, jaw / frame.reach(angles))
    return np.asarray(1 + (1 - smoothstep(*END, np.abs(turn))) * (factor - 1), np.float64)


@dataclass(frozen=True)
class FaceFrame:
    """Polar coordinates of a face in a picture: around the point between its eyes, from the direction of its chin."""

    middle: F64  # (2,)
    down: F64  # (2,) unit
    angles: F64  # (k,) of the outline, degrees, rising
    radii: F64  # (k,)

    def reach(self, angles: Floats) -> F64:
        """Return how far the outline lies at these angles."""
        return np.interp(angles, self.angles, self.radii)

    def measure(self, arms: Floats) -> F64:
        """Return the angles (n,) of arms (n, 2) from the middle, degrees."""
        return np.degrees(np.arctan2(arms @ np.array([self.down[1], -self.down[0]]), arms @ self.down))

    def point(self, angles: Floats) -> F64:
        """Return the directions (n, 2) of these angles."""
        turn = np.radians(angles)[:, None]
        return np.cos(turn) * self.down + np.sin(turn) * np.array([self.down[1], -self.down[0]])


def find_frame(landmarks: Floats) -> FaceFrame:
    middle = np.mean([landmarks[list(eye)].mean(0) for eye in EYES], 0)
    down = landmarks[OVAL[0][-1]] - middle
    frame = FaceFrame(middle, down / np.linalg.norm(down), np.zeros(0), np.zeros(0))
    arms = landmarks[[*OVAL[0], *OVAL[1][:-1]]] - middle
    angles = frame.measure(arms)
    order = np.argsort(angles)
    return replace(frame, angles=angles[order], radii=np.linalg.norm(arms, axis=1)[order])


def trace_jaw(frame: FaceFrame, photo: Photo) -> tuple[F64, F64]:
    """Return the angles of rays from between the eyes, and how far on each the drawn jaw lies.

    It is the path from ray to ray over the strongest edges that bends least, found by dynamic programming; without
    edges, that of the landmarks.
    """
    angles, places = np.linspace(-WIDEST, WIDEST, RAYS), np.linspace(*REACH, STEPS)
    radii = frame.reach(angles)[:, None] * places
    uv = frame.middle + radii[..., None] * frame.point(angles)[:, None]
    soft = cv2.GaussianBlur(photo.rgb.astype(np.float32), (0, 0), SOFT * photo.size)
    colours = look_up(np.asarray(soft, np.float32), uv)
    edge = np.zeros(radii.shape)
    edge[:, 2:-2] = np.abs(colours[:, 4:] - colours[:, :-4]).sum(-1)
    usual = float(np.median(edge.max(1)))
    if usual < FAINT:
        return angles, frame.reach(angles)
    edge = np.minimum(edge / usual, 1)
    best, came = edge[0], np.zeros(radii.shape, int)
    moves = np.arange(-SLOPE, SLOPE + 1)
    for ray in range(1, RAYS):
        padded = np.pad(best, SLOPE, constant_values=-np.inf)
        options = np.stack([padded[SLOPE + m : SLOPE + m + STEPS] for m in moves]) - STIFF * np.abs(moves)[:, None]
        came[ray] = np.arange(STEPS) + moves[options.argmax(0)]
        best = options.max(0) + edge[ray]
    path = np.zeros(RAYS, int)
    path[-1] = best.argmax()
    for ray in range(RAYS - 1, 0, -1):
        path[ray - 1] = came[ray, path[ray]]
    jaw = frame.reach(angles) * gaussian_filter1d(places[path], SMOOTH, mode="nearest")
    return angles, jaw
