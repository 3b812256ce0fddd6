"""How each root of the scalp grows: the style's numbers, the wearer's own, and where the fringe is."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.growth import COMB, NOWHERE, Growth
from portrait360.synth.hair.scalp import Roots, azimuth, region_length
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.hairstyles import HairStyle
from portrait360.synth.sampling.parameters import Hair, HeadParameters
from portrait360.utils.array_types import F32

FRINGE_END = 0.088  # height at which a fringe is cut, in head heights: at the brows
SWEPT_END = -0.30  # the same for a fringe combed aside, which is trimmed to the face afterwards
FORELOCK = 0.17  # half the width of a fringe at its roots
BEHIND_EAR = np.array([0.31, 0.05, -0.11])  # of the left ear of the average head, in head heights


def sweep_of(hair: Hair, style: HairStyle) -> float:
    """Return how far hair is combed aside, by the style and by its wearer."""
    return float(np.clip(hair.sweep + style.sweep, -1, 1))


def is_fringe(roots: Roots, style: HairStyle) -> np.ndarray:
    x, y, z = roots.rest.T
    reach = FORELOCK * smoothstep(0.46, 0.30, y)
    return (np.abs(x) < np.maximum(reach, 0.03)) & (z > 0.06) & (y < 0.475) & (style.fringe > 0)


def choose_growth(roots: Roots, style: HairStyle, parameters: HeadParameters, rng: np.random.Generator) -> Growth:
    hair, count = parameters.hair, len(roots)
    fringe, sweep = is_fringe(roots, style), sweep_of(hair, style)
    length = _strand_lengths(roots, style, hair, fringe, rng)
    cut = NOWHERE if style.cut is None else style.cut * HEAD_HEIGHT
    end = SWEPT_END if sweep or style.fringe_parts else FRINGE_END
    short = smoothstep(0.06, 0.02, length)
    rise = (1 - 0.55 * hair.wet) * hair.volume
    parting = hair.parting - 0.12 * sweep
    tuck = _tuck(roots, length, hair, parting, parameters.seed)
    length = np.where(_hides_tucked_ear(roots, hair), np.minimum(length, 0.09), length)
    return Growth(
        length=(length * HEAD_HEIGHT).astype(np.float32),
        comb=_comb(roots, style, sweep, fringe),
        lift=np.where(fringe, 0.5, style.lift * rise).astype(np.float32),
        gravity=np.where(fringe, 0.55, style.gravity + 0.25 * hair.wet * (1 - style.gravity)).astype(np.float32),
        stiff=np.full(count, style.stiff, np.float32),
        offset=(_offset(roots, style, rise, fringe, rng) * (1 - 0.8 * short)).astype(np.float32),
        cut=(np.where(fringe, end * HEAD_HEIGHT, cut) + rng.normal(0, 0.004, count)).astype(np.float32),
        avoid_face=(~fringe & (style.fringe + style.gravity > 0.25)).astype(np.float32),
        side=_sides(roots, parting, sweep, fringe),
        jitter=_jitter(roots, style, hair, parameters.seed, rng),
        tuck=tuck,
    )


def _strand_lengths(
    roots: Roots, style: HairStyle, hair: Hair, fringe: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    count = len(roots)
    length = (
        region_length(roots.rest, style) * np.exp(rng.normal(0, 0.07, count)) * _length_factor(hair.length, style)
    )
    longer = 1 + 0.7 * abs(sweep_of(hair, style))  # what is combed aside has a longer way
    length = np.where(fringe, style.fringe * longer * rng.uniform(0.92, 1.1, count), length)
    return length * (0.45 + 0.55 * smoothstep(0.05, 0.8, roots.edge))


def _length_factor(factor: float, style: HairStyle) -> float:
    """Return the length factor; blunt cuts and stubble keep the length of their style."""
    return 1.0 if style.cut is not None or max(style.lengths) < 0.05 else factor


def _comb(roots: Roots, style: HairStyle, sweep: float, fringe: np.ndarray) -> F32:
    """Return the weights of the growth directions (s, len(COMB))."""
    comb = np.zeros((len(roots), len(COMB)))
    for name, weight in style.comb.items():
        comb[:, COMB.index(name)] = weight
    behind = smoothstep(0.05, -0.12, roots.rest[:, 2])
    comb[:, COMB.index("down")] += 0.8 * behind * (style.gravity > 0.1)
    comb[:, COMB.index("side")] *= 1 - 0.8 * behind
    forward = np.zeros(len(COMB))
    forward[COMB.index("forward")], forward[COMB.index("down")] = 1.0, 0.35
    forward[COMB.index("side")] = max(1.3 * abs(sweep), 0.8 * style.fringe_parts)
    comb[fringe] = forward
    if sweep:
        top = abs(sweep) * smoothstep(0.12, 0.27, roots.rest[:, 1]) * (1 - behind) * ~fringe
        comb *= 1 - 0.65 * top[:, None]
        comb[:, COMB.index("side")] += 1.1 * top
        comb[:, COMB.index("forward")] += 0.25 * top
    return comb.astype(np.float32)


def _sides(roots: Roots, parting: float, sweep: float, fringe: np.ndarray) -> F32:
    """Return to which side of the parting each root's hair falls, -1 or 1; a swept fringe falls to one side."""
    side = np.where(roots.rest[:, 0] > parting, 1, -1)
    return np.where(fringe & (sweep != 0), 1 if sweep > 0 else -1, side).astype(np.float32)


