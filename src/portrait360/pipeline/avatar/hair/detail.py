"""The locks and gleams of the hair that a photo shows, laid over the hair that it does not show, patch by patch.

Strands that differ one by one average out within a pixel to felt. What makes hair look like hair are light and dark
locks that many strands share, and that run from root to tip: blots across strands would make it a fur. They are taken
from the photo: each patch of the hair shows another place of it, drawn out along its strands, and where patches meet
they blend with their contrast kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from portrait360.pipeline.avatar.hair.donors import measure_along
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE, blur, look_up_points
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise
from portrait360.utils.array_types import F32, F64, I32, Bools, Floats
from portrait360.utils.image_ops import blur_volume, smoothstep

APART = 0.035  # canonical distance between the centres of patches
SOFT = 0.5  # width of their edges, in that distance
BROAD = 0.035  # picture sides: differences broader than this are light, or come from other strands
SHADE = 0.5  # share of hair that may lie in deep shade
MOST = 3.0  # range of what locks differ by, in its median
DIM = 0.004  # radiance below which differences are noise
HUE = 0.25  # share of the differences in hue: some of them are what shines through from behind
DEEP = 0.04  # picture sides from the edge of the hair from which a place is as good as any
CURLED = 2.0  # stretch below which hair is curled, ever more down to 1
LEAST_STRETCH, SLOW = 4.0, 0.3  # of patches, even over curls; pace along strands of the photo's places
FINE, TURNS = 0.8, 0.9  # shares of the detail, and of the turns of curls in its spread
MIXED = 0.3  # share of the tones of broad locks that curls, which mix, have not
TONES = ((14.0, 2.6), (34.0, 2.4))  # of broad locks: per canonical unit; range, in the spread of the detail
GAP, NARROW = 1.4, 0.035  # how dark it is between those, in that spread, and how narrow, in the range of their tones
LONG, SHORT = (0.08, 0.22), 0.6  # canonical lengths from which strands form such locks, and form them fully; the
# share of their tones that short hair has: more would be blotches
ALONG, ROUND = 0.04, 0.12  # how much slower they change along strands; canonical radius at which they are counted
TURN, LEAST_TURN = 0.02, 0.003  # canonical: half a turn of a curl, and how far one stands out at least
PATCHES = 2  # that blend at a point
FEWEST, PLACES = 0.002, 4096  # share of the picture that must show hair, and how many places of it are tried
GRAIN = 0.016  # picture sides within which strands are combed alike in straight hair
COMBED, STRETCH = (0.4, 0.8), (1.0, 5.0)  # how alike curls and straight hair are combed, and how long patches get
WIDTH, NEAR = 0.005, 1.0  # canonical side of a cell, and the cells over which strands share their tones
OWN = 0.5  # share of what differs within that from strand to strand that stays
EVERY = 3  # points of a strand that look for their patches together


@dataclass(frozen=True, eq=False)
class Example:
    """What locks look like in a photo."""

    detail: F32  # (s, s, 4) logarithms of gains, mean 0 within lit hair; 1 there, 0 in deep shade and beside it
    places: F64  # (n, 2) centres of patches, pixels
    along: F64  # (n, 2) directions of the strands there
    pixels: float  # per canonical unit
    stretch: float  # length of locks against their width


def read_detail(photo: Photo, hair: Bools) -> Example | None:
    """Return the locks of a photo within its hair (s, s); None where it shows too little of them."""
    if hair.mean() < FEWEST:
        return None
    detail = _measure_detail(photo, hair)
    hair = detail[..., 3] > 0
    stretch = measure_stretch(detail[..., :3], hair)
    depth = np.minimum(cv2.distanceTransform(hair.astype(np.uint8), cv2.DIST_L2, 3) / (DEEP * photo.size), 1.0)
    rows = np.flatnonzero(hair)
    chance = np.asarray(depth, np.float64).ravel()[rows] ** 3
    chosen = np.random.default_rng(31).choice(rows, PLACES, p=chance / chance.sum())
    y, x = np.unravel_index(chosen, hair.shape)
    angle = np.arctan2(photo.flow[y, x, 1], photo.flow[y, x, 0]).astype(np.float64) / 2
    along = np.stack([np.cos(angle), np.sin(angle)], -1)
    along *= np.where(along[:, 1:] < 0, -1.0, 1.0)  # downwards, as most hair grows
    pixels = photo.camera.focal / photo.camera.radius * photo.size
    return Example(
        detail,
        np.stack([x, y], -1).astype(np.float64) + 0.5,
        along.astype(np.float64),
        pixels,
        stretch,
    )


def _measure_detail(photo: Photo, hair: Bools) -> F32:
    """Return the detail of the hair and a mask of what is lit of it (s, s, 4), see `Example`.

    In deep shade, as between a face and a curtain of hair, gaps are black: no locks are as dark anywhere else.
    """
    light = np.log(np.maximum(photo.radiance, 0) + DIM).astype(np.float32)
    # exact: another pixel that counts as lit would change which places are drawn
    broad = blur(light, hair.astype(np.float32), BROAD * photo.size, is_exact=True)
    detail, around = light - broad, broad.mean(-1)
    whole, hair = hair, hair & (around >= np.quantile(around[hair], SHADE))
    grey = detail.mean(-1, keepdims=True)
    # the few that differ more lie in shade, or are not hair
    usual = max(MOST * float(np.median(np.abs(grey[hair]))), 1e-3)
    grey, hue = usual * np.tanh(grey / usual), np.clip(HUE * (detail - grey), -usual, usual)
    detail = (grey + hue - (grey + hue)[hair].mean(0)) * whole[..., None]
    return np.concatenate([detail, hair[..., None]], -1).astype(np.float32)


def lay_detail(points: F32, example: Example) -> F32:
    """Return gains of the points of strands (s, k, 3), logarithms, that give them the locks of an example."""
    spread = np.float32(example.detail[..., :3][example.detail[..., 3] > 0].mean(-1).std())
    curled = np.float32((CURLED - min(example.stretch, CURLED)) / (CURLED - 1))
    locks = _lay_along_strands(points, replace(example, stretch=max(example.stretch, LEAST_STRETCH)))
    turns = curled * find_bulges(points) if curled > 0 else 0.0
    tones = FINE * locks + spread * (1 - MIXED * curled) * tone_locks(points)
    return np.asarray(share_tones(points, tones) + spread * TURNS * turns, np.float32)


def tone_locks(points: F32) -> F32:
    """Return how much lighter or darker broad locks are (s, k, 1), which run from the crown to the ends.

    Strands that lie above one another come from different heights, but from the same side of the whorl. Locks of
    short hair are no longer than its strands, and leave no gaps: these would be seams from the crown to the nape.
    """
    off = points - HEAD_CENTRE
    side = unit(off * np.array([1.0, 0.0, 1.0]) + 1e-9)
    long = smoothstep(*LONG, measure_along(points)[:, -1:])
    place = ROUND * unit(side + side.mean(1, keepdims=True) + 1e-9)
    place[..., 1] = long * ALONG * off[..., 1] + (1 - long) * off[..., 1].mean(1, keepdims=True)
    flat, gap = place.reshape(-1, 3).astype(np.float32), GAP * np.repeat(long, points.shape[1])
    locks = [noise(flat, across, 71 + row) - 0.5 for row, (across, _) in enumerate(TONES)]
    tones = [
        size * lock - gap * np.exp(-((lock / NARROW) ** 2)) for lock, (_, size) in zip(locks, TONES, strict=True)
    ]
    tone = np.sum(tones, 0) * (SHORT + (1 - SHORT) * np.repeat(long, points.shape[1]))
    return (tone - tone.mean()).reshape(*points.shape[:2], 1).astype(np.float32)


def share_tones(points: F32, gains: F32) -> F32:
    """Return gains (s, k, 3) of which strands that lie together have most in common, with their spread kept."""
    around = average_around(points, gains, WIDTH, NEAR)
    mixed = around + OWN * (gains - around)
    return np.asarray(mixed * (gains.std() / max(float(mixed.std()), 1e-6)), np.float32)


def average_around(points: F32, values: Floats, width: float, blur: float) -> F32:
    """Return the mean of values (s, k, c) around each point (s, k, 3): within `blur` cells of this width."""
    return average_within(points, values, width, (blur,))[0]


def average_within(points: F32, values: Floats, width: float, reaches: Sequence[float]) -> list[F32]:
    """Return the same within each of several numbers of cells."""
    low = points.reshape(-1, 3).min(0) - 3 * width
    cells = ((points - low) / width).astype(int)
    size = tuple(cells.reshape(-1, 3).max(0) + 4)
    row = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), size).ravel()
    count = int(np.prod(size))
    crowd = np.bincount(row, minlength=count).astype(np.float32).reshape(size)
    channels = np.moveaxis(values, -1, 0)
    sums = [np.bincount(row, channel.ravel(), count).reshape(size).astype(np.float32) for channel in channels]
    found = []
    for reach in reaches:
        amount = np.maximum(blur_volume(crowd, reach), 1e-3)
        around = np.stack([(blur_volume(grid, reach) / amount).ravel()[row] for grid in sums], -1)
        found.append(np.asarray(around.reshape(values.shape), np.float32))
    return found


def _lay_along_strands(points: F32, example: Example) -> F32:
    """Lay patches along strands that run side by side."""
    rng = np.random.default_rng(37)
    ways = measure_along(points)
    features = place_points(points, ways, example.stretch)
    flat = features.reshape(-1, 4)
    centres = _spread(flat, rng)
    source = rng.integers(len(example.places), size=len(centres))
    places, along = example.places[source], example.along[source]
    side = along[:, ::-1] * np.array([-1.0, 1.0])
    steps = np.stack([side, along], 1)  # pixels of the photo for one across and one along a patch
    guides, towards = _make_guides(points, centres)
    total, power = np.zeros((len(flat), 3), np.float32), np.full(len(flat), 1e-6, np.float32)
    for patch in _find_patches(features, flat[centres]).T:
        beside = _find_beside(ways, patch, ways[centres // points.shape[1], -1])
        off = points.reshape(-1, 3) - guides[patch, beside]
        across = np.einsum("ij,ij->i", off, towards[patch, beside])
        place = np.stack([across, SLOW * (ways.ravel() - ways.ravel()[centres[patch]])], 1) * example.pixels
        shown = look_up_points(
            example.detail, (places[patch] + np.einsum("ij,ijk->ik", place, steps[patch])) / len(example.detail)
        )
        weight = np.exp(-0.5 * ((flat - flat[centres[patch]]) ** 2).sum(1) / SOFT**2).astype(np.float32) * shown[:, 3]
        total += weight[:, None] * shown[:, :3]
        power += weight**2
    return np.asarray(total / np.sqrt(power)[:, None], np.float32).reshape(points.shape)


def find_bulges(points: F32) -> F32:
    """Return how far the turns of curls stand out (s, k, 1): about 1 where they face outwards, -1 at their backs.

    A curl gleams on the outside of each turn, and lies in its own shade within: that shows its size.
    """
    step = float(np.linalg.norm(np.diff(points, axis=1), axis=2).mean())
    steps = max(TURN / max(step, 1e-6), 1.0)
    axis = gaussian_filter1d(points, steps, axis=1, mode="nearest")
    out = ((points - axis) * unit(axis - HEAD_CENTRE)).sum(-1)
    out = out - gaussian_filter1d(out, 2 * steps, axis=1, mode="nearest")  # the head is round, too
    return np.tanh(out / max(float(np.sqrt(np.mean(out**2))), LEAST_TURN))[..., None].astype(np.float32)


def place_points(points: F32, ways: F64, stretch: float) -> F32:
    """Return where points of strands lie (s, k, 4) in a space in which patches have size 1.

    Patches of straight hair are long: they hold the same strands from end to end.
    """
    middle = points[:, points.shape[1] // 2, None]
    places = [middle + (points - middle) / stretch, ways[..., None] / stretch]
    return (np.concatenate(places, -1) / APART).astype(np.float32)


def _make_guides(points: F32, centres: NDArray[np.int64]) -> tuple[F32, F32]:
    """Return the strand through each centre (n, k, 3), and the directions across it in the surface of the hair."""
    guides = points[centres // points.shape[1]]
    across = np.cross(np.gradient(guides, axis=1), unit(guides - HEAD_CENTRE))
    return guides, unit(across + 1e-12).astype(np.float32)


def _find_beside(ways: F64, patch: I32, lengths: F64) -> I32:
    """Return the point of its patch's guide that lies as far from the root as each point."""
    last = ways.shape[1] - 1
    return np.clip(np.round(ways.ravel() / np.maximum(lengths[patch], 1e-6) * last), 0, last).astype(np.int32)


