"""The closed surface of an animal's head: the matte inflated around its middle plane, with a muzzle in front.

A face fit knows nothing about animals, so the outline tells the shape: the square of the thickness solves Poisson's
equation over the matte, which makes a skull of a disc, a neck of a strip, and thin ears of what is narrow. Where the
reader finds two eyes and a nose below them, a snout rises around the nose. Depth is measured along the camera's axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import cv2
import numpy as np
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter

from portrait360.geometry.cameras import Camera, azimuth_between
from portrait360.pipeline.portrait.crop import cut_centre
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.animal_body import cloth_share, is_dressed, torso_depth
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.reading.reading import shows_animal
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label
from portrait360.utils.sparse import factorise

FEATURES = (Label.FACE, Label.BROW, Label.EYE, Label.LIPS, Label.MOUTH)  # what is not fur: eyes and nose pad
LEAST_FEATURE = 1e-4  # of the picture's area: smaller spots are no eyes
GRID, MARGIN = 180, 0.2  # cells along the grid in which the head is inflated; how far it reaches beyond the crop
CELL = (1 + 2 * MARGIN) / GRID  # image sides
ROUNDNESS = 3.4  # right side of Poisson's equation: 4 makes a ball of a disc, 2 a round column of a strip
DEEPEST = 1.4  # half the depth of the head by the radius of its largest disc, at most
EAR_DISC = 0.55  # radius of a disc by that of the largest one: what it does not reach is an ear or a horn
EAR_THICKNESS = 0.75  # of ears by the thickness that their width suggests
FRONT, BACK = 0.85, 1.02  # share of the thickness before and behind the middle plane
NARROW = 0.25  # how much less deep the neck is than the skull, by its width
MUZZLE_AZIMUTHS = (35.0, 65.0)  # degrees from the front between which the muzzle moves from the depth to the outline
LEAST_RADIUS = 0.02  # canonical
STEPS = 96  # along a ray
LONGEST = 0.66  # canonical: no ray reaches further
SKULL = 1.3  # radii of the head above the clothes over which a neck becomes a skull
MEETING = 2.5  # cells over which neck and torso meet
OPENED = 2.0  # cells: narrower cloth is a collar's tip
FLAT = 0.5  # width of an animal's lowest row by its widest one from which it has been cut off there
NECK_SLOPE, WIDEST_NECK = 0.2, 0.36  # growth of half the neck's width below the photo; image sides


@dataclass(frozen=True, eq=False)
class Inflated:
    """Depth of the surface before and behind the camera's middle plane, over a grid around the crop."""

    front: Floats  # (GRID, GRID) canonical, negative outside
    back: Floats  # (GRID, GRID)


@dataclass(frozen=True)
class Snout:
    """Where the muzzle is, in image sides."""

    x: float
    y: float
    width: float  # half of it
    length: float


def is_animal(portrait: Portrait) -> bool:
    """Return whether the reader takes the head for an animal's."""
    return portrait.reading is not None and shows_animal(portrait.reading, has_face=portrait.source == "face")


def subject_matte(portrait: Portrait) -> Floats:
    """Return the matte (s, s) of an animal inside the photo: the reader's where the portrait's is unsure."""
    assert portrait.reading is not None
    alpha = portrait.alpha * portrait.inside_photo
    shares = cut_centre(portrait.reading.probabilities, portrait.reading_scale, len(alpha))
    subject = smoothstep(0.4, 0.8, 1 - shares[Label.BACKGROUND])
    unsure = smoothstep(0.3, 0.45, np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.004 * len(alpha)), np.float32))
    return np.maximum(alpha, subject * unsure * portrait.inside_photo).astype(np.float32)


def feature_share(portrait: Portrait) -> Floats:
    """Return the probability (s, s) that a pixel shows an eye or the nose."""
    assert portrait.reading is not None
    shares = cut_centre(portrait.reading.probabilities, portrait.reading_scale, len(portrait.alpha))
    return np.asarray(shares[list(map(int, FEATURES))].sum(0), np.float32)


