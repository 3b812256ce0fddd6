"""Colour and relief of the skin: blood and melanin, lips, freckles, wrinkles, make-up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.fantasy_parts import face_paint
from portrait360.synth.meshes import vertex_normals
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.utils.array_types import F32

CREASES = {  # name: polyline (|x|, y) on the average head, width, depth
    "nasolabial": (((0.082, -0.185), (0.108, -0.225), (0.128, -0.275), (0.135, -0.32)), 0.016, 0.8),
    "marionette": (((0.118, -0.355), (0.128, -0.40), (0.122, -0.44)), 0.011, 0.6),
    "bag": (((0.075, -0.055), (0.125, -0.085), (0.18, -0.06)), 0.012, 0.55),
    "crow_high": (((0.215, 0.005), (0.25, 0.03)), 0.008, 0.55),
    "crow_middle": (((0.217, -0.015), (0.258, -0.02)), 0.008, 0.6),
    "crow_low": (((0.212, -0.035), (0.248, -0.065)), 0.008, 0.5),
    "brow_low": (((0.0, 0.175), (0.09, 0.17), (0.17, 0.185)), 0.010, 0.6),
    "brow_middle": (((0.0, 0.215), (0.09, 0.21), (0.18, 0.225)), 0.010, 0.7),
    "brow_high": (((0.0, 0.255), (0.08, 0.25), (0.16, 0.262)), 0.010, 0.5),
    "frown": (((0.022, 0.06), (0.026, 0.12)), 0.009, 0.6),
}


@dataclass(frozen=True, eq=False)
class SkinSurface:
    vertices: F32
    normals: F32
    albedo: F32
    roughness: F32


def blob(rest: F32, x: float, y: float, width: float, height: float, front: float = 0.1) -> F32:
    """Return a soft spot on both sides of the face, positioned on the average head."""
    spot = np.exp(-(((np.abs(rest[:, 0]) - x) / width) ** 2) - ((rest[:, 1] - y) / height) ** 2)
    return (spot * smoothstep(front - 0.06, front + 0.06, rest[:, 2])).astype(np.float32)


def blend(colour: np.ndarray, other: np.ndarray, amount: np.ndarray) -> np.ndarray:
    return colour + (np.asarray(other) - colour) * np.clip(amount, 0, 1)[:, None]


def make_skin(
    head: Head, parameters: HeadParameters, scalp: F32, beard: F32, detail: F32 | None = None
) -> SkinSurface:
    """Make the skin; `scalp` and `beard` (m,) are the shares of the colour that come from hair roots.

    `detail` (m, 3) is a factor on the albedo, from photographs; it replaces half of the invented unevenness
    and a quarter of the invented blood.
    """
    rest, skin = head.rest, parameters.skin
    crease = _creases(rest, parameters.seed) * skin.wrinkles
    crease *= 1 - smoothstep(0.1, 0.4, head.mask("lips"))
    size = np.ptp(head.landmarks["crown"] - head.landmarks["chin"])
    vertices = head.body - head.normals * (crease * 0.0045 * size)[:, None]
    normals = vertex_normals(vertices.astype(np.float32), head.triangles)
    albedo = _albedo(head, parameters, 1.0 if detail is None else 0.5)
    if detail is not None:
        albedo = albedo * detail
    albedo = albedo * (1 - np.minimum(crease, 1)[:, None] * np.array([0.22, 0.32, 0.34]))
    root = 0.7 * np.array(parameters.hair.colour) * (1 - parameters.hair.grey) + 0.3 * parameters.hair.grey
    albedo = blend(albedo, root + 0.06 * np.array(skin.tone), scalp)
    albedo = blend(albedo, 0.8 * np.array(parameters.facial.beard_colour) + 0.08 * np.array(skin.tone), beard)
    face = np.clip(0.35 + 0.65 * head.mask("face"), 0, 1)
    smooth = 1 - 0.8 * smoothstep(0.2, 0.7, head.mask("lips"))
    roughness = (face * smooth * (0.22 + 0.30 * skin.wrinkles)).astype(np.float32)
    return SkinSurface(vertices.astype(np.float32), normals, albedo.astype(np.float32), roughness)


def _creases(rest: F32, seed: int) -> F32:
    """Return the depth of the wrinkles, 0..1, along slightly irregular lines."""
    waver = (noise(rest, 9.0, seed) - 0.5) * 0.022
    x, y = np.abs(rest[:, 0]), rest[:, 1] + waver
    point = np.stack([x, y], 1)
    out = np.zeros(len(rest), np.float32)
    front = smoothstep(0.02, 0.14, rest[:, 2])
    for line, width, depth in CREASES.values():
        distance = np.full(len(rest), np.inf)
        for a, b in zip(np.array(line[:-1]), np.array(line[1:]), strict=True):
            t = np.clip(((point - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
            distance = np.minimum(distance, np.linalg.norm(point - (a + t[:, None] * (b - a)), axis=1))
        out = np.maximum(out, depth * np.exp(-((distance / width) ** 2)) * front)
    return out


def _albedo(head: Head, parameters: HeadParameters, uneven: float) -> np.ndarray:
    rest, skin, seed = head.rest, parameters.skin, parameters.seed
    tone = np.array(skin.tone)
    light = float(tone.mean()) ** 0.5
    coarse, fine = noise(rest, 7.0, seed, 2) - 0.5, noise(rest, 45.0, seed + 5, 2) - 0.5
    colour = tone * (1 + (0.16 * uneven) * coarse[:, None] + (0.10 * uneven) * fine[:, None])
    mottle = (0.10 * uneven) * (noise(rest, 16.0, seed + 9) - 0.5)
    colour = colour * (1 + mottle[:, None] * np.array([1, -0.6, -0.6]))
    blood = (
        0.75 * blob(rest, 0.17, -0.16, 0.09, 0.085)
        + 0.85 * blob(rest, 0.0, -0.16, 0.06, 0.05, 0.3)
        + 0.45 * smoothstep(0.3, 0.9, head.mask("ears"))
        + 0.30 * blob(rest, 0.0, -0.45, 0.10, 0.06)
        + 0.35 * blob(rest, 0.135, -0.05, 0.07, 0.035)
    )
    blood = blood * (skin.blood * (0.5 + 0.5 * uneven)) * (0.3 + 0.8 * light)
    colour = colour * (1 + blood[:, None] * np.array([0.10, -0.20, -0.20]))
    hollow = blob(rest, 0.12, -0.055, 0.06, 0.025) + 0.8 * blob(rest, 0.12, 0.02, 0.07, 0.025)
    colour = colour * (1 - (uneven * hollow)[:, None] * np.array([0.14, 0.20, 0.16]) * (0.5 + 0.8 * skin.wrinkles))
    colour = _add_spots(colour, head, parameters)
    if skin.blush > 0:
        cheek = blob(rest, 0.17, -0.14, 0.075, 0.06) * skin.blush
        colour = blend(colour, tone * np.array([1.1, 0.45, 0.5]), 0.55 * cheek)
    colour = _add_stubble(colour, rest, skin.stubble, np.array(parameters.facial.beard_colour))
    if parameters.fantasy is not None and parameters.fantasy.marks is not None:
        colour = blend(colour, np.array(parameters.fantasy.marks), 0.9 * face_paint(rest, seed))
    colour = _colour_eyelids(colour, head, parameters)
    return _colour_lips(colour, head, parameters, fine)


def _add_stubble(colour: np.ndarray, rest: F32, amount: float, hair: np.ndarray) -> np.ndarray:
    """Make the skin greyer and darker where a shaven beard would grow."""
    if amount <= 0:
        return colour
    area = beard_area(rest)
    return blend(colour, 0.45 * colour + 0.25 * hair, 0.55 * amount * area)


def beard_area(rest: F32) -> F32:
    """Return where a full beard grows: jaw, chin, moustache, up to the sideburns in front of the ears."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    # from the corner of the mouth back to the sideburn in front of the ear
    cheek_line = np.interp(z, (0.03, 0.08, 0.12, 0.15, 0.20, 0.30), (0.01, -0.05, -0.13, -0.225, -0.262, -0.295))
    under = smoothstep(cheek_line + 0.03, cheek_line - 0.03, y) * smoothstep(-0.62, -0.53, y)
    back = np.interp(y, (-0.32, -0.22, -0.10, 0.00), (0.045, 0.075, 0.070, 0.045))  # the ear begins a little behind
    jaw = under * smoothstep(back - 0.005, back + 0.03, z)
    lip = np.exp(-((x / 0.105) ** 4) - ((y + 0.247 + 0.10 * x) / 0.032) ** 4) * (z > 0.2)
    mouth = np.exp(-((x / 0.085) ** 4) - ((y + 0.328) / 0.038) ** 4) * (z > 0.2)
    return np.maximum(jaw, lip) * (1 - mouth)


