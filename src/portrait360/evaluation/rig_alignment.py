"""Align a camera rig to the canonical frame of the portrait that was made from one of its shots.

A portrait's camera states from where its crop sees the head, in the canonical frame. The crop's own camera, in the
rig's frame, is a virtual one: it stands where the shot's camera stands and looks through the crop's centre. Its
orientation gives the rotation between the frames. How large things appear in both gives the scale, given the distance
of the head: that of the point at which the rig's cameras look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from portrait360.evaluation.multiview_datasets import CameraRig, RigFrame
from portrait360.geometry.cameras import Camera
from portrait360.geometry.pose_normalisation import focus_point
from portrait360.pipeline.portrait.face_detection import Face, find_faces
from portrait360.pipeline.portrait.matting import downscale
from portrait360.pipeline.portrait.matting_network import find_matte
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.views.view_set import View
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.errors import UserError

FACE_SIDE = 512  # pixels: pictures are downscaled to this before the search for the front
MAX_SAMPLES = 8  # along each axis of a pixel
HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # from pixels counted at their centres to their edges
QUARTER = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # camera axes of a picture rotated counter-clockwise


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the canonical frame lies in a rig's frame."""

    center: F64  # (3,) of the head, in the rig's frame
    rotation: F64  # (3, 3) rig to canonical
    scale: float  # canonical units per unit of the rig
    focal: float  # of the portrait's camera, in image sides
    radius: float  # distance of the portrait's camera

    def camera(self, shot: RigFrame) -> Camera:
        """Return the canonical camera that looks at the head from the position of the shot's camera, with the same
        roll. Its focal length is such that things in the head's plane appear as large as in all other cameras."""
        pose, distance = np.eye(4), self._head_distance(shot)
        pose[:3, :3] = self.rotation @ self._axes_to_head(shot)
        pose[:3, 3] = -distance * pose[:3, 2]
        return Camera(pose, self.focal * distance / self.radius)

    def view(self, shot: RigFrame, size: int) -> View:
        """Return the shot as `camera` sees it: rotated and zoomed from the same position. Beyond the photo nothing is
        known."""
        photo, axes = shot.load(), self._axes_to_head(shot)
        focal = self.focal * self._head_distance(shot) / self.radius
        view = np.diag([1 / focal, 1 / focal, 1.0]) @ np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
        to_photo = HALF @ shot.K @ shot.cam2world[:3, :3].T @ axes @ view  # image sides -> pixels
        alpha = photo.alpha
        if alpha is None:
            small, factor = downscale(photo.rgb)
            x, y, z = to_photo @ [0.5, 0.5, 1]
            alpha = find_matte(small, (x / z * factor, y / z * factor))
        to_matte = np.diag([alpha.shape[1] / photo.rgb.shape[1], alpha.shape[0] / photo.rgb.shape[0], 1]) @ to_photo
        rgb = _warp(photo.rgb, to_photo, size, cv2.BORDER_REPLICATE)
        inside_photo = _warp(np.ones(photo.rgb.shape[:2], np.float32), to_photo, size, cv2.BORDER_CONSTANT)
        return View(rgb, _warp(alpha, to_matte, size, cv2.BORDER_CONSTANT), self.camera(shot), inside_photo)

    def _head_distance(self, shot: RigFrame) -> float:
        """Return the distance of the shot's camera from the head's centre, in canonical units."""
        return self.scale * float(np.linalg.norm(self.center - shot.cam2world[:3, 3]))

    def _axes_to_head(self, shot: RigFrame) -> F64:
        """Return the axes (3, 3) of a camera at the shot's position that looks at the head's centre."""
        return _rotate_to(shot.cam2world[:3, :3], self.center - shot.cam2world[:3, 3], shot.name)


