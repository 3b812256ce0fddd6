"""Keep hair off ears that are free: it goes round them, or is cut there, and does not lie over them as a comb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F64, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

BARE, COVERED = (Label.EAR, Label.FACE, Label.SKIN), (Label.HAIR, Label.HAT)
FREE, PARTLY = 0.6, 0.25  # share of the upper half of an ear that the photo shows bare, from which it is free, and
# from which it is if the other one is: that of a turned head is seen less well
FEW = 0.3  # share of an ear that hair covers up to which it does so by mistake
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
    """Return hair that leaves those ears free which the photo shows bare, or which hardly any of it covers."""
    out, ears = list(groups), [_find_ear(head, side) for side in (1, -1)]
    buffers = rasterise(head.body, head.triangles, photo.camera, photo.size)
    depth = np.where(buffers.ids >= 0, buffers.depth, np.inf)
    shown = [_find_bare_share(head, ear, photo, depth) for ear in ears]
    for ear, own, other in zip(ears, shown, shown[::-1], strict=True):
        is_free = own > FREE or (other > FREE and not own <= PARTLY)
        if is_free or _find_covered_share(out, ear) < FEW:
            out = [_lead_round(group, ear, head) for group in out]
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


def _find_bare_share(head: Head, ear: Ear, photo: Photo, depth: Floats) -> float:
    """Return the share of the upper half of an ear that the photo shows bare; NaN where it sees too little of it.

    `depth` (s, s) is that of the bare head at the photo's camera.
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
