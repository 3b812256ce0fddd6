"""Cameras, orbits, and the conventions that all other modules rely on.

The canonical frame is that of EG3D and PanoHead: head centre at the origin, y up, the face looks along +z.
Camera axes are those of OpenCV: x right, y down, z forward. Azimuth 0 is the front, 90 the subject's left side
(+x), 180 the back; elevation is positive from above. Angles are in degrees in every public function.
Intrinsics are in units of the image side; the centre of pixel (row i, column j) of an h x w image lies at
u = (j + 0.5) / w, v = (i + 0.5) / h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrait360.geometry.canonical_frame import FOCAL_SD15, RADIUS
from portrait360.utils.array_types import F64

Angles = TypeVar("Angles", float, NDArray[np.floating])


def pixel_centres(height: int, width: int) -> F64:
    """Return the centre (u, v) of each pixel in image sides: (height, width, 2)."""
    return np.stack(np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height), -1)


def focal_from_fov(degrees: float) -> float:
    """Return the focal length in image sides for a full field of view."""
    return 0.5 / math.tan(math.radians(degrees) / 2)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with square pixels."""

    cam2world: F64  # (4, 4), OpenCV axes
    focal: float = FOCAL_SD15  # in image sides
    center: tuple[float, float] = (0.5, 0.5)  # in image sides

    def __post_init__(self) -> None:
        pose = np.asarray(self.cam2world, dtype=np.float64)
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise ValueError(f"cam2world must be a finite 4 x 4 matrix, got shape {pose.shape}")
        object.__setattr__(self, "cam2world", pose)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Camera)
            and np.array_equal(self.cam2world, other.cam2world)
            and (self.focal, self.center) == (other.focal, other.center)
        )

    @property
    def position(self) -> F64:
        return self.cam2world[:3, 3]

    @property
    def world2cam(self) -> F64:
        return np.linalg.inv(self.cam2world).astype(np.float64)

    @property
    def azimuth(self) -> float:
        """The azimuth of the camera's position, in degrees in [0, 360)."""
        x, _, z = self.position
        return math.degrees(math.atan2(x, z)) % 360.0

    @property
    def elevation(self) -> float:
        x, y, z = self.position
        return math.degrees(math.atan2(y, math.hypot(x, z)))

    @property
    def roll(self) -> float:
        """Degrees by which the image is turned clockwise relative to a camera with a level horizon."""
        level = look_at(self.azimuth, self.elevation)
        right, down = self.cam2world[:3, 0] @ level[:3, :2]
        return math.degrees(math.atan2(0.0 - down, right))

    @property
    def radius(self) -> float:
        return float(np.linalg.norm(self.position))

    def intrinsics(self, width: float = 1.0, height: float | None = None) -> F64:
        """Return K (3, 3): normalised by default, in pixels for a given image size."""
        height = width if height is None else height
        fx, fy = self.focal * width, self.focal * height
        return np.array([[fx, 0, self.center[0] * width], [0, fy, self.center[1] * height], [0, 0, 1.0]])

    def project(self, points: ArrayLike) -> tuple[F64, F64]:
        """Project world points (..., 3) -> (u, v) in image sides (..., 2), depth along the optical axis (...)."""
        local = self._to_camera(points)
        depth = local[..., 2]
        uv = local[..., :2] / depth[..., None] * self.focal + np.asarray(self.center)
        return uv, depth

    def unproject(self, uv: ArrayLike, depth: ArrayLike) -> F64:
        """Invert `project`: (u, v) (..., 2) and depth (...) -> world points (..., 3)."""
        uv, depth = np.asarray(uv, np.float64), np.asarray(depth, np.float64)
        plane = (uv - np.asarray(self.center)) / self.focal
        local = np.concatenate([plane, np.ones_like(plane[..., :1])], -1) * depth[..., None]
        return local @ self.cam2world[:3, :3].T + self.position

    def rays(self, height: int, width: int) -> tuple[F64, F64]:
        """Return the origin (3,) and the unit directions (height, width, 3) through the pixel centres."""
        directions = self.unproject(pixel_centres(height, width), np.ones((height, width))) - self.position
        return self.position, directions / np.linalg.norm(directions, axis=-1, keepdims=True)

    def label(self) -> F64:
        """Return the 25 numbers of a camera in EG3D and PanoHead: cam2world, then normalised K."""
        return np.concatenate([self.cam2world.ravel(), self.intrinsics().ravel()])

    @classmethod
    def from_label(cls, label: ArrayLike) -> Camera:
        label = np.asarray(label, np.float64)
        if label.shape != (25,):
            raise ValueError(f"a camera label has 25 numbers, got shape {label.shape}")
        k = label[16:].reshape(3, 3)
        return cls(label[:16].reshape(4, 4), focal=float(k[0, 0]), center=(float(k[0, 2]), float(k[1, 2])))

    def orbit_to(self, **changes: float) -> Camera:
        """Move the camera on its orbit: `camera.orbit_to(azimuth=90)`. Values not named stay; roll becomes 0."""
        position = {"azimuth": self.azimuth, "elevation": self.elevation, "radius": self.radius} | changes
        return replace(self, cam2world=look_at(**position))

    def _to_camera(self, points: ArrayLike) -> F64:
        return (np.asarray(points, np.float64) - self.position) @ self.cam2world[:3, :3]


def look_at(
    azimuth: float,
    elevation: float = 0.0,
    *,
    roll: float = 0.0,
    radius: float = RADIUS,
    target: ArrayLike = (0.0, 0.0, 0.0),
) -> F64:
    """Return cam2world (4, 4) of a camera that looks at `target`; azimuth, elevation and radius give its position
    around the target, and roll turns the image clockwise."""
    a, e, r = math.radians(azimuth), math.radians(elevation), math.radians(roll)
    target = np.asarray(target, np.float64)
    forward = -np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    right = np.array([math.cos(a), 0.0, -math.sin(a)])  # defined at the poles too, unlike forward x up
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = math.cos(r) * right - math.sin(r) * down
    pose[:3, 1] = math.sin(r) * right + math.cos(r) * down
    pose[:3, 2] = forward
    pose[:3, 3] = target - radius * forward
    return pose


def orbit(
    views: int,
    *,
    elevation: float = 0.0,
    start: float = 0.0,
    focal: float = FOCAL_SD15,
    radius: float = RADIUS,
) -> list[Camera]:
    """Return an ordered ring of cameras: view 0 is at azimuth `start`, and azimuth grows by 360 / views."""
    if views < 1:
        raise ValueError(f"an orbit needs at least one view, got {views}")
    azimuths = [start + 360.0 * i / views for i in range(views)]
    return [Camera(look_at(a, elevation, radius=radius), focal) for a in azimuths]


def azimuth_between(a: float, b: Angles) -> Angles:
    """Return the smallest signed angle from azimuth a to azimuth b, in (-180, 180]; b may be an array."""
    return 180.0 - (a - b + 180.0) % 360.0
