"""All strands of a scene as one array of points, laid out for the kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.synth.scene import LABEL_OF_PART, Strands, join
from portrait360.utils.array_types import F32, I32, Bytes
from portrait360.utils.vectors import measure_length, sum_products

MAX_TURN = 20.0  # degrees between consecutive segments that need no extra points


class Curves(NamedTuple):
    """All strands as one array of points; a segment connects its first point and the next one."""

    points: F32  # (p, 3)
    widths: F32  # (p,)
    tangents: F32  # (p, 3)
    normals: F32  # (p, 3) towards the open side: the normal of the hair as a volume
    albedo: F32  # (p, 3)
    ambient: F32  # (p, 3) incident ambient light
    keys: F32  # (p, j) unshadowed share of each key light
    diffuse: F32  # (p, 3) diffusely reflected light
    jitter: F32  # (p,) in [-1, 1], the same along a strand
    segments: I32  # (s,) first point
    ends: Bytes  # (s,) flags; 1: begins a strand, 2: ends it
    material: Bytes  # (p,)
    part: Bytes  # (p,)
    labels: Bytes  # (p,)


class Paths(NamedTuple):
    """What `Curves` says of where strands are and of what they are, without their light."""

    points: F32
    widths: F32
    segments: I32
    ends: Bytes
    labels: Bytes


def flatten(groups: tuple[Strands, ...], keys: int) -> Curves:
    """Merge the strands of all groups; the lighting arrays are filled in later."""
    groups = _smooth(groups)
    paths = _join_paths(groups)
    count = len(paths.points)
    return Curves(
        points=paths.points,
        widths=paths.widths,
        tangents=join([_tangents(g.points) for g in groups], np.float32, 3),
        normals=join([_volume_normals(g) for g in groups], np.float32, 3),
        albedo=join([g.albedo.reshape(-1, 3) for g in groups], np.float32, 3),
        ambient=np.zeros((count, 3), np.float32),
        keys=np.ones((count, keys), np.float32),
        diffuse=np.zeros((count, 3), np.float32),
        jitter=join([_jitter(g) for g in groups], np.float32),
        segments=paths.segments,
        ends=paths.ends,
        material=join([np.repeat(g.material, g.points.shape[1]) for g in groups], np.uint8),
        part=join([np.repeat(g.part, g.points.shape[1]) for g in groups], np.uint8),
        labels=paths.labels,
    )


def flatten_paths(groups: tuple[Strands, ...]) -> Paths:
    """Merge the strands of all groups as `flatten` does."""
    return _join_paths(_smooth(groups))


def _smooth(groups: tuple[Strands, ...]) -> tuple[Strands, ...]:
    return tuple(r for g in groups if len(g.points) and g.points.shape[1] > 1 for r in split_sharp_turns(g))


def _join_paths(groups: tuple[Strands, ...]) -> Paths:
    first = np.cumsum([0, *(g.points.shape[0] * g.points.shape[1] for g in groups)])
    segments, ends = [], []
    for group, offset in zip(groups, first[:-1], strict=True):
        strands, k = group.points.shape[:2]
        index = np.arange(strands)[:, None] * k + np.arange(k - 1) + offset
        flags = np.zeros((strands, k - 1), np.uint8)
        flags[:, 0] |= 1
        flags[:, -1] |= 2
        segments.append(index.ravel())
        ends.append(flags.ravel())
    return Paths(
        points=join([g.points.reshape(-1, 3) for g in groups], np.float32, 3),
        widths=join([g.widths.ravel() for g in groups], np.float32),
        segments=join(segments, np.int32),
        ends=join(ends, np.uint8),
        labels=join([np.repeat(_labels(g), g.points.shape[1]) for g in groups], np.uint8),
    )


def split_sharp_turns(group: Strands) -> list[Strands]:
    """Split strands into groups by how sharply they turn; sharper ones get extra points on a smooth curve."""
    steps = np.diff(group.points, axis=1)
    steps = steps / np.maximum(measure_length(steps)[..., None], 1e-12)
    turns = np.degrees(np.arccos(np.clip(sum_products(steps[:, 1:], steps[:, :-1]), -1, 1)))
    mean = turns.mean(1) if turns.shape[1] else np.zeros(len(turns))
    pieces = np.clip(np.rint(mean / MAX_TURN), 1, 3).astype(int)
    return [_subdivide(_select(group, pieces == n), n) for n in range(1, 4) if (pieces == n).any()]


def _select(group: Strands, rows: NDArray[np.bool_]) -> Strands:
    normals = None if group.normals is None else group.normals[rows]
    points, widths, albedo = group.points[rows], group.widths[rows], group.albedo[rows]
    return Strands(points, widths, albedo, group.part[rows], group.material[rows], normals, group.label)


def _subdivide(group: Strands, pieces: int) -> Strands:
    """Split every segment into pieces along the Catmull-Rom curve through the points."""
    if pieces == 1:
        return group
    points = group.points
    before, after = 2 * points[:, :1] - points[:, 1:2], 2 * points[:, -1:] - points[:, -2:-1]
    p = np.concatenate([before, points, after], 1)
    p0, p1, p2, p3 = p[:, :-3], p[:, 1:-2], p[:, 2:-1], p[:, 3:]
    positions, parameters = [], np.arange(pieces) / pieces
    for t in parameters:
        tangent = (p2 - p0) + t * ((2 * p0 - 5 * p1 + 4 * p2 - p3) + t * (3 * p1 - p0 - 3 * p2 + p3))
        positions.append(p1 + 0.5 * t * tangent)
    smooth = np.stack(positions, 2).reshape(len(points), -1, 3)
    smooth = np.concatenate([smooth, points[:, -1:]], 1).astype(np.float32)
    position = np.arange(smooth.shape[1]) / pieces
    i = np.minimum(position.astype(int), points.shape[1] - 2)
    f = (position - i).astype(np.float32)
    widths = group.widths[:, i] * (1 - f) + group.widths[:, i + 1] * f
    albedo = group.albedo[:, i] * (1 - f)[:, None] + group.albedo[:, i + 1] * f[:, None]
    return Strands(smooth, widths, albedo, group.part, group.material, group.normals, group.label)


def _labels(group: Strands) -> Bytes:
    if group.label is None:
        return LABEL_OF_PART[group.part]
    return np.full(len(group.part), group.label, np.uint8)


def _tangents(points: F32) -> F32:
    step = np.gradient(points, axis=1).reshape(-1, 3)
    return np.asarray(step / np.maximum(measure_length(step)[:, None], 1e-12), np.float32)


def _volume_normals(group: Strands) -> F32:
    """Return the surface normal at the root, blended into the direction from the head's centre at the tip."""
    normals = group.points / np.maximum(measure_length(group.points)[..., None], 1e-9)
    if group.normals is not None:
        along = np.linspace(0, 1, group.points.shape[1], dtype=np.float32)[None, :, None]
        normals = group.normals[:, None] * (1 - along) + normals * along
    normals = normals.reshape(-1, 3)
    return np.asarray(normals / np.maximum(measure_length(normals)[:, None], 1e-9), np.float32)


def _jitter(group: Strands) -> F32:
    """Return one number per strand, a hash of its root position and so independent of the order of strands."""
    root = group.points[:, 0].astype(np.float64) @ np.array([127.1, 311.7, 74.7])
    value = np.modf(np.sin(root) * 43758.5453)[0]
    return np.repeat(value, group.points.shape[1]).astype(np.float32)
