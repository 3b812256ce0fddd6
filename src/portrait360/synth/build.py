"""Build a scene from head parameters; the only module that calls every builder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.synth.creatures import statue
from portrait360.synth.creatures.animal import animal_head, animal_landmarks
from portrait360.synth.creatures.carved_hair import carve_shell
from portrait360.synth.framing import fit_to_frame
from portrait360.synth.hair.beard_brows import BeardGrowth, make_beard, make_brows
from portrait360.synth.hair.hairdo import Hairdo, make_hair
from portrait360.synth.head import fantasy_parts
from portrait360.synth.head.bare_head import Head, make_head
from portrait360.synth.head.eyes import eye_meshes, make_lashes, mouth_meshes
from portrait360.synth.head.photo_skin import SkinTextures, sample_detail
from portrait360.synth.head.skin import make_skin
from portrait360.synth.head.skin_labels import label_skin
from portrait360.synth.meshes import make_mesh, with_label
from portrait360.synth.render.lights import sample_light
from portrait360.synth.sampling.hairstyles import HairStyle
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Material, Mesh, Part, Scene, Strands
from portrait360.synth.wear.clothes import make_clothes, visible_triangles
from portrait360.synth.wear.glasses import make_glasses, make_jewellery
from portrait360.synth.wear.hat_fit import cover_hair, cover_meshes, fit_hat
from portrait360.synth.wear.hat_meshes import hat_meshes
from portrait360.synth.wear.necklines import cut_above
from portrait360.utils.array_types import F32
from portrait360.utils.portrait_labels import Label

NECK_CUT = -0.60  # head heights; an animal's own head replaces everything above


@dataclass(frozen=True, eq=False)
class HeadGeometry:
    meshes: list[Mesh]
    strands: list[Strands]
    landmarks: dict[str, F32]


def build(parameters: HeadParameters, level: int = 1, *, skins: SkinTextures | None = None) -> Scene:
    """Build the scene of these parameters; level 2 subdivides the skin once more, for images of 512 pixels and up.

    `skins` makes the skin of people as uneven as photographs.
    """
    rng = np.random.default_rng([parameters.seed, 1])
    head = make_head(parameters, level)
    geometry = (
        _build_animal(head, parameters, rng)
        if parameters.animal is not None
        else build_person(head, parameters, rng, skins)
    )
    toon = parameters.toon
    scene = Scene(
        tuple(geometry.meshes),
        tuple(s for s in geometry.strands if len(s.points)),
        sample_light(np.random.default_rng([parameters.seed, 2])),
        outline=0.0 if toon is None else toon.outline,
        steps=0 if toon is None else toon.steps,
        landmarks=geometry.landmarks,
    )
    return fit_to_frame(scene)


def build_person(
    head: Head,
    parameters: HeadParameters,
    rng: np.random.Generator,
    skins: SkinTextures | None = None,
    style: HairStyle | None = None,
    beard: BeardGrowth | None = None,
    neckline: tuple[float, ...] = (),
) -> HeadGeometry:
    """Build all that a person's head wears: skin, eyes, mouth, hair, clothes and what is worn on the head.

    `style` is a fitted hairstyle, `beard` a fitted beard, and `neckline` the heights of a fitted neckline, in place
    of those that the parameters name.
    """
    hair, hat = _build_hair(head, parameters, rng, style)
    is_carved = parameters.statue is not None and style is not None
    if is_carved:
        solids, leaving = carve_shell(head, hair, rng)
        hair = Hairdo(leaving, solids, hair.tint)
    whiskers, beard_shade = make_beard(head, parameters, rng, beard)
    fine_hair = [make_lashes(head, parameters, rng), make_brows(head, parameters, rng)]
    strands = [*hair.strands, *whiskers, *(s for s in fine_hair if s is not None)]
    painted = parameters.toon is not None or parameters.statue is not None  # no skin of a photograph
    detail = None if skins is None or painted else sample_detail(skins, head, parameters)
    skin = make_skin(head, parameters, hair.tint, beard_shade, detail)
    vertices = skin.vertices
    if parameters.statue is not None:  # a stone cap under the carved locks
        vertices = vertices + skin.normals * (0.012 * hair.tint * (not is_carved) + 0.005 * beard_shade)[:, None]
    garments, bare_skin = make_clothes(head, parameters, neckline)
    triangles = visible_triangles(head.triangles, bare_skin)
    body = make_mesh(
        vertices,
        triangles,
        skin.albedo,
        Material.SKIN,
        Part.SKIN,
        rest=head.rest,
        normals=skin.normals,
        roughness=skin.roughness,
    )
    body = replace(body, labels=label_skin(head, triangles, hair.tint, beard_shade, strands))
    meshes = [body, *eye_meshes(head, parameters), *with_label(mouth_meshes(head), Label.MOUTH), *garments]
    meshes += [*with_label(hair.meshes, Label.HAIR), *with_label(hat, Label.HAT)]
    meshes += make_jewellery(head, parameters)
    if parameters.wear.glasses != "none":
        meshes += with_label(make_glasses(head, parameters), Label.GLASSES)
    if parameters.fantasy is not None:
        meshes += fantasy_parts.make_horns_and_tusks(head, parameters.fantasy)
    if parameters.statue is not None:
        meshes += statue.carve(strands, rng, closed=is_carved)
        meshes, strands = statue.petrify(meshes, parameters.statue, parameters.seed), []
    return HeadGeometry(meshes, strands, head.landmarks)


def _build_hair(
    head: Head, parameters: HeadParameters, rng: np.random.Generator, style: HairStyle | None
) -> tuple[Hairdo, list[Mesh]]:
    """Return the hair that the hat leaves visible, and the meshes of the hat."""
    hair, hat = make_hair(head, parameters, rng, style), parameters.wear.hat
    if hat == "none":
        return hair, []
    if hat == "headphones":
        return hair, hat_meshes(head, None, parameters)
    cover = fit_hat(head, hat, parameters.wear.fit)
    covered_hair = Hairdo(cover_hair(cover, hair.strands, hat), cover_meshes(cover, hair.meshes, hat), hair.tint)
    return covered_hair, hat_meshes(head, cover, parameters)


def _build_animal(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> HeadGeometry:
    """Build a sculpted animal head on a person's clothed shoulders."""
    assert parameters.animal is not None
    meshes, strands = animal_head(head, parameters, rng)
    meshes = with_label(meshes[:1], Label.HAIR) + meshes[1:]  # fur, as its strands
    garments, _ = make_clothes(head, parameters)
    values = np.column_stack([head.body, head.normals])
    bust, triangles, _ = cut_above(values, head.triangles, NECK_CUT - head.rest[:, 1])
    coat_colour = np.array(parameters.animal.coat)
    fur = make_mesh(bust[:, :3], triangles, coat_colour, Material.FUR, Part.SKIN, normals=bust[:, 3:])
    meshes += with_label([fur], Label.HAIR)
    return HeadGeometry(meshes + garments, strands, animal_landmarks(parameters.animal))
