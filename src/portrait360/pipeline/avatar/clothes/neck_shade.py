"""The contact shadow of clothes on the neck: narrower than the depth maps of ambient light can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.photo.exposure import to_albedo
from portrait360.synth.scene import Mesh, Part
from portrait360.utils.parallel.threads import count_threads

REACH = 0.015  # canonical distance from cloth at which its shadow is weak
DARK = np.array([0.42, 0.50, 0.54])  # of the light that is lost at the cloth: skin's shadows are red


def shade_neck(meshes: Sequence[Mesh]) -> list[Mesh]:
    """Return the meshes, the skin among them darker beside cloth."""
    cloth = [mesh.vertices for mesh in meshes if mesh.part[0] == Part.CLOTHES]
    if not cloth:
        return list(meshes)
    tree = KDTree(np.concatenate(cloth))

    def shade(mesh: Mesh) -> Mesh:
        if mesh.part[0] != Part.SKIN:
            return mesh
        distance, _ = tree.query(mesh.vertices, distance_upper_bound=3 * REACH, workers=count_threads())
        dark = np.exp(-((np.minimum(distance, 3 * REACH) / REACH) ** 2))
        return replace(mesh, albedo=to_albedo(mesh.albedo * (1 - dark[:, None] * DARK)))

    return [shade(mesh) for mesh in meshes]
