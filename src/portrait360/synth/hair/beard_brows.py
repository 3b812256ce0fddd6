"""Eyebrows and beards: fine strands grown over regions of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.hair.growth import COMB, NOWHERE, Growth, clump, curl, grow
from portrait360.synth.hair.scalp import Roots, scatter_roots
from portrait360.synth.hair.strands import Dye, make_strands
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.face_points import locate_on_face
from portrait360.synth.head.scan_shape import find_lip_line
from portrait360.synth.head.skin import beard_area
from portrait360.synth.meshes import unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Part, Strands
from portrait360.utils.array_types import F32, Bools, Floats

MOST = 18000  # whiskers of a fitted beard
DENSEST, LYING, LAYERS = 0.96, 0.7, 60.0  # greatest share that is covered; length as seen; layers per head height
TINT, SPARSE = 1.1, 1.6  # of the skin beneath them, and the power of their share with which that begins
FLYAWAY, STRAIGHT = 0.14, 0.93  # share of whiskers that stand out, and how straight short ones of these are
OUTWARD, FURTHER = (0.5, 1.3), 1.35  # how far those do, and how much longer they are
FINER = 0.6  # width of single whiskers, of that of dense ones
FITTED_STEPS = 5, 9  # of short whiskers, and of long ones
LEAN = 1.15  # length of a whisker, of how far it reaches off the skin
LONG = 0.03  # length from which whiskers wave
BESIDE_LIPS = (0.12, 0.02, 0.16)  # share of its thickness that a beard has at the lips, and distances of its growth
LIP_LENGTH, LONGER = (
    0.05,
    0.9,
)  # length of whiskers at the lips, in head heights, and by how much these grow from there
GATHER, HANG = 0.04, 0.8  # of a long beard on the chin: towards its middle, and down off the skin
MOUSTACHE = (0.065, 0.018)  # length of a moustache that covers the upper lip, and how far it stands off
UNEVEN = 0.6  # greatest share of that lip which a whisker leaves free
THICKEST = 0.13  # head heights from which a beard hangs rather than stands off


@dataclass(frozen=True)
class BeardStyle:
    """The regions that grow hair, and its length; lengths in head heights."""

    areas: tuple[str, ...]
    length: float
    chin: float = 0.0  # extra length towards the tip of the chin
    count: int = 6000
    width: float = 0.0055
    wave: tuple[float, float] = (0.0, 0.0)
    shade: float = 0.7  # strength of the tint of the skin beneath


BEARDS: dict[str, BeardStyle] = {
    "none": BeardStyle((), 0.0, count=0, shade=0.0),
    "stubble": BeardStyle(("full",), 0.010, count=5000, width=0.004, shade=0.35),
    "designer": BeardStyle(("full",), 0.022, count=6000, width=0.005, shade=0.6),
    "moustache": BeardStyle(("lip",), 0.050, count=1000, shade=0.75),
    "pencil": BeardStyle(("thin_lip",), 0.016, count=420, width=0.005),
    "handlebar": BeardStyle(("lip",), 0.085, count=1100),
    "goatee": BeardStyle(("chin", "lip"), 0.045, chin=0.04, count=2200),
    "soul_patch": BeardStyle(("patch",), 0.035, count=300),
    "chinstrap": BeardStyle(("strap",), 0.030, count=2600),
    "short": BeardStyle(("full",), 0.040, chin=0.01, count=8500),
    "full": BeardStyle(("full",), 0.075, chin=0.05, count=9500, wave=(0.008, 6.0)),
    "long": BeardStyle(("full",), 0.100, chin=0.30, count=9500, wave=(0.014, 3.5)),
    "curly": BeardStyle(("full",), 0.090, chin=0.05, count=9500, wave=(0.016, 14.0)),
    "sideburns": BeardStyle(("burns",), 0.040, count=1800),
    "friendly": BeardStyle(("burns", "lip"), 0.050, count=2600),
}


@dataclass(frozen=True, eq=False)
class BeardGrowth:
    """How a given beard grows, at every vertex of a head; lengths in head heights."""

    share: F32  # (m,) how much of the skin it covers, 0..1
    reach: F32  # (m,) how far it stands off the skin, or hangs below it
    least: float  # length of whiskers that do not stand off
    stand: F32 | None = None  # (m,) how far it stands off where that is less than it reaches
    overhang: float = 0.0  # how much of the upper lip the moustache covers, 0..1


def growth_area(rest: F32, name: str) -> np.ndarray:
    """Return how densely a named region grows hair (m,), 0..1, at points of the average head."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    full = beard_area(rest)
    if name == "full":
        return full
    if name in ("lip", "thin_lip"):
        middle, half = (-0.247, 0.030) if name == "lip" else (-0.262, 0.012)
        groove = 1 - 0.6 * np.exp(-((x / 0.012) ** 2))
        return np.exp(-((x / 0.105) ** 4) - ((y - middle + 0.13 * x) / half) ** 4) * (z > 0.2) * groove
    if name == "chin":
        return full * smoothstep(0.115, 0.085, x) * smoothstep(-0.30, -0.34, y)
    if name == "patch":
        return np.exp(-((x / 0.03) ** 4) - ((y + 0.395) / 0.028) ** 4) * (z > 0.2)
    if name == "strap":
        jaw_line = smoothstep(-0.36 + 0.55 * np.maximum(x - 0.13, 0), -0.42 + 0.55 * np.maximum(x - 0.13, 0), y)
        return full * np.maximum(jaw_line, smoothstep(0.12, 0.08, z))
    if name == "burns":
        return full * smoothstep(0.16, 0.10, z) * smoothstep(-0.36, -0.28, y)
    raise KeyError(name)


