"""Colours of the strands of an avatar, point by point: what the photo shows, carried on from strand to strand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.hair.contact import lift_contact_shade
from portrait360.pipeline.avatar.hair.detail import Example, average_around, lay_detail, read_detail
from portrait360.pipeline.avatar.hair.donors import borrow_colours
from portrait360.pipeline.avatar.hair.gloss import add_gloss
from portrait360.pipeline.avatar.hair.roots import find_root_shade
from portrait360.pipeline.avatar.hair.trusted import trust_rim
from portrait360.pipeline.avatar.photo.exposure import (
    FEW,
    HEAD_CENTRE,
    View,
    blur,
    cosine_to_camera,
    find_seen,
    find_side_lights,
    look_up_points,
    shrink,
    to_albedo,
    to_hair_albedo,
)
from portrait360.pipeline.avatar.photo.pixels import BEARD, HAIR
from portrait360.synth.meshes import unit
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.scene import Part, Strands
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import count_threads
from portrait360.utils.portrait_labels import Label

STRAND_LABELS = {Part.HAIR: HAIR, Part.BEARD: BEARD, Part.BROWS: (Label.BROW,)}
BAKED_STRANDS = (Part.HAIR, Part.BEARD)
BROAD = {Part.HAIR: 0.35, Part.BEARD: 0.7}  # share of the broad differences in brightness that is light, not hair
MOST_LIGHT = {Part.HAIR: 9.0, Part.BEARD: 0.2}  # of these at most: a dark moustache over a white beard is no shade
SIDE_LIGHT = 1.0  # the same for those between left and right
HAIR_GAIN = (float(np.log(0.25)), float(np.log(2.6)))
HUE = 1.7  # greatest gain of one channel against their mean
DIM, GREY = 0.004, 0.012  # radiance below which the brightness of hair, and its colour, are not compared
QUIET = 0.001  # least radiance of a render whose colour is compared
DYED = (0.25, 0.45)  # spread of the colours of hair, logarithms, from which they are dyes
REACH = 0.05  # canonical distance over which colours are those of the nearest strands that the photo shows
ALONG, OWN_REACH = 0.02, 0.20  # canonical lengths of a strand over which its gains are smoothed, and carried on
DETAIL = 0.8  # share of what a photo shows more finely than that
LACK = (-0.15, 0.35)  # range of the correction of borrowed gains
HUE_CALM, SEEN_CALM, BEARD_CALM = 0.6, 0.7, 0.85  # share of the differences in hue taken off: of natural hair that
# is not seen, and that is, and of a beard
BORROWED_CALM = 0.55  # share of the invented differences of strands that borrowed ones replace
HANGING = 0.2  # how far long hair below the head's centre faces down, against a ball
PURE = 0.9  # purity of hair whose locks are taken
FACED = (0.8, 0.97)  # cosine to the photo's camera from which hair shows its own locks, and shows them fully
MIXED, DETOUR = (0.03, 0.006), (0.15, 1.0)  # canonical distances over which strands mix, and to the other side of
# the head: of natural hair, and of dyed
LOCKS_FROM = (0.025, 0.075)  # head heights: length of whiskers
LEAF = 80  # points in a leaf of the tree: far more than are asked for make distant questions faster
NEIGHBOURLY, NEIGHBOURS = 0.75, (0.012, 2.0)  # share of the gains about them that strands take on; canonical side
# of a cell, and cells over which these are averaged
ANCHORS = 4  # points of a strand that exchange gains with other strands
CELL, FAR = 0.02, 0.12  # canonical side of a cell of points, and distance from others from which they count as one
TOGETHER = 256  # strands smoothed at once: what lies between them stays in the processor's cache


@dataclass(frozen=True, eq=False)
class ShownHair:
    """What the photo shows of the hair or the beard, for all of its groups of strands."""

    inside: F32  # (s, s) where it tells colours
    ratio: F32  # (s, s, 3) log(photo / render)
    locks: Example | None


def read_shown_hair(part: Part, view: View, locks: Example | None, clear: F32) -> ShownHair | None:
    """Return what the photo shows of a part; None where that is too little.

    `locks` are those of the part, and `clear` (s, s) is where the photo tells the colour of hair, see `stains`.
    """
    labels = STRAND_LABELS[part]
    inside = view.photo.mask(labels, inset=3) * np.isin(view.whole.labels, labels)
    # where skin shines through, a pixel has not the whiskers' colour
    inside = np.asarray(
        inside * (view.photo.pure if part == Part.BEARD else clear * trust_rim(view.photo)), np.float32
    )
    if inside.sum() < FEW:
        return None
    ratio = strand_ratio(view, inside, part)
    return ShownHair(inside, lift_contact_shade(ratio, view.photo, inside) if part == Part.HAIR else ratio, locks)


def bake_strands(group: Strands, view: View, shown: ShownHair | None) -> Strands:
    """Give strands the photo's colours, and the locks of their part where it does not show its own well."""
    if shown is None:
        return group
    part = Part(int(group.part[0]))
    count, k, _ = group.points.shape
    points = group.points.reshape(-1, 3)
    # drawn hair has few colours, and what hangs low has those of drawn cloth beside it
    hangs = part == Part.HAIR and not view.photo.painted
    outward = face_outward(points, HANGING if hangs else 1.0)
    weight = find_seen(points, outward, view, view.whole, 0.02, shown.inside).reshape(count, k)
    facing = cosine_to_camera(points, outward, view).reshape(count, k)
    uv, _ = view.photo.camera.project(points)
    gain = look_up_points(shown.ratio, uv).reshape(count, k, 3)
    uneven = _find_side_colour(points, weight.ravel(), gain.reshape(-1, 3), may_be_dyed=part == Part.HAIR)
    gain = np.asarray(gain - SIDE_LIGHT * uneven.reshape(gain.shape), np.float32)
    if shown.locks is not None:
        own = look_up_points(shown.locks.detail, uv)[:, :3].reshape(gain.shape)
        thick = 1.0 if part == Part.HAIR else _find_thick(group)
        own, mixed = thick * own, thick * _mix_locks(group.points, weight * facing, own, shown.locks)
        return _colour(group, weight, facing, np.asarray(gain - own, np.float32), mixed)
    return _colour(group, weight, facing, gain, 0.0)