def align_rig(rig: CameraRig, index: int, portrait: Portrait) -> Alignment:
    """Align a rig by the portrait that was made from the picture of this shot, as its `load` returns it."""
    shot = rig.shots[index]
    position, axes = shot.cam2world[:3, 3], shot.cam2world[:3, :3]
    crop_center = portrait.corner[0] + portrait.side / 2, portrait.corner[1] + portrait.side / 2
    ray = axes @ np.linalg.solve(HALF @ shot.K, [*_undo_quarters(crop_center, portrait.quarter_turns, shot), 1.0])
    ray /= np.linalg.norm(ray)
    meeting = focus_point(np.stack([frame.cam2world for frame in rig.shots]), rig.name)
    distance = float((meeting - position) @ ray)
    crop_axes = _rotate_to(axes, ray, shot.name) @ np.linalg.matrix_power(QUARTER, portrait.quarter_turns)
    # a plane picture shows what lies off its axis larger: by 1 / cos across and 1 / cos^2 along the line to it
    focal = math.sqrt(shot.K[0, 0] * shot.K[1, 1]) / float(ray @ axes[:, 2]) ** 1.5 / portrait.side
    if np.linalg.norm(meeting - position - distance * ray) * focal > distance:  # more than the crop's side away
        raise UserError(
            f"The portrait's crop misses the point that the cameras of {rig.name} look at; choose another portrait."
        )
    camera = portrait.camera
    return Alignment(
        center=position + distance * ray,
        rotation=camera.cam2world[:3, :3] @ crop_axes.T,
        scale=focal / distance / (camera.focal / camera.radius),
        focal=camera.focal,
        radius=camera.radius,
    )


def _undo_quarters(point: tuple[float, float], quarters: int, shot: RigFrame) -> tuple[float, float]:
    """Map a point of the upright photo to the photo as it was loaded."""
    x, y = point
    if quarters:
        sides = shot.load().rgb.shape[1::-1]
        for remaining in reversed(range(quarters)):  # quarter turns still to be undone after this one
            x, y = sides[remaining % 2] - y, x
    return x, y


def _rotate_to(axes: F64, direction: F64, name: str) -> F64:
    """Rotate a camera's axes (3, 3) by the smallest angle until it looks in the direction."""
    forward = direction / np.linalg.norm(direction)
    cosine = float(axes[:, 2] @ forward)
    if cosine <= 0:
        raise UserError(f"Camera {name} looks away from the head; check its pose.")
    x, y, z = np.cross(axes[:, 2], forward)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return (np.eye(3) + cross + cross @ cross / (1 + cosine)) @ axes  # Rodrigues


def _warp(values: Floats, to_values: F64, size: int, border: int) -> Floats:
    """Warp to size x size pixels, each the mean of samples so dense that none of the picture's pixels is skipped.
    `to_values` maps image sides to pixels of `values`, both counted from edges."""
    x0, y0, z0 = to_values @ [0.5, 0.5, 1]
    x1, y1, z1 = to_values @ [0.5 + 1 / size, 0.5, 1]
    step = math.hypot(x1 / z1 - x0 / z0, y1 / z1 - y0 / z0)
    samples = min(max(1, math.ceil(step - 1e-6)), MAX_SAMPLES)
    side = size * samples
    matrix = np.linalg.inv(HALF) @ to_values @ np.diag([1 / side, 1 / side, 1.0]) @ HALF
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    out = cv2.warpPerspective(values, matrix, (side, side), flags=flags, borderMode=border)
    out = cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA) if samples > 1 else out
    return np.clip(out, 0, 1).astype(np.float32)


def nearest_front(rig: CameraRig) -> int:
    """Return the index of the shot to make a portrait from: the one with the surest and most frontal face."""
    pictures = (downscale(shot.load().rgb, FACE_SIDE)[0] for shot in rig.shots)
    scores = [max(map(_score_frontal, find_faces(rgb)), default=-1.0) for rgb in pictures]
    best = int(np.argmax(scores))
    if scores[best] < 0:
        raise UserError(f"No face was found in the pictures of {rig.name}; name the portrait with --portrait.")
    return best


def _score_frontal(face: Face) -> float:
    """Return the detector's score, reduced as the nose leaves the middle between the eyes; 0 where it reaches one."""
    right, left, nose = face.points[:3]
    across = left - right
    offset = abs(float((nose - (right + left) / 2) @ across)) / max(float(across @ across), 1e-6)
    return face.score * max(0.0, 1 - 2 * offset)