def make_beard(
    head: Head, parameters: HeadParameters, rng: np.random.Generator, fitted: BeardGrowth | None = None
) -> tuple[list[Strands], F32]:
    """Return the strands of the named or fitted beard, and how strongly their colour tints the skin beneath (m,)."""
    if fitted is not None:
        return make_fitted_beard(head, parameters, fitted, rng)
    style = BEARDS[parameters.facial.beard]
    density = np.zeros(len(head.body), np.float32)
    for name in style.areas:
        density = np.maximum(density, growth_area(head.rest, name))
    density *= (1 - smoothstep(0.25, 0.6, head.mask("lips"))) * (1 - smoothstep(0.1, 0.3, head.mask("inside_mouth")))
    density *= 1 - smoothstep(0.1, 0.3, head.mask("ears"))
    if style.count == 0:
        return [], density
    roots = scatter_roots(head, density.astype(np.float32), style.count, rng)
    points = grow(
        head,
        roots.points,
        roots.normals,
        _growth(roots, style, parameters, rng),
        4 if style.length < 0.03 else 9,
    )
    points, clump_index = clump(points, 0.3 if style.length > 0.03 else 0.0, rng)
    if style.wave[0] > 0:
        points = curl(points, *style.wave, clump_index, rng)
    dye = Dye(parameters.facial.beard_colour, grey=parameters.hair.grey * 0.8, vary=0.22, root=0.8)
    width = np.full(len(points), style.width, np.float64)
    root_width = 0.3 + 0.6 * smoothstep(0.1, 0.8, roots.edge)
    return [_make_whiskers(head, points, roots, width, root_width, dye, rng)], density * style.shade


def _growth(roots: Roots, style: BeardStyle, parameters: HeadParameters, rng: np.random.Generator) -> Growth:
    count = len(roots)
    x, y = np.abs(roots.rest[:, 0]), roots.rest[:, 1]
    low = smoothstep(-0.34, -0.50, y) * smoothstep(0.2, 0.05, x)
    lip = (y > -0.30) & (x < 0.115)
    length_factor = 1.0 if style.length < 0.02 else parameters.facial.beard_length
    length = (style.length + style.chin * low) * length_factor * np.exp(rng.normal(0, 0.16, count))
    if style.length > 0.03 and "full" in style.areas:
        length = np.where(lip, np.minimum(length, 0.055), length * (0.35 + 0.65 * smoothstep(-0.10, -0.35, y)))
    length = length * (0.35 + 0.65 * smoothstep(0.05, 0.8, roots.edge))
    comb = np.zeros((count, len(COMB)), np.float32)
    comb[:, COMB.index("down")] = np.where(lip, 0.45, 1.0)
    comb[:, COMB.index("side")] = np.where(lip, 1.1, 0.12)
    comb[:, COMB.index("forward")] = np.where(lip, 0.1, 0.25)
    stubble = style.length < 0.015
    return Growth(
        length=(length * HEAD_HEIGHT).astype(np.float32),
        comb=comb,
        lift=np.full(count, 0.9 if stubble else 0.45, np.float32),
        gravity=np.where(lip, 0.1, 0.0 if stubble else 0.35).astype(np.float32),
        stiff=np.full(count, 0.7, np.float32),
        offset=(0.016 * HEAD_HEIGHT * rng.uniform(0.2, 1, count) * (0.1 if stubble else 1)).astype(np.float32),
        cut=np.full(count, NOWHERE, np.float32),
        avoid_face=np.zeros(count, np.float32),
        side=np.where(roots.rest[:, 0] > 0, 1, -1).astype(np.float32),
        jitter=rng.normal(0, 0.16, (count, 3)).astype(np.float32),
    )


