"""Build a hairstyle on a head: strands, the solid cores of buns, and the tint of the scalp beneath."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair import disorder, locks, ties
from portrait360.synth.hair.face_guard import covers_face, trim_fringe
from portrait360.synth.hair.growth import clump, curl, grow
from portrait360.synth.hair.hair_growth import choose_growth, is_fringe, sweep_of
from portrait360.synth.hair.scalp import Roots, farthest_point_sample, hair_density, scatter_roots
from portrait360.synth.hair.strands import hair_dye, make_strands
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.distance_field import LOW, STEP, DistanceField
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.hairstyles import HairStyle, find_style
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Mesh, Strands
from portrait360.utils.array_types import F32

NECK = -0.25  # canonical height below which fitted hair meets no shoulders
LOCK, MOST_IN_LOCK, SCALP = 16, 60, 0.3  # strands; canonical area on which hair grows
LOOSE = 2.2  # how many times as many strands share a lock that is hardly pulled together
APART = 0.18  # canonical; hair that goes different ways round the head does not clump


@dataclass(frozen=True, eq=False)
class Hairdo:
    strands: list[Strands]
    meshes: list[Mesh]
    tint: F32  # (m,) how strongly the hair colour tints the scalp, 0..1


def make_hair(
    head: Head, parameters: HeadParameters, rng: np.random.Generator, style: HairStyle | None = None
) -> Hairdo:
    """Make the hair of these parameters.

    `style` is a fitted one, which replaces the one that they name: its parting ends at the crown, and it falls as if
    there were no shoulders, over which it is draped later.
    """
    is_fitted = style is not None
    style = find_style(parameters.hair.style) if style is None else style
    if is_fitted:
        head = _without_shoulders(head)
    if style.count == 0:
        return Hairdo([], [], np.zeros(len(head.body), np.float32))
    density = hair_density(head, style, parameters)
    tint = density * (0.55 if style.locks == "cornrows" else 0.93)
    strands, meshes = _make_strands(head, density, style, parameters, rng, is_fitted)
    if parameters.hair.flyaway > 0:
        strands = strands + disorder.loosen(head, strands, parameters)
    return Hairdo(strands, meshes, tint)


@lru_cache(maxsize=2)  # a search grows many hairstyles on one head
def _without_shoulders(head: Head) -> Head:
    """Return the head with a field whose neck goes straight down."""
    values, row = head.field.values.copy(), round((NECK - float(LOW[1])) / STEP)
    values[:, :row] = values[:, row : row + 1]
    return replace(head, field=DistanceField(values))


def _make_strands(
    head: Head,
    density: F32,
    style: HairStyle,
    parameters: HeadParameters,
    rng: np.random.Generator,
    ends_parting: bool,
) -> tuple[list[Strands], list[Mesh]]:
    if style.locks == "cornrows":
        stubble = _make_scalp_stubble(head, density, rng, parameters)
        return [locks.make_cornrows(head, style, parameters, rng), stubble], []
    roots = scatter_roots(head, density, style.count, rng)
    if style.locks != "none":
        return _make_locks(head, roots, style, parameters, rng)
    if not style.ties:
        return [_make_loose_hair(head, roots, style, parameters, rng, ends_parting)], []
    strands, meshes = ties.make_tied_ends(head, style, parameters, rng)
    tied_roots = roots
    if style.loose_below is not None:
        is_loose = roots.rest[:, 1] < style.loose_below
        strands.append(_make_loose_hair(head, roots.take(is_loose), style, parameters, rng, ends_parting))
        tied_roots = roots.take(~is_loose)
    points = ties.gather(head, tied_roots, style, parameters, rng)
    widths = style.width * HEAD_HEIGHT * np.exp(rng.normal(0, 0.2, len(tied_roots)))
    points = disorder.stir(head, points, parameters, 0.35)  # the tie holds the hair
    strands.append(
        make_strands(points, widths, hair_dye(parameters.hair), rng, taper=0.8, thin_root=_root_width(tied_roots))
    )
    return strands, meshes


def _make_locks(
    head: Head, roots: Roots, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator
) -> tuple[list[Strands], list[Mesh]]:
    """Make locks or braids over the head, loose or drawn to a tie and hanging from there."""
    guides = roots.take(farthest_point_sample(roots.points, style.locks_count, rng))
    if style.ties:
        points = ties.gather(head, guides, style, parameters, rng)
        ends, bands = ties.grow_bundle(head, style, parameters, rng)
        groups = [locks.make_locks(paths, style, parameters, rng) for paths in (points, ends)]
        return groups, bands
    points = grow(head, guides.points, guides.normals, choose_growth(guides, style, parameters, rng), 18)
    points = disorder.stir(head, points, parameters)
    keep = ~covers_face(head, points, 0.105)
    return [locks.make_locks(points[keep], style, parameters, rng)], []


def _root_width(roots: Roots) -> F32:
    """Return relative widths of the roots: thin at the hairline, full further in."""
    return 0.25 + 0.6 * smoothstep(0.1, 0.9, roots.edge)


def _make_scalp_stubble(head: Head, density: F32, rng: np.random.Generator, parameters: HeadParameters) -> Strands:
    """Make short stubble on the scalp between cornrows."""
    roots = scatter_roots(head, density, 3500, rng)
    style = find_style("stubbled")
    plain = replace(parameters, hair=replace(parameters.hair, tuck_left=0.0, tuck_right=0.0))
    points = grow(head, roots.points, roots.normals, choose_growth(roots, style, plain, rng), 3)
    return make_strands(points, style.width * HEAD_HEIGHT * 0.8, hair_dye(parameters.hair), rng)


def _end_parting(side: F32, rest: F32) -> F32:
    """Return to which side each root's hair falls, with a parting that closes over the crown."""
    x, _, z = rest.T
    closes = smoothstep(0.05, -0.09, z) * smoothstep(0.18, 0.05, np.abs(x))
    return (side * (1 - closes)).astype(np.float32)


