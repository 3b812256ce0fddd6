"""Keep hair off ears that are free: it goes round them, or is cut there, and does not lie over them as a comb.

What goes round an ear comes together in few locks, between which skin would show: short hairs fill these gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.pipeline.avatar.hair.undercoat import STEPS, copy_look, walk_over_skin
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Material, Strands
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

BARE, COVERED = (Label.EAR, Label.FACE, Label.SKIN), (Label.HAIR, Label.HAT)
FREE, PARTLY = 0.6, 0.25  # share of the upper half of an ear that the photo shows bare, from which it is free, and
# from which it is if the other one is: that of a turned head is seen less well
FEW = 0.3  # share of an ear that hair covers up to which it does so by mistake
HANGING, SURELY = -0.2, 0.15  # height to which long hair hangs; least share of an ear beside it that is read as one
ENOUGH = 12  # vertices from which this is known
FACING, SLACK = 0.15, 0.006  # cosine to the camera, and canonical depth, within which the photo shows a vertex
WHOLE = 0.97  # quantile of the vertices of an ear that its ellipse holds
ROUND = 1.06  # radii of the ear at which hair goes round it
ROOTED = 0.85  # radii within which nothing grows before an ear
CUT = 0.55  # radii within which hair is cut rather than led round
BESIDE, LOW = 1.5, 0.3  # radii up to which hair beside an ear lies closer, and share of its distance that it keeps
CLOSER = 0.015  # canonical: by how much at most
OVER_SKIN = 0.003  # canonical distance from the skin at which that ends: beneath it hair would leave the skin bare
ROOT = 0.010  # canonical: how far within the outermost of an ear hair lies behind it
SHORT_HAIRS, EACH = 3000, 6  # short hairs round one ear at most, and for each place of hair there
RING = (1.0, 1.6)  # radii of an ear between which they grow
AHEAD, OFF = 0.01, 0.03  # canonical: how far before an ear's middle, and off the skin, hair lies over them at most
LOWER = (0.01, -0.035)  # canonical heights from the middle of the ear over which they get few: below hair thins out
BESIDE_HAIR, LENGTHS = 0.005, (0.012, 0.028)  # canonical: how far beside that they grow, and their lengths
WIDTHS, TIP = (0.0004, 0.0009), 0.3  # canonical; share of it at the end
DARKER, TONE = 0.9, 0.12  # their albedo against that of the hair, and how far it varies, logarithm
CELLS = 14  # of a side of the grid on which the covered share of an ear is measured


@dataclass(frozen=True, eq=False)
class Ear:
    """The ellipse that an ear is from the side."""

    side: int  # 1 for the subject's left
    centre: F64  # (2,) z and y
    axes: F64  # (2, 2) rows of length 1 / radius
    outside: float  # |x| from which hair lies before the ear

    def place(self, points: Floats) -> F64:
        """Return points (..., 3) in radii of the ear (..., 2)."""
        return (points[..., [2, 1]] - self.centre) @ self.axes.T


def clear_ears(groups: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """Return hair that leaves those ears free which the photo shows bare, or which hardly any of it covers.

    Short hairs grow round these, but not in carved hair.
    """
    out, ears, short = list(groups), [_find_ear(head, side) for side in (1, -1)], []
    buffers = rasterise(head.body, head.triangles, photo.camera, photo.size)
    depth = np.where(buffers.ids >= 0, buffers.depth, np.inf)
    hangs = any((group.points[..., 1] < HANGING).any() for group in groups)
    shown = [_find_bare_share(head, ear, photo, depth, hangs=hangs) for ear in ears]
    for ear, own, other in zip(ears, shown, shown[::-1], strict=True):
        is_free = own > FREE or (other > FREE and not own <= PARTLY)
        if is_free or _find_covered_share(out, ear) < FEW:
            out = [_lead_round(group, ear, head) for group in out]
            short += _grow_round(out, ear, head)
    out += short
    return [group for group in out if len(group.points)]


def _find_ear(head: Head, side: int) -> Ear:
    rows = (head.mask("ears") > 0.35) & (head.rest[:, 0] * side > 0)
    points = head.body[rows].astype(np.float64)
    flat = points[:, [2, 1]]
    centre = (flat.min(0) + flat.max(0)) / 2
    axes = np.linalg.eigh(np.cov((flat - centre).T))[1].T
    radii = np.quantile(np.abs((flat - centre) @ axes.T), WHOLE, axis=0)
    axes = axes / radii[:, None]
    axes = axes / np.quantile(np.linalg.norm((flat - centre) @ axes.T, axis=1), WHOLE)
    outermost = float(np.quantile(points[:, 0] * side, 0.5))
    return Ear(side, centre, axes, outermost - ROOT)


def _find_bare_share(head: Head, ear: Ear, photo: Photo, depth: Floats, *, hangs: bool) -> float:
    """Return the share of the upper half of an ear that the photo shows bare; NaN where it sees too little of it.

    `depth` (s, s) is that of the bare head at the photo's camera. Where hair `hangs`, a face beside it is no ear.
    """
    rows = (head.mask("ears") > 0.35) & (head.rest[:, 0] * ear.side > 0) & (head.body[:, 1] > ear.centre[1])
    points = head.body[rows]
    uv, away = photo.camera.project(points)
    facing = (head.normals[rows] * unit(photo.camera.position - points)).sum(-1) > FACING
    at = np.floor(uv * photo.size).astype(int)
    inside = ((at >= 0) & (at < photo.size)).all(-1)
    x, y = np.clip(at, 0, photo.size - 1).T
    names = photo.labels[y, x][facing & inside & (away < depth[y, x] + SLACK)]
    bare, covered = (int(np.isin(names, labels).sum()) for labels in (BARE, COVERED))
    bare = 0 if hangs and (names == Label.EAR).sum() < SURELY * len(names) else bare
    return bare / (bare + covered) if bare + covered >= ENOUGH else float("nan")


def _find_covered_share(groups: Sequence[Strands], ear: Ear) -> float:
    """Return the share of an ear's ellipse before which hair lies."""
    cells = np.zeros((CELLS, CELLS), bool)
    y, x = (np.indices((CELLS, CELLS)) + 0.5) * 2 / CELLS - 1
    inside = np.hypot(x, y) < 1
    for group in groups:
        between = (group.points[:, 1:] + group.points[:, :-1]) / 2
        points = np.concatenate([group.points.reshape(-1, 3), between.reshape(-1, 3)])
        place = ear.place(points[points[:, 0] * ear.side > ear.outside])
        at = ((place + 1) / 2 * CELLS).astype(int)
        at = at[(np.abs(place) < 1).all(1)]
        cells[at[:, 1], at[:, 0]] = True
    return float(cells[inside].mean())


