"""Splats as a picture, without gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from portrait360.cameras import Camera
from portrait360.geometry.splat_blend import blend
from portrait360.geometry.splat_project import project
from portrait360.geometry.splats import Splats

F32 = NDArray[np.float32]


@torch.no_grad()
def picture(splats: Splats, camera: Camera, size: int) -> tuple[F32, F32, F32]:
    """Straight rgb (s, s, 3), alpha (s, s), and depth along the optical axis (s, s), 0 where a quarter or less is
    covered."""
    places, turns = torch.from_numpy(splats.means), torch.from_numpy(splats.rotations)
    scales, opacities = torch.from_numpy(splats.scales), torch.from_numpy(splats.opacities)
    seen = project(places, scales, turns, opacities, torch.from_numpy(splats.colours), camera, size)
    out = blend(seen, size).numpy()
    alpha = out[..., 3]
    return (out[..., :3] / np.maximum(alpha, 1e-6)[..., None]).clip(0, 1), alpha, out[..., 4]
