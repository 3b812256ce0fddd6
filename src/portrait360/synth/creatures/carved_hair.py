"""Hair carved from one block: a closed shell over the skull with broad combed grooves, and buns as smooth masses.

Chisels leave no single strands and no loose ends. Lines that run along the strands part the shell into locks, with a
groove between each two. Only hair that leaves the head is carved lock by lock, see statue.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.spatial import KDTree

from portrait360.synth.hair.hairdo import Hairdo
from portrait360.synth.hair.scalp import farthest_point_sample
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import grid, make_mesh, unit, with_label
from portrait360.synth.noise import smoothstep
from portrait360.synth.scene import Material, Mesh, Part, Strands
from portrait360.utils.array_types import F32, F64, I32, Bools
from portrait360.utils.portrait_labels import Label

CENTRE = np.array([0.0, 0.03, -0.03])  # of the head
CARVED = 0.5  # albedo of a carved mesh that is as light as its stone
LOCKS = 64  # of a shell
SAMPLES = 24000  # points of strands by which the shell is shaped
STEP, STEPS, AROUND = 0.012, 10, 12  # of the line along a lock, each way; points that tell its direction
ALIKE = 40  # points that tell the height of the shell
FINER, BESIDE = 4, 64  # pieces of a step along a lock, and those near a point among which the next lock is sought
HEIGHTS = (0.010, 0.080)  # canonical, of the shell over the skin
EDGE, SUNK = (0.08, 0.55), 0.006  # shares of hair on the skin over which the shell rises, and how deep it starts
DEEP, STEEP = 0.0065, 0.32  # depth of grooves at most, and in the distance of their locks
GROOVE = 0.55  # share of a lock, from its edge, over which it rises
STUBBLE = (0.02, 0.05)  # canonical lengths between which hair comes to be combed into locks
SHADE = 0.3  # share of light that is lost in a groove
GONE, BEYOND = 0.09, 0.04  # canonical distance from the scalp from which hair leaves the head; over bare skin
STANDS = 0.03  # canonical height above its root from which a strand stands up
NEAR_KNOT = 1.6  # radii of a bun's core within which its strands lie
KNOT_ROWS, KNOT_COLUMNS, RIDGES = 40, 72, 7
KNOT_DEPTH = 0.02  # of its grooves, in its radius


def carve_shell(head: Head, hair: Hairdo, rng: np.random.Generator) -> tuple[list[Mesh], list[Strands]]:
    """Return the shell and the buns of a head's hair with its other solids, and the strands that leave the head."""
    cores = [mesh for mesh in hair.meshes if mesh.part[0] == Part.HAIR]
    others = [mesh for mesh in hair.meshes if mesh.part[0] != Part.HAIR]
    knots, strands = [], list(hair.strands)
    for core in cores:
        wound = [group for group in strands if _winds_round(group, core)]
        strands = [group for group in strands if not _winds_round(group, core)]
        knots.append(_carve_knot(core, wound))
    capped = hair.tint > EDGE[0]
    if not capped.any() or not any(len(group.points) for group in strands):
        return [*knots, *others], strands
    scalp = KDTree(head.body[capped])
    combed = _Combed.join([_Combed.read(group.points, head, scalp) for group in strands], rng)
    if not len(combed.feet):
        return [*knots, *others], strands
    leaving = [_take(group, _leaves_head(group.points[:, -1], head, scalp) & _hangs(group)) for group in strands]
    shell = with_label([_carve_cap(head, hair.tint, combed, rng)], Label.HAIR)
    return [*shell, *knots, *others], [group for group in leaving if len(group.points)]


def _winds_round(group: Strands, core: Mesh) -> bool:
    """Return whether strands are those of a bun with this core."""
    centre = core.vertices.mean(0)
    radius = float(np.linalg.norm(core.vertices - centre, axis=1).mean())
    away = np.linalg.norm(group.points - centre, axis=2)
    return bool(len(away) and np.quantile(away, 0.9) < NEAR_KNOT * radius)


