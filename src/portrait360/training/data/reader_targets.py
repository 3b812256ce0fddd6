"""What the portrait reader learns to say about a head, as classes and numbers, and how it changes in a mirror."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.reading.reading import mirror_order
from portrait360.synth.render.lights import basis, reflected_light, sphere_directions
from portrait360.synth.render.tone_mapping import linear_to_srgb
from portrait360.synth.sampling.hats import HATS, HOOPS
from portrait360.synth.sampling.parameters import Colour, HeadParameters
from portrait360.synth.sampling.sampler import COLLARS
from portrait360.synth.sampling.style_descriptor import DESCRIPTOR, FAMILIES, FAMILY_OF, describe_style
from portrait360.synth.scene import Light
from portrait360.utils.array_types import F32, I32

KINDS = ("human", "toon", "animal", "statue")
BEARDS = {
    "none": "none", "stubble": "stubble", "sideburns": "stubble", "designer": "short", "chinstrap": "short",
    "short": "short", "moustache": "moustache", "pencil": "moustache", "handlebar": "moustache", "goatee": "goatee",
    "soul_patch": "goatee", "friendly": "short", "full": "full", "long": "full", "curly": "full",
}  # fmt: skip
HAT_FAMILIES = {
    "beanie": "knit", "slouch": "knit", "bobble": "knit", "cap": "cap", "visor_back": "cap", "fedora": "brim",
    "sun_hat": "brim", "bowler": "brim", "top_hat": "brim", "beret": "beret", "helmet": "helmet", "knight": "helmet",
    "turban": "turban", "headband": "band", "crown": "crown", "hood": "hood", "hijab": "hijab",
    "headphones": "headphones", "none": "none", "cowboy": "brim", "straw": "brim", "boater": "brim",
    "bucket": "brim", "pillbox": "knit", "chef": "turban", "bandana": "turban",
}  # fmt: skip


def _list_distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


CLASSES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "style": tuple(FAMILY_OF),
    "family": tuple(FAMILIES),
    "beard": _list_distinct(BEARDS.values()),
    "glasses": ("none", "clear", "sun"),
    "hat": _list_distinct(HAT_FAMILIES.values()),
    "collar": tuple(COLLARS),
    "woman": ("no", "yes"),
}
COLOURS = ("hair", "beard", "skin", "cloth", "hat_colour")
LIGHT = tuple(f"light_{i}{c}" for i in range(9) for c in "rgb")
CAMERA = ("azimuth_sin", "azimuth_cos", "elevation_sin", "roll_sin")
OTHER = ("grey", "age", "weight", "receding", "brow_weight", "wrinkles", "stubble")
NUMBERS: tuple[str, ...] = (
    *DESCRIPTOR,
    *(f"{name}_{axis}" for name in COLOURS for axis in "Lab"),
    *OTHER,
    *CAMERA,
    *LIGHT,
)
UNKNOWN = -1  # as a class; unknown numbers are NaN


def describe_head(p: HeadParameters, light: Light, camera: Camera) -> tuple[I32, F32]:
    """Return the index of the answer to each of CLASSES, and each of NUMBERS."""
    person, bare = p.kind != "animal", p.wear.hat in ("none", "headphones", *HOOPS)
    answers = {
        "kind": p.kind if p.kind in KINDS else "toon",
        "style": p.hair.style if person and bare else None,
        "family": FAMILY_OF[p.hair.style] if person and bare else None,
        "beard": BEARDS[p.facial.beard] if person else None,
        "glasses": "none" if p.wear.glasses == "none" else "sun" if p.wear.glasses.startswith("sun") else "clear",
        "hat": HAT_FAMILIES[p.wear.hat],
        "collar": p.clothes.collar if p.clothes.collar in COLLARS else None,
        "woman": ("yes" if p.shape.gender < 0.5 else "no") if person and p.shape.age > 0.3 else None,
    }
    classes = [UNKNOWN if a is None else CLASSES[q].index(a) for q, a in answers.items()]
    numbers = [*_style_numbers(p, known=person and bare), *_colour_numbers(p), *_other_numbers(p)]
    numbers += [*_camera_numbers(camera), *light_in_view(light, camera).ravel()]
    return np.array(classes, np.int32), np.array(numbers, np.float32)


def mirror_numbers(numbers: F32) -> F32:
    """Return the numbers of the mirrored picture."""
    order, sign = mirror_order(NUMBERS)
    return (numbers[..., order] * np.array(sign, np.float32)).astype(np.float32)


def linear_to_lab(colour: Colour) -> F32:
    """Convert a linear RGB colour to CIE Lab."""
    srgb = linear_to_srgb(colour).reshape(1, 1, 3)
    return np.asarray(cv2.cvtColor(srgb, cv2.COLOR_RGB2Lab), np.float32).ravel()


def _style_numbers(p: HeadParameters, *, known: bool) -> F32:
    return describe_style(p.hair) if known else np.full(len(DESCRIPTOR), np.nan, np.float32)


def _colour_numbers(p: HeadParameters) -> list[float]:
    """Return the colours as Lab; NaN for what is not there, for stone, and for fur."""
    person, hat, nothing = p.kind not in ("animal", "statue"), p.wear.hat, np.full(3, np.nan, np.float32)
    hairless = p.hair.style == "bald" or hat == "hijab"
    grey = p.hair.grey
    hair = tuple((1 - grey) * c + grey * 0.62 for c in p.hair.colour)
    colours = [
        linear_to_lab(hair) if person and not hairless else nothing,  # pyright: ignore[reportArgumentType]
        linear_to_lab(p.facial.beard_colour) if person and p.facial.beard != "none" else nothing,
        linear_to_lab(p.skin.tone) if person else nothing,
        linear_to_lab(p.clothes.colour) if p.kind != "statue" else nothing,
        linear_to_lab(p.wear.hat_colour) if person and hat in HATS else nothing,
    ]
    return [float(v) for colour in colours for v in colour]


def _other_numbers(p: HeadParameters) -> list[float]:
    if p.kind == "animal":
        return [math.nan] * len(OTHER)
    hair, face = p.hair, p.facial
    grey = math.nan if hair.style == "bald" else hair.grey
    return [grey, p.shape.age, p.shape.weight, hair.receding, face.brow_weight, p.skin.wrinkles, p.skin.stubble]


def _camera_numbers(camera: Camera) -> list[float]:
    azimuth, elevation, roll = (math.radians(a) for a in (camera.azimuth, camera.elevation, camera.roll))
    return [math.sin(azimuth), math.cos(azimuth), math.sin(elevation), math.sin(roll)]


def light_in_view(light: Light, camera: Camera) -> F32:
    """Return the light that white surfaces reflect as harmonics (9, 3) in view axes (right, up, to the camera)."""
    directions = sphere_directions(256)
    world = directions * np.array([1, -1, -1], np.float32) @ camera.cam2world[:3, :3].T.astype(np.float32)
    reflected = reflected_light(light.ambient, world)
    reflected = reflected + np.maximum(world @ light.key_directions.T, 0) @ light.key_colours
    return np.asarray(np.linalg.lstsq(basis(directions), reflected, rcond=None)[0], np.float32)