def _lead_round(group: Strands, ear: Ear, head: Head) -> Strands:
    """Return strands that go round an ear, without those that are rooted before it; what lies deep in it is cut."""
    place = ear.place(group.points)
    radius = np.linalg.norm(place, axis=-1)
    outside = np.maximum(group.points[..., 0] * ear.side - ear.outside, 0) * smoothstep(BESIDE, ROUND, radius)
    near = np.asarray(outside > 0)
    before, touched = near & (radius < ROUND), np.asarray(near.any(1))
    if not touched.any():
        return group
    deep, steps = before & (radius < CUT), group.points.shape[1] - 1
    last = np.where(deep.any(1), deep.argmax(1) - 0.6, steps)
    scale = np.where(before, ROUND / np.maximum(radius, CUT), 1.0)[..., None]
    moved = group.points.astype(np.float64)
    moved[..., [2, 1]] = ear.centre + (moved[..., [2, 1]] - ear.centre) * scale
    closer = np.minimum((1 - LOW) * outside, CLOSER)  # seen from behind it would still lie over the ear
    moved[..., 0] -= ear.side * closer
    off = head.field.distance(group.points[touched])
    moved[touched] = head.field.push_out(moved[touched], np.clip(off, 0, OVER_SKIN))
    keep = (last > 0.5) & ~(before[:, 0] & (radius[:, 0] < ROOTED))
    points = np.where(touched[:, None, None], shorten(moved.astype(np.float32), last), group.points)
    points = points.astype(np.float32)
    return take_strands(replace(group, points=points), keep, points[keep])


def _grow_round(groups: Sequence[Strands], ear: Ear, head: Head) -> list[Strands]:
    """Return short hairs on the skin under hair round an ear, above it and behind it, that run as that hair does."""
    groups = [group for group in groups if len(group.points) and int(group.material[0]) == Material.HAIR]
    if not groups:
        return []
    group = max(groups, key=lambda each: len(each.points))
    points = group.points[:, :-1]
    behind, above = np.moveaxis((points[..., [2, 1]] - ear.centre) * (-1, 1), -1, 0)
    radius = np.linalg.norm(ear.place(points), axis=-1)
    rng = np.random.default_rng([len(points), 103])
    near = (radius > RING[0]) & (radius < RING[1]) & (points[..., 0] * ear.side > 0) & (behind > -AHEAD)
    strands, steps = np.nonzero(near & (smoothstep(LOWER[1], LOWER[0], above) > rng.random(near.shape)))
    low = head.field.distance(points[strands, steps]) < OFF
    strands, steps = strands[low], steps[low]
    if len(strands) == 0:
        return []
    count = min(SHORT_HAIRS, EACH * len(strands))
    chosen = rng.integers(len(strands), size=count)
    rows, steps = strands[chosen], steps[chosen]
    place = group.points[rows, steps].astype(np.float64)
    heading = group.points[rows, steps + 1] - place
    start = place + BESIDE_HAIR * rng.normal(0, 1, (count, 3)).clip(-2, 2)
    stride = rng.uniform(*LENGTHS, count) / STEPS
    grown = walk_over_skin(start, heading, stride, np.zeros(count), head, rng)
    t = np.linspace(0, 1, STEPS + 1)
    width = rng.uniform(*WIDTHS, (count, 1)) * np.minimum(0.4 + 2 * t, 1) * (1 - (1 - TIP) * t**2)
    tone = DARKER * np.exp(rng.normal(0, TONE, (count, 1, 1)))
    normals = head.field.gradient(grown[:, 0]).astype(np.float32)
    outside = np.linalg.norm(ear.place(grown), axis=-1).min(1) > RING[0]
    short = copy_look(group, rows, grown, width, tone, normals)
    return [take_strands(short, outside, grown[outside])]
