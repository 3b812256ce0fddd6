"""3D Gaussians with one colour each, as they are fitted to views, exported, and shown in the browser."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from portrait360.utils.array_types import F32

SH_C0 = 0.28209479177387814  # the constant spherical harmonic: colour = 1/2 + SH_C0 * coefficient


@dataclass(frozen=True, eq=False)
class GaussianSplats:
    """n Gaussians with activated values; files store logarithms, logits and coefficients instead."""

    means: F32  # (n, 3) canonical frame
    scales: F32  # (n, 3) standard deviations along each Gaussian's own axes
    rotations: F32  # (n, 4) unit quaternions w x y z from these axes to the world
    opacities: F32  # (n,) in (0, 1)
    colours: F32  # (n, 3) sRGB, roughly in [0, 1]

    def __post_init__(self) -> None:
        shapes = {"means": 3, "scales": 3, "rotations": 4, "opacities": None, "colours": 3}
        count = len(self.means)
        for name, width in shapes.items():
            values = np.ascontiguousarray(getattr(self, name), np.float32)
            if values.shape != ((count,) if width is None else (count, width)):
                raise ValueError(f"{name} of {count} splats have shape {values.shape}")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.integer]) -> GaussianSplats:
        return GaussianSplats(*(getattr(self, f.name)[index] for f in fields(self)))