def face_outward(points: F32, hanging: float) -> Floats:
    """Return the direction (n, 3) that the surface of hair faces at points (n, 3): a curtain below a ball.

    `hanging` is how far what hangs below the head's centre faces down as if it lay on a ball.
    """
    off = points - HEAD_CENTRE
    off[:, 1] *= np.where(off[:, 1] < 0, hanging, 1.0)
    return unit(off)


def _find_thick(beard: Strands) -> float:
    """Return how far a beard is long enough to form locks, 0..1: the blots of a short one are skin."""
    usual = float(np.median(np.linalg.norm(np.diff(beard.points, axis=1), axis=-1).sum(1)))
    return float(smoothstep(*LOCKS_FROM, np.asarray(usual / HEAD_HEIGHT)))


def _mix_locks(points: F32, facing: Floats, own: F32, locks: Example) -> F32:
    """Return the locks of hair: its own where the photo faces it, elsewhere, where these would be smears, others."""
    laid = lay_detail(points, locks)
    return np.asarray(laid + smoothstep(*FACED, facing)[..., None] * (own - laid), np.float32)


def _colour(group: Strands, weight: F32, facing: Floats, gain: F32, locks: F32 | float) -> Strands:
    """Give strands the gains that the photo shows, carried on to what it does not show, and locks."""
    is_hair = group.part[0] == Part.HAIR
    roots = find_root_shade(group.points, weight, gain) if is_hair else np.zeros_like(gain[..., :1])
    gain = np.asarray(gain - roots, np.float32)  # a strand has this wherever it grows
    along, known, own = _smooth_along(group.points, weight, gain)
    seen = np.asarray(along + weight[..., None] * (clip_gain(gain) - along) * DETAIL, np.float32)
    sure = known[..., None]
    dyed = _find_dyed(seen[weight > 0.5]) if is_hair else 0.0
    calm = SEEN_CALM * (1 - dyed) if is_hair else BEARD_CALM  # skin shines through a beard
    even, seen = _calm_hues(along, calm, known), _calm_hues(seen, calm, weight)
    carried, near = _carry_between_strands(group.points, known * smoothstep(0.35, 0.55, facing), even, dyed)
    borrowed = borrow_colours(group.points, known, seen, dyed)
    if borrowed is not None:
        borrowed = _calm_hues(borrowed, HUE_CALM * (1 - dyed))
        borrowed = borrowed + _find_lack(seen, weight, borrowed, 1 - near[..., 0])
        carried = near * carried + (1 - near) * borrowed
    carried = carried + own[..., None] * (along - carried)
    carried, seen = carried + roots, np.asarray(seen + roots, np.float32)
    if is_hair:
        carried = carried + (1 - dyed) * lack_of_neighbours(group.points, carried)
    mean = group.albedo.mean(0)
    calm = 0.7 * sure if borrowed is None else np.maximum(0.7 * sure, BORROWED_CALM * (1 - near))
    invented = np.log(group.albedo / mean) * (1 - calm)  # light and dark strands, where the photo shows its own
    albedo = mean * np.exp(invented + carried + sure * (seen - carried) + locks)
    if is_hair:
        albedo = albedo + (1 - sure) * add_gloss(group.points, to_albedo(albedo))
    return replace(group, albedo=to_hair_albedo(albedo) if is_hair else to_albedo(albedo))


