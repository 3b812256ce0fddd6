"""Let short hair end as a cut does: at the hairline strands are shorter, finer, and lie on the skin.

Strands of one length that come together in locks end in a row of teeth, at the nape, the temples and round the ears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.outline import take_strands
from portrait360.pipeline.avatar.hair.undercoat import find_inner
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.head.bare_head import Head
from portrait360.synth.noise import noise
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

LOW, HIGH = 0.06, 0.14  # heights up to which the hairline is that of sides and nape, and from which the forehead's
SHORTER, FINER = (0.2, 0.55), 0.3  # share of length that is left at the hairline, low and at the forehead; of width
UNEVEN = 0.35  # how far these lengths differ
LYING = (0.004, 0.045)  # canonical: how far hair stands off at the hairline, and within
BEYOND = (0.002, 0.011)  # canonical: how far beyond the last roots hair ends
NECK, FADE = (0.03, -0.02), 0.9  # z from which the hairline is that of the nape; where strands end before it
SIDE_CUT = 0.065  # canonical length at the sides up to which hair is cut round the ears
NAPE_CUT, BACK = 0.09, (-0.05, -0.11)
"""The same at the nape, where hair may be cut short that covers the ears; z from which it is, and is fully."""
TEMPLES, ABOVE = (0.05, 0.085), 0.17  # |x| from which the hairline is that of a temple, and its height
LONGER = 0.4  # share to which the edges of longer hair are like those of a cut
SCATTER, SCATTERED, STRAY = 0.2, 0.7, 0.15
"""How far, as a share of their length, tips leave their lock; shares of it low, in lesser locks and one by one."""
HELD = 0.3  # of these where hair covers the ears: its weight holds it down
LESSER, LEAN = 70.0, 5.0  # lesser locks per canonical unit; the range of their leans
LINKS = ((0.009, 1), (0.0065, 30))
"""Canonical distances between neighbouring roots, and the fewest of an island."""
ISLAND, BESIDE_FACE = 0.015, -0.03  # share of all that an island has at most; z behind whose middle it is none
TUFTED = 0.5  # share of a group outside of islands, below which they are how it grows
TIP = 0.35  # share of its width that a strand keeps at its end


def taper_edges(groups: Sequence[Strands], head: Head) -> list[Strands]:
    """Return short hair with soft edges."""
    full = [group.points[:, 0] for group in groups if len(group.points)]
    if not full:
        return list(groups)
    roots = np.concatenate(full)
    inner = np.split(find_inner(roots), np.cumsum([len(rows) for rows in full])[:-1])
    tree, within, rest, out = KDTree(roots), np.concatenate(inner), iter(inner), []
    is_cut = _is_cut(groups)
    for seed, group in enumerate(groups):
        out.append(_taper(group, head, next(rest), (tree, within), is_cut, seed) if len(group.points) else group)
    return out


def drop_islands(groups: Sequence[Strands]) -> list[Strands]:
    """Return strands without tufts that grow apart from all others, as where a loose lock hangs before the face.

    Groups of which nothing is left are left out. Hair that grows in tufts, as locs do, has them everywhere and stays.
    """
    tree = KDTree(np.concatenate([np.zeros((0, 3), np.float32), *(group.points[:, 0] for group in groups)]))
    if tree.n == 0:
        return list(groups)
    keep = np.ones(tree.n, np.bool_)
    for link, fewest in LINKS:
        a, b = tree.query_pairs(link, output_type="ndarray").T
        _, parts = connected_components(sp.coo_matrix((np.ones(len(a), np.int8), (a, b)), (tree.n, tree.n)))
        size = np.bincount(parts)
        behind = np.bincount(parts, tree.data[:, 2]) / size < BESIDE_FACE
        keep &= ((size > ISLAND * tree.n) | (size < fewest) | behind)[parts]
    kept = np.split(keep, np.cumsum([len(group.points) for group in groups])[:-1])
    kept = [rows | (len(rows) > ISLAND * tree.n and rows.mean() < TUFTED) for rows in kept]
    pairs = zip(groups, kept, strict=True)
    return [take_strands(group, rows, group.points[rows]) for group, rows in pairs if rows.any()]


def _is_cut(groups: Sequence[Strands]) -> tuple[bool, bool]:
    """Return whether hair is cut round the ears, and at the nape."""
    lengths = np.concatenate([np.linalg.norm(np.diff(group.points, axis=1), axis=2).sum(1) for group in groups])
    roots = np.concatenate([group.points[:, 0] for group in groups])
    side = (np.abs(roots[:, 0]) > 0.1) & (np.abs(roots[:, 1] - 0.05) < 0.06)
    nape = (roots[:, 2] < BACK[1]) & (roots[:, 1] < 0.0)
    sides = bool(side.any() and np.median(lengths[side]) < SIDE_CUT)
    return sides, sides or bool(nape.any() and np.median(lengths[nape]) < NAPE_CUT)


def _taper(
    group: Strands, head: Head, inner: F32, roots: tuple[KDTree, F32], is_cut: tuple[bool, bool], seed: int
) -> Strands:
    rng = np.random.default_rng([seed, 43])
    root = group.points[:, 0]
    temple = smoothstep(*TEMPLES, np.abs(root[:, 0])) * smoothstep(ABOVE + 0.03, ABOVE, root[:, 1])
    cut = is_cut[0] + (is_cut[1] - is_cut[0]) * smoothstep(*BACK, root[:, 2])
    low = np.asarray(np.maximum(smoothstep(HIGH, LOW, root[:, 1]), temple) * cut, np.float64)
    edge = (1 - inner) * (LONGER + (1 - LONGER) * cut)
    left = SHORTER[1] + (SHORTER[0] - SHORTER[1]) * low
    left = cut * left + (1 - cut) * np.where(root[:, 1] > HIGH, 1.0, SHORTER[0])
    share = (1 - edge * (1 - left)) * np.exp(-UNEVEN * edge * np.abs(rng.normal(0, 1, len(edge))))
    steps = group.points.shape[1] - 1
    last = np.minimum(share * steps, _end_beyond(group.points, head, roots, low, rng))
    loose = 1.0 if is_cut[0] else HELD
    alone, together = np.maximum(edge, STRAY * low), SCATTERED * low * (1 - edge)
    points = _scatter(shorten(group.points, last), loose * alone, loose * together, rng)
    points = _lay_down(points, head, edge)
    t = np.linspace(0, 1, steps + 1)
    thin = 1 - edge[:, None] * (1 - FINER)
    tip = 1 - (1 - TIP) * np.maximum(edge, low)[:, None] * t**2
    return replace(group, points=points, widths=np.asarray(group.widths * thin * tip, np.float32))


def _end_beyond(points: F32, head: Head, roots: tuple[KDTree, F32], low: F64, rng: np.random.Generator) -> F64:
    """Return the position in steps (s,) at which strands end towards and beyond the last roots of sides and nape.

    `roots` are a tree of them and how far each is from the hairline, 0 to 1. Behind, more and more strands end on the
    way there, as in a cut that grows shorter towards the neck.
    """
    steps = points.shape[1] - 1
    last = np.full(len(points), float(steps))
    rows = np.flatnonzero(low > 0)
    if len(rows) == 0:
        return last
    over = points[rows] - head.field.distance(points[rows])[..., None] * head.field.gradient(points[rows])
    away, nearest = (found.reshape(len(rows), -1) for found in roots[0].query(over.reshape(-1, 3)))
    near, far = BEYOND
    most = near + (far - near) * rng.random(len(rows)) ** 2 + 0.3 * (1 - low[rows])
    behind = smoothstep(*NECK, points[rows][:, 0, 2]) * low[rows]
    fade = FADE * behind * rng.random(len(rows))
    away = np.maximum(away, np.where(roots[1][nearest] < fade[:, None], 1.01 * most[:, None], 0.0))
    outside = (away > most[:, None]) & (points[rows][..., 1] < points[rows][:, :1, 1])
    first = outside.argmax(1)
    before = np.take_along_axis(away, np.maximum(first - 1, 0)[:, None], 1)[:, 0]
    here = np.take_along_axis(away, first[:, None], 1)[:, 0]
    cross = first - 1 + np.clip((most - before) / np.maximum(here - before, 1e-6), 0.05, 1)
    last[rows] = np.where(outside.any(1), np.maximum(cross, 0.3), steps)
    return last


def _scatter(points: F32, alone: F64, together: Floats, rng: np.random.Generator) -> F32:
    """Return strands whose tips lean to either side, out of the locks whose ends would be teeth.

    Some lean `alone`; those that grow side by side lean `together`, in lesser locks: else they would be a felt.
    """
    along = points - points[:, :1]
    own = rng.normal(0, 1, (len(points), 1, 3)).clip(-2, 2)
    lesser = [LEAN * (noise(points[:, 0], LESSER, 83 + a) - 0.5) for a in range(3)]
    lean = alone[:, None, None] * own + together[:, None, None] * np.stack(lesser, -1)[:, None]
    return np.asarray(points + SCATTER * np.cross(along, lean), np.float32)


def _lay_down(points: F32, head: Head, edge: Floats) -> F32:
    """Return strands of the hairline lying on the skin."""
    moved = points.astype(np.float64)
    distance = head.field.distance(moved)
    reach = LYING[0] + (LYING[1] - LYING[0]) * (1 - edge)[:, None]
    excess = np.maximum(distance - reach, 0) * smoothstep(0.1, 0.5, edge)[:, None]
    excess = gaussian_filter1d(excess, 1.0, axis=1, mode="nearest")
    excess[:, 0] = 0.0
    return np.asarray(moved - excess[..., None] * head.field.gradient(moved), np.float32)
