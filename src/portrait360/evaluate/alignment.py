"""A rig brought to the canonical frame of the portrait that was made from one of its shots.

A portrait's camera says from where its crop sees the head, in the canonical frame. The crop's own camera, in the
rig's frame, is a virtual one: it stands where the shot's camera stands and looks through the crop's middle. How it
is turned gives the rotation between the frames; how large things appear in both gives the scale, once it is known
how far away the head is: as far as the point at which the rig's cameras look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Array, Camera
from portrait360.errors import UserError
from portrait360.evaluate.rigs import Rig, RigShot
from portrait360.faces import Face, find_faces
from portrait360.matte import find_matte
from portrait360.portrait import Portrait
from portrait360.subject import reduced
from portrait360.view_sheet import View, meeting_point

Floats = NDArray[np.floating]

FACE_SIDE = 512  # pixels: pictures in which the front is looked for are reduced to this
MOST_SAMPLES = 8  # along each axis of a pixel
HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # from pixels counted at their centres to their edges
QUARTER = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # camera axes of a picture turned counter-clockwise


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the canonical frame lies in a rig's."""

    center: Array  # (3,) the head's, in the rig's frame
    turn: Array  # (3, 3) rig to canonical
    scale: float  # canonical units for one of the rig's
    focal: float  # image sides: of the portrait's camera
    radius: float  # how far away that stands

    def camera(self, shot: RigShot) -> Camera:
        """The canonical camera that looks at the head from where the shot's stands, rolled as it is. Its focal length
        is such that in the head's plane everything is as large as to all others."""
        pose, away = np.eye(4), self._away(shot)
        pose[:3, :3] = self.turn @ self._looking(shot)
        pose[:3, 3] = -away * pose[:3, 2]
        return Camera(pose, self.focal * away / self.radius)

    def view(self, shot: RigShot, size: int) -> View:
        """The shot as `camera` sees it: turned and zoomed about its own place. Beyond the photo nothing is known."""
        photo, axes = shot.load(), self._looking(shot)
        focal = self.focal * self._away(shot) / self.radius
        view = np.diag([1 / focal, 1 / focal, 1.0]) @ np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
        to_photo = HALF @ shot.K @ shot.cam2world[:3, :3].T @ axes @ view  # image sides -> pixels
        alpha = photo.alpha
        if alpha is None:
            small, shrunk = reduced(photo.rgb)
            x, y, z = to_photo @ [0.5, 0.5, 1]
            alpha = find_matte(small, (x / z * shrunk, y / z * shrunk))
        to_matte = np.diag([alpha.shape[1] / photo.rgb.shape[1], alpha.shape[0] / photo.rgb.shape[0], 1]) @ to_photo
        rgb = _warped(photo.rgb, to_photo, size, cv2.BORDER_REPLICATE)
        known = _warped(np.ones(photo.rgb.shape[:2], np.float32), to_photo, size, cv2.BORDER_CONSTANT)
        return View(rgb, _warped(alpha, to_matte, size, cv2.BORDER_CONSTANT), self.camera(shot), known)

    def _away(self, shot: RigShot) -> float:
        """Canonical: how far the shot's camera is from the head's centre."""
        return self.scale * float(np.linalg.norm(self.center - shot.cam2world[:3, 3]))

    def _looking(self, shot: RigShot) -> Array:
        """The axes (3, 3) of a camera that stands where the shot's stands and looks at the head's centre."""
        return _turned_to(shot.cam2world[:3, :3], self.center - shot.cam2world[:3, 3], shot.name)