def _jitter(roots: Roots, style: HairStyle, hair: Hair, seed: int, rng: np.random.Generator) -> F32:
    """Return what is added to the first directions (s, 3): at random; in messy hair, neighbours lean alike."""
    jitter = rng.normal(0, 0.05 + 6 * style.frizz, (len(roots), 3))
    if hair.messy > 0:
        tousle = [noise(roots.rest, 9.0, seed + 31 + a) - 0.5 for a in range(3)]
        jitter = jitter + 3.2 * hair.messy * np.stack(tousle, 1)
    return jitter.astype(np.float32)


def _offset(roots: Roots, style: HairStyle, volume: float, fringe: np.ndarray, rng: np.random.Generator) -> F32:
    layers = rng.uniform(0.25, 1.0, len(roots))  # strands overlap in layers
    thickness = np.where(fringe, 0.03, style.offset * volume) * HEAD_HEIGHT
    return (thickness * layers * (0.4 + 0.6 * smoothstep(0.0, 0.8, roots.edge))).astype(np.float32)


def _tuck(roots: Roots, length: np.ndarray, hair: Hair, parting: float, seed: int) -> F32:
    """Return which strands go behind the left (1) or the right (-1) ear; neighbours stay together."""
    x, y, z = roots.rest.T
    order = noise(roots.rest, 11.0, seed + 41)
    order = np.clip((order - 0.25) / 0.5, 0, 0.99)  # about evenly from 0 to 1
    is_left = x > parting
    goal = BEHIND_EAR * np.where(is_left[:, None], [1, 1, 1], [-1, 1, 1])
    within = (y > 0.0) & (z > -0.16) & (length > 1.2 * np.linalg.norm(roots.rest - goal, axis=1))
    left = within & is_left & (order < hair.tuck_left)
    right = within & ~is_left & (order < hair.tuck_right)
    return (left.astype(np.float32) - right).astype(np.float32)


def _hides_tucked_ear(roots: Roots, hair: Hair) -> np.ndarray:
    """Return which roots grow before a tucked ear, below its top, where hair would hang over it."""
    x, y, _ = roots.rest.T
    tuck = np.where(x > 0, hair.tuck_left, hair.tuck_right)
    return (azimuth(roots.rest) < 100) & (y < 0.06) & (tuck > 0.5)
