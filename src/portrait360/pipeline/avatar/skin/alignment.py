"""Bring a fitted head into the frame of its portrait, so that the portrait's camera sees it where the photo shows it.

The fit of the skin changes lens and crop a little against those of the portrait. A similarity of the head does that,
up to fractions of a pixel, and leaves the portrait's camera to all stages that use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.synth.scene import Mesh, Scene, Strands
from portrait360.utils.array_types import F32, F64


@dataclass(frozen=True, eq=False)
class Similarity:
    scale: float
    rotation: F64  # (3, 3)
    offset: F64  # (3,)

    def move(self, points: np.ndarray) -> F32:
        return (self.scale * (points @ self.rotation.T) + self.offset).astype(np.float32)

    def turn(self, normals: F32 | None) -> F32 | None:
        return None if normals is None else (normals @ self.rotation.T).astype(np.float32)


def find_similarity(camera: Camera, target: Camera) -> Similarity:
    """Return what is done to a head such that `target` sees it as `camera` saw it before; both look at the origin."""
    rotation = target.cam2world[:3, :3] @ camera.cam2world[:3, :3].T
    scale = camera.focal / camera.radius / (target.focal / target.radius)
    aside = (np.array(camera.center) - target.center) * target.radius / target.focal
    return Similarity(float(scale), rotation, target.cam2world[:3, :2] @ aside)


def move_scene(scene: Scene, similarity: Similarity) -> Scene:
    """Return the scene, moved; its light stays."""

    def move_mesh(mesh: Mesh) -> Mesh:
        return replace(mesh, vertices=similarity.move(mesh.vertices), normals=similarity.turn(mesh.normals))

    def move_strands(strands: Strands) -> Strands:
        return replace(
            strands,
            points=similarity.move(strands.points),
            widths=strands.widths * np.float32(similarity.scale),
            normals=similarity.turn(strands.normals),
        )

    return replace(
        scene,
        meshes=tuple(map(move_mesh, scene.meshes)),
        strands=tuple(map(move_strands, scene.strands)),
        landmarks={name: similarity.move(point) for name, point in scene.landmarks.items()},
    )
