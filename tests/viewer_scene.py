"""A head to look at that is known exactly: an ellipsoid in colours by which every direction can be told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from portrait360.cameras import Camera
from portrait360.geometry.splats import Splats
from portrait360.geometry.textured import TexturedMesh

AXES = np.array([0.26, 0.34, 0.3])
Floats = NDArray[np.floating]


def colours_at(directions: Floats) -> Floats:
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.stack([0.5 + 0.4 * x, 0.5 + 0.4 * y * np.cos(3 * z), 0.5 + 0.3 * z + 0.2 * np.sin(9 * y + 4 * x)], -1)


def mesh(rows: int = 48, columns: int = 96) -> TexturedMesh:
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns + 1), indexing="ij")
    directions = _directions(u, v)
    here = np.arange(directions[..., 0].size).reshape(rows, columns + 1)
    a, b, c, d = (part.ravel() for part in (here[:-1, :-1], here[:-1, 1:], here[1:, 1:], here[1:, :-1]))
    triangles = np.concatenate([np.stack([a, d, c], -1), np.stack([a, c, b], -1)]).astype(np.int32)
    centres = (np.arange(256) + 0.5) / 256
    texture = colours_at(_directions(*np.meshgrid(centres, centres)))
    points = directions.reshape(-1, 3)
    normals = points / AXES
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    uv = np.stack([u, v], -1).reshape(-1, 2)
    return TexturedMesh(
        *(values.astype(np.float32) for values in (points * AXES, normals, uv)),
        triangles,
        np.round(texture * 255).astype(np.uint8),
    )


def splats(count: int = 2000, seed: int = 0) -> Splats:
    """Flat, long and slightly see-through, some below a pixel, turned in every way: any wrong axis or order shows."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rotations = Rotation.random(count, rng=random).as_quat(scalar_first=True)
    scales = np.array([0.02, 0.005, 0.002]) * np.exp(random.normal(0, 0.3, (count, 3)))
    return Splats(directions * AXES, scales, rotations, random.uniform(0.3, 0.95, count), colours_at(directions))


def rendered(splats: Splats, camera: Camera, size: int, background: float) -> Floats:
    """3D Gaussian splatting by its definition, nearest first (Kerbl et al. 2023): slow, and readable."""
    picture, through = np.zeros((size, size, 3)), np.ones((size, size))
    turn = camera.cam2world[:3, :3].T
    local = (splats.means - camera.position) @ turn.T
    axes = Rotation.from_quat(splats.rotations, scalar_first=True).as_matrix() * splats.scales[:, None, :]
    focal = camera.focal * size
    v, u = np.mgrid[:size, :size] + 0.5
    for n in np.argsort(local[:, 2]):
        x, y, z = local[n]
        across = focal / z * np.array([[1, 0, -x / z], [0, 1, -y / z]]) @ turn @ axes[n]
        covariance = across @ across.T + 0.3 * np.eye(2)
        du, dv = u - (focal * x / z + size / 2), v - (focal * y / z + size / 2)
        (a, b), (_, c) = np.linalg.inv(covariance)
        alpha = np.minimum(0.99, splats.opacities[n] * np.exp(-0.5 * (a * du**2 + 2 * b * du * dv + c * dv**2)))
        alpha[alpha < 1 / 255] = 0
        picture += (through * alpha)[..., None] * splats.colours[n]
        through *= 1 - alpha
    return picture + through[..., None] * background


def _directions(u: Floats, v: Floats) -> Floats:
    azimuth, polar = 2 * np.pi * u, np.pi * v
    return np.stack([np.sin(azimuth) * np.sin(polar), np.cos(polar), np.cos(azimuth) * np.sin(polar)], -1)
