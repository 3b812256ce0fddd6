"""Hair as cards: for every bundle of strands that lie together a ribbon, whose texture shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.pipeline.export.avatar_glb.bust import FLOOR
from portrait360.pipeline.export.avatar_glb.card_texture import Hairs, draw_cards, place_cards
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64, I32, Floats
from portrait360.utils.parallel.threads import count_threads

POINTS, LIT = 17, 4  # along a strand, and every so many its light is measured
SHORT = 0.05  # canonical length up to which a card has few segments
SEGMENTS = (2, 5, 10)  # of short cards, and of long straight and wavy ones
WAVY = 1.2  # radians by which a wavy strand turns
ROUNDS = 3  # of clustering
COVER = 1.5  # half the width of a card, in standard deviations of its strands
HALF_WIDTH = (0.0011, 0.010)  # canonical
SLENDER = 0.11  # half the width of a card, at most, of its length
LIFT = 1.0  # standard deviations by which a card lies above the middle of its strands
MOST_LIFT = 0.010  # canonical; strands that part from each other lie far apart
BEND, SOFT = 0.35, 0.95  # how far the normals at its sides lean apart, and the share that the whole hair has in them
LOWEST = -0.1  # y of the normals of cards: light from below is rare, and ends of hair that look down would be black
SALIENCE = 1.5  # power of the light of a strand by which it counts in its bundle
OPEN, HIDDEN, MOST_HIDDEN = (
    0.8,
    0.3,
    0.6,
)  # quantile of light, share of it below which strands are hidden, most of them
SHIFT = 0.012  # canonical distance by which a card may lie beside a strand of its bundle
SMOOTH = 6  # steps of smoothing of the way from one strand of a bundle to their mean
ROOTWARD = 1.4  # power by which the points of a card lie closer at its root, where hair bends most
RISE = 0.15  # share of the length over which a card rises to its height, and turns
ROLLS = (0, 30, 0, -30)  # degrees by which cards are turned about their strands, so that some face the sides
THICK = 1.5  # width of a ribbon against that of its strand, which is thinner than pixels
SHORTEST = 0.004  # canonical length of a strand that is worth a card
SEED = 23
SIGNS = (0, 4, 10, 16)  # points by whose places strands are told apart


@dataclass(frozen=True, eq=False)
class Cards:
    vertices: F32  # (n, 3)
    normals: F32  # (n, 3)
    uv: F32  # (n, 2)
    colours: F32  # (n, 3) linear, in the light among the strands
    roots: F32  # (n, 3) where each vertex's card grows
    triangles: I32
    texture: F32 | None = None  # (side, side, 4) the same colours strand by strand, and alpha


@dataclass(frozen=True, eq=False)
class _Ribbons:
    """Cards before their place in the texture is known."""

    cards: Cards  # with coordinates across, -1 to 1, and along, 0 to 1
    number: NDArray[np.intp]  # (n,) the card of each vertex
    hairs: Hairs

    @property
    def count(self) -> int:
        return int(self.number.max()) + 1


@dataclass(frozen=True, eq=False)
class Bundle:
    points: F32  # (s, POINTS, 3)
    widths: F32  # (s, POINTS)
    colours: F32  # (s, POINTS, 3)
    light: F32  # (s, POINTS)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Bundle:
        return Bundle(self.points[rows], self.widths[rows], self.colours[rows], self.light[rows])


def make_cards(
    groups: list[Strands], outward: Callable[[F32], F32], openness: Callable[[F32], F32], triangles: int
) -> Cards | None:
    """Return about `triangles` triangles of cards; None where there are no strands.

    Args:
        groups: The strands. What is seen of them are the outermost, which are the most open to the sky.
        outward: The direction out of the hair at points (n, 3).
        openness: The share (n, 1) of the sky's light at points.
        triangles: How many there may be.
    """
    strands = gather_strands(groups)
    if len(strands.points) == 0:
        return None
    light = _find_light(strands.points, openness)
    level = np.quantile(light, OPEN, axis=1)
    seen = level > min(HIDDEN * float(np.quantile(level, OPEN)), float(np.quantile(level, MOST_HIDDEN)))
    strands = replace(strands, light=light.astype(np.float32)).take(seen)
    length = np.linalg.norm(np.diff(strands.points, axis=1), axis=2).sum(1)
    long, wavy = length > SHORT, _find_turning(strands.points) > WAVY
    kinds = (~long, long & ~wavy, long & wavy)
    areas = [float((strands.widths.mean(1) * length)[rows].sum()) for rows in kinds]
    parts = []
    for rows, segments, area in zip(kinds, SEGMENTS, areas, strict=True):
        count = int(triangles * area / max(sum(areas), 1e-12) / (2 * segments))
        if rows.any() and count > 0:
            parts.append(_cards_of(strands.take(rows), outward, min(count, int(rows.sum())), segments))
    return _join(parts)


def _find_light(points: F32, openness: Callable[[F32], F32]) -> F32:
    """Return the openness (s, POINTS) along strands, which changes slowly: it is asked for at every fourth point."""
    some = points[:, ::LIT]
    known = openness(some.reshape(-1, 3)).reshape(some.shape[:2])
    rise = [np.interp(np.arange(POINTS), np.arange(0, POINTS, LIT), row) for row in np.eye(some.shape[1])]
    return np.asarray(known @ np.stack(rise).astype(np.float32), np.float32)


def _find_turning(points: F32) -> F32:
    """Return the sum of the angles (s,) by which strands turn."""
    step = np.asarray(unit(np.diff(points, axis=1)))
    return np.arccos(np.clip((step[:, 1:] * step[:, :-1]).sum(2), -1, 1)).sum(1).astype(np.float32)


def gather_strands(groups: list[Strands]) -> Bundle:
    """Return all strands worth a card, with the same number of evenly spaced points."""
    found = [_resample(group) for group in groups if len(group.points) and group.points.shape[1] > 1]
    triples, singles = np.zeros((0, POINTS, 3), np.float32), np.zeros((0, POINTS), np.float32)
    empty, names = Bundle(triples, singles, triples, singles), ("points", "widths", "colours", "light")
    merged = Bundle(*(np.concatenate([getattr(b, n) for b in (empty, *found)]).astype(np.float32) for n in names))
    length = np.linalg.norm(np.diff(merged.points, axis=1), axis=2).sum(1)
    return merged.take((length > SHORTEST) & (merged.widths.max(1) > 0))


def _resample(group: Strands) -> Bundle:
    k = group.points.shape[1]
    step = np.linalg.norm(np.diff(group.points, axis=1), axis=2)
    along = np.concatenate([np.zeros((len(step), 1)), np.cumsum(step, 1)], 1)
    along = along / np.maximum(along[:, -1:], 1e-9) + np.arange(k) * 1e-7
    below = group.points[..., 1] < FLOOR  # what hangs below the bust is cut off
    share = np.where(below.any(1), along[np.arange(len(along)), np.maximum(below.argmax(1) - 1, 0)], 1)
    wanted = np.linspace(0, 1, POINTS) * share[:, None]
    i = np.clip((along[:, None] <= wanted[..., None]).sum(2) - 1, 0, k - 2)
    rows = np.arange(len(step))[:, None]
    f = np.clip((wanted - along[rows, i]) / np.maximum(along[rows, i + 1] - along[rows, i], 1e-9), 0, 1)

    def mix(values: np.ndarray) -> np.ndarray:
        share = f if values.ndim == 2 else f[..., None]
        return (values[rows, i] * (1 - share) + values[rows, i + 1] * share).astype(np.float32)

    widths = mix(group.widths)
    return Bundle(mix(group.points), widths, mix(group.albedo), np.ones_like(widths))


def cluster_strands(points: F32, count: int) -> NDArray[np.intp]:
    """Return the bundle of each strand (s,), by k-means from random strands."""
    signs = points[:, list(SIGNS)].reshape(len(points), -1)
    centres = signs[np.random.default_rng(SEED).permutation(len(points))[:count]]
    owner = np.zeros(len(points), np.intp)
    for turn in range(ROUNDS):
        owner = np.asarray(KDTree(centres).query(signs, workers=count_threads())[1])
        if turn < ROUNDS - 1:
            total = _add_up(signs, owner, count)
            size = np.bincount(owner, minlength=count)[:, None]
            centres = np.where(size > 0, total / np.maximum(size, 1), centres)
    return np.unique(owner, return_inverse=True)[1]


def mean_strands(values: np.ndarray, weight: F32, owner: NDArray[np.integer], count: int) -> F32:
    """Return weighted means (count, POINTS, ...) of the strands' values (s, POINTS, ...)."""
    weight = weight.reshape(*weight.shape, *[1] * (values.ndim - 2))
    out, total = (_add_up(part, owner, count) for part in (weight * values, weight))
    return (out / total).astype(np.float32)