def _leaves_head(ends: F32, head: Head, scalp: KDTree) -> Bools:
    """Return which strands end (s, 3) where no shell lies beneath: far from the scalp, or over bare skin."""
    away, bare = np.asarray(scalp.query(ends)[0]), np.asarray(KDTree(head.body).query(ends)[0])
    return (away > GONE) | (away > BEYOND) & (away > bare + 1e-6)


def _hangs(group: Strands) -> Bools:
    """Return which strands hang down: none stands free on top of a block."""
    heights = group.points[..., 1]
    return (heights[:, -1] < heights[:, 0]) & (heights.max(1) < heights[:, 0] + STANDS)


def _take(group: Strands, rows: Bools) -> Strands:
    return replace(
        group,
        points=group.points[rows],
        widths=group.widths[rows],
        albedo=group.albedo[rows],
        part=group.part[rows],
        material=group.material[rows],
        normals=None if group.normals is None else group.normals[rows],
    )


@dataclass(frozen=True, eq=False)
class _Combed:
    """Points of hair on a head, seen from the skin beneath them."""

    feet: F32  # (n, 3) on the skin
    heights: F32  # (n,) canonical
    along: F32  # (n, 3) unit, from the root
    lengths: F32  # (n,) canonical, of their strands

    @classmethod
    def read(cls, paths: F32, head: Head, scalp: KDTree) -> _Combed:
        """Return the points of paths (s, k, 3) that lie on the scalp."""
        on_head = np.asarray(scalp.query(paths.reshape(-1, 3), distance_upper_bound=GONE)[0]) < GONE
        along = unit(np.gradient(paths, axis=1) + 1e-9).reshape(-1, 3)[on_head]
        points = paths.reshape(-1, 3)[on_head]
        heights = head.field.distance(points)
        feet = points - heights[:, None] * head.field.gradient(points)
        lengths = np.repeat(np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1), paths.shape[1])[on_head]
        return cls(*(values.astype(np.float32) for values in (feet, heights, along, lengths)))

    @classmethod
    def join(cls, parts: Sequence[_Combed], rng: np.random.Generator) -> _Combed:
        """Return SAMPLES points of all parts."""
        columns = [np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)]
        rows = rng.permutation(len(columns[0]))[:SAMPLES]
        return cls(*(values[rows] for values in columns))


def _carve_cap(head: Head, tint: F32, combed: _Combed, rng: np.random.Generator) -> Mesh:
    """Return the shell: the skin on which hair grows, raised to the hair's height, with grooves along it."""
    kept = (tint > 0.01)[head.triangles].all(1)
    values, triangles = _split(np.column_stack([head.body, head.normals, tint]), head.triangles[kept])
    skin, normals, tint = values[:, :3], unit(values[:, 3:6]), values[:, 6]
    nearest = KDTree(combed.feet).query(skin, k=min(ALIKE, len(combed.feet)))[1].reshape(len(skin), -1)
    height = np.clip(combed.heights[nearest].mean(1), *HEIGHTS)
    share, spacing = _measure_locks(skin, _trace_locks(head, combed, rng))
    combed_long = smoothstep(*STUBBLE, combed.lengths[nearest].mean(1))
    groove = combed_long * (1 - smoothstep(0.0, GROOVE, share))
    depth = np.minimum(DEEP, STEEP * spacing)
    rise = smoothstep(*EDGE, tint)
    lift = rise * (height + SUNK + depth * (0.3 - groove)) - SUNK
    colour = CARVED * (1 - SHADE * groove * rise)
    return make_mesh(skin + lift[:, None] * normals, triangles, colour[:, None], Material.STONE, Part.HAIR)


def _split(values: F32, triangles: I32) -> tuple[F32, I32]:
    """Return the values (n, c) of the vertices of triangles that are each split in four, and these triangles."""
    rows, corners = np.unique(triangles, return_inverse=True)
    corners = corners.reshape(-1, 3)
    ends = np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    edges, index = np.unique(ends, axis=0, return_inverse=True)
    (a, b, c), (d, e, f) = corners.T, (len(rows) + index.reshape(-1, 3)).T
    fine = [np.stack(triangle, 1) for triangle in ((a, d, f), (d, b, e), (f, e, c), (d, e, f))]
    out = np.concatenate([values[rows], values[rows[edges]].mean(1)])
    return out.astype(np.float32), np.concatenate(fine).astype(np.int32)