def read_locks(view: View, unstained: F32, labels: tuple[Label, ...] = HAIR) -> Example | None:
    """Return what the locks of the photo's hair look like, where that is `unstained` (s, s); None of too little."""
    pure = view.photo.shows(*labels) & (np.minimum(view.photo.pure, unstained) > PURE)
    return read_detail(view.photo, shrink(pure, 3))


def _find_dyed(gain: F32) -> float:
    """Return how surely (0..1) hair with these gains (n, 3) is dyed in different colours."""
    if len(gain) < FEW:
        return 0.0
    return float(smoothstep(*DYED, np.asarray((gain - gain.mean(1, keepdims=True)).std(0).mean())))


def _calm_hues(gain: F32, calm: float, weight: F32 | None = None) -> F32:
    """Take a share `calm` off what gains (s, k, 3) differ by in hue from those of other strands."""
    hue = gain - gain.mean(-1, keepdims=True)
    usual = hue.mean(0) if weight is None else np.average(hue, axis=(0, 1), weights=weight + 1e-9)
    return np.asarray(gain - calm * (hue - usual), np.float32)


def lack_of_neighbours(points: F32, gain: Floats) -> Floats:
    """Return what gains (s, k, 3) lack to those of the hair about them: strands that lie together are alike.

    Each has the colours of where it grows. Those of the crown would end as a cap over those of the sides.
    """
    return NEIGHBOURLY * (average_around(points, gain, *NEIGHBOURS) - gain)


def _find_lack(seen: F32, weight: F32, borrowed: F32, far: F32) -> float:
    """Return by how much borrowed gains are darker on average than what the photo shows."""
    lack = np.average(seen.mean(-1), weights=weight + 1e-9) - np.average(borrowed.mean(-1), weights=far + 1e-9)
    return float(np.clip(lack, *LACK))


def clip_gain(gain: Floats) -> Floats:
    """Return gains (..., 3) within the range of hair: narrow in brightness, wide in colour, for it may be dyed."""
    light = gain.mean(-1, keepdims=True)
    return np.clip(light, *HAIR_GAIN) + np.clip(gain - light, -HUE, HUE)


def _find_side_colour(points: F32, weight: F32, gain: F32, *, may_be_dyed: bool) -> F32:
    """Return by how much the colours (n, 3) of hair differ broadly between left and right; dyes may differ."""
    gain = clip_gain(gain)
    light = gain.mean(1)
    colour = gain - light[:, None]
    hues = float(colour[weight > 0.5].std(0).mean()) if may_be_dyed and (weight > 0.5).any() else 0.0
    natural = 1 - float(smoothstep(*DYED, np.array(hues)))
    *uneven, broad = find_side_lights(points, [*colour.T, light], weight)
    return np.stack([natural * channel for channel in uneven], 1) + broad[:, None]


def strand_ratio(view: View, inside: F32, part: Part) -> F32:
    """Return log(photo / render) for hair (s, s, 3): its brightness fine, its colour coarse, highlights held back."""
    light, drawn = (np.log(_measure_luminance(a) + DIM) for a in (view.photo.radiance, view.whole.radiance))
    level, broad = blur(light, inside, 7.0), blur(light - drawn, inside, 24.0)
    usual = np.average(broad, weights=inside + 1e-9)
    above = cv2.GaussianBlur(light, (0, 0), 0.7) - level
    above = np.where(above > 0.35, 0.35 + 0.3 * (above - 0.35), above)
    dark = inside * np.exp(-np.clip(light - level, 0, 2))  # gloss has the colour of the light, not of the hair
    colours = blur(compare_hues(view.photo.radiance, view.whole.radiance), dark, 5.0)
    lit = MOST_LIGHT[part] * np.tanh(BROAD[part] * (broad - usual) / MOST_LIGHT[part])
    brightness = level + above - blur(drawn, inside, 4.0) - lit
    return np.asarray(colours + brightness[..., None], np.float32)


def compare_hues(radiance: F32, drawn: F32) -> F32:
    """Return log(photo / render) of each channel against their brightness (s, s, 3), less where the photo is dark.

    There it says nothing, not that hair is grey: the render is compared as dark as the photo is.
    """
    luminance = _measure_luminance(radiance)
    as_dark = np.maximum(drawn, 0) * (luminance / np.maximum(_measure_luminance(drawn), QUIET))[..., None]
    return np.log((np.maximum(radiance, 0) + GREY) / (as_dark + GREY)).astype(np.float32)


