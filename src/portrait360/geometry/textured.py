"""A mesh with one texture: what the exported head is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera
from portrait360.geometry import raster


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """Vertices are split where the texture has a seam; their normals are those of the whole surface."""

    vertices: NDArray[np.float32]  # (n, 3) canonical frame
    normals: NDArray[np.float32]  # (n, 3) unit, outwards
    uv: NDArray[np.float32]  # (n, 2) u right, v down, (0, 0) the outer corner of the first texel
    triangles: NDArray[np.int32]  # (m, 3) counter-clockwise from outside
    texture: NDArray[np.uint8]  # (t, t, 3) sRGB

    def draw(self, camera: Camera, size: int | tuple[int, int]) -> raster.Drawing:
        """Unlit, as the texture holds the light of the photo."""
        colours = self.texture.astype(np.float32) / 255
        return raster.draw(
            self.vertices, self.triangles, camera, size, uv=self.uv, texture=colours, normals=self.normals
        )