def _spread(features: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return rows of points that lie about one unit apart."""
    cells = np.floor(features).astype(np.int64)
    low, high = cells.min(0), cells.max(0)
    # numbers, which are sorted far sooner than rows
    number = np.asarray(np.ravel_multi_index(tuple((cells - low).T), tuple(high - low + 1)))
    order = rng.permutation(len(features))
    _, first = np.unique(number[order], return_index=True)
    return order[first]


def _find_patches(features: F32, centres: F32) -> I32:
    """Return the patches nearest to each point (s * k, PATCHES)."""
    count, k, _ = features.shape
    asked = features[:, EVERY // 2 :: EVERY] if k > EVERY else features
    _, found = KDTree(centres).query(asked.reshape(-1, asked.shape[-1]), k=min(PATCHES, len(centres)))
    found = np.asarray(found, np.int32).reshape(count, asked.shape[1], -1)
    rows = np.minimum(np.arange(k) // EVERY, asked.shape[1] - 1) if k > EVERY else np.arange(k)
    return found[:, rows].reshape(count * k, -1)


def measure_stretch(detail: F32, hair: Bools) -> float:
    """Return how long locks are against their width: from how alike neighbouring pixels are combed."""
    grey = cv2.GaussianBlur(detail.mean(-1), (0, 0), 1.0)
    across, down = cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)
    products = np.stack([across * across - down * down, 2 * across * down, across * across + down * down], -1)
    x, y, total = np.moveaxis(cv2.GaussianBlur(products, (0, 0), GRAIN * len(detail))[hair], -1, 0)
    alike = float(np.hypot(x, y).sum() / max(float(total.sum()), 1e-9))
    return float(np.interp(alike, COMBED, STRETCH))
