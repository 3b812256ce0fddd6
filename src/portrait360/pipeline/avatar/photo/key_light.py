"""The light in which an avatar is shown: the photo's, with a soft key and back light in place of a part of it.

The light fitted to a photo is smooth, and held even enough that no side of the head is black; in it alone a face has
no form, a chin throws no shade on the neck, and hair has no gloss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portrait360.synth.render.lights import LUMINANCE, reflected_light, sphere_directions
from portrait360.synth.scene import Light
from portrait360.utils.array_types import F64, Floats

ASIDE, FURTHER = (
    14.0,
    12.0,
)  # degrees towards the brighter side of the photo, in even light and in light from the side
ONE_SIDED = 16.0  # how soon light counts as light from the side: the fitted one is much more even than the photo's
FLAT = 0.6  # share of the differences between directions taken off
SIDES = 2.6  # those between left and right, in light from the side: the fitted light has less of them than the photo
MOST_ASIDE = 0.16  # of the first term, at most: no side is black
FRONT = np.array([[0.0, 0.0, 1.0]], np.float32)
MEAN = 0.28209479  # of the first spherical harmonic
SIDE, SIDEWAYS = 3, (3, 4, 7)  # the first, and all terms of the light that differ between left and right


class Lamp(NamedTuple):
    share: float  # of the environment that it replaces, in even light
    aside: float  # the same in light from the side
    gain: float  # on what faces it, in means of that share: much of a head is turned from it
    azimuth: float  # degrees from the key
    elevation: float  # degrees
    softness: float  # radians


LAMPS = (
    Lamp(0.2, 0.28, 2.3, 0.0, 28.0, 0.5),
    Lamp(0.23, 0.08, 2.3, -82.0, 34.0, 0.5),
    Lamp(0.1, 0.11, 2.3, 54.0, 34.0, 0.5),
    Lamp(0.08, 0.08, 1.6, 160.0, 35.0, 0.5),
)
"""A key before the head, one on each side, without which a profile has no form, and a weak light behind it.

They stand so high that cheekbones and jaws throw a shade, and so far before the head that a profile gets darker from
the face to the nape: lit from where one looks, it is flat. In light from the side the stronger one stands on that
side: what the photo shows in the shade does not lie in the light when the head turns.
"""


def add_key_light(light: Light) -> Light:
    """Return a light with lamps in place of a share of its environment, as bright on a face as before."""
    sideways = find_side(light.ambient)
    side = 1 if sideways >= 0 else -1
    one_sided = float(np.tanh(ONE_SIDED * abs(sideways)))
    even = flatten_light(np.asarray(light.ambient, np.float64), one_sided)
    mean = MEAN * even[0]
    azimuth = side * (ASIDE + FURTHER * one_sided)
    directions = [_point(azimuth + side * lamp.azimuth, lamp.elevation) for lamp in LAMPS]
    shares = [lamp.share + one_sided * (lamp.aside - lamp.share) for lamp in LAMPS]
    colours = np.array([share * lamp.gain * mean for share, lamp in zip(shares, LAMPS, strict=True)])
    rest = even * (1 - sum(shares))
    gain = (light_face(even) @ LUMINANCE) / max(
        float((light_face(rest) + face_lamps(np.array(directions)) @ colours) @ LUMINANCE), 1e-6
    )
    return Light(
        np.asarray(gain * rest, np.float32),
        np.concatenate([light.key_directions, directions]).astype(np.float32),
        np.concatenate([light.key_colours, gain * colours]).astype(np.float32),
        np.append(light.key_softness, [lamp.softness for lamp in LAMPS]).astype(np.float32),
    )


def find_side(ambient: Floats) -> float:
    """Return by how much an environment (9, 3) is brighter on the head's left than on its right, in first terms."""
    return float(ambient[SIDE] @ LUMINANCE) / max(float(ambient[0] @ LUMINANCE), 1e-6)


def light_face(ambient: F64) -> F64:
    """Return the mean light (3,) of an environment (9, 3) on a round head, as a camera before it sees that."""
    normals, weight = _face_normals()
    return np.asarray(weight @ reflected_light(ambient, normals), np.float64)


def face_lamps(directions: F64) -> F64:
    """Return the same of lamps (k, 3) of light 1 (k,)."""
    normals, weight = _face_normals()
    return np.asarray(weight @ np.maximum(normals @ directions.T, 0), np.float64)


def _face_normals() -> tuple[F64, F64]:
    normals = sphere_directions(500).astype(np.float64)
    facing = np.maximum(normals @ FRONT[0], 0)
    return normals, facing / facing.sum()


def flatten_light(ambient: F64, one_sided: float = 0.0) -> F64:
    """Return an environment (9, 3) that differs less from direction to direction, as bright before the face.

    What a photo takes with a light beside its camera says nothing of how dark the sides of a head should be seen.
    In light from the side, the side in the shade stays darker: lit like the other, it would be another face.
    """
    flat = ambient * np.where(np.arange(len(ambient)) == 0, 1.0, 1 - FLAT)[:, None]
    kept = 1 - FLAT + one_sided * (SIDES - (1 - FLAT))
    kept, sides = min(kept, MOST_ASIDE / max(abs(find_side(ambient)), 1e-6)), list(SIDEWAYS)
    hue = ambient[0] / max(float(ambient[0] @ LUMINANCE), 1e-6)  # shade is no bluer for being darker
    flat[sides] += (kept - (1 - FLAT)) * (ambient[sides] @ LUMINANCE)[:, None] * hue
    before, after = (reflected_light(a, FRONT)[0] @ LUMINANCE for a in (ambient, flat))
    flat[0] *= 1 + (before - after) / max(float(MEAN * ambient[0] @ LUMINANCE), 1e-6)
    return flat


def _point(azimuth: float, elevation: float) -> F64:
    """Return the direction of a lamp; azimuth 0 is before the face."""
    around, up = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(around) * np.cos(up), np.sin(up), np.cos(around) * np.cos(up)])
