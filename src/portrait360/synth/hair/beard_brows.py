"""Eyebrows and beards: fine strands grown over regions of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.hair.growth import COMB, NOWHERE, Growth, clump, curl, grow
from portrait360.synth.hair.scalp import Roots, scatter_roots
from portrait360.synth.hair.strands import Dye, make_strands
from portrait360.synth.head.bare_head import Head
from portrait360.synth.head.face_points import locate_on_face
from portrait360.synth.head.skin import beard_area
from portrait360.synth.meshes import unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Part, Strands
from portrait360.utils.array_types import F32, Floats

MOST = 18000  # whiskers of a fitted beard
DENSEST, LYING, LAYERS = 0.96, 0.7, 60.0  # greatest share that is covered; length as seen; layers per head height
TINT = 1.1  # of the skin beneath them
FITTED_STEPS = 5, 9  # of short whiskers, and of long ones
LEAN = 1.0  # length of a whisker, of how far it reaches off the skin
LONG = 0.03  # length from which whiskers wave
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
    style, tint = BEARDS[parameters.facial.beard], np.minimum(fitted.share * TINT, 0.75)
    length = _usual_length(head.rest, fitted.share, fitted.reach, fitted.least)
    density = _whiskers_per_area(fitted.share, fitted.reach, length)
    corners = head.body[head.triangles]
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    count = float((np.linalg.norm(sides, axis=1) / 2 * density[head.triangles].mean(1)).sum())
    roots = scatter_roots(head, density, min(round(count), MOST), rng)
    if len(roots) == 0:
        return [], tint
    rows = head.triangles[roots.triangle]
    share, reach = ((field[rows] * roots.corner).sum(1) for field in (fitted.share, fitted.reach))
    growth = _fitted_growth(roots, share, reach, fitted.least, rng)
    usual = float(np.median(growth.length)) / HEAD_HEIGHT
    points = grow(head, roots.points, roots.normals, growth, FITTED_STEPS[usual > LONG])
    points, clump_index = clump(points, 0.3 * float(smoothstep(0.02, 0.05, np.array(usual))), rng)
    if style.wave[0] > 0 and usual > LONG:
        points = curl(points, *style.wave, clump_index, rng)
    dye = Dye(parameters.facial.beard_colour, grey=parameters.hair.grey * 0.8, vary=0.45, root=0.85)
    width = _thickness(growth.length / HEAD_HEIGHT)
    return [_make_whiskers(head, points, roots, width, 0.4 + 0.5 * share, dye, rng)], tint


def _make_whiskers(
    head: Head, points: F32, roots: Roots, width: Floats, root_width: Floats, dye: Dye, rng: np.random.Generator
) -> Strands:
    """Return the strands that do not hang over the mouth. Widths are in head heights, at roots shares of these."""
    keep, width = ~_over_mouth(head, points), width * HEAD_HEIGHT * np.exp(rng.normal(0, 0.2, len(points)))
    return make_strands(
        points[keep],
        width[keep],
        dye,
        rng,
        part=Part.BEARD,
        thin_root=root_width[keep],
        normals=roots.normals[keep],
    )


def _usual_length(rest: F32, share: F32, reach: F32, least: float) -> F32:
    """Return how long whiskers are (m,), in head heights: short where they are sparse, and towards the ears."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    length = least * (0.45 + 0.55 * smoothstep(0.25, 0.95, share))
    length = np.maximum(length, LEAN * reach * (0.4 + 0.6 * smoothstep(0.05, 0.25, z)))
    length = length * (1 - 0.5 * smoothstep(-0.49, -0.53, y) * smoothstep(0.04, 0.0, reach))
    return np.where((y > -0.30) & (x < 0.115), np.minimum(length, 0.055), length).astype(np.float32)


def _thickness(length: F32) -> F32:
    """Return the width of whiskers, in head heights."""
    return (0.0019 + 0.0028 * smoothstep(0.012, 0.06, length)).astype(np.float32)


def _whiskers_per_area(share: F32, reach: F32, length: F32) -> F32:
    """Return how many whiskers per canonical area cover a share of it, in layers where they are thick."""
    each = np.maximum(length * _thickness(length), 1e-6) * HEAD_HEIGHT**2 * LYING
    return (-np.log1p(-DENSEST * share) / each * (1 + LAYERS * reach)).astype(np.float32)


def _fitted_growth(roots: Roots, share: F32, reach: F32, least: float, rng: np.random.Generator) -> Growth:
    """Return how whiskers grow that cover a share of the skin and reach so far off it."""
    count = len(roots)
    x, y = np.abs(roots.rest[:, 0]), roots.rest[:, 1]
    lip = (y > -0.30) & (x < 0.115)
    length = _usual_length(roots.rest, share, reach, least) * np.exp(rng.normal(0, 0.16, count))
    comb = np.zeros((count, len(COMB)), np.float32)
    comb[:, COMB.index("down")] = np.where(lip, 0.45, 1.0)
    comb[:, COMB.index("side")] = np.where(lip, 1.1, 0.12 * smoothstep(0.02, 0.08, x))
    comb[:, COMB.index("forward")] = np.where(lip, 0.1, 0.25)
    bristly = smoothstep(0.04, 0.012, length)
    stand = np.where(lip, np.minimum(reach, 0.02), np.minimum(reach, THICKEST))
    return Growth(
        length=(length * HEAD_HEIGHT).astype(np.float32),
        comb=comb,
        lift=(0.40 + 0.35 * bristly).astype(np.float32),
        gravity=np.where(lip, 0.1, 0.35 * (1 - bristly)).astype(np.float32),
        stiff=np.full(count, 0.7, np.float32),
        offset=((0.002 + stand) * HEAD_HEIGHT * rng.uniform(0.1, 1, count)).astype(np.float32),
        cut=np.full(count, NOWHERE, np.float32),
        avoid_face=np.zeros(count, np.float32),
        side=np.where(roots.rest[:, 0] > 0, 1, -1).astype(np.float32),
        jitter=rng.normal(0, 0.16, (count, 3)).astype(np.float32),
    )


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
