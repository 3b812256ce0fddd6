"""Keeping what must be seen inside the picture: tall hats, horns and ears shrink the whole scene a little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.cameras import RADIUS, Camera, focal_from_fov, look_at
from portrait360.synth.scene import Mesh, Part, Scene, Strands

FOV = 18.8  # degrees: of the small preset, for which heads are framed
MARGIN = 0.482  # how far from the picture's middle anything of the head may reach, in image sides
STRAYS = 99.99  # per cent: the last stray hairs do not count
SHOULDERS = -0.24  # canonical: what lies lower may leave the picture
PLACES = tuple((azimuth, elevation) for azimuth in range(0, 360, 45) for elevation in (-30, 0, 30))


def framed(scene: Scene) -> Scene:
    """The scene scaled about the origin so that the head is inside the frame from everywhere."""
    points = np.concatenate(
        [mesh.vertices[::3] for mesh in scene.meshes if _of_head(mesh)]
        + [some.points[:, some.points.shape[1] // 2 :].reshape(-1, 3)[::3] for some in scene.strands]
    )
    points = points[points[:, 1] > SHOULDERS]
    factor = 1.0
    for _ in range(4):  # what lies behind shrinks less than the factor says
        reach = _reach(points * factor)
        if reach <= MARGIN:
            break
        factor *= 0.998 * MARGIN / reach
    return scene if factor == 1.0 else _scaled(scene, np.float32(factor))


def _reach(points: np.ndarray) -> float:
    """How far from the middle of the picture the points come, seen from all places."""
    out = 0.0
    for azimuth, elevation in PLACES:
        uv, _ = Camera(look_at(azimuth, elevation, radius=RADIUS), focal_from_fov(FOV)).project(points)
        out = max(out, float(np.percentile(np.abs(uv - 0.5).max(1), STRAYS)))
    return out


def _of_head(mesh: Mesh) -> bool:
    return int(mesh.part[0]) != Part.CLOTHES


def _scaled(scene: Scene, factor: np.float32) -> Scene:
    def mesh(m: Mesh) -> Mesh:
        return replace(m, vertices=m.vertices * factor)

    def strands(s: Strands) -> Strands:
        return replace(s, points=s.points * factor, widths=s.widths * factor)

    return replace(
        scene,
        meshes=tuple(map(mesh, scene.meshes)),
        strands=tuple(map(strands, scene.strands)),
        landmarks={name: point * factor for name, point in scene.landmarks.items()},
    )