def _add_up(values: np.ndarray, owner: NDArray[np.integer], count: int) -> F64:
    """Return the sums (count, ...) of the strands' values (s, ...)."""
    member = sp.csr_matrix((np.ones(len(owner)), (owner, np.arange(len(owner)))), (count, len(owner)))
    return (member @ values.reshape(len(owner), -1)).reshape(count, *values.shape[1:])


def _cards_of(strands: Bundle, outward: Callable[[F32], F32], count: int, segments: int) -> _Ribbons:
    owner = cluster_strands(strands.points, count)
    count, weight = int(owner.max()) + 1, strands.light**SALIENCE
    mean = mean_strands(strands.points, weight, owner, count)
    curve = strands.points[find_medoids(strands.points, mean, owner)]  # a mean of waves would be straight
    normal = outward(curve.reshape(-1, 3)).reshape(curve.shape)
    tangent = np.asarray(unit(np.gradient(curve, axis=1)))
    across = np.asarray(unit(np.cross(tangent, normal)), np.float32)
    normal = np.asarray(unit(np.cross(across, tangent)), np.float32)
    apart = strands.points - mean[owner]
    wide, deep = (
        np.sqrt(mean_strands((apart * way[owner]).sum(2) ** 2, weight, owner, count)) for way in (across, normal)
    )
    length = np.linalg.norm(np.diff(curve, axis=1), axis=2).sum(1, keepdims=True)
    half = np.maximum(COVER * wide + 0.6 * mean_strands(strands.widths, weight, owner, count), HALF_WIDTH[0])
    half = np.minimum(half, np.clip(SLENDER * length, *HALF_WIDTH))
    half = (
        half + np.concatenate([half[:, :1], half[:, :-1]], 1) + np.concatenate([half[:, 1:], half[:, -1:]], 1)
    ) / 3
    rise = np.minimum(np.linspace(0, 1, POINTS) / RISE, 1)[:, None]
    shift = mean - curve  # of strands on both sides of a parting the mean is none
    shift = shift * np.minimum(1, SHIFT / np.maximum(np.linalg.norm(shift, axis=2, keepdims=True), 1e-9))
    middle = np.asarray(
        curve + _smooth(shift) + np.minimum(LIFT * deep, MOST_LIFT)[..., None] * rise * normal, np.float32
    )
    roll = np.radians(ROLLS)[np.arange(count) % len(ROLLS), None, None] * rise
    aside = (np.cos(roll) * across + np.sin(roll) * normal).astype(np.float32)
    keep = np.rint(np.linspace(0, 1, segments + 1) ** ROOTWARD * (POINTS - 1)).astype(int)
    colours = mean_strands(strands.colours * strands.light[..., None], weight, owner, count)
    parts = (middle, aside, normal, half, colours)
    cards = _ribbons(*(np.asarray(part[:, keep], np.float32) for part in parts), along=keep / (POINTS - 1))
    cards = replace(cards, normals=_soften(cards, outward))
    beside = ((strands.points - (curve + _smooth(shift))[owner]) * across[owner]).sum(2) / half[owner]
    hairs = Hairs(owner, beside.astype(np.float32), (strands.colours * strands.light[..., None]).astype(np.float32))
    return _Ribbons(cards, np.repeat(np.arange(count), 2 * len(keep)), hairs)