def make_fitted_beard(
    head: Head, parameters: HeadParameters, fitted: BeardGrowth, rng: np.random.Generator
) -> tuple[list[Strands], F32]:
    """Return a beard that grows as `fitted` says, and how strongly its colour tints the skin beneath (m,)."""
    style, tint = BEARDS[parameters.facial.beard], np.minimum(TINT * fitted.share**SPARSE, 0.75)
    stand = fitted.reach if fitted.stand is None else fitted.stand
    aside = measure_way_to_lips(head, head.rest)
    length = _usual_length(head.rest, fitted.share, fitted.reach, fitted.least, aside)
    length = np.maximum(length, MOUSTACHE[0] * fitted.overhang * find_moustache(head.rest))
    density = _whiskers_per_area(fitted.share, stand * clear_lips(aside), length)
    corners = head.body[head.triangles]
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    count = float((np.linalg.norm(sides, axis=1) / 2 * density[head.triangles].mean(1)).sum())
    roots = scatter_roots(head, density, min(round(count), MOST), rng)
    if len(roots) == 0:
        return [], tint
    rows = head.triangles[roots.triangle]
    fields = np.stack([fitted.share, length, stand * clear_lips(aside), fitted.reach, aside], -1)
    share, length, stand, reach, aside = np.einsum("ijc,ij->ci", fields[rows], roots.corner).astype(np.float32)
    growth = _fitted_growth(roots, length, stand, reach, aside, fitted.overhang, rng)
    usual = float(np.median(growth.length)) / HEAD_HEIGHT
    points = grow(head, roots.points, roots.normals, growth, FITTED_STEPS[usual > LONG])
    points, clump_index = clump(points, 0.3 * float(smoothstep(0.02, 0.05, np.array(usual))), rng)
    if style.wave[0] > 0 and usual > LONG:
        points = curl(points, *style.wave, clump_index, rng)
    dye = Dye(parameters.facial.beard_colour, grey=parameters.hair.grey * 0.8, vary=0.45, root=0.85)
    width = _thickness(growth.length / HEAD_HEIGHT) * (FINER + (1 - FINER) * smoothstep(0.05, 0.6, share))
    last = find_last_before_mouth(head, points, fitted.overhang)
    points = shorten(points, np.maximum(last, 0))
    return [_make_whiskers(head, points, roots, width, 0.4 + 0.5 * share, dye, rng, last > 0)], tint


def _make_whiskers(
    head: Head,
    points: F32,
    roots: Roots,
    width: Floats,
    root_width: Floats,
    dye: Dye,
    rng: np.random.Generator,
    keep: Bools | None = None,
) -> Strands:
    """Return the strands to keep: those not over the mouth. Widths are in head heights, at roots shares of these."""
    keep = ~_over_mouth(head, points) if keep is None else keep
    width = width * HEAD_HEIGHT * np.exp(rng.normal(0, 0.2, len(points)))
    return make_strands(
        points[keep],
        width[keep],
        dye,
        rng,
        part=Part.BEARD,
        thin_root=root_width[keep],
        normals=roots.normals[keep],
    )


def measure_way_to_lips(head: Head, rest: F32) -> F32:
    """Return how far points of the average head (m, 3) lie from its lips, in head heights; twice that on the chin.

    Whiskers of the chin hang away from the lips, those of the cheek beside them.
    """
    way = np.asarray(KDTree(head.rest[head.mask("lips") > 0.5]).query(rest)[0])
    chin = smoothstep(-0.33, -0.39, rest[:, 1]) * smoothstep(0.15, 0.07, np.abs(rest[:, 0]))
    return np.asarray(way * (1 + chin), np.float32)


def find_moustache(rest: F32) -> F32:
    """Return how far points of the average head (m, 3) are of the upper lip, 0..1."""
    x, y = np.abs(rest[:, 0]), rest[:, 1]
    return np.asarray(smoothstep(0.135, 0.085, x) * smoothstep(-0.315, -0.285, y), np.float32)


