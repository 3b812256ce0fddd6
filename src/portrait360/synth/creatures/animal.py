"""An animal's head: skull, cheeks, muzzle and jaw sculpted as one surface, with ears, nose pad, lids and eyes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.creatures.coats import coat_colour
from portrait360.synth.creatures.fur import grow_coat, grow_mane, grow_whiskers
from portrait360.synth.creatures.implicit_surface import Sculpture, Solid, ball, cone, distances, mirror, sculpt
from portrait360.synth.head.bare_head import Eyeball, Head
from portrait360.synth.head.eyes import eye_meshes
from portrait360.synth.meshes import ellipsoid, make_mesh, unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling import palettes
from portrait360.synth.sampling.parameters import Animal, HeadParameters
from portrait360.synth.sampling.species import SPECIES, Species
from portrait360.synth.scene import Material, Mesh, Part, Strands
from portrait360.utils.array_types import F32

STEP = 0.0085  # cell size of the sculpting grid
HINGE = np.array([0.0, -0.075, 0.05])  # the hinge of the jaw
OFFSET = np.array([0, -0.03, 0], np.float32)  # moves the sculpted head down onto the shoulders


def animal_head(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> tuple[list[Mesh], list[Strands]]:
    """Return the meshes and the fur of an animal's head."""
    style = parameters.animal
    assert style is not None
    kind = SPECIES[style.species]
    solids = _head_solids(kind, style)
    vertices, triangles, normals = sculpt(solids, (-0.30, -0.40, -0.26), (0.30, 0.56, 0.42), STEP)
    form = Sculpture(vertices, triangles, normals, distances(solids, vertices))
    colour = coat_colour(form, kind, style, parameters.seed)
    meshes = [make_mesh(vertices, triangles, colour, Material.FUR, Part.SKIN, normals=normals)]
    meshes += _nose_meshes(kind, style)
    meshes += eye_meshes(replace(head, eyes=_eyeballs(kind)), _with_animal_eyes(parameters))
    strands = [grow_coat(form, kind, style, colour, rng)]
    if kind.mane:
        strands.append(grow_mane(form, kind, style, rng))
    if kind.whiskers:
        strands.append(grow_whiskers(kind, style, rng))
    return (
        [replace(mesh, vertices=mesh.vertices + OFFSET) for mesh in meshes],
        [replace(group, points=group.points + OFFSET) for group in strands],
    )


def _with_animal_eyes(parameters: HeadParameters) -> HeadParameters:
    return replace(parameters, eyes=replace(parameters.eyes, iris_size=0.74, pupil=0.42))


def animal_landmarks(style: Animal) -> dict[str, F32]:
    """Return landmarks under the names of those on a human face, where an animal has them."""
    kind = SPECIES[style.species]
    tip, jaw = _muzzle_and_jaw_ends(kind, style)
    landmarks = {"nose_tip": tip + [0, kind.tip_radius * 0.52, kind.tip_radius * 0.80 + kind.nose[2]]}
    landmarks["chin"] = jaw + [0, -kind.jaw_radius, 0]
    for side, name in ((1, "left"), (-1, "right")):
        flip = np.array([side, 1, 1])
        x, y, z = kind.eye
        r = kind.eye_radius
        landmarks[f"{name}_eye_inner"], landmarks[f"{name}_eye_outer"] = (
            np.array([x - r, y, z]) * flip,
            np.array([x + r, y, z]) * flip,
        )
        root = np.array(kind.ear_at)
        landmarks[f"{name}_ear_top"] = (root + (np.array(kind.ear_tip) - root) * style.ears) * flip
    return {name: (point + OFFSET).astype(np.float32) for name, point in landmarks.items()}


def _eyeballs(kind: Species) -> tuple[Eyeball, Eyeball]:
    center, radius = np.array(kind.eye, np.float32), np.full(3, kind.eye_radius, np.float32)
    return Eyeball(center, radius, 1), Eyeball(center * np.array([-1, 1, 1], np.float32), radius, -1)


