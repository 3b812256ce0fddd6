"""What a built head is made of: the contract between the builders (head, hair, extras) and the renderer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]


class Part(IntEnum):
    """Label of a pixel; 0 is the background."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    EYES = 3
    BROWS = 4
    BEARD = 5
    ACCESSORY = 6
    CLOTHES = 7


class Material(IntEnum):
    SKIN = 0
    EYE = 1
    HAIR = 2
    CLOTH = 3
    PLASTIC = 4
    METAL = 5
    STONE = 6
    FUR = 7
    GLASS = 8


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; colours are linear RGB."""

    vertices: F32  # (n, 3), canonical frame
    triangles: I32  # (m, 3)
    albedo: F32  # (n, 3), linear
    material: U8  # (m,) Material
    part: U8  # (m,) Part
    opacity: F32  # (n,), 1 where solid; below 1: soft hairlines, lenses
    rest: F32  # (n, 3), coordinates that do not move with shape or pose: where procedural detail is looked up
    normals: F32 | None = None  # (n, 3) unit; None: taken from the triangles
    roughness: F32 | None = None  # (n,) strength of the procedural skin relief (0 none); None: none


@dataclass(frozen=True)
class Strands:
    """Hair, beard, brows, fur: curves drawn as camera-facing ribbons, all with k points."""

    points: F32  # (s, k, 3)
    widths: F32  # (s, k)
    albedo: F32  # (s, k, 3), linear
    part: U8  # (s,) Part
    material: U8  # (s,) Material
    normals: F32 | None = None  # (s, 3): the surface under the root, for shading; None: outward from the head


@dataclass(frozen=True)
class Light:
    """Low-frequency environment plus keys, linear RGB."""

    ambient: F32  # (9, 3) spherical harmonics of order 0..2 of what white matt surfaces send back: see lights
    key_directions: F32  # (j, 3) unit, towards the light
    key_colours: F32  # (j, 3)
    key_softness: F32  # (j,) angular radius of the source in radians; sets the width of the shadow's edge


@dataclass(frozen=True)
class Scene:
    meshes: tuple[Mesh, ...]
    strands: tuple[Strands, ...]
    light: Light
    outline: float = 0.0  # width of a drawn outline in units of the image side (toons); 0: none
    steps: int = 0  # number of light steps of cel shading; 0: smooth
    landmarks: dict[str, F32] = field(default_factory=dict)  # named points in the canonical frame


def join(arrays: list[NDArray], kind: type, *shape: int) -> NDArray:
    """One contiguous array of all, also when there is none."""
    return np.ascontiguousarray(np.concatenate([np.zeros((0, *shape), kind), *arrays]).astype(kind, copy=False))
