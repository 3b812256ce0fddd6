"""3D Gaussians -> 2D Gaussians in pixels (Kerbl et al. 2023, eq. 5-6; Zwicker et al. 2001), with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from portrait360.geometry.cameras import Camera

LOW_PASS = 0.3  # pixels squared, added to the covariance as in every viewer: no splat is smaller than a pixel
NEAR = 0.05  # canonical: splats nearer to the camera are not drawn


@dataclass(frozen=True)
class ProjectedGaussians:
    """2D Gaussians of n splats. Splats that are not in front of the camera have opacity 0."""

    means: Tensor  # (n, 2) pixels
    conics: Tensor  # (n, 3) a, b, c of the inverse covariance ((a, b), (b, c))
    opacities: Tensor  # (n,)
    colours: Tensor  # (n, 3)
    depths: Tensor  # (n,) along the optical axis; no gradient
    extents: Tensor  # (n, 2) variances along x and y, in pixels squared


def project(
    means: Tensor, scales: Tensor, rotations: Tensor, opacities: Tensor, colours: Tensor, camera: Camera, size: int
) -> ProjectedGaussians:
    """Project values as in `GaussianSplats`, except that the rotations need not have unit length."""
    pose = torch.as_tensor(camera.cam2world, dtype=means.dtype, device=means.device)
    rotation = pose[:3, :3].T  # world to camera
    x, y, z = ((means - pose[:3, 3]) @ rotation.T).unbind(1)
    front = z > NEAR
    z = torch.where(front, z, 1.0)
    focal = camera.focal * size
    centre = torch.stack([focal * x / z + camera.center[0] * size, focal * y / z + camera.center[1] * size], 1)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([focal / z, zero, -focal * x / z**2, zero, focal / z, -focal * y / z**2], 1)
    axes = jacobian.view(-1, 2, 3) @ rotation @ (rotation_matrices(rotations) * scales[:, None])  # (n, 2, 3)
    a = (axes[:, 0] ** 2).sum(1) + LOW_PASS
    b = (axes[:, 0] * axes[:, 1]).sum(1)
    c = (axes[:, 1] ** 2).sum(1) + LOW_PASS
    determinant = (a * c - b * b).clamp(min=1e-9)
    return ProjectedGaussians(
        centre,
        torch.stack([c, -b, a], 1) / determinant[:, None],
        opacities * front,
        colours,
        z.detach(),
        torch.stack([a, c], 1).detach(),
    )


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Convert quaternions (n, 4) w x y z of any length -> rotation matrices (n, 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, 1).view(-1, 3, 3)
