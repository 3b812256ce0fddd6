"""From parameters to a scene: the one function that calls every builder."""

from __future__ import annotations

import numpy as np

from portrait360.synth.eyes import eye_meshes, lashes, mouth_meshes
from portrait360.synth.hair import make_hair
from portrait360.synth.head import make_head
from portrait360.synth.meshes import make_mesh
from portrait360.synth.parameters import HeadParameters
from portrait360.synth.scene import Light, Material, Part, Scene
from portrait360.synth.skin import make_skin


def build(parameters: HeadParameters, level: int = 1) -> Scene:
    rng = np.random.default_rng([parameters.seed, 1])
    head = make_head(parameters, level)
    hair = make_hair(head, parameters, rng)
    skin = make_skin(head, parameters, hair.tint)
    meshes = [
        make_mesh(
            skin.vertices,
            head.triangles,
            skin.albedo,
            Material.SKIN,
            Part.SKIN,
            rest=head.rest,
            normals=skin.normals,
            roughness=skin.roughness,
        )
    ]
    meshes += eye_meshes(head, parameters) + mouth_meshes(head)
    meshes += hair.meshes
    strands = [s for s in [lashes(head, parameters, rng), *hair.strands] if s is not None]
    return Scene(
        tuple(meshes), tuple(strands), Light(*(np.zeros((1, 3), np.float32),) * 4), landmarks=head.landmarks
    )
