"""Build a hairstyle on a head: strands, the solid cores of buns, and the tint of the scalp beneath."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair import locks, ties
from portrait360.synth.hair.growth import COMB, NOWHERE, Growth, clump, curl, grow
from portrait360.synth.hair.scalp import Roots, farthest_point_sample, hair_density, region_length, scatter_roots
from portrait360.synth.hair.strands import hair_dye, make_strands
from portrait360.synth.head.bare_head import Head
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.hairstyles import STYLES, HairStyle
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Mesh, Strands
from portrait360.utils.array_types import F32

FRINGE_END = 0.088  # height at which a fringe is cut, in head heights: at the brows
FORELOCK = 0.17  # half the width of a fringe at its roots


@dataclass(frozen=True, eq=False)
class Hairdo:
    strands: list[Strands]
    meshes: list[Mesh]
    tint: F32  # (m,) how strongly the hair colour tints the scalp, 0..1


def make_hair(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> Hairdo:
    """Make the hair of these parameters."""
    style = STYLES[parameters.hair.style]
    if style.count == 0:
        return Hairdo([], [], np.zeros(len(head.body), np.float32))
    density = hair_density(head, style, parameters)
    tint = density * (0.55 if style.locks == "cornrows" else 0.93)
    if style.locks == "cornrows":
        stubble = _make_scalp_stubble(head, density, rng, parameters)
        return Hairdo([locks.make_cornrows(head, style, parameters, rng), stubble], [], tint)
    roots = scatter_roots(head, density, style.count, rng)
    if style.locks != "none":
        guides = roots.take(farthest_point_sample(roots.points, style.locks_count, rng))
        points = grow(head, guides.points, guides.normals, _growth(guides, style, parameters, rng), 18)
        keep = ~_covers_face(head, points, 0.105)
        return Hairdo([locks.make_locks(points[keep], style, parameters, rng)], [], tint)
    if not style.ties:
        return Hairdo([_make_loose_hair(head, roots, style, parameters, rng)], [], tint)
    strands, meshes = ties.make_tied_ends(head, style, parameters, rng)
    tied_roots = roots
    if style.loose_below is not None:
        is_loose = roots.rest[:, 1] < style.loose_below
        strands.append(_make_loose_hair(head, roots.take(is_loose), style, parameters, rng))
        tied_roots = roots.take(~is_loose)
    points = ties.gather(head, tied_roots, style, parameters, rng)
    widths = style.width * HEAD_HEIGHT * np.exp(rng.normal(0, 0.2, len(tied_roots)))
    strands.append(
        make_strands(points, widths, hair_dye(parameters.hair), rng, taper=0.8, thin_root=_root_width(tied_roots))
    )
    return Hairdo(strands, meshes, tint)


def _root_width(roots: Roots) -> F32:
    """Return relative widths of the roots: thin at the hairline, full further in."""
    return 0.25 + 0.6 * smoothstep(0.1, 0.9, roots.edge)


def _make_scalp_stubble(head: Head, density: F32, rng: np.random.Generator, parameters: HeadParameters) -> Strands:
    """Make short stubble on the scalp between cornrows."""
    roots = scatter_roots(head, density, 3500, rng)
    style = STYLES["stubbled"]
    points = grow(head, roots.points, roots.normals, _growth(roots, style, parameters, rng), 3)
    return make_strands(points, style.width * HEAD_HEIGHT * 0.8, hair_dye(parameters.hair), rng)


def _make_loose_hair(
    head: Head, roots: Roots, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator
) -> Strands:
    hair = parameters.hair
    growth = _growth(roots, style, parameters, rng)
    longest = float(growth.length.max(initial=0.0)) / HEAD_HEIGHT
    steps = 4 if longest < 0.08 else 8 if longest < 0.4 else 15
    points = grow(head, roots.points, roots.normals, growth, steps)
    clump_index = np.arange(len(points))
    if style.clump > 0 and len(points) > 32:
        points, clump_index = clump(points, style.clump, rng)
    radius, turns = style.wave
    if radius > 0:
        points = curl(points, radius * hair.curl, turns, clump_index, rng)
    keep = ~_covers_face(head, points) | _is_fringe(roots, style)
    widths = style.width * HEAD_HEIGHT * np.exp(rng.normal(0, 0.2, len(points)))
    return make_strands(
        points[keep],
        widths[keep],
        hair_dye(hair),
        rng,
        taper=0.25,
        thin_root=_root_width(roots)[keep],
        normals=roots.normals[keep] if longest < 0.12 else None,
    )


def _is_fringe(roots: Roots, style: HairStyle) -> np.ndarray:
    x, y, z = roots.rest.T
    reach = FORELOCK * smoothstep(0.46, 0.30, y)
    return (np.abs(x) < np.maximum(reach, 0.03)) & (z > 0.06) & (y < 0.475) & (style.fringe > 0)


def _growth(roots: Roots, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator) -> Growth:
    hair, count = parameters.hair, len(roots)
    fringe = _is_fringe(roots, style)
    length = (
        region_length(roots.rest, style) * np.exp(rng.normal(0, 0.07, count)) * _length_factor(hair.length, style)
    )
    length = np.where(fringe, style.fringe * rng.uniform(0.92, 1.1, count), length)
    length = length * (0.45 + 0.55 * smoothstep(0.05, 0.8, roots.edge))
    comb = np.zeros((count, len(COMB)))
    for name, weight in style.comb.items():
        comb[:, COMB.index(name)] = weight
    behind = smoothstep(0.05, -0.12, roots.rest[:, 2])
    comb[:, COMB.index("down")] += 0.8 * behind * (style.gravity > 0.1)
    comb[:, COMB.index("side")] *= 1 - 0.8 * behind
    forward = np.zeros(len(COMB))
    forward[COMB.index("forward")], forward[COMB.index("down")] = 1.0, 0.35
    comb[fringe] = forward
    cut = NOWHERE if style.cut is None else style.cut * HEAD_HEIGHT
    short = smoothstep(0.06, 0.02, length)
    return Growth(
        length=(length * HEAD_HEIGHT).astype(np.float32),
        comb=comb.astype(np.float32),
        lift=np.where(fringe, 0.5, style.lift * hair.volume).astype(np.float32),
        gravity=np.where(fringe, 0.55, style.gravity).astype(np.float32),
        stiff=np.full(count, style.stiff, np.float32),
        offset=(_offset(roots, style, hair.volume, fringe, rng) * (1 - 0.8 * short)).astype(np.float32),
        cut=(np.where(fringe, FRINGE_END * HEAD_HEIGHT, cut) + rng.normal(0, 0.004, count)).astype(np.float32),
        avoid_face=(~fringe & (style.fringe + style.gravity > 0.25)).astype(np.float32),
        side=np.where(roots.rest[:, 0] > hair.parting, 1, -1).astype(np.float32),
        jitter=rng.normal(0, 0.05 + 6 * style.frizz, (count, 3)).astype(np.float32),
    )


def _length_factor(factor: float, style: HairStyle) -> float:
    """Return the length factor; blunt cuts and stubble keep the length of their style."""
    return 1.0 if style.cut is not None or max(style.lengths) < 0.05 else factor


def _offset(roots: Roots, style: HairStyle, volume: float, fringe: np.ndarray, rng: np.random.Generator) -> F32:
    layers = rng.uniform(0.25, 1.0, len(roots))  # strands overlap in layers
    thickness = np.where(fringe, 0.03, style.offset * volume) * HEAD_HEIGHT
    return (thickness * layers * (0.4 + 0.6 * smoothstep(0.0, 0.8, roots.edge))).astype(np.float32)


def _covers_face(head: Head, points: F32, half_width: float = 0.083) -> np.ndarray:
    """Return which strands would hang in front of the eyes, nose or mouth."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    front = min(head.landmarks[f"{side}_eye_outer"][2] for side in ("left", "right")) - 0.015
    brow = head.landmarks["left_eye_top"][1] + 0.012
    return ((z > front) & (np.abs(x) < half_width) & (y < brow) & (y > -0.5 * HEAD_HEIGHT)).any(1)
