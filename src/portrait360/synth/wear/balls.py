"""Balls whose normals point outwards, so that they do not shade themselves."""

from __future__ import annotations

from numpy.typing import ArrayLike, NDArray

from portrait360.synth.meshes import ellipsoid
from portrait360.utils.array_types import I32


def ball(center: ArrayLike, radii: ArrayLike, rows: int = 12, columns: int = 18) -> tuple[NDArray, I32]:
    """Return vertices and triangles of an ellipsoid."""
    vertices, triangles = ellipsoid(center, radii, rows, columns)
    return vertices, triangles[:, ::-1]