def _add_spots(colour: np.ndarray, head: Head, parameters: HeadParameters) -> np.ndarray:
    rest, skin = head.rest, parameters.skin
    if skin.freckles > 0:
        freckle_area = blob(rest, 0.11, -0.11, 0.17, 0.10) + 0.35 * blob(rest, 0.05, 0.12, 0.2, 0.12)
        speck = smoothstep(0.70, 0.86, noise(rest, 62.0, parameters.seed + 31))
        amount = speck * np.clip(freckle_area, 0, 1) * skin.freckles
        colour = blend(colour, colour * np.array([0.66, 0.48, 0.38]), amount)
    rng = np.random.default_rng([parameters.seed, 77])
    for _ in range(skin.moles):
        center = np.array([rng.uniform(-0.22, 0.22), rng.uniform(-0.42, 0.2)])
        distance = np.hypot(rest[:, 0] - center[0], rest[:, 1] - center[1])
        mole = smoothstep(0.012, 0.006, distance) * (rest[:, 2] > 0.1)
        colour = blend(colour, colour * np.array([0.35, 0.25, 0.22]), mole)
    return colour


def _colour_eyelids(colour: np.ndarray, head: Head, parameters: HeadParameters) -> np.ndarray:
    skin = parameters.skin
    lid = head.mask("eyelids")
    colour = blend(colour, colour * np.array([0.90, 0.78, 0.76]), 0.5 * smoothstep(0.2, 0.7, lid))
    for eye in head.eyes:
        offset = (head.body - eye.center) / eye.radii
        distance = np.linalg.norm(offset, axis=1)
        front = offset[:, 2] > 0.1
        if skin.eyeshadow is not None:
            shade = smoothstep(1.75, 1.25, distance) * smoothstep(0.12, 0.3, offset[:, 1]) * front
            colour = blend(colour, np.array(skin.eyeshadow), 0.6 * shade)
        rim = smoothstep(1.22, 1.10, distance) * front * smoothstep(0.1, 0.5, lid)
        upper = smoothstep(0.05, 0.25, offset[:, 1])
        colour = blend(colour, colour * np.array([0.62, 0.45, 0.45]), 0.6 * rim * (1 - upper))
        dark = np.array([0.012, 0.009, 0.008])
        colour = blend(
            colour, dark, rim * (upper * (0.62 + 0.38 * skin.eyeliner) + 0.5 * skin.eyeliner * (1 - upper))
        )
    return colour


def _colour_lips(colour: np.ndarray, head: Head, parameters: HeadParameters, fine: F32) -> np.ndarray:
    tone = np.array(parameters.skin.tone)
    light = float(np.clip(tone.mean() / 0.5, 0, 1))
    natural = tone * (np.array([0.80, 0.55, 0.55]) * light + np.array([0.80, 0.66, 0.68]) * (1 - light))
    natural = natural + light * np.array([0.05, 0.0, 0.005])
    lipstick = parameters.skin.lips
    lip_colour = natural if lipstick is None else np.array(lipstick)
    lips = smoothstep(0.30, 0.75, head.mask("lips"))
    lips = lips * (0.85 if lipstick is None else 0.95)
    colour = blend(colour, lip_colour * (1 + 0.2 * fine[:, None]), lips)
    inside = smoothstep(0.35, 0.8, head.mask("inside_mouth"))
    return blend(colour, np.array([0.10, 0.018, 0.018]), inside * 0.9)