def animal_radius(portrait: Portrait, layout: HeadMap) -> Floats:
    """Build the surface of an animal's head as radii (rows, columns)."""
    camera = portrait.camera
    matte = subject_matte(portrait)
    mask = extend_mask(matte, portrait.inside_photo)
    snout = find_snout(feature_share(portrait) * (matte > 0.5))
    inflated = inflate(mask, camera, snout, find_clothes(portrait, mask))
    radius = cast_rays(inflated, layout, camera)
    return smooth_radii(radius)


def find_clothes(portrait: Portrait, mask: Bools) -> Bools:
    """Return which cells of the grid are cloth that the body wears; below the photo it continues."""
    known = _to_grid(portrait.inside_photo)
    share = _to_grid(cloth_share(portrait) * portrait.inside_photo) / np.maximum(known, 1e-3)
    last = np.flatnonzero(known.max(1) > 0.5)[-1] - 2
    share[last:] = share[last]
    clothes = mask & (_open(share > 0.5, OPENED) if (share > 0.5).any() else False)
    return clothes if is_dressed(mask, clothes.astype(np.float64)) else np.zeros_like(mask)


def extend_mask(matte: Floats, known: Floats) -> Bools:
    """Resample the matte to the grid, close it, and let the neck continue below the photo."""
    grid = _to_grid(matte)
    inside = grid > 0.5
    opened = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(opened)
    if count == 1:
        return inside
    inside = pieces == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
    columns = np.arange(GRID)
    known_rows = np.where(_to_grid(known).max(1) > 0.5)[0]
    rows = np.where(inside.any(1))[0]
    last = rows[-1]
    ends = len(known_rows) and last >= known_rows[-1] - 2
    if ends or inside[last - 1].sum() > FLAT * inside.sum(1).max():  # the photo or a cut ends here, not the animal
        last = rows[-1] - 2
        middle, half = _run(inside[last])
        y = np.arange(last, GRID)
        wide = np.minimum(half + NECK_SLOPE * (y - last), max(half, WIDEST_NECK / CELL))
        centre = middle + (0.5 * GRID - middle) * smoothstep(0, 0.2 / CELL, y - last)
        inside[last:] |= np.abs(columns[None] + 0.5 - centre[:, None]) < wide[:, None]
    return gaussian_filter(inside.astype(np.float64), 1.8) > 0.42


def _run(row: Bools) -> tuple[float, float]:
    """Return middle and half the width of what a row of the mask holds."""
    columns = np.where(row)[0]
    return (columns[0] + columns[-1] + 1) / 2, (columns[-1] - columns[0] + 1) / 2


def _to_grid(picture: Floats) -> Floats:
    """Resample a picture of the crop to the grid, 0 beyond it."""
    centres = ((np.arange(GRID) + 0.5) * CELL - MARGIN).astype(np.float32)
    x, y = np.meshgrid(centres, centres)
    side = len(picture)
    small = cv2.GaussianBlur(np.asarray(picture, np.float32), (0, 0), 0.4 * CELL * side)
    return np.asarray(cv2.remap(small, x * side - 0.5, y * side - 0.5, cv2.INTER_LINEAR), np.float32)


def find_snout(features: Floats) -> Snout | None:
    """Find two eyes side by side, and the nose below them; return None if they are not there."""
    side = len(features)
    count, pieces, stats, centres = cv2.connectedComponentsWithStats((features > 0.5).astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA] / side**2
    large = [i for i in range(1, count) if areas[i] > LEAST_FEATURE]
    best, widest = None, 0.06  # image sides between the eyes
    for first, second in permutations(large, 2):
        across, down = (centres[second] - centres[first]) / side
        if across <= widest or abs(down) > 0.35 * across or not 0.4 < areas[first] / areas[second] < 2.5:
            continue
        below = ((centres - (centres[first] + centres[second]) / 2) / (across * side))[large]
        nose = np.array(large)[(np.abs(below[:, 0]) < 0.4) & (below[:, 1] > 0.15) & (below[:, 1] < 1.3)]
        if len(nose):
            best, widest = _snout_around(np.isin(pieces, nose), float(across)), float(across)
    return best


