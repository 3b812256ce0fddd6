"""A labelled head without its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

from portrait360.utils.array_types import F32, Bytes


@dataclass(frozen=True, eq=False)
class Cutout:
    """A square picture with straight alpha; everything is 0 where alpha is 0."""

    rgb: F32  # (s, s, 3) sRGB-encoded in [0, 1]
    alpha: F32  # (s, s)
    labels: Bytes  # (s, s) Label
    flow: F32  # (s, s, 2) cos and sin of twice the angle of the hair's direction (x right, y down); 0 where unknown
    normals: F32  # (s, s, 3) unit, in camera coordinates: x right, y down, z away from the camera