def to_canonical(rig: Rig, index: int, portrait: Portrait) -> Alignment:
    """By the portrait that was made from the picture of this shot, as `load` gives it."""
    shot = rig.shots[index]
    place, axes = shot.cam2world[:3, 3], shot.cam2world[:3, :3]
    middle = portrait.corner[0] + portrait.side / 2, portrait.corner[1] + portrait.side / 2
    ray = axes @ np.linalg.solve(HALF @ shot.K, [*_as_loaded(middle, portrait.quarters, shot), 1.0])
    ray /= np.linalg.norm(ray)
    meeting = meeting_point(np.stack([other.cam2world for other in rig.shots]), rig.name)
    distance = float((meeting - place) @ ray)
    looking = _turned_to(axes, ray, shot.name) @ np.linalg.matrix_power(QUARTER, portrait.quarters)
    # a plane picture shows what lies off its axis larger: by 1 / cos across and 1 / cos^2 along the way there
    focal = math.sqrt(shot.K[0, 0] * shot.K[1, 1]) / float(ray @ axes[:, 2]) ** 1.5 / portrait.side
    if np.linalg.norm(meeting - place - distance * ray) * focal > distance:  # more than the crop's side away
        raise UserError(f"The portrait's crop does not show what the cameras of {rig.name} look at.")
    camera = portrait.camera
    return Alignment(
        center=place + distance * ray,
        turn=camera.cam2world[:3, :3] @ looking.T,
        scale=focal / distance / (camera.focal / camera.radius),
        focal=camera.focal,
        radius=camera.radius,
    )


def _as_loaded(point: tuple[float, float], quarters: int, shot: RigShot) -> tuple[float, float]:
    """A point of the upright photo in the photo as it was loaded."""
    x, y = point
    if quarters:
        sides = shot.load().rgb.shape[1::-1]
        for left in reversed(range(quarters)):  # turns still to be undone after this one
            x, y = sides[left % 2] - y, x
    return x, y


def _turned_to(axes: Array, direction: Array, name: str) -> Array:
    """A camera's axes (3, 3), turned the shortest way until it looks in the direction."""
    goal = direction / np.linalg.norm(direction)
    cosine = float(axes[:, 2] @ goal)
    if cosine <= 0:
        raise UserError(f"Camera {name} looks away from the head.")
    x, y, z = np.cross(axes[:, 2], goal)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return (np.eye(3) + cross + cross @ cross / (1 + cosine)) @ axes  # Rodrigues


def _warped(values: Floats, to_values: Array, size: int, border: int) -> Floats:
    """size x size pixels, each the mean of samples so dense that none of the picture's pixels is skipped.
    `to_values` leads from image sides to pixels of `values`, both counted from edges."""
    x0, y0, z0 = to_values @ [0.5, 0.5, 1]
    x1, y1, z1 = to_values @ [0.5 + 1 / size, 0.5, 1]
    step = math.hypot(x1 / z1 - x0 / z0, y1 / z1 - y0 / z0)
    samples = min(max(1, math.ceil(step - 1e-6)), MOST_SAMPLES)
    wide = size * samples
    matrix = np.linalg.inv(HALF) @ to_values @ np.diag([1 / wide, 1 / wide, 1.0]) @ HALF
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    out = cv2.warpPerspective(values, matrix, (wide, wide), flags=flags, borderMode=border)
    out = cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA) if samples > 1 else out
    return np.clip(out, 0, 1).astype(np.float32)


def nearest_front(rig: Rig) -> int:
    """Which shot to make a portrait from: the one with the surest and most frontal face."""
    pictures = (reduced(shot.load().rgb, FACE_SIDE)[0] for shot in rig.shots)
    worth = [max(map(_frontal, find_faces(rgb)), default=-1.0) for rgb in pictures]
    best = int(np.argmax(worth))
    if worth[best] < 0:
        raise UserError(f"No face was found in the pictures of {rig.name}.")
    return best


def _frontal(face: Face) -> float:
    """The detector's score, less the more the nose leaves the middle between the eyes; 0 where it lies before one."""
    right, left, nose = face.points[:3]
    across = left - right
    aside = abs(float((nose - (right + left) / 2) @ across)) / max(float(across @ across), 1e-6)
    return face.score * max(0.0, 1 - 2 * aside)
