"""3D Gaussians as they are fitted to views, exported, and shown in the browser."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera
from portrait360.utils.array_types import F32
from portrait360.utils.vectors import measure_length

SH_C0 = 0.28209479177387814  # the constant spherical harmonic: colour = 1/2 + SH_C0 * coefficient
SH_C1 = 0.4886025119029199  # those of degree 1, in the order of files: SH_C1 times -y, z and -x of the direction


@dataclass(frozen=True, eq=False)
class GaussianSplats:
    """n Gaussians with activated values; files store logarithms, logits and coefficients instead."""

    means: F32  # (n, 3) canonical frame
    scales: F32  # (n, 3) standard deviations along each Gaussian's own axes
    rotations: F32  # (n, 4) unit quaternions w x y z from these axes to the world
    opacities: F32  # (n,) in (0, 1)
    colours: F32  # (n, 3) sRGB, roughly in [0, 1]; the mean of all directions
    slopes: F32 = field(default_factory=lambda: np.zeros((0, 3, 3), np.float32))
    """(n, 3, 3) by how much r, g, b (last) change with x, y, z of the direction from the camera; empty for none."""

    def __post_init__(self) -> None:
        shapes = {"means": (3,), "scales": (3,), "rotations": (4,), "opacities": (), "colours": (3,)}
        count = len(self.means)
        if not len(self.slopes):
            object.__setattr__(self, "slopes", np.zeros((count, 3, 3), np.float32))
        for name, shape in {**shapes, "slopes": (3, 3)}.items():
            values = np.ascontiguousarray(getattr(self, name), np.float32)
            if values.shape != (count, *shape):
                raise ValueError(f"{name} of {count} splats have shape {values.shape}")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.integer]) -> GaussianSplats:
        return GaussianSplats(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def degree(self) -> int:
        """Of the spherical harmonics of the colours: 1 if any of them depends on the direction, else 0."""
        return int(self.slopes.any())

    def find_colours(self, camera: Camera) -> F32:
        """Return the colours (n, 3) that a camera sees."""
        if not self.degree:
            return self.colours
        return np.maximum(self.colours + (self.find_directions(camera)[:, None] @ self.slopes)[:, 0], 0)

    def without_slopes(self) -> GaussianSplats:
        """Return Gaussians that have in all views the colours that are seen from outside, straight above them."""
        down = -self.means / np.maximum(measure_length(self.means)[:, None], np.float32(1e-9))
        colours = np.maximum(self.colours + (down[:, None] @ self.slopes)[:, 0], 0)
        return replace(self, colours=colours, slopes=np.zeros_like(self.slopes))

    def find_directions(self, camera: Camera) -> F32:
        """Return unit vectors (n, 3) from a camera to the Gaussians."""
        away = self.means - camera.position.astype(np.float32)
        return np.asarray(away / np.maximum(measure_length(away)[:, None], 1e-9), np.float32)
