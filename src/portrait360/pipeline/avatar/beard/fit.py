"""How a beard grows on a fitted head as its photo shows it: how densely, how long, and how far it stands off.

What the photo sees edge-on or not at all follows what it shows beside it, and the other side of the face.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from portrait360.geometry import rasterizer
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.beard.area import (
    SkinOfPixels,
    find_neck,
    find_rear,
    limit_beard,
    measure_cover,
)
from portrait360.pipeline.avatar.beard.choice import select
from portrait360.pipeline.avatar.photo.exposure import look_up_points
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.skin.mesh import coarse_count, mirror_fine_vertices, mirror_vertices, soften
from portrait360.synth.hair.beard_brows import BeardGrowth
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

BESIDE = (Label.SKIN, Label.CLOTHES, Label.BACKGROUND, Label.LIPS, Label.MOUTH)  # what lies around a beard, and in it
FACING = (0.12, 0.35)  # cosine to the camera from which, and up to which, a vertex is seen
HIDDEN = 0.02  # canonical depth behind the skin's first surface
ALONG = np.array([1.0, 1.0, 0.45])  # how far apart points of the average head are: least from front to back
BURNS = 0.07  # head heights by which a beard may reach up before the ears, to the hair
BEHIND = (0.0, 0.05)  # head heights before its hindmost line over which a beard gets as dense as it is
FRAYED = (0.09, 0.045)  # head heights: how far its end lies here and there, and how wide a tuft is
EDGE = 28  # steps of diffusion over which a beard thins out within its edge
THINNING = (0.3, 0.9)  # diffused share at which it begins, and is as dense as it is
CHEEKS, THROAT = (0.08, 0.14), (-0.46, -0.52)  # x and y from which it does: moustache and chin end as they are seen
TEMPLE = (-0.12, -0.05), (0.16, 0.11)  # y and z from which a beard goes on as hair
FOOT = (-0.32, -0.24, 0.11, 0.19)  # y and z where a sideburn meets the beard
STRIP = (0.14, 0.10)  # z before which it ends
JOINED, BALD = 0.8, 0.05  # density of such a sideburn, of the beard's; pixels of hair per pixel of the face
LOOSE = 0.006  # picture sides by which the longest whiskers may hang out of a beard's outline, which is no cut
STRAY, STRAYS = 0.2, 15  # share of stray whiskers around it, and steps of diffusion to there
SIDES, ALIKE = (0.04, 0.09), 0.9  # x from which the sides of a beard are alike, and how much: one lies in the shade
SCATTERED = (0.05, 0.25)  # share under which whiskers are too few to be seen
FULLER = 1.4  # an outline seen edge-on is blurred with what lies beside it
NEIGHBOURS, BROAD = 14, 0.015  # of what is carried over: points, and width in head heights
OTHER_SIDE = 0.10  # head heights by which the other side of the face is further
SMOOTH, MARGIN = 5, 2  # steps of diffusion, and more that are surely beyond what these reach
ABOVE_NECK = 0.02  # head heights from the lowest line of a beard up to where the head is cut off its neck
RIM, BEYOND = 0.7, 0.006  # of a normal that lies in the picture's plane; crop sides from the rim to beside the head
UNSURE = 0.025  # head heights by which an outline lies too far out: as wide as the neighbourhood of its texture
FURTHEST, MARCH = 0.20, 100  # canonical reach of a beard beyond the skin's outline, and steps on the way there
HANGING, DOWNWARD = 0.4, (0.6, 0.95)  # thickness of a beard, of its length below the jaw; how far down that faces
REACH_WIDTH, RIMS = 0.04, 16  # head heights over which reaches are averaged, and outline points of an average
INNER, BORDER = (0.3, 0.95), 25  # share of beard around a vertex over which it stands off; steps of diffusion
BESIDE_EAR = (0.05, 0.18)  # z on the average head over which a beard gets as thick as it is before the ear
STUBBLE, SHORT = 0.012, 0.036  # length, in head heights, where skin shines through, and where it does not
OPAQUE = (0.6, 1.1)  # share of the way from the skin's brightness to the hair's


def fit_growth(head: Head, photo: Photo, skin: SkinOfPixels, whiskers: F32) -> BeardGrowth:
    """Return how the beard of a photo grows on a head.

    Args:
        head: The fitted head, at the level of subdivision on which the beard grows.
        photo: The photo, with corrected labels.
        skin: What its pixels show of the fitted skin.
        whiskers: How much of each pixel is whiskers.
    """
    bare = np.max([smoothstep(0.25, 0.6, head.mask("lips")), smoothstep(0.1, 0.3, head.mask("inside_mouth"))], 0)
    limit = limit_beard(head.rest, BURNS)
    free = (1 - bare) * (1 - smoothstep(0.1, 0.3, head.mask("ears"))) * np.minimum(8 * limit, 1)
    share = carry_share(head, photo, measure_cover(photo, whiskers), _spread(free > 0))
    frayed = _fray(head.rest)
    share = share * smoothstep(*SCATTERED, share) * limit_beard(frayed, BURNS) * _thin_behind(frayed) * free
    other = mirror_vertices() if len(free) == coarse_count() else mirror_fine_vertices()
    share = np.maximum(share, ALIKE * smoothstep(*SIDES, np.abs(head.rest[:, 0])) * share[other])
    share = share * _thin_edge(share, bare, head)
    share = np.maximum(share, _join_hair(share, head, photo) * free)
    share = np.maximum(share, STRAY * soften(np.minimum(share, 1), STRAYS) * np.sqrt(limit) * free)
    inner = smoothstep(*INNER, soften(np.maximum(np.minimum(1.6 * share, 1), bare), BORDER))
    around = _spread(inner > 0)
    thinner = inner * (0.6 + 0.4 * smoothstep(*BESIDE_EAR, head.rest[:, 2]))
    reach, stand = (
        np.asarray(np.maximum(far / HEAD_HEIGHT - UNSURE, 0) * thinner, np.float32)
        for far in measure_reach(head, photo, around)
    )
    least = find_least_length(photo, skin, whiskers)
    grown = reach[share > 0.5]
    least = max(least, min(SHORT, float(np.quantile(grown, 0.8)))) if len(grown) else least
    return BeardGrowth(share.astype(np.float32), reach, least, stand, measure_overhang(head, photo))


def _spread(part: Bools) -> Bools:
    """Return the part of the skin (n,) from which diffusion could reach this one."""
    return soften(part.astype(np.float32), SMOOTH + MARGIN) > 0


def _fray(rest: F32) -> F32:
    """Return points of the average head moved a little here and there: no beard ends in a smooth line."""
    moved = np.stack([noise(rest, 1 / FRAYED[1], seed, octaves=2) - 0.5 for seed in range(3)], -1)
    return np.asarray(rest + FRAYED[0] * moved, np.float32)


def _thin_behind(rest: F32) -> F32:
    """Return how dense a beard is (n,), 0..1: it thins out towards the ears and the rear of the jaw."""
    return np.asarray(smoothstep(*BEHIND, rest[:, 2] - find_rear(rest)), np.float32)


def _thin_edge(share: F32, bare: F32, head: Head) -> F32:
    """Return how dense a beard is near its edge (n,), 0..1: hairs get fewer there, and none ends in a line."""
    x, y, z = np.abs(head.rest[:, 0]), head.rest[:, 1], head.rest[:, 2]
    hair = smoothstep(*TEMPLE[0], y) * smoothstep(*TEMPLE[1], z)
    behind = smoothstep(BEHIND[1], BEHIND[0], z - find_rear(head.rest))  # where it thins out anyway
    within = np.max([np.minimum(1.5 * share, 1), bare, head.mask("ears"), hair, behind], 0)
    thin = smoothstep(*THINNING, soften(within, EDGE))
    free = np.maximum(smoothstep(*CHEEKS, x), smoothstep(*THROAT, y))
    return np.asarray(1 - free * (1 - thin), np.float32)


def _join_hair(share: F32, head: Head, photo: Photo) -> F32:
    """Return how dense sideburns are (n,) that lead from a dense beard up to hair, where the photo sees neither."""
    y, z = head.rest[:, 1], head.rest[:, 2]
    foot = (y > FOOT[0]) & (y < FOOT[1]) & (z > FOOT[2]) & (z < FOOT[3]) & (head.mask("ears") < 0.1)
    if photo.shows(Label.HAIR).sum() < BALD * photo.shows(Label.FACE).sum() or not foot.any():
        return np.zeros_like(share)
    strip = smoothstep(*STRIP, z) * smoothstep(*FOOT[:2], y) * limit_beard(_fray(head.rest), BURNS)
    unseen = 1 - soften(_see(head, photo)[1], SMOOTH)
    dense = JOINED * float(smoothstep(0.15, 0.5, np.asarray(share[foot].mean())))
    return np.asarray(dense * strip * _thin_behind(head.rest) * unseen, np.float32)


def carry_share(head: Head, photo: Photo, whiskers: F32, within: Bools) -> F32:
    """Return how much of the skin at each vertex is covered by whiskers (n,), 0..1; only `within` if not seen."""
    uv, weight = _see(head, photo)
    x, y = (np.clip((uv[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    other = (Label.HAIR, Label.EAR, Label.CLOTHES, Label.HAT, Label.GLASSES, Label.OBJECT)
    weight = weight * ~photo.shows(*other)[y, x] * (photo.known[y, x] > 0.5) * (photo.alpha[y, x] > 0.5)
    share = look_up_points(whiskers, uv)
    places, carried = head.rest * ALONG, np.zeros(len(share), np.float32)
    known = find_known(places, weight, NEIGHBOURS, places[within])
    if known is not None:
        same, other = (mix_known(known, weight, share, BROAD, side) for side in (1, -1))
        carried[within] = np.minimum(FULLER * np.maximum(same, other), 1)
    return soften(carried + weight * (share - carried), SMOOTH)


class Known(NamedTuple):
    """The points nearest to each of m places, and to their mirror images, of those where something is known."""

    rows: NDArray[np.intp]
    distances: tuple[F64, F64]  # (m, k)
    nearest: tuple[NDArray[np.intp], NDArray[np.intp]]  # (m, k) of rows


def find_known(places: Floats, weight: F32, count: int, at: Floats) -> Known | None:
    """Return the points (n, 3) of much weight that are nearest to `at` (m, 3); None if there are hardly any."""
    rows = np.flatnonzero(weight > 0.3)
    if len(rows) <= count:
        return None
    tree = KDTree(places[rows])
    found = [tree.query(at * np.array([sign, 1, 1]), k=count) for sign in (1.0, -1.0)]
    here, there = ((np.asarray(distance), np.asarray(index)) for distance, index in found)
    return Known(rows, (here[0], there[0]), (here[1], there[1]))


def mix_known(known: Known, weight: F32, values: F32, width: float, side: int = 1) -> F32:
    """Return the mean (m, ..) of the values (n, ..) known around the places, or, far from all, their mirror images.

    With `side` -1 it is the mirror images that are nearer.
    """
    near, far = known.distances[::side]
    least = np.minimum(near[:, :1], far[:, :1] + OTHER_SIDE)
    total, mean = np.full(len(near), 1e-12), np.zeros((len(near), *values.shape[1:]))
    for distance, index in zip((near, far + OTHER_SIDE), known.nearest[::side], strict=True):
        trust = np.exp(-(distance - least) / width) * weight[known.rows][index]
        total += trust.sum(1)
        mean += (trust.reshape(*trust.shape, *[1] * (values.ndim - 1)) * values[known.rows][index]).sum(1)
    return (mean / total.reshape(-1, *[1] * (values.ndim - 1))).astype(np.float32)


def carry(places: Floats, weight: F32, values: F32, width: float, count: int, at: Floats | None = None) -> F32:
    """Return `at` places (m, 3), or all of them, the mean of the values known around there or the mirrored place."""
    at = places if at is None else at
    known = find_known(places, weight, count, at)
    if known is None:
        return np.zeros((len(at), *values.shape[1:]), np.float32)
    return mix_known(known, weight, values, width)


def _see(head: Head, photo: Photo) -> tuple[F64, F32]:
    """Return where the photo shows each vertex (n, 2), and how well, by its direction and what lies before it."""
    uv, depth = photo.camera.project(head.body)
    buffers = rasterizer.rasterise(head.body, head.triangles, photo.camera, photo.size)
    surface = np.where(buffers.ids >= 0, buffers.depth, np.inf)
    x, y = (np.clip((uv[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    cosine = (head.normals * unit(photo.camera.position - head.body)).sum(-1)
    seen = (depth < surface[y, x] + HIDDEN) & ((uv > 0) & (uv < 1)).all(-1)
    return uv, (seen * smoothstep(*FACING, cosine)).astype(np.float32)


def measure_overhang(head: Head, photo: Photo) -> float:
    """Return how much of the upper lip the moustache covers, 0..1."""
    uv, weight = _see(head, photo)
    middle = (head.landmarks["lip_top"] + head.landmarks["lip_bottom"])[1] / 2
    weight = weight * (head.mask("lips") > 0.5) * (head.body[:, 1] > middle)
    if weight.sum() < 1:
        return 0.0
    return float(np.average(look_up_points(photo.shows(Label.BEARD).astype(np.float32), uv), weights=weight))


def measure_reach(head: Head, photo: Photo, within: Bools | None = None) -> tuple[F32, F32]:
    """Return how far the beard reaches from each vertex (n,), canonical, and how far it stands off the skin there.

    Both are as at the outline nearby, and found `within` a part of the head, or all over it. Below the jaw a beard
    hangs: its length there is not its thickness.

    The outline is that of the head without its neck, so that it runs along the chin.
    """
    camera = photo.camera
    normals = head.normals @ camera.cam2world[:3, :2]
    uv, depth = camera.project(head.body)
    rows = find_jaw_rim(uv, normals, head, photo)
    direction = unit(normals[rows])
    scale = (depth[rows] / camera.focal)[:, None]
    ways = np.linspace(-0.01, FURTHEST, MARCH)  # canonical
    path = uv[rows][:, None] + direction[:, None] * (ways / scale)[..., None]
    shown = photo.shows(Label.BEARD).astype(np.float32)
    inside = look_up(np.asarray(cv2.GaussianBlur(shown, (0, 0), 1.0), np.float32), path) > 0.5
    reach = _measure_run(inside) * (ways[1] - ways[0]) + ways[0]
    known = inside[:, :12].any(1)
    weight = np.zeros(len(head.rest), np.float32)
    weight[rows[known]] = 1
    values = np.zeros((len(head.rest), 2), np.float32)
    hangs = smoothstep(*DOWNWARD, direction[:, 1])
    values[rows] = np.maximum(reach, 0)[:, None] * np.stack([np.ones_like(hangs), 1 - (1 - HANGING) * hangs], 1)
    part = slice(None) if within is None else within
    carried = np.zeros_like(values)
    carried[part] = carry(head.rest, weight, values, REACH_WIDTH, RIMS, at=head.rest[part])
    return soften(carried[:, 0], SMOOTH), soften(carried[:, 1], SMOOTH)


def find_jaw_rim(uv: Floats, normals: Floats, head: Head, photo: Photo) -> np.ndarray:
    """Return the vertices of the jaw at the outline of the head without its neck.

    Args:
        uv: Where the photo shows the vertices.
        normals: The part of their normals that lies in the picture's plane (n, 2).
        head: The head.
        photo: The photo.
    """
    above = head.rest[:, 1] > find_neck(head.rest) + ABOVE_NECK
    triangles = head.triangles[above[head.triangles].all(1)]
    drawn = rasterizer.rasterise(head.body, triangles, photo.camera, photo.size).ids >= 0
    mouth = np.maximum(head.mask("lips"), head.mask("inside_mouth")) > 0.05  # its opening is no outline
    grown = above & (limit_beard(head.rest) > 0.3) & ~mouth
    rows = np.flatnonzero(grown & (np.linalg.norm(normals, axis=1) > RIM))
    beside = uv[rows] + BEYOND * unit(normals[rows])
    x, y = (np.clip((beside[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    return rows[~drawn[y, x]]


def _measure_run(within: Bools) -> Floats:
    """Return how many samples (n,) each row (n, k) is in the beard, from the first that is."""
    begun = np.maximum.accumulate(within, axis=1)
    ended = np.maximum.accumulate(begun & ~within, axis=1)
    return np.where(within.any(1), (~ended).sum(1), 0).astype(np.float64)


def find_least_length(photo: Photo, skin: SkinOfPixels, whiskers: F32) -> float:
    """Return how long whiskers are that do not stand off the skin, in head heights: as they let it shine through."""
    light = photo.radiance.mean(-1)
    beard = photo.shows(Label.BEARD) & (skin.allowed > 0.9) & (whiskers > 0.5) & (skin.lips < 0.1)
    if min(beard.sum(), photo.shows(Label.FACE).sum()) < 60 or photo.shows(Label.HAIR).sum() < 60:
        return SHORT
    whisker, bare = float(np.median(light[beard])), float(np.median(light[photo.shows(Label.FACE)]))
    hair = min(float(np.median(light[photo.shows(Label.HAIR)])), 0.5 * bare)
    opaque = (bare - whisker) / max(bare - hair, 1e-3)
    return STUBBLE + (SHORT - STUBBLE) * float(smoothstep(*OPAQUE, np.asarray(opaque)))


def trim_whiskers(group: Strands, head: Head, photo: Photo) -> Strands:
    """Cut whiskers off where the photo shows what they would hang before: neck, cloth, background, lips or teeth.

    Where the fitted skin itself lies before the background, so may its whiskers.
    """
    count, k, _ = group.points.shape
    buffers = rasterizer.rasterise(head.body, head.triangles, photo.camera, photo.size)
    drawn = cv2.dilate((buffers.ids >= 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    other = (photo.shows(*BESIDE) & ~(photo.shows(Label.BACKGROUND) & drawn)) & (photo.known > 0.5)
    other = cv2.erode(other.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    far = cv2.distanceTransform(other.astype(np.uint8), cv2.DIST_L2, 3) / photo.size
    far = np.where(photo.shows(Label.LIPS, Label.MOUTH) & other, 1, far)
    loose = LOOSE * np.random.default_rng(count).random((count, 1)) ** 20
    surface = np.where(buffers.ids >= 0, buffers.depth, np.inf)
    uv, depth = photo.camera.project(group.points.reshape(-1, 3).astype(np.float64))
    x, y = (np.clip((uv[:, i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    before = (depth < surface[y, x] + HIDDEN / 2).reshape(count, k)
    astray = other[y, x].reshape(count, k) & before & (far[y, x].reshape(count, k) > loose)
    last = np.where(astray.any(1), astray.argmax(1) - 0.5, k - 1)
    kept = select(group, last > 0)
    return replace(kept, points=shorten(kept.points, last[last > 0]))