def size_locks(count: int, radius: float, pull: float) -> int:
    """Return how many strands wind together: those that grow over the width of their curl, in head heights.

    The more they are pulled together, the wider are the gaps between locks, and the fewer strands share one.
    """
    width = 2 * radius * HEAD_HEIGHT
    return int(np.clip(LOOSE * (1 - pull) * count * width**2 / SCALP, LOCK, MOST_IN_LOCK))


def _make_loose_hair(
    head: Head,
    roots: Roots,
    style: HairStyle,
    parameters: HeadParameters,
    rng: np.random.Generator,
    ends_parting: bool,
) -> Strands:
    hair = parameters.hair
    growth = choose_growth(roots, style, parameters, rng)
    if ends_parting:
        growth = replace(growth, side=_end_parting(growth.side, roots.rest))
    longest = float(growth.length.max(initial=0.0)) / HEAD_HEIGHT
    steps = 4 if longest < 0.08 else 8 if longest < 0.4 else 15
    points = grow(head, roots.points, roots.normals, growth, steps)
    clump_index = np.arange(len(points))
    amount = style.clump + (0.93 - style.clump) * hair.wet
    if amount > 0 and len(points) > 32:
        plain = (hair.tuck_left, hair.tuck_right, sweep_of(hair, style), hair.wet, hair.messy, hair.wind) == (0,) * 6
        reach = None if plain else APART
        size = size_locks(len(points), style.wave[0] * hair.curl, amount) if ends_parting else LOCK
        points, clump_index = clump(points, amount, rng, size + int(20 * hair.wet), reach)
    radius, turns = style.wave
    if radius > 0:
        points = curl(points, radius * hair.curl * (1 - 0.45 * hair.wet), turns, clump_index, rng)
    fringe = is_fringe(roots, style)
    points = disorder.stir(head, points, parameters)
    if sweep_of(hair, style) or style.fringe_parts or hair.wind or hair.messy:
        points[fringe] = trim_fringe(head, points[fringe], sweep_of(hair, style), style.fringe_parts)
    keep = ~covers_face(head, points) | fringe
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