def _snout_around(nose: Bools, apart: float) -> Snout:
    """Return the snout around a nose (s, s) of an animal whose eyes are `apart`: the wider the nose, the longer."""
    rows, columns = (place / len(nose) for place in np.where(nose))
    width = np.percentile(columns, 98) - np.percentile(columns, 2)
    ratio = float(np.clip(width / apart, 0.1, 0.6))
    y = float(rows.mean()) + (0.05 + 0.25 * ratio) * apart
    return Snout(float(columns.mean()), y, (0.25 + 0.45 * ratio) * apart, (0.35 + ratio) * apart)


def inflate(mask: Bools, camera: Camera, snout: Snout | None, clothes: Bools) -> Inflated:
    """Inflate the mask around the camera's middle plane, and raise the muzzle; cells of `clothes` are a torso."""
    unit = camera.radius / camera.focal  # canonical length of an image side
    distance = np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), np.float64)
    thick = CELL * unit * _add_torso(_inflate_head(mask & ~clothes, clothes, snout), mask, clothes)
    turned = np.abs(np.asarray(azimuth_between(0, camera.azimuth)))
    share = float(smoothstep(MUZZLE_AZIMUTHS[1], MUZZLE_AZIMUTHS[0], turned))
    front, back = thick * (1 + (FRONT - 1) * share), thick * (1 + (BACK - 1) * share)
    if snout is not None:
        front = front + share * unit * _raise_snout(snout) * smoothstep(0, 6, distance)
    outside = -CELL * unit * (cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5))
    return Inflated(np.where(mask, front, outside), np.where(mask, back, outside))