def _soften(cards: Cards, outward: Callable[[F32], F32]) -> F32:
    """Return normals (n, 3) that vary as those of the whole hair do, not from card to card, and do not look down."""
    normals = np.asarray(unit((1 - SOFT) * cards.normals + SOFT * outward(cards.vertices)), np.float32)
    low = normals[:, 1] < LOWEST
    side = normals[low][:, [0, 2]] + np.array([0, 1e-6], np.float32)
    side *= np.sqrt(1 - LOWEST**2) / np.linalg.norm(side, axis=1, keepdims=True)
    normals[low] = np.stack([side[:, 0], np.full(len(side), LOWEST), side[:, 1]], 1)
    return normals


def _smooth(curves: F32) -> F32:
    """Return curves (c, POINTS, 3) without their waves."""
    out = np.asarray(curves, np.float32)
    for _ in range(SMOOTH):
        inner = (out[:, :-2] + 2 * out[:, 1:-1] + out[:, 2:]) / np.float32(4)
        out = np.concatenate([out[:, :1], inner, out[:, -1:]], 1).astype(np.float32)
    return out


def find_medoids(points: F32, mean: F32, owner: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the strand nearest to the mean of each bundle."""
    distance = ((points - mean[owner]) ** 2).sum((1, 2))
    order = np.lexsort((distance, owner))
    return order[np.searchsorted(owner[order], np.arange(len(mean)))]


def _ribbons(middle: F32, across: F32, normal: F32, half: Floats, colours: F32, along: Floats) -> Cards:
    count, rows = half.shape
    sides = np.array([-1.0, 1.0], np.float32)
    vertices = middle[:, :, None] + (half[..., None] * sides)[..., None] * across[:, :, None]
    normals = np.asarray(unit(normal[:, :, None] + BEND * sides[:, None] * across[:, :, None]))
    u = np.broadcast_to(sides, (count, rows, 2))
    v = np.broadcast_to(along[None, :, None], (count, rows, 2))
    corner = (np.arange(count)[:, None] * rows + np.arange(rows - 1)).reshape(-1, 1) * 2
    triangles = np.concatenate([corner + [0, 1, 3], corner + [0, 3, 2]])
    return Cards(
        vertices.reshape(-1, 3).astype(np.float32),
        normals.reshape(-1, 3).astype(np.float32),
        np.stack([u, v], -1).reshape(-1, 2).astype(np.float32),
        np.repeat(colours.reshape(-1, 3), 2, axis=0).astype(np.float32),
        np.repeat(middle[:, 0], 2 * rows, axis=0).astype(np.float32),
        triangles.astype(np.int32),
    )


def _face_outward(vertices: F32, normals: F32, triangles: I32) -> I32:
    """Return triangles whose front faces their normals."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    turned = (np.cross(b - a, c - a) * normals[triangles].sum(1)).sum(1) < 0
    return np.where(turned[:, None], triangles[:, ::-1], triangles).astype(np.int32)


def _join(parts: list[_Ribbons]) -> Cards | None:
    if not parts:
        return None
    first = np.cumsum([0, *(len(part.cards.vertices) for part in parts)])
    before = np.cumsum([0, *(part.count for part in parts)])
    triangles = np.concatenate([p.cards.triangles + n for p, n in zip(parts, first[:-1], strict=True)])
    names = ("vertices", "normals", "uv", "colours", "roots")
    arrays = {name: np.concatenate([getattr(part.cards, name) for part in parts]) for name in names}
    number = np.concatenate([p.number + n for p, n in zip(parts, before[:-1], strict=True)])
    owner = np.concatenate([p.hairs.card + n for p, n in zip(parts, before[:-1], strict=True)])
    hairs = Hairs(owner, *(np.concatenate([getattr(p.hairs, name) for p in parts]) for name in ("across", "colours")))
    places = place_cards(int(before[-1]), len(triangles) // 2)
    uv = places.uv(number, *arrays["uv"].T)
    triangles = _face_outward(arrays["vertices"], arrays["normals"], triangles)
    return Cards(**arrays | {"uv": uv}, triangles=triangles, texture=draw_cards(hairs, int(before[-1]), places))


def make_ribbons(groups: list[Strands], outward: Callable[[F32], F32]) -> Cards | None:
    """Return one narrow ribbon for every strand, such as a lash."""
    strands = gather_strands(groups)
    if len(strands.points) == 0:
        return None
    tangent = np.asarray(unit(np.gradient(strands.points, axis=1)))
    normal = outward(strands.points.reshape(-1, 3)).reshape(strands.points.shape)
    across = np.asarray(unit(np.cross(tangent, normal)), np.float32)
    keep = np.array([0, 5, 10, 16])
    parts = (strands.points, across, normal, THICK * strands.widths / 2, strands.colours)
    cards = _ribbons(*(np.asarray(part[:, keep], np.float32) for part in parts), along=keep / (POINTS - 1))
    triangles = _face_outward(cards.vertices, cards.normals, cards.triangles)
    return replace(cards, uv=np.zeros_like(cards.uv), triangles=triangles)
