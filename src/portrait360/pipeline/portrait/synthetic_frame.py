"""Relate the frame of a synthetic head to the canonical frame of the portrait made from its rendered photo."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.array_types import Floats
from portrait360.utils.images import Picture


@dataclass(frozen=True, eq=False)
class PortraitFrame:
    """The similarity from a portrait's canonical frame to the frame of the head: X_head = scale (turn X - shift)."""

    turn: Floats  # (3, 3) rotation
    scale: float
    shift: Floats  # (3,)

    def camera(self, camera: Camera) -> Camera:
        """Transform a camera from the portrait's frame to the frame of the head."""
        pose = camera.cam2world.copy()
        pose[:3, :3] = self.turn @ pose[:3, :3]
        pose[:3, 3] = self.scale * (self.turn @ camera.position - self.shift)
        return replace(camera, cam2world=pose)


def portrait_frame(portrait: Portrait, true_camera: Camera, size: int) -> PortraitFrame:
    """Compute the frame of a portrait whose photo of this size was rendered with `true_camera`."""
    axes = true_camera.cam2world[:3, :3]
    center = (np.array([size / 2, size / 2]) - portrait.corner) / portrait.side - 0.5
    return PortraitFrame(
        axes @ portrait.camera.cam2world[:3, :3].T,
        portrait.side / size,
        axes[:, :2] @ (center * RADIUS / true_camera.focal),
    )


def make_synthetic_portrait(photo: Picture, true_camera: Camera, size: int) -> Portrait:
    """Make the portrait of a rendered photo; without a face it gets the true angles, as a user would pass them."""
    portrait = make_portrait(photo, size=size)
    if portrait.source != "face":
        portrait = make_portrait(photo, azimuth=true_camera.azimuth, elevation=true_camera.elevation, size=size)
    return portrait
