"""The parts of a built head: the contract between the builders (head, hair, extras) and the renderer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from portrait360.utils.array_types import F32, I32, Bytes
from portrait360.utils.portrait_labels import Label


class Part(IntEnum):
    """Semantic label of a pixel; 0 is the background."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    EYES = 3
    BROWS = 4
    BEARD = 5
    ACCESSORY = 6
    CLOTHES = 7


LABEL_OF_PART = np.array(
    [
        Label.BACKGROUND,
        Label.FACE,
        Label.HAIR,
        Label.EYE,
        Label.BROW,
        Label.BEARD,
        Label.JEWELLERY,
        Label.CLOTHES,
    ],
    np.uint8,
)
"""The label of a part whose builder names none."""


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
    ENAMEL = 9


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; colours are linear RGB."""

    vertices: F32  # (n, 3), canonical frame
    triangles: I32  # (m, 3)
    albedo: F32  # (n, 3), linear
    material: Bytes  # (m,) Material
    part: Bytes  # (m,) Part
    opacity: F32  # (n,), 1 where solid; below 1 for soft hairlines and lenses
    rest: F32  # (n, 3), coordinates independent of shape and pose, at which procedural detail is evaluated
    normals: F32 | None = None  # (n, 3) unit; None: computed from the triangles
    roughness: F32 | None = None  # (n,) strength of the procedural skin relief, 0 for none; None: 0 everywhere
    labels: Bytes | None = None  # (m,) Label; None: the label of the part


@dataclass(frozen=True)
class Strands:
    """Hair, beard, brows, fur: curves rendered as camera-facing ribbons, all with k points."""

    points: F32  # (s, k, 3)
    widths: F32  # (s, k)
    albedo: F32  # (s, k, 3), linear
    part: Bytes  # (s,) Part
    material: Bytes  # (s,) Material
    normals: F32 | None = None  # (s, 3) surface normal at the root, for shading; None: outward from the head
    label: Label | None = None  # None: the label of the part


@dataclass(frozen=True)
class Light:
    """Low-frequency environment light plus key lights, linear RGB."""

    ambient: (
        F32  # (9, 3) spherical harmonics, order 0..2, of the light a white Lambertian surface reflects; see lights
    )
    key_directions: F32  # (j, 3) unit, towards the light
    key_colours: F32  # (j, 3)
    key_softness: F32  # (j,) angular radius of the source in radians; sets the width of shadow edges


@dataclass(frozen=True)
class Scene:
    meshes: tuple[Mesh, ...]
    strands: tuple[Strands, ...]
    light: Light
    outline: float = 0.0  # width of the ink outline in image sides (toons); 0: none
    steps: int = 0  # number of cel-shading levels; 0: smooth shading
    landmarks: dict[str, F32] = field(default_factory=dict)  # named points in the canonical frame


def join(arrays: list[NDArray], kind: type, *shape: int) -> NDArray:
    """Concatenate the arrays into one contiguous array; an empty list is allowed."""
    return np.ascontiguousarray(np.concatenate([np.zeros((0, *shape), kind), *arrays]).astype(kind, copy=False))
