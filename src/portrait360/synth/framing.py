"""Keep the whole head inside the image: tall hats, horns and ears shrink the scene a little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, FRAME_MARGIN, RADIUS, SHOULDER_HEIGHT
from portrait360.synth.scene import Mesh, Part, Scene, Strands

STRAYS = 99.99  # percentile of the distances that must fit; the last stray hairs may not
VIEWPOINTS = tuple((azimuth, elevation) for azimuth in range(0, 360, 45) for elevation in (-30, 0, 30))


def fit_to_frame(scene: Scene) -> Scene:
    """Scale the scene about the origin so that the head is inside the frame from every viewpoint."""
    points = np.concatenate(
        [mesh.vertices[::3] for mesh in scene.meshes if _is_head(mesh)]
        + [group.points[:, group.points.shape[1] // 2 :].reshape(-1, 3)[::3] for group in scene.strands]
    )
    points = points[points[:, 1] > SHOULDER_HEIGHT]
    factor = 1.0
    for _ in range(4):  # perspective: points further away shrink by less than the factor
        extent = _image_extent(points * factor)
        if extent <= FRAME_MARGIN:
            break
        factor *= 0.998 * FRAME_MARGIN / extent
    return scene if factor == 1.0 else _scale(scene, np.float32(factor))


def _image_extent(points: np.ndarray) -> float:
    """Return the greatest distance of the points from the image centre over all viewpoints, in image sides."""
    extent = 0.0
    for azimuth, elevation in VIEWPOINTS:
        uv, _ = Camera(look_at(azimuth, elevation, radius=RADIUS), focal_from_fov(FOV)).project(points)
        extent = max(extent, float(np.percentile(np.abs(uv - 0.5).max(1), STRAYS)))
    return extent


def _is_head(mesh: Mesh) -> bool:
    return int(mesh.part[0]) != Part.CLOTHES


def _scale(scene: Scene, factor: np.float32) -> Scene:
    def scale_mesh(m: Mesh) -> Mesh:
        return replace(m, vertices=m.vertices * factor)

    def scale_strands(s: Strands) -> Strands:
        return replace(s, points=s.points * factor, widths=s.widths * factor)

    return replace(
        scene,
        meshes=tuple(map(scale_mesh, scene.meshes)),
        strands=tuple(map(scale_strands, scene.strands)),
        landmarks={name: point * factor for name, point in scene.landmarks.items()},
    )
