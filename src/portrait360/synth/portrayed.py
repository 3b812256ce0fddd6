"""A synthetic head and the portrait that was made of its photo: one in the frame of the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import RADIUS, Camera
from portrait360.images import Picture
from portrait360.portrait import Portrait, make_portrait

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a portrait's canonical frame lies in the frame of the head: X_head = scale (turn X - shift)."""

    turn: Floats  # (3, 3)
    scale: float
    shift: Floats  # (3,)

    def camera(self, camera: Camera) -> Camera:
        """The camera that sees the head as this one sees the portrait's frame."""
        pose = camera.cam2world.copy()
        pose[:3, :3] = self.turn @ pose[:3, :3]
        pose[:3, 3] = self.scale * (self.turn @ camera.position - self.shift)
        return replace(camera, cam2world=pose)


def frame_of(portrait: Portrait, true: Camera, size: int) -> Frame:
    """For a portrait of a photo of this size, which the true camera took: the crop's pixels are where they were."""
    axes = true.cam2world[:3, :3]
    middle = (np.array([size / 2, size / 2]) - portrait.corner) / portrait.side - 0.5
    return Frame(
        axes @ portrait.camera.cam2world[:3, :3].T,
        portrait.side / size,
        axes[:, :2] @ (middle * RADIUS / true.focal),
    )


def portrait_of(photo: Picture, true: Camera, size: int) -> Portrait:
    """Where no face tells from where the head is seen, its angles are given, as a user would say them."""
    portrait = make_portrait(photo, size=size)
    if portrait.source != "face":
        portrait = make_portrait(photo, azimuth=true.azimuth, elevation=true.elevation, size=size)
    return portrait
