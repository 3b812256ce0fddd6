"""Fit the upper edge of the clothes to where the photo's skin ends and its cloth begins.

The edge is a height for every azimuth around the neck, so that it may be round, square, pointed, lopsided or off the
shoulders. Where the photo shows it, it parts skin from cloth with the fewest wrong pixels; round the back it goes on
as that of the collar that comes nearest, raised or lowered as much as at the sides. Where the photo ends on skin, the
edge lies below.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import distance_transform_edt, gaussian_filter1d, median_filter

from portrait360.geometry import rasterizer
from portrait360.pipeline.avatar.photo.pixels import CLOTHES, SKIN, VOID, Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.parameters import Clothes
from portrait360.synth.wear.necklines import NECKLINES, drop_line, line_height, neck_azimuth
from portrait360.utils.array_types import F32, F64

SIZE = 256  # pixels in which the bare body is drawn
AZIMUTHS = 120
HEIGHTS = np.arange(-1.6, -0.499, 0.01)  # head heights
HIGHEST = (-0.61, -0.50, -0.48)  # head heights the edge may reach in front, at the sides and at the back: the jaw's
STEEP = 1.5  # cost of a step of height between neighbours, in wrong pixels
STEEPEST = 3  # steps of height between neighbours, that no collar exceeds but one that the layers misplace
PRIOR = 0.02  # cost of a step away from the collar that comes nearest
TWO_SIDED = 3  # pixels of skin above and of cloth below from which the photo shows the edge
FORCED = 0.04  # head heights from that collar to which only what the photo shows takes the edge
STIFF, FADE = 40.0, 0.02  # of the difference from that collar, as it goes on to where the edge is unseen
FEW_SHOWN, QUICK = 6, 1.0  # azimuths with an edge below which it fades soon: skin alone says nothing of shoulders
CUT = 2  # pixels above the photo's end within which skin is cut off by it
BELOW, BEND = 0.12, 6.0  # head heights below that at which cloth begins; azimuth steps over which it sinks so far: an
# edge along the photo's own would be a straight line
SPIKE = 3  # azimuth steps: what is narrower than half of it is noise of the labels
SOFT = (1.4, 5.0)  # azimuth steps over which the edge is smoothed where it is seen, and elsewhere


class Evidence(NamedTuple):
    """Pixels by azimuth and height (AZIMUTHS, len(HEIGHTS))."""

    skin: F64
    cloth: F64
    last: F64  # skin at the lower end of the photo


def fit_neckline(head: Head, photo: Photo, clothes: Clothes) -> tuple[float, ...]:
    """Return the heights of the neckline at equal steps of azimuth, in head heights; of `clothes` where unseen."""
    azimuth = 2 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS
    prior = find_prior(azimuth, clothes)
    highest = np.interp(np.abs(np.degrees(wrap(azimuth))), (0, 80, 140), HIGHEST)
    evidence = count_pixels(head, photo)
    first = find_edge(evidence, prior, highest)
    shown = shows_edge(evidence, first)
    fade = FADE if shown.sum() >= FEW_SHOWN else QUICK
    prior = prior + carry_difference(first - prior, shown | (np.abs(first - prior) > FORCED), fade)
    edge = find_edge(evidence, np.minimum(prior, highest), highest)
    edge = lower_unseen(edge, evidence, shown)
    return tuple(float(h) for h in smooth_edge(edge, shown))


def wrap(azimuth: F64) -> F64:
    return (azimuth + np.pi) % (2 * np.pi) - np.pi


def find_prior(azimuth: F64, clothes: Clothes) -> F64:
    """Return the height of a collar's neckline at azimuths around the neck."""
    line = drop_line(NECKLINES[clothes.collar], clothes.drop)
    ring = 0.25 * np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], -1) - np.array([0, 0, 0.10])
    return np.asarray(line_height(ring.astype(np.float32), line), np.float64)