def _measure_luminance(radiance: F32) -> F32:
    return np.maximum(radiance @ LUMINANCE.astype(np.float32), 0)


def _smooth_along(points: F32, weight: F32, gain: Floats) -> tuple[F32, F32, F32]:
    """Return the gains smoothed along each strand (s, k, 3), and how well each point knows its own (s, k).

    The last is how far it knows them from another point of its strand.
    """
    step = np.linalg.norm(np.diff(points, axis=1), axis=-1).mean(1)
    steps = np.arange(points.shape[1])
    share = np.exp(-np.minimum(steps * step[:, None] / ALONG, 60)).astype(np.float32)  # of a point so many steps away
    apart, gain = np.abs(np.subtract.outer(steps, steps)), clip_gain(gain)
    summed, total = np.empty(gain.shape, np.float32), np.empty(weight.shape, np.float32)
    for first in range(0, len(points), TOGETHER):
        rows = slice(first, first + TOGETHER)
        kernel = np.take(share[rows], apart, axis=1) * weight[rows, None, :]
        summed[rows], total[rows] = kernel @ gain[rows], kernel.sum(-1)
    along = np.asarray(summed / np.maximum(total, 1e-30)[..., None], np.float32)
    known = np.clip(total, 0, 1)
    own = np.where(total > 1e-20, np.maximum(known, 1e-20), 1e-20) ** (ALONG / OWN_REACH)
    return along, known, np.asarray(np.where(total > 1e-20, own, 0), np.float32)


def _average_nearest(tree: KDTree, values: F32, places: F32, apart: float) -> tuple[F32, F32]:
    """Return means (m, c) of the values (n, c) of the points of a tree nearest to places, and how far one is (m,).

    Questions far from all points take longest and differ least: there all places of a cell share one answer.
    """

    def find_nearest(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance, index = tree.query(places[rows], k=min(12, tree.n), workers=count_threads())
        return np.asarray(distance), np.asarray(index)

    cells = np.floor(places / CELL).astype(np.int64) + (1 << 20)
    _, first, owner = np.unique(cells @ np.array([1 << 42, 1 << 21, 1]), return_index=True, return_inverse=True)
    of_cells = find_nearest(first)
    far = of_cells[0][owner, 0] > FAR
    pairs = zip(of_cells, find_nearest(np.flatnonzero(~far)), strict=True)
    distance, index = (np.concatenate(pair) for pair in pairs)
    share = np.exp(-(distance - distance[:, :1]) / apart)
    found = np.einsum("ij,ijc->ic", share / share.sum(1, keepdims=True), values[index])
    row = np.where(far, owner, len(first) + np.cumsum(~far) - 1)
    return np.asarray(found[row], np.float32), np.asarray(distance[row, 0], np.float32)


def _carry_between_strands(points: F32, known: Floats, gain: F32, dyed: float) -> tuple[F32, F32]:
    """Return for every point the gain of strands around it that the photo shows, and how near these are (s, k, 1).

    Of the two sides of the head, a seen one stands in for the other. Of dyes neither sides nor neighbours mix.
    """
    apart, detour = (natural + dyed * (own - natural) for natural, own in (MIXED, DETOUR))
    k = points.shape[1]
    at = np.linspace(0, k - 1, min(ANCHORS, k)).round().astype(int)
    places, sure, gains = points[:, at].reshape(-1, 3), known[:, at].ravel(), gain[:, at].reshape(-1, 3)
    rows = np.flatnonzero(sure > 0.5)
    if len(rows) < 20:
        return np.zeros_like(gain), np.zeros_like(gain[..., :1])
    rows = rows[:: max(len(rows) // 20000, 1)]
    tree, found, distances = KDTree(places[rows], LEAF), [], []
    for side in (1.0, -1.0):
        values, distance = _average_nearest(tree, gains[rows], places * np.array([side, 1, 1], np.float32), apart)
        found.append(values)
        distances.append(distance + (detour if side < 0 else 0.0))
    nearest = np.minimum(*distances)
    width = 0.03 + 0.4 * nearest  # far off, both sides mix
    trust = [np.exp((nearest - distance) / width) for distance in distances]
    carried = (found[0] * trust[0][:, None] + found[1] * trust[1][:, None]) / (trust[0] + trust[1])[:, None]
    rise = np.stack([np.interp(np.arange(k), at, row) for row in np.eye(len(at))], 1).astype(np.float32)
    both = np.column_stack([carried, np.exp(-nearest / REACH)]).reshape(len(points), len(at), 4)
    filled = np.asarray(np.einsum("kj,sjc->skc", rise, both), np.float32)
    return filled[..., :3], filled[..., 3:]
