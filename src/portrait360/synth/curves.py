"""All strands of a scene as one row of points, laid out for the kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portrait360.synth.scene import F32, I32, U8, Strands, join


class Curves(NamedTuple):
    """All strands as one row of points; a segment goes from point s to s + 1."""

    points: F32  # (p, 3)
    widths: F32  # (p,)
    tangents: F32  # (p, 3)
    normals: F32  # (p, 3) where it is open: the normal of the hair as a volume
    albedo: F32  # (p, 3)
    ambient: F32  # (p, 3) ambient light that arrives
    keys: F32  # (p, j) share of each key that arrives
    diffuse: F32  # (p, 3) light sent on equally to all sides
    jitter: F32  # (p,) in [-1, 1], the same along a strand
    segments: I32  # (s,) first point
    ends: U8  # (s,) 1: begins a strand, 2: ends it
    material: U8  # (p,)
    part: U8  # (p,)


def flatten(groups: tuple[Strands, ...], keys: int) -> Curves:
    """Strands of all groups; what light does to them is filled in later."""
    groups = tuple(g for g in groups if len(g.points) and g.points.shape[1] > 1)
    points = join([g.points.reshape(-1, 3) for g in groups], np.float32, 3)
    first = np.cumsum([0, *(g.points.shape[0] * g.points.shape[1] for g in groups)])
    segments, ends = [], []
    for group, offset in zip(groups, first, strict=False):
        strands, k = group.points.shape[:2]
        index = np.arange(strands)[:, None] * k + np.arange(k - 1) + offset
        mark = np.zeros((strands, k - 1), np.uint8)
        mark[:, 0] |= 1
        mark[:, -1] |= 2
        segments.append(index.ravel())
        ends.append(mark.ravel())
    count = len(points)
    return Curves(
        points=points,
        widths=join([g.widths.ravel() for g in groups], np.float32),
        tangents=join([_tangents(g.points) for g in groups], np.float32, 3),
        normals=join([_outward(g) for g in groups], np.float32, 3),
        albedo=join([g.albedo.reshape(-1, 3) for g in groups], np.float32, 3),
        ambient=np.zeros((count, 3), np.float32),
        keys=np.ones((count, keys), np.float32),
        diffuse=np.zeros((count, 3), np.float32),
        jitter=join([_jitter(g) for g in groups], np.float32),
        segments=join(segments, np.int32),
        ends=join(ends, np.uint8),
        material=join([np.repeat(g.material, g.points.shape[1]) for g in groups], np.uint8),
        part=join([np.repeat(g.part, g.points.shape[1]) for g in groups], np.uint8),
    )


def _tangents(points: F32) -> F32:
    step = np.gradient(points, axis=1).reshape(-1, 3)
    return step / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12)


def _outward(group: Strands) -> F32:
    """The surface's normal at the root, going over to away from the head's centre at the tip."""
    away = group.points / np.maximum(np.linalg.norm(group.points, axis=2, keepdims=True), 1e-9)
    if group.normals is not None:
        along = np.linspace(0, 1, group.points.shape[1], dtype=np.float32)[None, :, None]
        away = group.normals[:, None] * (1 - along) + away * along
    away = away.reshape(-1, 3)
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)


def _jitter(group: Strands) -> F32:
    """One number a strand, from where its root is, so that it does not depend on the order of strands."""
    root = group.points[:, 0].astype(np.float64) @ np.array([127.1, 311.7, 74.7])
    value = np.modf(np.sin(root) * 43758.5453)[0]
    return np.repeat(value, group.points.shape[1]).astype(np.float32)
