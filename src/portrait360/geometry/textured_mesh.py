"""A mesh with one texture: the form in which a head is exported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A textured mesh. Vertices are split at seams of the texture; their normals are those of the unsplit surface."""

    vertices: NDArray[np.float32]  # (n, 3) canonical frame
    normals: NDArray[np.float32]  # (n, 3) unit, outwards
    uv: NDArray[np.float32]  # (n, 2) u right, v down, (0, 0) the outer corner of the first texel
    triangles: NDArray[np.int32]  # (m, 3) counter-clockwise from outside
    texture: NDArray[np.uint8]  # (t, t, 3) sRGB

    def draw(self, camera: Camera, size: int | tuple[int, int]) -> rasterizer.Drawing:
        """Draw the mesh unlit, because the texture holds the light of the photo."""
        colours = self.texture.astype(np.float32) / 255
        return rasterizer.draw(
            self.vertices, self.triangles, camera, size, uv=self.uv, texture=colours, normals=self.normals
        )