def _muzzle_and_jaw_ends(kind: Species, style: Animal) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the muzzle and of the jaw, which rotates down about its hinge."""
    reach = np.array([1, 1, style.muzzle])
    tip = (np.array(kind.tip) - kind.bridge) * reach + kind.bridge
    _, y, z = np.array(kind.jaw) * reach - HINGE
    drop = np.radians(20 * style.mouth_open)
    jaw = np.array([0, y * np.cos(drop) - z * np.sin(drop), z * np.cos(drop) + y * np.sin(drop)])
    return tip, HINGE + jaw


def _head_solids(kind: Species, style: Animal) -> list[Solid]:
    """Return all solids of the head, in the order in which they are joined or cut."""
    side = _cheek_solids(kind, style)
    solids = [
        cone("neck", (0, -0.03, -0.045), (0, -0.48, -0.065), (kind.neck * 1.12, kind.neck * 0.98), blend=0.05),
        ball("skull", kind.skull_at, kind.skull, blend=0.05),
        *side,
        *map(mirror, side),
        *_jaw_solids(kind, style),
    ]
    for solid in (_lid_solid(kind), _eye_opening(kind), *_ear_solids(kind, style)):
        solids += [solid, mirror(solid)]
    return solids


def _cheek_solids(kind: Species, style: Animal) -> list[Solid]:
    """Return cheek, brow and whisker pad of one side."""
    tip, _ = _muzzle_and_jaw_ends(kind, style)
    cheek = np.array(kind.cheek) * np.array([style.cheeks, 1, 1])
    brow = np.array(kind.eye) + [-0.006, kind.eye_radius * 0.95, -0.012]
    solids = [
        ball("cheek", kind.cheek_at, cheek, blend=0.06),
        ball("brow", brow, (0.042, 0.022, 0.035), blend=kind.brow),
    ]
    if kind.pads:
        pad = tip + np.array([kind.pads * 0.72, -kind.tip_radius * 0.45, -kind.pads * 0.35])
        solids.append(ball("pad", pad, (kind.pads, kind.pads * 0.85, kind.pads * 0.9), blend=0.022))
    return solids


def _jaw_solids(kind: Species, style: Animal) -> list[Solid]:
    tip, jaw = _muzzle_and_jaw_ends(kind, style)
    upper, lower = (kind.bridge_radius, kind.tip_radius), (kind.jaw_radius + 0.022, kind.jaw_radius)
    return [
        cone("muzzle", kind.bridge, tip, upper, wide=kind.muzzle_width, blend=0.055),
        cone("jaw", HINGE, jaw, lower, wide=kind.muzzle_width * 1.1, blend=0.007),
    ]


def _lid_solid(kind: Species) -> Solid:
    return ball("lid", kind.eye, kind.eye_radius * 1.16, blend=0.030)


def _eye_opening(kind: Species) -> Solid:
    """Cut the almond-shaped opening between the lids down to the eyeball."""
    r, slant = kind.eye_radius, np.radians(kind.eye_slant)
    axes = np.array([[np.cos(slant), np.sin(slant), 0], [-np.sin(slant), np.cos(slant), 0], [0, 0, 1]])
    outward = unit(np.array([kind.eye[0] * 0.55, 0.02, 0.12]))
    center = np.array(kind.eye) + outward * r * 1.02
    return ball("opening", center, (1.02 * r, kind.eye_open * r, 0.92 * r), blend=0.004, cut=True, axes=axes)


def _ear_solids(kind: Species, style: Animal) -> list[Solid]:
    root = np.array(kind.ear_at)
    tip = root + (np.array(kind.ear_tip) - root) * style.ears
    if kind.ear == "round":
        return _round_ear(root, tip, kind.ear_width)
    if kind.ear == "flop":
        return _flop_ear(root, tip, kind.ear_width)
    return _cup_ear(root, tip, kind.ear_width, pointed=kind.ear == "point")


def _round_ear(root: np.ndarray, tip: np.ndarray, width: float) -> list[Solid]:
    face = unit(np.array([0.35, 0.1, 1.0]))
    across = unit(np.cross([0, 1, 0], face))
    axes = np.stack([across, np.cross(face, across), face])
    center = (root + tip) / 2 + (tip - root) * 0.25
    hollow = (width * 0.66, width * 0.66, 0.026)
    return [
        ball("ear", center, (width, width, 0.026), blend=0.022, axes=axes),
        ball("inner_ear", center + 0.026 * face, hollow, blend=0.010, cut=True, axes=axes),
    ]


def _flop_ear(root: np.ndarray, tip: np.ndarray, width: float) -> list[Solid]:
    bend = root + np.array([0.050, 0.022, 0.0])
    start, radii = bend - [0.004, 0.01, 0], (0.026, width * 0.78)
    return [
        cone("ear", root - [0.02, 0, 0], bend, (0.030, 0.028), flat=1.0, blend=0.03),
        cone("ear", start, tip, radii, side=(0.15, 0, 1.0), wide=1.0, flat=0.32, blend=0.022),
    ]


def _cup_ear(root: np.ndarray, tip: np.ndarray, width: float, *, pointed: bool) -> list[Solid]:
    """Make a cup that opens forwards and slightly outwards."""
    ahead = np.array([0.025, -0.01, 0.055]) if pointed else np.array([0.012, 0.0, 0.040])
    across = unit(np.cross(tip - root, ahead))
    narrow = 0.15 if pointed else 0.55
    start, end = root + 0.55 * ahead + (tip - root) * 0.10, root + (tip - root) * 0.93 + 0.42 * ahead
    hollow = (width * 0.80, width * narrow * 0.55)
    return [
        cone("ear", root, tip, (width, width * narrow), side=across, flat=0.48, blend=0.030),
        cone("inner_ear", start, end, hollow, side=across, flat=0.46, blend=0.008, cut=True),
    ]


def _nose_meshes(kind: Species, style: Animal) -> list[Mesh]:
    """Make a leathery nose pad with two nostrils."""
    tip = (np.array(kind.tip) - kind.bridge) * [1, 1, style.muzzle] + kind.bridge
    center = tip + np.array([0, kind.tip_radius * 0.52, kind.tip_radius * 0.80])
    vertices, triangles = ellipsoid(np.zeros(3), np.ones(3), 20, 30)
    x, y, z = vertices.T
    points = np.stack([x * (1 + 0.28 * y), y * (1 - 0.12 * np.abs(x)), z], 1)  # broad above, narrow below
    colour = np.broadcast_to(np.array(palettes.hex_to_linear(kind.nose_colour)), vertices.shape)
    hole = np.exp(-(((np.abs(x) - 0.48) / 0.20) ** 2) - ((y + 0.12) / 0.26) ** 2) * (z > 0.2)
    groove = np.exp(-((x / 0.10) ** 2)) * smoothstep(0.1, -0.4, y) * (z > 0)
    points = points * (1 - 0.18 * hole - 0.08 * groove)[:, None]
    colour = colour * (1 - 0.85 * np.maximum(hole, 0.6 * groove))[:, None]
    return [make_mesh(center + points * np.array(kind.nose), triangles, colour, Material.PLASTIC, Part.SKIN)]