def clear_lips(aside: F32) -> F32:
    """Return how far a beard stands off at a distance from the lips (m,), of what it does far from them, 0..1."""
    return np.asarray(BESIDE_LIPS[0] + (1 - BESIDE_LIPS[0]) * smoothstep(*BESIDE_LIPS[1:], aside), np.float32)


def _usual_length(rest: F32, share: F32, reach: F32, least: float, aside: F32) -> F32:
    """Return how long whiskers are (m,), in head heights: short where they are sparse, by the ears and the lips."""
    y, z = rest[:, 1], rest[:, 2]
    length = least * (0.45 + 0.55 * smoothstep(0.25, 0.95, share))
    dense = 0.45 + 0.55 * smoothstep(0.1, 0.7, share)
    length = np.maximum(length, LEAN * reach * dense * (0.4 + 0.6 * smoothstep(0.05, 0.25, z)))
    length = length * (1 - 0.5 * smoothstep(-0.49, -0.53, y) * smoothstep(0.04, 0.0, reach))
    return np.minimum(length, LIP_LENGTH + LONGER * aside).astype(np.float32)


def _thickness(length: F32) -> F32:
    """Return the width of whiskers, in head heights."""
    return (0.0019 + 0.0028 * smoothstep(0.012, 0.06, length)).astype(np.float32)


def _whiskers_per_area(share: F32, reach: F32, length: F32) -> F32:
    """Return how many whiskers per canonical area cover a share of it, in layers where they are thick."""
    each = np.maximum(length * _thickness(length), 1e-6) * HEAD_HEIGHT**2 * LYING
    return (-np.log1p(-DENSEST * share) / each * (1 + LAYERS * reach)).astype(np.float32)


def _fitted_growth(
    roots: Roots, length: F32, stand: F32, reach: F32, aside: F32, overhang: float, rng: np.random.Generator
) -> Growth:
    """Return how whiskers of these usual lengths grow that stand so far off the skin, so far from the lips."""
    count, x, y = len(roots), np.abs(roots.rest[:, 0]), roots.rest[:, 1]
    lip, hangs = find_moustache(roots.rest), smoothstep(0.03, 0.08, reach) * smoothstep(-0.38, -0.46, y)
    length = length * np.exp(rng.normal(0, 0.16, count))
    bristly = smoothstep(0.04, 0.012, length)
    away = (rng.random(count) < FLYAWAY) * (1 - lip) * (0.3 + 0.7 * bristly)
    length = np.asarray(length * (1 + (FURTHER - 1) * away), np.float32)
    comb = np.zeros((count, len(COMB)), np.float32)
    comb[:, COMB.index("down")] = 1.0 + lip * (0.45 + 0.45 * overhang - 1.0)
    side = 0.12 * smoothstep(0.02, 0.08, x)
    comb[:, COMB.index("side")] = side + lip * (1.1 - 0.4 * overhang - side)
    comb[:, COMB.index("forward")] = 0.25 * smoothstep(*BESIDE_LIPS[1:], aside) * (1 - lip)
    comb[:, COMB.index("inward")], comb[:, COMB.index("vertical")] = GATHER * hangs, -HANG * hangs
    off = np.minimum(stand, THICKEST) * (1 - lip) + lip * MOUSTACHE[1] * overhang
    return Growth(
        length=(length * HEAD_HEIGHT).astype(np.float32),
        comb=comb,
        lift=((0.40 + 0.35 * bristly) * (1 - 0.5 * lip) + away * rng.uniform(*OUTWARD, count)).astype(np.float32),
        gravity=(0.35 * (1 - bristly) + lip * (0.1 - 0.35 * (1 - bristly))).astype(np.float32),
        stiff=(0.7 + (STRAIGHT - 0.7) * away).astype(np.float32),
        offset=((0.002 + off) * HEAD_HEIGHT * rng.uniform(0.1, 1, count)).astype(np.float32),
        cut=np.full(count, NOWHERE, np.float32),
        avoid_face=np.zeros(count, np.float32),
        side=np.where(roots.rest[:, 0] > 0, 1, -1).astype(np.float32),
        jitter=(rng.normal(0, 0.16, (count, 3)) * (1 + away)[:, None]).astype(np.float32),
    )