def _inflate_head(head: Bools, clothes: Bools, snout: Snout | None) -> Floats:
    """Return half the thickness of the head in cells; below the edge of the clothes its neck continues."""
    distance = np.asarray(cv2.distanceTransform((head | clothes).astype(np.uint8), cv2.DIST_L2, 5), np.float64)
    disc = max(float((distance * head)[: GRID * 3 // 4].max()), 2.0)
    thick = np.sqrt(np.maximum(_solve_poisson(head, clothes) * ROUNDNESS, 0))
    thick = thick / (1 + (thick / (DEEPEST * disc)) ** 3) ** (1 / 3)
    ear = gaussian_filter((head & ~_open(head | clothes, EAR_DISC * disc)).astype(np.float64), 0.12 * disc)
    thick = thick * (1 - (1 - EAR_THICKNESS) * smoothstep(0.2, 0.8, ear))
    if snout is None:
        return thick
    y = (np.arange(GRID) + 0.5) * CELL - MARGIN - snout.y  # nape and throat are narrower than the skull
    return thick * (1 - NARROW * smoothstep(0, 3.5 * snout.width, y))[:, None]


def _add_torso(thick: Floats, mask: Bools, clothes: Bools) -> Floats:
    """Return the thickness of the head and, where there are clothes, of the torso that its neck runs into."""
    if not clothes.any():
        return thick
    head = mask & ~clothes
    is_dressed_row = (clothes.sum(1) > 0.5 * mask.sum(1)) & clothes.any(1)
    first = int(is_dressed_row.argmax())
    above = mask[first // 2 : first].sum(1) / 2
    neck = float(above[above > 2].min(initial=GRID / 2))
    disc = float(cv2.distanceTransform(head.astype(np.uint8), cv2.DIST_L2, 5).max(initial=1.0))
    limit = neck + DEEPEST * disc * smoothstep(0, SKULL * disc, first - np.arange(GRID) - 0.5)
    slim = thick / (1 + (thick / limit[:, None]) ** 3) ** (1 / 3)
    weight = gaussian_filter(head.astype(np.float64), MEETING)
    below = gaussian_filter(slim * head, MEETING) / np.maximum(weight, 1e-3)
    share = smoothstep(0.2, 0.8, gaussian_filter(clothes.astype(np.float64), MEETING))
    return np.where(head, slim, below) * (1 - share) + torso_depth(mask, neck) * share


def _raise_snout(snout: Snout) -> Floats:
    """Return how far the muzzle rises over the grid, in image sides."""
    centres = (np.arange(GRID) + 0.5) * CELL - MARGIN
    x, y = (centres[None] - snout.x) / snout.width, (centres[:, None] - snout.y) / snout.width
    y = np.where(y < 0, y / 1.15, y)  # the bridge of the nose is longer than the chin
    away = np.sqrt(x**2 + y**2)
    return snout.length * (0.7 / (1 + away**5) + 0.3 * np.exp(-0.5 * (away / 1.7) ** 2))


def _open(mask: Bools, radius: float) -> Bools:
    """Return what a disc reaches that stays inside the mask."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) > radius
    if not inside.any():
        return mask
    return cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5) <= radius


def _solve_poisson(mask: Bools, beyond: Bools) -> Floats:
    """Solve -laplace(u) = 1 in cells inside the mask, with 0 outside; below the grid and `beyond` it continues."""
    index = np.full(mask.shape, -1)
    cells = np.where(mask)
    index[cells] = np.arange(len(cells[0]))
    padded = np.pad(index, ((1, 0), (1, 1)), constant_values=-1)
    padded = np.concatenate([padded, padded[-1:]])  # no flow through the lower edge
    free = np.pad(beyond, 1)
    centre = index[cells]
    if not len(centre):
        return np.zeros(mask.shape)
    links, diagonal = [], np.full(len(centre), 4.0)
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        diagonal -= free[cells[0] + rows, cells[1] + columns]
        other = padded[cells[0] + rows, cells[1] + columns]
        links.append((centre[other >= 0], other[other >= 0]))
    first, second = (np.concatenate(part) for part in zip(*links, strict=True))
    matrix = sp.diags(diagonal) - sp.coo_matrix((np.ones(len(first)), (first, second)), (len(centre), len(centre)))
    out = np.zeros(mask.shape)
    out[cells] = factorise(matrix).solve(np.ones(len(centre)))
    return out


def cast_rays(inflated: Inflated, layout: HeadMap, camera: Camera) -> Floats:
    """Return where the rays of the map leave the inflated head for the last time."""
    origins, directions = layout.rays()
    fields = np.dstack([inflated.front, inflated.back]).astype(np.float32)
    radius, before = np.full(origins.shape[:2], LEAST_RADIUS), np.full(origins.shape[:2], -1.0)
    found = np.zeros(origins.shape[:2], bool)
    step = (LONGEST - LEAST_RADIUS) / STEPS
    for length in LONGEST - step * np.arange(STEPS + 1):
        points = origins + length * directions
        level = _signed_depth(fields, points, camera)
        leaves = ~found & (level > 0)
        share = level / np.maximum(level - before, 1e-9)
        radius[leaves] = (length + step * share)[leaves]
        found |= leaves
        before = level
    return radius


def _signed_depth(fields: Floats, points: Floats, camera: Camera) -> Floats:
    """Return how deep points lie inside the inflated head, negative outside."""
    uv, depth = camera.project(points)
    towards = camera.radius - depth
    values = look_up(fields, (uv + MARGIN) / (1 + 2 * MARGIN))
    return np.minimum(values[..., 0] - towards, values[..., 1] + towards)


def smooth_radii(radius: Floats) -> Floats:
    """Remove the steps of the grid, and close gaps of single rays."""
    padded = np.concatenate([radius[:, -8:], radius, radius[:, :8]], 1).astype(np.float32)
    padded = cv2.medianBlur(padded, 3)
    return gaussian_filter(padded.astype(np.float64), 0.8, mode="nearest")[:, 8:-8]