def count_pixels(head: Head, photo: Photo) -> Evidence:
    """Return how many pixels the photo shows of bare skin and of cloth, by the place of the body that lies there."""
    buffers = rasterizer.rasterise(head.body, head.triangles, photo.camera, SIZE)
    rest = rasterizer.interpolate(buffers, head.triangles, head.rest)
    labels = cv2.resize(photo.labels, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    skin, cloth = (np.isin(labels, names) for names in (SKIN, CLOTHES))
    beyond = np.pad(labels == VOID, ((0, CUT), (0, 0)), constant_values=True)[CUT:]
    counts = []
    for mask in (skin, cloth, skin & beyond):
        points = rest[(buffers.ids >= 0) & mask]
        column = (neck_azimuth(points) * AZIMUTHS / (2 * np.pi)).round().astype(int) % AZIMUTHS
        row = np.floor((points[:, 1] - HEIGHTS[0]) / (HEIGHTS[1] - HEIGHTS[0])).astype(int)
        inside = (row >= 0) & (row < len(HEIGHTS))
        flat = np.bincount((column * len(HEIGHTS) + row)[inside], minlength=AZIMUTHS * len(HEIGHTS))
        counts.append(flat.reshape(AZIMUTHS, -1).astype(np.float64))
    return Evidence(*counts)


def find_edge(evidence: Evidence, prior: F64, highest: F64) -> F64:
    """Return the heights (AZIMUTHS,) of the closed line that leaves least skin below it and least cloth above it."""
    none = np.zeros((AZIMUTHS, 1))
    skin_below = np.concatenate([none, np.cumsum(evidence.skin, 1)[:, :-1]], 1)
    cloth_above = np.cumsum(evidence.cloth[:, ::-1], 1)[:, ::-1]
    cost = skin_below + cloth_above + PRIOR * np.abs(HEIGHTS - prior[:, None]) / (HEIGHTS[1] - HEIGHTS[0])
    cost = np.where(highest[:, None] < HEIGHTS, 1e6, cost)
    back = AZIMUTHS // 2
    start = int(cost[back].argmin())  # the line is cut open at the back, which no photo of a face shows
    order = (back + np.arange(AZIMUTHS + 1)) % AZIMUTHS
    steps = np.arange(len(HEIGHTS))
    rise = np.abs(steps[:, None] - steps)
    jump = np.where(rise > STEEPEST, 1e6, STEEP * rise)
    total, came = np.where(steps == start, cost[back], 1e12), []
    for column in order[1:]:
        ways = total[:, None] + jump
        came.append(ways.argmin(0))
        total = ways.min(0) + cost[column]
    row, rows = start, np.zeros(AZIMUTHS, int)
    for column, best in zip(order[:0:-1], reversed(came), strict=True):
        rows[column] = row
        row = best[row]
    return HEIGHTS[rows]


def lower_unseen(edge: F64, evidence: Evidence, shown: np.ndarray) -> F64:
    """Return an edge that sinks below the skin at which the photo ends, deepest in the middle of what is unseen."""
    ends = evidence.last > 0
    lowest = np.where(ends.any(1), HEIGHTS[ends.argmax(1)], np.inf)
    lack = np.clip(edge - (lowest - BELOW), 0, BELOW) * ~shown
    aside = np.asarray(distance_transform_edt(np.tile(lack > 0, 3)))[len(edge) : 2 * len(edge)]
    sunk = np.minimum(lack, BELOW * (1 - np.exp(-aside / BEND)))
    return edge - gaussian_filter1d(sunk, 1.0, mode="wrap")


def shows_edge(evidence: Evidence, edge: F64) -> np.ndarray:
    """Return at which azimuths the photo shows skin above the edge and cloth below it."""
    above = edge[:, None] <= HEIGHTS
    return ((evidence.skin * above).sum(1) >= TWO_SIDED) & ((evidence.cloth * ~above).sum(1) >= TWO_SIDED)


def carry_difference(difference: F64, shown: np.ndarray, fade: float = FADE) -> F64:
    """Return a difference around the neck, smooth, and fading from where it is shown."""
    weight = shown.astype(np.float64)
    count = len(difference)
    # a closed line as a band matrix: three turns of it, of which the middle one counts
    weight, wanted = np.tile(weight, 3), np.tile(weight * difference, 3)
    bands = np.stack([np.full(3 * count, -STIFF), weight + 2 * STIFF + fade])
    return solveh_banded(bands, wanted)[count : 2 * count]


def smooth_edge(edge: F64, shown: np.ndarray) -> F32:
    """Return the edge without steps; where it is seen, its corners stay."""
    edge = np.where(shown, median_filter(edge, SPIKE, mode="wrap"), edge)
    near = gaussian_filter1d(shown.astype(np.float64), 3.0, mode="wrap")
    sharp, soft = (gaussian_filter1d(edge, sigma, mode="wrap") for sigma in SOFT)
    return (near * sharp + (1 - near) * soft).astype(np.float32)
