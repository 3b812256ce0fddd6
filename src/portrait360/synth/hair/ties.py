"""Tied hair: strands drawn over the scalp to a tie, then a tail, a braid, a bun, a puff or a crown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.growth import NOWHERE, Growth, clump, curl, grow
from portrait360.synth.hair.scalp import Roots
from portrait360.synth.hair.strands import Dye, braid, hair_dye, make_strands
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import ellipsoid, make_mesh, tube, unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.hairstyles import HairStyle, Tie
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Material, Mesh, Part, Strands
from portrait360.utils.array_types import F32

BUNDLE = 42  # locks that hang from one tie
CENTER = np.array([0.0, 0.05, -0.03], np.float32)  # centre of the arcs along which hair is combed towards a tie


@dataclass(frozen=True, eq=False)
class Knot:
    """A tie at its position on one head."""

    position: F32
    normal: F32
    tie: Tie


def direction(azimuth: float, elevation: float) -> F32:
    """Return the unit vector of an azimuth and elevation in degrees."""
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], np.float32)


def locate_knots(head: Head, style: HairStyle) -> list[Knot]:
    knots = []
    for tie in style.ties:
        towards = direction(tie.azimuth, tie.elevation)
        position = (CENTER + (head.field.radius(CENTER, towards) + 0.010) * towards).astype(np.float32)
        knots.append(Knot(position, head.field.gradient(position), tie))
    return knots


def gather(head: Head, roots: Roots, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator) -> F32:
    """Return strands from the roots over the scalp to the nearest tie on their side."""
    ties = locate_knots(head, style)
    start = roots.points - CENTER
    if ties[0].tie.end == "crown":
        goal = crown_path(head, np.arctan2(start[:, 0], start[:, 2])) - CENTER
    else:
        tie_index = (roots.rest[:, 0] < parameters.hair.parting * 0.3).astype(int) if len(ties) == 2 else 0
        spread = rng.normal(0, 0.006, (len(roots), 3))
        goal = np.array([knot.position for knot in ties])[tie_index] - CENTER + spread
    t = np.linspace(0, 1, 13)[None, :, None]
    a, b = unit(start)[:, None], unit(goal)[:, None]
    angle = np.arccos(np.clip((a * b).sum(-1, keepdims=True), -0.97, 0.999))
    heading = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    radius = np.linalg.norm(start, axis=1)[:, None, None] * (1 - t) + np.linalg.norm(goal, axis=1)[:, None, None] * t
    # hair from the opposite side goes over the top and the back, never across the face
    detour = smoothstep(1.2, 2.6, angle) * smoothstep(0.0, 0.10, start[:, None, 2:])
    heading = unit(heading + np.sin(np.pi * t) * detour * np.array([0.0, 1.3, -0.5]))
    sweep = parameters.hair.sweep
    if sweep:  # drawn aside before it goes back
        front = smoothstep(0.02, 0.14, start[:, None, 2:])
        heading = unit(heading + np.sin(np.pi * t) * front * np.array([0.55 * sweep, 0.0, 0.15 * abs(sweep)]))
    points = CENTER + heading * radius
    height = (
        style.offset * HEAD_HEIGHT * np.exp(rng.normal(0, 0.35, (len(roots), 1))) * np.minimum(t[..., 0] * 5 + 0.1, 1)
    )
    for _ in range(2):  # hair under tension keeps its height over the skin
        points = points + (height - head.field.distance(points))[..., None] * head.field.gradient(points)
    return points.astype(np.float32)


def crown_path(head: Head, azimuth: np.ndarray) -> np.ndarray:
    """Return the path of a crown braid round the head at these azimuths (radians); it is lower at the back."""
    elevation = 40 - 16 * (0.5 - 0.5 * np.cos(azimuth))
    e = np.radians(elevation)
    towards = np.stack([np.sin(azimuth) * np.cos(e), np.sin(e), np.cos(azimuth) * np.cos(e)], -1).astype(np.float32)
    return CENTER + (head.field.radius(CENTER, towards) + 0.016)[..., None] * towards


def grow_bundle(
    head: Head, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator
) -> tuple[F32, list[Mesh]]:
    """Grow the paths of the locks that hang from the ties, and make the bands that hold them."""
    paths, bands = [], []
    for knot in locate_knots(head, style):
        count = BUNDLE
        roots = knot.position + 0.016 * rng.normal(0, 1, (count, 3)).clip(-1.4, 1.4) + 0.012 * knot.normal
        length = knot.tie.size * parameters.hair.length * HEAD_HEIGHT * rng.uniform(0.75, 1.0, count)
        normals = np.broadcast_to(knot.normal + np.array([0, 0.35, 0]), roots.shape)
        growth = _tail_growth(count, length, rng, 2.2)
        growth.offset[:] = 0.03 * rng.uniform(0.5, 2.0, count)
        paths.append(grow(head, roots, normals, growth, 18))
        bands.append(_make_band(knot, 0.030, np.array(parameters.wear.hat_trim) * 0.7))
    return np.concatenate(paths), bands


def make_tied_ends(
    head: Head, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator
) -> tuple[list[Strands], list[Mesh]]:
    """Make the hair beyond its ties, and the solid meshes that belong to it."""
    strands, meshes, dye = [], [], hair_dye(parameters.hair)
    for knot in locate_knots(head, style):
        make = {"tail": _make_tail, "braid": _make_braid, "bun": _make_bun, "puff": _make_puff, "crown": _make_crown}[
            knot.tie.end
        ]
        group, solids = make(head, knot, parameters, dye, rng)
        strands.append(group)
        meshes += solids
    return strands, meshes


def _make_band(knot: Knot, radius: float, colour: np.ndarray) -> Mesh:
    """Make the band that holds the hair."""
    across = unit(np.cross(knot.normal, [0.3, 1.0, 0.2]))
    over = np.cross(knot.normal, across)
    angle = np.linspace(0, 2 * np.pi, 22)[:-1, None]
    path = knot.position + 0.008 * knot.normal + radius * (np.cos(angle) * across + np.sin(angle) * over)
    vertices, triangles = tube(path, radius * 0.38, 8, closed=True)
    return make_mesh(vertices, triangles, colour, Material.CLOTH, Part.ACCESSORY)


def _tail_growth(
    count: int, length: np.ndarray, rng: np.random.Generator, lift: float, forward: float = 0.0
) -> Growth:
    comb = np.zeros((count, 8), np.float32)
    comb[:, 5] = 1.0  # down
    comb[:, 2] = forward

    def fill(value: float) -> F32:
        return np.full(count, value, np.float32)

    return Growth(
        length=length.astype(np.float32),
        comb=comb,
        lift=fill(lift),
        gravity=fill(0.8),
        stiff=fill(0.72),
        offset=fill(0.016),
        cut=fill(NOWHERE),
        avoid_face=fill(0),
        side=fill(1),
        jitter=rng.normal(0, 0.22, (count, 3)).astype(np.float32),
    )


def _make_tail(head: Head, knot: Knot, parameters: HeadParameters, dye: Dye, rng: np.random.Generator):
    count, hair = 1500, parameters.hair
    roots = knot.position + 0.010 * rng.normal(0, 1, (count, 3)).clip(-1.4, 1.4) + 0.006 * knot.normal
    length = knot.tie.size * hair.length * HEAD_HEIGHT * rng.uniform(0.72, 1.0, count)
    normals = np.broadcast_to(knot.normal + np.array([0, 0.35, 0]), roots.shape)
    points = grow(head, roots, normals, _tail_growth(count, length, rng, 2.6, knot.tie.forward), 16)
    points, clump_index = clump(points, 0.45, rng, 20)
    if hair.curl > 0.9:
        points = curl(points, 0.030 * (hair.curl - 0.7), 3.0, clump_index, rng)
    band = _make_band(knot, 0.016, np.array(parameters.wear.hat_trim) * 0.7)
    return make_strands(points, 0.0046, dye, rng, taper=0.35), [band]


def _make_braid(head: Head, knot: Knot, parameters: HeadParameters, dye: Dye, rng: np.random.Generator):
    length = np.array([knot.tie.size * parameters.hair.length * HEAD_HEIGHT])
    growth = _tail_growth(1, length, rng, 0.8, knot.tie.forward)
    growth.jitter[:] = 0
    growth.offset[:] = 0.030
    path = grow(head, knot.position[None], knot.normal[None], growth, 44)
    outward = unit(path - CENTER * np.array([1, 0, 1]) - path * np.array([0, 1, 0]))
    points = braid(path, outward, 0.020, 60, length[0] / HEAD_HEIGHT * 6.5, rng)
    end = Knot(path[0, -3].astype(np.float32), np.array([0, -1, 0.01], np.float32), knot.tie)
    bands = [_make_band(end, 0.009, np.array(parameters.wear.hat_trim) * 0.7)]
    return make_strands(points, 0.0050, dye, rng, taper=0.6), bands


def _make_core(knot: Knot, size: float, colour: np.ndarray) -> Mesh:
    center = knot.position + knot.normal * size * 0.62
    vertices, triangles = ellipsoid(center, np.full(3, size * 0.86), 12, 18)
    return make_mesh(vertices, triangles, colour, Material.HAIR, Part.HAIR)


def _make_bun(head: Head, knot: Knot, parameters: HeadParameters, dye: Dye, rng: np.random.Generator):
    """Wind hair about the tie in crossing loops."""
    count, size = 1300, knot.tie.size * HEAD_HEIGHT * parameters.hair.volume
    across = unit(np.cross(knot.normal, [0.3, 1.0, 0.2]))
    over = np.cross(knot.normal, across)
    t = np.linspace(0, 1, 14)[None]
    phi = rng.uniform(0, 2 * np.pi, (count, 1)) + t * rng.uniform(1.6, 2.6, (count, 1))
    level = rng.uniform(-0.5, 1.25, (count, 1)) + rng.normal(0, 0.28, (count, 1)) * (t - 0.5) * 2
    shell = size * np.exp(rng.normal(0, 0.035, (count, 1))) * (1 + 0.06 * np.sin(3 * level + 2 * phi))
    if knot.tie.rough > 0:  # loops of different sizes, some of them loose
        loop = rng.gamma(1.5, 0.16, (count, 1)) * knot.tie.rough
        lumps = np.sin(2.3 * phi[:, :1] + 1.7) * np.cos(2.9 * level[:, :1])
        shell = shell * (1 + 0.16 * knot.tie.rough * lumps + loop * np.sin(np.pi * t))
    flat = (np.cos(level) * np.cos(phi))[..., None] * across + (np.cos(level) * np.sin(phi))[..., None] * over
    center = knot.position + knot.normal * size * 0.62
    points = center + shell[..., None] * (flat + 0.88 * np.sin(level)[..., None] * knot.normal)
    ball = _make_core(knot, size, np.asarray(dye.colour) * 0.55)
    return make_strands(points, 0.0052, dye, rng, taper=0.8), [ball]


def _make_puff(head: Head, knot: Knot, parameters: HeadParameters, dye: Dye, rng: np.random.Generator):
    """Make a round cloud of coils."""
    count, size = 3200, knot.tie.size * HEAD_HEIGHT * parameters.hair.volume
    heading = unit(rng.normal(0, 1, (count, 3)) + 0.25 * knot.normal)
    center = knot.position + knot.normal * size * 0.72
    t = np.linspace(0.55, 1.0, 9)[None, :, None]
    points = center + heading[:, None] * size * t * np.exp(rng.normal(0, 0.06, (count, 1, 1)))
    points = curl(points.astype(np.float32), 0.016, 16.0, np.arange(count), rng)
    ball = _make_core(knot, size, np.asarray(dye.colour) * 0.5)
    band = _make_band(knot, 0.028, np.array(parameters.wear.hat_trim) * 0.7)
    return make_strands(points, 0.0052, dye, rng, taper=0.5), [ball, band]


def _make_crown(head: Head, knot: Knot, parameters: HeadParameters, dye: Dye, rng: np.random.Generator):
    azimuth = np.linspace(0.0, 2 * np.pi, 150) + np.pi
    path = crown_path(head, azimuth)[None]
    points = braid(path, unit(path - CENTER), 0.021, 70, 17, rng)
    return make_strands(points, 0.0052, dye, rng, taper=1.0, thin_root=1.0), []
