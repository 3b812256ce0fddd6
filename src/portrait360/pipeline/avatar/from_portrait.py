"""Turn a portrait into an avatar: fit the skin, grow hair and clothes on it, and colour all of it by the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from portrait360.pipeline.avatar.alignment import find_similarity, move_scene
from portrait360.pipeline.avatar.avatar import Avatar, round_photo
from portrait360.pipeline.avatar.colours import bake_photo, calibrate
from portrait360.pipeline.avatar.facial_hair import choose_beard, trim_beard
from portrait360.pipeline.avatar.hair_fit import drape_strands, fit_strands
from portrait360.pipeline.avatar.hair_search import HairFit, find_hair
from portrait360.pipeline.avatar.light_fit import fit_light
from portrait360.pipeline.avatar.outline_fit import fit_outline
from portrait360.pipeline.avatar.person import SEED, describe_person, find_colour, settle_labels, shows_hat
from portrait360.pipeline.avatar.photo import CLOTHES, Photo, read_photo
from portrait360.pipeline.avatar.skin_fit import SkinFit, fit_skin
from portrait360.pipeline.avatar.worn import choose_collar, choose_hat
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.portrait.reference_photos import estimate_reference_camera
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.reading.reading import Reading
from portrait360.synth.build import build_person
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.fitted_head import make_fitted_head
from portrait360.synth.head_pack import load_pack
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Light, Part, Scene, Strands

COARSE, FINE = 1, 2  # levels of subdivision


def can_fit_avatar(portrait: Portrait) -> bool:
    """Return whether the portrait shows a face that has been fitted and read."""
    return portrait.source == "face" and portrait.landmarks is not None and portrait.reading is not None


def make_avatar(portrait: Portrait, cover: Proxy, others: Sequence[Portrait] = ()) -> Avatar:
    """Make the avatar of a portrait with a face.

    Args:
        portrait: The aligned photo.
        cover: The portrait's proxy.
        others: Portraits of the same head, which colour what the photo does not show.
    """
    assert portrait.reading is not None
    fit = fit_skin(portrait, tuple(load_pack().units))
    photo = read_photo(portrait, fit.camera)
    fit = fit_outline(fit, photo)
    coarse = make_head_of(fit, COARSE)
    light, tone = fit_light(coarse, photo)
    parameters = dress(describe_person(photo, portrait.reading, tone), coarse, photo, portrait.reading)
    photo = settle_labels(photo, parameters)
    found = find_hair(coarse, photo, parameters, portrait.reading)
    parameters = replace(parameters, hair=found.hair)
    scene = grow_scene(make_head_of(fit, FINE), coarse, parameters, light, photo, found)
    scene = move_scene(scene, find_similarity(photo.camera, portrait.camera))
    photo = replace(photo, camera=portrait.camera)
    scene = calibrate(scene, photo)
    for other in others:
        scene = bake_other_photo(scene, other, portrait, cover)
    scene = bake_photo(scene, photo)
    return Avatar(parameters, scene, round_photo(photo), cover)


def bake_other_photo(scene: Scene, other: Portrait, portrait: Portrait, cover: Proxy) -> Scene:
    """Colour a scene in the portrait's frame by a further photo of it."""
    if other.reading is None:
        return scene
    camera = estimate_reference_camera(other, portrait, cover.vertices, cover.triangles)
    return bake_photo(scene, read_photo(other, camera))


def dress(parameters: HeadParameters, head: Head, photo: Photo, reading: Reading) -> HeadParameters:
    """Choose hat, beard and collar where the photo shows them."""
    if parameters.facial.beard != "none":
        parameters = replace(parameters, facial=choose_beard(head, photo, parameters, reading.answers["beard"]))
    if shows_hat(photo) and parameters.statue is None:
        hat = choose_hat(head, photo, parameters, reading.answers["hat"])
        parameters = replace(parameters, wear=replace(parameters.wear, hat=hat))
    if find_colour(photo, CLOTHES) is not None:
        clothes = choose_collar(head, photo, parameters, reading.answers["collar"])
        parameters = replace(parameters, clothes=clothes)
    return parameters


def make_head_of(fit: SkinFit, level: int) -> Head:
    return make_fitted_head(fit.shape, fit.expression, offset=fit.offset, level=level)


def grow_scene(
    head: Head, coarse: Head, parameters: HeadParameters, light: Light, photo: Photo, found: HairFit
) -> Scene:
    """Build all layers on a head; strands of hair meet the photo's outline."""
    geometry = build_person(head, parameters, np.random.default_rng([SEED, 1]), style=found.style)
    strands = [s for s in geometry.strands if len(s.points)]
    hair = [s for s in strands if _is_hair(s)]
    others = [s for s in strands if not _is_hair(s)]
    if hair and parameters.wear.hat == "none":
        hair = fit_strands(hair, coarse, photo, trust=found.trust)
    else:
        hair = drape_strands(hair, coarse, photo)
    others = trim_beard(others, coarse, photo)
    return Scene(tuple(geometry.meshes), (*hair, *others), light, landmarks=geometry.landmarks)


def _is_hair(strands: Strands) -> bool:
    return int(strands.part[0]) == Part.HAIR
