"""From parameters to a scene: the one function that calls every builder."""

from __future__ import annotations

import numpy as np

from portrait360.synth.beard_brows import beard, brows
from portrait360.synth.clothes import clothes, visible
from portrait360.synth.eyes import eye_meshes, lashes, mouth_meshes
from portrait360.synth.glasses import glasses, jewellery
from portrait360.synth.hair import HairDone, make_hair
from portrait360.synth.hats import cover_hair, cover_meshes, hat_meshes, shell
from portrait360.synth.head import make_head
from portrait360.synth.meshes import make_mesh
from portrait360.synth.parameters import HeadParameters
from portrait360.synth.scene import Light, Material, Part, Scene
from portrait360.synth.skin import make_skin


def build(parameters: HeadParameters, level: int = 1) -> Scene:
    rng = np.random.default_rng([parameters.seed, 1])
    head = make_head(parameters, level)
    hair = make_hair(head, parameters, rng)
    cover = None
    if parameters.wear.hat not in ("none", "headphones"):
        cover = shell(head, parameters.wear.hat)
        hair = HairDone(
            cover_hair(cover, hair.strands, parameters.wear.hat),
            cover_meshes(cover, hair.meshes, parameters.wear.hat),
            hair.tint,
        )
    whiskers, shade = beard(head, parameters, rng)
    skin = make_skin(head, parameters, hair.tint, shade)
    dress, bare = clothes(head, parameters, skin.vertices)
    meshes = [
        make_mesh(
            skin.vertices, visible(head.triangles, bare), skin.albedo, Material.SKIN, Part.SKIN,
            rest=head.rest, normals=skin.normals, roughness=skin.roughness,
        ),
        *eye_meshes(head, parameters), *mouth_meshes(head), *dress, *hair.meshes, *jewellery(head, parameters),
    ]  # fmt: skip
    if parameters.wear.glasses != "none":
        meshes += glasses(head, parameters)
    if parameters.wear.hat != "none":
        meshes += hat_meshes(head, cover, parameters)
    strands = [lashes(head, parameters, rng), brows(head, parameters, rng), *hair.strands, *whiskers]
    return Scene(
        tuple(meshes),
        tuple(s for s in strands if s is not None and len(s.points)),
        Light(*(np.zeros((1, 3), np.float32),) * 4),
        landmarks=head.landmarks,
    )
