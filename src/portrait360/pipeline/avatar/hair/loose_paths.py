"""Follow the loose hair of a photo in its picture: wisps that stick out of the hair, and locks that hang from it.

What is too thin to belong to the mass of the hair is loose. From seeds all over it, paths run along its ridges and
its own texture, both ways. Those that come from the mass are strands.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import look_up

THIN = 0.016  # picture sides: half the width of what is too thin to belong to the mass
PART = 0.1  # share of the largest part of the mass that any part of it has
FAINT = 0.25  # alpha of loose hair below which a path ends: fainter, it may be the soft edge of a painting
STRIDE, LONGEST = 0.003, 0.45  # picture sides
ROOTED = 4  # strides that a path runs into the mass
SHORTEST = 0.018  # picture sides away from the mass that a path reaches at least: less is the edge of the mass
TENSOR = (0.0014, 0.004)  # picture sides over which slopes are taken, and over which directions are common
RIDGE, BEND = 0.35, 0.5  # share of a stride towards the middle of a ridge; how far a path follows a new direction
PER_AREA = 1 / 3.0  # seeds per pixel of loose hair
MOST = 1800  # seeds
POINTS = 24  # of a path
SMOOTH = 1.5  # points over which a path is smooth
GAP, CHAINED = 0.02, 2  # picture sides over which a path goes on from another; how often
BESIDE, COMPANY, OUTER = 0.008, 2, 18  # picture sides beside an outer point of a path, others there, and which it is


@dataclass(frozen=True, eq=False)
class LoosePaths:
    """Paths of loose hair, from the mass outwards."""

    uv: F64  # (n, POINTS, 2) picture sides
    outward: F64  # (n, 2) the way out of the mass at their roots

    def select(self, rows: Bools) -> LoosePaths:
        return LoosePaths(self.uv[rows], self.outward[rows])


NO_PATHS = LoosePaths(np.zeros((0, POINTS, 2)), np.zeros((0, 2)))


def find_mass(hair: Bools) -> Bools:
    """Return the hair (s, s) without what is thin, and without lesser parts, which hang from it."""
    radius = round(THIN * len(hair))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    opened = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, disc)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(opened)
    areas = np.where(np.arange(len(stats)) > 0, np.asarray(stats)[:, cv2.CC_STAT_AREA], 0)
    return (areas > PART * areas.max())[parts]


def follow_loose_hair(alpha: Floats, grey: Floats, hair: Bools, seed: int = 71) -> LoosePaths:
    """Return the paths of the loose hair in a picture.

    Args:
        alpha: Its matte (s, s), with single hairs.
        grey: Its brightness, 0 to 1.
        hair: Where it shows hair, also faintly.
        seed: Of where paths are sought.
    """
    size = len(alpha)
    mass = find_mass(hair & (alpha > 0.5))
    free = np.where(hair & ~mass, alpha, 0).astype(np.float32)
    away = (cv2.distanceTransform((~mass).astype(np.uint8), cv2.DIST_L2, 5) / size).astype(np.float32)
    wanted = (free * (free > FAINT)).astype(np.float64)
    count = min(MOST, round(PER_AREA * float(wanted.sum())))
    if count == 0 or not mass.any():
        return NO_PATHS
    rng = np.random.default_rng(seed)
    at = rng.choice(wanted.size, count, p=(wanted / wanted.sum()).ravel())
    start = (np.stack([at % size, at // size], -1) + rng.random((count, 2))) / size
    field = _read_field(np.where(hair, alpha, 0), grey * hair)
    halves = [_walk(start, sign, field, np.where(mass, 1, free).astype(np.float32), mass) for sign in (1, -1)]
    return _join(halves, away, mass)


def _read_field(alpha: Floats, grey: Floats) -> F32:
    """Return the direction along hair, twice its angle, and the way to the middle of ridges (s, s, 4)."""
    size = len(alpha)
    tensor = np.zeros((size, size, 2), np.float32)
    for picture, weight in ((alpha, 1.0), (grey, 1.0)):
        soft = cv2.GaussianBlur(np.asarray(picture, np.float32), (0, 0), TENSOR[0] * size)
        down, across = np.gradient(soft)
        # hair runs across the slope
        tensor += weight * np.stack([down**2 - across**2, -2 * across * down], -1)
    tensor = cv2.GaussianBlur(tensor, (0, 0), TENSOR[1] * size)
    tensor /= np.maximum(np.linalg.norm(tensor, axis=-1, keepdims=True), 1e-9)
    down, across = np.gradient(cv2.GaussianBlur(np.asarray(alpha, np.float32), (0, 0), 1.5 * TENSOR[0] * size))
    up = np.stack([across, down], -1) * TENSOR[1] * size
    up /= np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1.0)
    return np.concatenate([tensor, up], -1).astype(np.float32)


def _walk(start: F64, sign: int, field: F32, free: F32, mass: Bools) -> tuple[F64, F64, Bools]:
    """Return paths (n, k, 2) from their starts, the step at which each ends (n,), and whether it came to the mass."""
    steps = round(LONGEST / STRIDE)
    path = np.repeat(start[:, None], steps + 1, 1)
    ends, inside, heading = np.full(len(start), float(steps)), np.zeros(len(start), int), np.zeros_like(start)
    rows = np.arange(len(start))
    for step in range(steps):
        found = look_up(field, path[rows, step][None])[0]
        angle = np.arctan2(found[:, 1], found[:, 0]) / 2
        along = np.stack([np.cos(angle), np.sin(angle)], -1)
        if step == 0:
            ahead = sign * along
        else:
            along *= np.where((along * heading[rows]).sum(-1) < 0, -1, 1)[:, None]
            ahead = heading[rows] + BEND * (along - heading[rows])
        ahead /= np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-6)
        aside = found[:, 2:] - (found[:, 2:] * ahead).sum(-1, keepdims=True) * ahead
        here = path[rows, step] + STRIDE * (ahead + RIDGE * aside)
        path[rows, step + 1], heading[rows] = here, ahead
        x, y = (np.clip((here[:, i] * len(free)).astype(int), 0, len(free) - 1) for i in (0, 1))
        inside[rows] += mass[y, x]
        over = (free[y, x] < FAINT) | (inside[rows] > ROOTED) | ~((here > 0.002) & (here < 0.998)).all(-1)
        ends[rows[over]] = step + 1.0
        rows = rows[~over]
        if len(rows) == 0:
            break
    return path, ends, inside > ROOTED


def _join(halves: list[tuple[F64, F64, Bools]], away: F32, mass: Bools) -> LoosePaths:
    """Return both halves of each path as one that begins in the mass, without those that do not come from there."""
    (first, first_end, first_in), (second, second_end, second_in) = halves
    rows = np.arange(len(first))[:, None]
    # along a path from the end of its second half to that of its first
    t = np.linspace(0, 1, POINTS)
    t = np.where((first_in & ~second_in)[:, None], 1 - t, t)
    place = -second_end[:, None] + (first_end + second_end)[:, None] * t
    uv = np.where((place >= 0)[..., None], _at(first, rows, place), _at(second, rows, -place))
    rooted = first_in | second_in
    for _ in range(CHAINED):
        uv, rooted = _chain(uv, rooted)
    uv = gaussian_filter1d(uv, SMOOTH, axis=1, mode="nearest")
    uv = leave_lone(uv[rooted & (look_up(away, uv).max(1) > SHORTEST)])
    if len(uv) == 0:
        return NO_PATHS
    soft = cv2.GaussianBlur(mass.astype(np.float32), (0, 0), THIN / 2 * len(mass))
    down, across = np.gradient(-soft)
    outward = look_up(np.stack([across, down], -1), uv[:, :1])[:, 0]
    outward = outward / np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    return LoosePaths(uv, outward)


def leave_lone(uv: F64) -> F64:
    """Return paths (n, k, 2) beside which others run: a single hair looks like a scratch."""
    return uv[has_company(uv)]


def has_company(uv: Floats) -> Bools:
    """Return beside which paths (n, k, d), in a picture or in space, others run."""
    if len(uv) <= COMPANY:
        return np.zeros(len(uv), np.bool_)
    tree = KDTree(uv.reshape(-1, uv.shape[-1]))
    away, nearest = (np.asarray(a) for a in tree.query(uv[:, OUTER], k=8 * COMPANY * POINTS // 3))
    beside = np.where(away < BESIDE, nearest // uv.shape[1], np.arange(len(uv))[:, None])
    others = (np.diff(np.sort(beside, axis=1), axis=1) > 0).sum(1)
    return np.asarray(others >= COMPANY)


def _chain(uv: F64, rooted: Bools) -> tuple[F64, Bools]:
    """Let paths that begin beside one that comes from the mass (n, k, 2) go on from it; return which then do, too."""
    whole, torn = np.flatnonzero(rooted), np.flatnonzero(~rooted)
    if len(whole) == 0 or len(torn) == 0:
        return uv, rooted
    found = KDTree(uv[whole].reshape(-1, 2)).query(uv[torn][:, [0, -1]])
    away, nearest = (np.asarray(a) for a in found)
    turned = away[:, 1] < away[:, 0]
    away, nearest = (np.where(turned, a[:, 1], a[:, 0]) for a in (away, nearest))
    row, last = whole[nearest // POINTS], (nearest % POINTS).astype(np.float64)
    own = np.where(turned[:, None, None], uv[torn][:, ::-1], uv[torn])
    before = _at(uv, row[:, None], last[:, None] * np.linspace(0, 1, POINTS))
    both = np.concatenate([before, own], 1)
    joined = uv.copy()
    joined[torn] = spread_evenly(both, POINTS)
    near = rooted.copy()
    near[torn] = away < GAP
    return np.where(near[:, None, None], joined, uv), near


def spread_evenly(path: F64, count: int) -> F64:
    """Return paths (n, k, d) as `count` points at equal ways from each other."""
    way = np.linalg.norm(np.diff(path, axis=1), axis=-1)
    along = np.concatenate([np.zeros((len(path), 1)), np.cumsum(way, 1)], 1)
    along /= np.maximum(along[:, -1:], 1e-9)
    # all paths as one rising line: each takes a unit of it
    rows = np.arange(len(path))[:, None]
    wanted = (rows + np.linspace(0, 1 - 1e-6, count)).ravel()
    line = (rows + along * (1 - 1e-6)).ravel()
    columns = [np.interp(wanted, line, path[..., i].ravel()) for i in range(path.shape[-1])]
    return np.stack(columns, -1).reshape(len(path), count, -1)


def _at(path: F64, rows: np.ndarray, place: F64) -> F64:
    place = np.clip(place, 0, path.shape[1] - 1.001)
    i = place.astype(int)
    share = (place - i)[..., None]
    return path[rows, i] * (1 - share) + path[rows, i + 1] * share