def find_last_before_mouth(head: Head, points: F32, overhang: Floats | float) -> Floats:
    """Return the place (s,) on each strand (s, k, 3), in steps, at which it comes before the mouth, or its end.

    Of the upper lip a moustache may cover a share `overhang`; not all whiskers do, or its end would be a shelf.
    """
    uneven = np.random.default_rng(len(points)).random((len(points), 1))
    overhang = overhang * (1 - UNEVEN * uneven**2)
    corners = np.stack([head.landmarks["right_mouth"], head.landmarks["left_mouth"]])
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    middle, half = corners.mean(0), (corners[1, 0] - corners[0, 0]) / 2
    bulge = np.maximum(1 - np.abs((x - middle[0]) / half) ** 2.5, 0)
    lowest = middle[1] + (head.landmarks["lip_bottom"][1] - middle[1]) * bulge
    highest = middle[1] + (head.landmarks["lip_top"][1] - middle[1]) * bulge
    edge = head.body[find_lip_line().upper]
    highest = highest + overhang * (np.interp(x, edge[:, 0], edge[:, 1]) - highest)
    over = (bulge > 0) & (y > lowest) & (y < highest) & (z > middle[2] - 0.03)
    return np.where(over.any(1), over.argmax(1) - 0.5, points.shape[1] - 1)


def _over_mouth(head: Head, points: F32) -> np.ndarray:
    """Return which strands would cover the mouth."""
    top, bottom = head.landmarks["lip_top"], head.landmarks["lip_bottom"]
    half_width = abs(head.landmarks["left_mouth"][0]) * 0.92
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    middle, half_height = (top[1] + bottom[1]) / 2, abs(top[1] - bottom[1]) / 2 * 0.75
    return ((np.abs(x) < half_width) & (np.abs(y - middle) < half_height) & (z > bottom[2] - 0.06)).any(1)


def make_brows(head: Head, parameters: HeadParameters, rng: np.random.Generator) -> Strands | None:
    """Return brow hairs, rising at the inner end and flat further out, densest in the middle; None for no brows."""
    facial = parameters.facial
    if facial.brow_weight <= 0:
        return None
    count = int(300 + 320 * facial.brow_weight)
    t = rng.beta(1.15, 1.25, 2 * count)
    side = np.repeat([1.0, -1.0], count)
    half_thickness = (0.0075 + 0.0085 * facial.brow_weight) * (1 - 0.62 * t**1.6) * np.minimum(0.55 + 2.2 * t, 1)
    across = np.clip(rng.normal(0, 0.62, 2 * count), -1.5, 1.5)
    x, y = brow_line(t, facial.brow_arch)
    position = np.stack([side * x, y + across * half_thickness], 1)
    points, normals = locate_on_face(head, position)
    ahead, _ = locate_on_face(head, position + np.stack([side * 0.010, 0 * y], 1))
    outward = unit(ahead - points)
    up = unit(np.cross(outward, normals) * side[:, None])
    up *= np.sign(up[:, 1:2])
    rise = 1.25 * (1 - t) ** 1.5 - 0.5 * across * smoothstep(0.1, 0.5, t) - 0.28 * t
    heading = unit(outward + rise[:, None] * up + 0.22 * normals + rng.normal(0, 0.10, points.shape))
    length = HEAD_HEIGHT * (0.026 - 0.006 * t) * np.exp(rng.normal(0, 0.15, 2 * count))
    s = np.linspace(0, 1, 5)[None, :, None]
    curve = points[:, None] + length[:, None, None] * (
        heading[:, None] * s + 0.35 * (outward - 0.35 * normals)[:, None] * s**2
    )
    curve += 0.0012 * normals[:, None]
    width = HEAD_HEIGHT * 0.0030 * (0.75 + 0.5 * facial.brow_weight) * np.exp(rng.normal(0, 0.15, 2 * count))
    dye = Dye(facial.brow_colour, grey=parameters.hair.grey * 0.5, vary=0.15, root=0.9)
    return make_strands(curve, width, dye, rng, part=Part.BROWS, taper=0.2, normals=normals, thin_root=0.6)


def brow_line(t: np.ndarray, arch: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle line of a brow on the average face, from its inner end (t = 0) to its outer end (t = 1)."""
    x = 0.050 + 0.168 * t
    y = 0.066 + 0.012 * arch + (0.014 + 0.018 * arch) * np.sin(np.pi * np.clip(t * 0.74, 0, 1)) - 0.020 * t**3
    return x, y
