"""A named part of the file: its mesh, what moves it, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from portrait360.utils.array_types import F32, I32, Bytes


@dataclass(frozen=True)
class Look:
    """A material."""

    name: str
    roughness: float = 0.8
    metallic: float = 0.0
    texture: str | None = None  # name of an image of the file
    cutoff: float | None = None  # alpha from which a texel is solid
    blend: bool = False  # transparent
    double: bool = False  # both sides are visible
    specular: float = 1.0


@dataclass(frozen=True, eq=False)
class Piece:
    """A node with one mesh, in the avatar's frame."""

    name: str
    look: Look
    vertices: F32  # (n, 3) at neutral expression
    normals: F32  # (n, 3)
    triangles: I32
    uv: F32 | None = None  # (n, 2)
    colours: F32 | None = None  # (n, 3) or (n, 4) linear
    moves: dict[str, F32] = field(default_factory=dict)  # expression unit -> (n, 3)
    turns: dict[str, F32] = field(default_factory=dict)  # expression unit -> (n, 3) of the normals
    head: F32 | None = None  # (n,) how far each vertex follows the head; None: all of them, rigidly
    pivot: F32 | None = None  # (3,) about which it rotates
    sight: F32 | None = None  # (3,) where an eye looks in the photo
    image: Bytes | None = None  # (h, w, 3 or 4) what its look's texture shows