def _trace_locks(head: Head, combed: _Combed, rng: np.random.Generator) -> F32:
    """Return lines (l, p, 3) on the skin along the hair, evenly spread."""
    tree, count = KDTree(combed.feet), min(AROUND, len(combed.feet))
    start = combed.feet[farthest_point_sample(combed.feet, LOCKS, rng)].astype(np.float64)
    ways = []
    for sign in (-1.0, 1.0):
        at, last, way = start, None, []
        for _ in range(STEPS):
            away, near = (values.reshape(len(at), -1) for values in tree.query(at, k=count))
            out = head.field.gradient(at)
            combing = combed.along[near].mean(1)
            towards = sign * unit(combing - (combing * out).sum(1, keepdims=True) * out)
            towards = towards if last is None else np.where((towards * last).sum(1, keepdims=True) > 0, towards, 0.0)
            towards = np.where(away[:, :1] < 2 * STEP, towards, 0.0)  # beyond its end, hair has no direction
            at = head.field.push_out(at + STEP * towards, 0.0)
            way.append(at)
            last = towards
        ways.append(np.stack(way, 1))
    return np.concatenate([ways[0][:, ::-1], start[:, None], ways[1]], 1).astype(np.float32)


def _measure_locks(points: F32, lines: F32) -> tuple[F64, F64]:
    """Return how far each point (n,) lies within its lock, from 0 at its edge to 1, and how wide that is."""
    at = np.linspace(0, lines.shape[1] - 1, FINER * (lines.shape[1] - 1) + 1)
    low, share = np.minimum(at.astype(int), lines.shape[1] - 2), (at % 1)[:, None]
    share[-1] = 1
    fine = (1 - share) * lines[:, low] + share * lines[:, low + 1]
    number = np.repeat(np.arange(len(fine)), fine.shape[1])
    found = KDTree(fine.reshape(-1, 3)).query(points, k=min(BESIDE, len(number)))
    away, near = np.asarray(found[0]), np.asarray(found[1])
    other = number[near] != number[near[:, :1]]
    second = np.where(other, away, np.inf).min(1)
    second = np.where(np.isfinite(second), second, away[:, -1])
    return (second - away[:, 0]) / np.maximum(second + away[:, 0], 1e-6), second + away[:, 0]


def _carve_knot(core: Mesh, wound: Sequence[Strands]) -> Mesh:
    """Return a bun as one smooth mass, as large as its strands, with shallow grooves about its axis."""
    centre = core.vertices.mean(0)
    points = np.concatenate([core.vertices, *(group.points.reshape(-1, 3) for group in wound)])
    radius = float(np.quantile(np.linalg.norm(points - centre, axis=1), 0.8))
    axis = unit(centre - CENTRE)
    across = unit(np.cross(axis, [0.3, 1.0, 0.2]))
    over = np.cross(axis, across)
    polar = np.linspace(0, np.pi, KNOT_ROWS)[:, None]
    turn = np.arange(KNOT_COLUMNS) / KNOT_COLUMNS * 2 * np.pi
    wave = 1 - np.abs(np.sin(0.5 * (RIDGES * turn + 4 * polar)))  # sharp in the grooves, round between them
    shade = wave**2 * np.sin(polar)
    reach = radius * (1 - KNOT_DEPTH * shade)
    flat = np.sin(polar)[..., None] * (np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * over)
    ball = reach[..., None] * (flat + np.cos(polar)[..., None] * axis)
    colour = np.repeat(CARVED * (1 - SHADE * shade.reshape(-1, 1)), 3, 1)
    mesh = make_mesh(
        centre + ball.reshape(-1, 3),
        grid(KNOT_ROWS, KNOT_COLUMNS, closed=True)[:, ::-1],
        colour,
        Material.STONE,
        Part.HAIR,
    )
    return with_label([mesh], Label.HAIR)[0]
