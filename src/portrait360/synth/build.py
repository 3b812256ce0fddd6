"""From parameters to a scene: the one place that calls every builder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.synth import fantasy, statue
from portrait360.synth.animal import animal_head, animal_landmarks
from portrait360.synth.beard_brows import beard, brows
from portrait360.synth.clothes import clothes, visible
from portrait360.synth.eyes import eye_meshes, lashes, mouth_meshes
from portrait360.synth.framing import framed
from portrait360.synth.glasses import glasses, jewellery
from portrait360.synth.hair import HairDone, make_hair
from portrait360.synth.hat_meshes import hat_meshes
from portrait360.synth.hat_shell import cover_hair, cover_meshes, shell
from portrait360.synth.head import Head, make_head
from portrait360.synth.lights import sample_light
from portrait360.synth.meshes import make_mesh
from portrait360.synth.necklines import cut_above
from portrait360.synth.parameters import HeadParameters
from portrait360.synth.scene import F32, Material, Mesh, Part, Scene, Strands
from portrait360.synth.skin import make_skin

NECK_CUT = -0.60  # head heights: above this an animal has its own head


@dataclass(frozen=True, eq=False)
class Built:
    meshes: list[Mesh]
    strands: list[Strands]
    landmarks: dict[str, F32]


def build(parameters: HeadParameters, level: int = 1) -> Scene:
    """The scene of these parameters; level 2 subdivides the skin once more, for pictures of 512 and up."""
    rng = np.random.default_rng([parameters.seed, 1])
    head = make_head(parameters, level)
    built = _animal(head, parameters, rng) if parameters.animal is not None else _person(head, parameters, rng)
    toon = parameters.toon
    scene = Scene(
        tuple(built.meshes),
        tuple(s for s in built.strands if len(s.points)),
        sample_light(np.random.default_rng([parameters.seed, 2])),
        outline=0.0 if toon is None else toon.outline,
        steps=0 if toon is None else toon.steps,
        landmarks=built.landmarks,
    )
    return framed(scene)


def _person(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> Built:
    hair, more = _hair(head, parameters, rng)
    whiskers, shade = beard(head, parameters, rng)
    skin = make_skin(head, parameters, hair.tint, shade)
    vertices = skin.vertices
    if parameters.statue is not None:  # a cap of stone under the locks
        vertices = vertices + skin.normals * (0.012 * hair.tint + 0.005 * shade)[:, None]
    dress, bare = clothes(head, parameters)
    body = make_mesh(
        vertices,
        visible(head.triangles, bare),
        skin.albedo,
        Material.SKIN,
        Part.SKIN,
        rest=head.rest,
        normals=skin.normals,
        roughness=skin.roughness,
    )
    meshes = [body, *eye_meshes(head, parameters), *mouth_meshes(head), *dress, *hair.meshes, *more]
    meshes += jewellery(head, parameters)
    if parameters.wear.glasses != "none":
        meshes += glasses(head, parameters)
    if parameters.fantasy is not None:
        meshes += fantasy.extras(head, parameters.fantasy)
    edge = [lashes(head, parameters, rng), brows(head, parameters, rng)]
    strands = [*hair.strands, *whiskers, *(s for s in edge if s is not None)]
    if parameters.statue is not None:
        meshes += statue.carve(strands, rng)
        meshes, strands = statue.petrify(meshes, parameters.statue, parameters.seed), []
    return Built(meshes, strands, head.landmarks)


def _hair(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> tuple[HairDone, list[Mesh]]:
    """The hair as the hat leaves it, and the hat."""
    hair, hat = make_hair(head, parameters, rng), parameters.wear.hat
    if hat == "none":
        return hair, []
    if hat == "headphones":
        return hair, hat_meshes(head, None, parameters)
    cover = shell(head, hat)
    worn = HairDone(cover_hair(cover, hair.strands, hat), cover_meshes(cover, hair.meshes, hat), hair.tint)
    return worn, hat_meshes(head, cover, parameters)


def _animal(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> Built:
    """A sculpted head on a person's shoulders, dressed to the neck."""
    assert parameters.animal is not None
    meshes, strands = animal_head(head, parameters, rng)
    dress, _ = clothes(head, parameters)
    values = np.column_stack([head.body, head.normals])
    low, triangles, _ = cut_above(values, head.triangles, NECK_CUT - head.rest[:, 1])
    coat = np.array(parameters.animal.coat)
    meshes.append(make_mesh(low[:, :3], triangles, coat, Material.FUR, Part.SKIN, normals=low[:, 3:]))
    return Built(meshes + dress, strands, animal_landmarks(parameters.animal))
