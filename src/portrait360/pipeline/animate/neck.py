"""How a head turns on its neck: the head stays where it is, and camera and shoulders turn the other way.

Everything that the photo knows of the head then stays in place: its direction, its relief, its light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.animate.moving_parts import rotate
from portrait360.pipeline.export.avatar_glb.bust import Neck
from portrait360.utils.array_types import F32, F64, Floats

LIMITS = (60.0, 40.0, 40.0)  # degrees of yaw, pitch and roll that a neck allows
CELLS, REACH = 40, np.array([[-0.75, -0.95, -0.65], [0.75, 0.45, 0.65]])  # of the grid of shares, canonical


@dataclass(frozen=True, eq=False)
class NeckField:
    """How far every place in space follows the head: 1 on it, 0 on the shoulders."""

    pivot: F32  # (3,)
    shares: F32  # (CELLS, CELLS, CELLS)

    def at(self, points: Floats) -> F32:
        place = (points - REACH[0]) / (REACH[1] - REACH[0]) * (CELLS - 1)
        values = ndimage.map_coordinates(self.shares, np.moveaxis(place, -1, 0), order=1, mode="nearest")
        return np.asarray(values, np.float32)


def make_neck_field(neck: Neck) -> NeckField:
    """Sample how far space follows the head, as the skin beside it does."""
    axes = [np.linspace(low, high, CELLS) for low, high in REACH.T.tolist()]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return NeckField(neck.pivot, neck.head_share(points.astype(np.float32)).reshape(CELLS, CELLS, CELLS))


@dataclass(frozen=True, eq=False)
class NeckTurn:
    """A turn of the head, in the head's own frame."""

    field: NeckField
    vector: F64  # (3,) rotation vector of the head against the shoulders

    def bend(self, points: Floats) -> F32:
        """Move points (.., 3) of the photo's pose: shoulders turn back, the head stays."""
        return self._turn(points, points, -1.0)

    def straighten(self, points: Floats) -> Floats:
        """Undo `bend`."""
        out = points
        for _ in range(3):
            out = self._turn(points, out, 1.0)
        return out

    def _turn(self, points: Floats, places: Floats, sign: float) -> F32:
        if not self.vector.any():
            return np.asarray(points)
        share = sign * (1 - self.field.at(places))
        return self.field.pivot + rotate(points - self.field.pivot, self.vector, share)

    def find_eyes(self, rest: Floats, camera: Camera) -> Floats:
        """Return where a camera in the head's frame stands to what was at points (.., 3) before the turn."""
        if not self.vector.any():
            return camera.position
        arm = np.broadcast_to(camera.position - self.field.pivot, rest.shape)
        return self.field.pivot + rotate(arm, self.vector, 1 - self.field.at(rest))

    def to_head(self, camera: Camera) -> Camera:
        """Return a camera as the turned head sees it."""
        pose, back = camera.cam2world.copy(), Rotation.from_rotvec(-self.vector)
        pose[:3, :3] = back.as_matrix() @ pose[:3, :3]
        pose[:3, 3] = back.apply(pose[:3, 3] - self.field.pivot) + self.field.pivot
        return replace(camera, cam2world=pose)

    def to_world(self, directions: Floats) -> F32:
        """Return directions (.., 3) of the head's frame in that of the shoulders."""
        return np.asarray(directions @ Rotation.from_rotvec(self.vector).as_matrix().T, np.float32)


def neck_vector(yaw: float, pitch: float, roll: float) -> F64:
    """Return the rotation vector of a head that turns to its left, looks up, and leans to its left shoulder."""
    return neck_rotation(yaw, pitch, roll).as_rotvec()


def neck_rotation(yaw: float, pitch: float, roll: float) -> Rotation:
    angles = [np.clip(angle, -most, most) for angle, most in zip((yaw, pitch, roll), LIMITS, strict=True)]
    return Rotation.from_euler("YXZ", [angles[0], -angles[1], -angles[2]], degrees=True)
