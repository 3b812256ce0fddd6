"""The weave, knit or print of cloth for what a photo does not show of it, in patches of what it does.

Patches of the photo, none stretched, are laid side by side in a tile and cut along the line on which they differ
least (Efros and Freeman, Image quilting for texture synthesis and transfer, 2001). The tile covers the clothes from
three sides, as that of the skin does.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import pixel_centres
from portrait360.pipeline.avatar.photo.exposure import blur, look_up_points, shrink
from portrait360.pipeline.avatar.photo.pixels import BEARD, CLOTHES, HAIR, Photo
from portrait360.pipeline.avatar.photo.skin_tone import log_density
from portrait360.pipeline.avatar.skin.detail import coarser, look_up_detail
from portrait360.synth.meshes import unit
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import SKIN_LABELS

PATCHES = (56, 40, 28, 20)  # sides of patches, pixels of a photo of 512: the widest of which there are enough
ENOUGH, SEVERAL = 80, 2.0  # places that patches can come from, and patches that they cover side by side
TRIED, GOOD = 80, 14  # places that are compared, and how many of those that fit best one is drawn from
OVERLAP = 0.3  # of a patch's side
COUNT = 9  # patches along the tile's side
BROAD = 0.9  # patch sides: what is wider is light, or the garment's colours hold it
SHAPE = 0.45  # of a patch: what is wider than this in the brightness alone are folds
FOLDS = 0.25  # what is left of them
MOST = 2.2  # logarithm of the gain of a detail
FACING = 0.5  # cosine to the photo from which cloth is not foreshortened much
CLEAR = 0.012  # picture sides from skin, hair and background
OUTER = 0.4  # share of the shown cloth nearest to the middle that may be what is worn beneath
STRONG, EVEN, ALIKE = 0.3, 0.6, 0.25  # deviation within patches of a print; of the weakest, of the strongest;
# and of their means: what varies else are folds, seams, one big motif or several things
RINGS = 2.0  # how much more of the changes of a print run down than across, from which it is rings around the body
LIKE_SKIN, EDGE, NEAR_SKIN = 1.0, 5, 0.1  # how much likelier a colour is on skin than on cloth, logarithm; pixels of
# its edges; picture sides from skin within which it may be skin
PLAIN, WEAVE = 28, 3.0  # sides of patches of plain cloth, and what is finer than folds, pixels of 512
QUIETEST = 0.15  # quantile of patches that have few folds
WOVEN = 0.16  # deviation of logarithms from which what varies so finely is no weave, but a check or a print
SHOWN, HIDDEN = (0.2, 0.55), (0.02, 0.035)  # as that of colours of vertices: cosines to the photo, canonical depths
FROM_SIDE = 12  # exponent of how far a surface faces one of the three sides: two prints over one another are neither
QUIET = 0.03  # radiance below which colours are not compared: on dark cloth grain would be a print
SEED = 11


@dataclass(frozen=True, eq=False)
class ClothPattern:
    """A tile (t, t, 3) of what cloth varies by, logarithms of gains; its pixels are as fine as the photo's."""

    tile: F32
    pixel: float  # canonical side of a pixel


def make_pattern(photo: Photo, depth: F32) -> ClothPattern | None:
    """Return the pattern of the outer garment of a photo; None where it shows too little of one.

    Args:
        photo: The photo.
        depth: The depth of the first surface at its camera (k, k), 9 where there is none.
    """
    pixel = float(photo.camera.radius / photo.camera.focal) / photo.size
    depth = np.asarray(cv2.resize(depth, (photo.size,) * 2, interpolation=cv2.INTER_NEAREST), np.float32)
    sure = find_clean_cloth(photo, depth)
    scale = photo.size / 512
    for side in (max(round(side * scale), 8) for side in PATCHES):
        places = find_places(sure, side)
        if len(places) < ENOUGH or count_apart(places, side) < SEVERAL:
            continue
        detail = find_detail(photo.radiance, sure, side)
        if is_print(*measure_patches(detail, places, side)):
            if runs_around(detail, sure):
                return None  # the colours of the garment hold rings, at their own heights
            return ClothPattern(quilt(detail, places, side), pixel)
        side = min(side, round(PLAIN * scale))
        weave, places = find_weave(detail, sure, side, WEAVE * scale)
        strength = float(weave[tuple((places + side // 2).T)].std())
        return ClothPattern(quilt(weave, places, side), pixel) if strength < WOVEN else None
    return None


def find_weave(detail: F32, sure: Bools, side: int, width: float) -> tuple[F32, NDArray[np.intp]]:
    """Return what of the detail of plain cloth is finer than folds, and the patches that have no seam."""
    fine = detail - blur(detail, sure.astype(np.float32), width)
    places = find_places(sure, side)
    _, strength = measure_patches(detail, places, side)
    places = places[strength <= np.quantile(strength, QUIETEST)]
    row, column = (places + side // 2).T
    most = 2 * float(fine[row, column].std()) + 1e-6
    return np.asarray(most * np.tanh(fine / most), np.float32), places


def lay_pattern(pattern: ClothPattern, points: Floats, normals: Floats, step: float) -> F32:
    """Return what a pattern adds to the colours of points (n, 3), logarithms; they lie `step` of its pixels apart."""
    return look_up_detail(coarser(pattern.tile, step), pattern.pixel, points, normals, FROM_SIDE)


def find_shown_cloth(photo: Photo, points: Floats, normals: Floats, behind: Floats) -> F32:
    """Return how well the photo shows points (n, 3) of cloth, which lie `behind` the first surface that it sees."""
    facing = (normals * unit(photo.camera.position - points)).sum(-1)
    uv = photo.camera.project(points)[0]
    mask = look_up_points(photo.mask(CLOTHES, inset=2) * photo.known, uv) * ((uv > 0) & (uv < 1)).all(-1)
    hidden = smoothstep(*HIDDEN, np.asarray(behind, np.float32))
    return np.asarray(mask * smoothstep(*SHOWN, facing) * (1 - hidden), np.float32)


def is_print(mean: F64, strength: F64) -> bool:
    """Return whether patches of means (n, 3) vary as strongly everywhere, and do not differ from one another."""
    low, middle, high = np.quantile(strength, (0.05, 0.5, 0.95))
    return bool(middle > STRONG and low > EVEN * high and mean.std(0).mean() < ALIKE * middle)


def runs_around(detail: F32, sure: Bools) -> bool:
    """Return whether cloth changes from the top down far more than to the sides, as stripes around a body do."""
    within = shrink(sure, 2)
    across, down = (float((np.gradient(detail, axis=axis) ** 2)[within].sum()) for axis in (1, 0))
    return down > RINGS * across


def find_clean_cloth(photo: Photo, depth: F32) -> Bools:
    """Return where the photo shows the outer garment, away from all else, and not aslant."""
    other = photo.shows(*SKIN_LABELS, *HAIR, *BEARD) | (photo.alpha < 0.9)
    away = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) > CLEAR * photo.size
    sure = shrink(photo.shows(*CLOTHES)) & away & (photo.known > 0.99) & (depth < 8)
    points = photo.camera.unproject(pixel_centres(photo.size, photo.size), np.minimum(depth, 8))
    smooth = np.asarray(cv2.GaussianBlur(points.astype(np.float32), (0, 0), 3.0), np.float32)
    sure &= find_facing(smooth, photo) > FACING
    if not sure.any():
        return sure
    sure &= ~find_skin_colours(photo, sure)
    if not sure.any():
        return sure
    side = np.abs(points[..., 0])  # what lies in the middle may be the shirt beneath a jacket
    return sure & (side >= np.quantile(side[sure], OUTER))


def find_skin_colours(photo: Photo, sure: Bools) -> Bools:
    """Return where cloth near skin has a colour of skin that cloth further off has not: a gap beneath a collar."""
    skin = photo.shows(*SKIN_LABELS)
    near = cv2.distanceTransform((~skin).astype(np.uint8), cv2.DIST_L2, 3) < NEAR_SKIN * photo.size
    if not (sure & near).any() or not (sure & ~near).any():
        return np.zeros_like(sure)
    odds = log_density(photo.rgb, photo.rgb[skin]) - log_density(photo.rgb, photo.rgb[sure & ~near])
    like = ((odds > LIKE_SKIN) & sure & near).astype(np.uint8)
    return cv2.dilate(like, np.ones((EDGE, EDGE), np.uint8)) > 0


def find_facing(points: F32, photo: Photo) -> F32:
    """Return the cosine between the surface of points (s, s, 3) and the way to the photo's camera."""
    across, down = (np.gradient(points, axis=axis) for axis in (1, 0))
    normals = np.cross(down, across)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    way = photo.camera.position - points
    return np.asarray(np.abs((normals * way).sum(-1)) / np.linalg.norm(way, axis=-1), np.float32)


def find_places(sure: Bools, side: int) -> NDArray[np.intp]:
    """Return the upper left corners (n, 2), row and column, of squares that lie within a mask."""
    total = np.pad(np.cumsum(np.cumsum(sure, 0), 1), ((1, 0), (1, 0)))
    inside = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return np.argwhere(inside >= 0.995 * side * side)


def count_apart(places: NDArray[np.intp], side: int) -> float:
    """Return how many patches as large as these cover: from one place, a buttonhole in all of them is no print."""
    corners = np.zeros(places.max(0) + side, np.uint8)
    corners[tuple(places.T)] = 1
    covered = cv2.dilate(corners, np.ones((side, side), np.uint8), anchor=(side - 1, side - 1))
    return float(covered.sum() / side**2)


def find_detail(radiance: Floats, sure: Bools, side: int) -> F32:
    """Return by what cloth differs from the cloth around it (s, s, 3), logarithms: its colours, not its folds."""
    light, inside = np.log(np.maximum(radiance, 0) + QUIET).astype(np.float32), sure.astype(np.float32)
    detail = light - blur(light, inside, BROAD * side)
    wide = blur(detail, inside, SHAPE * side).mean(-1, keepdims=True)
    detail = (detail - (1 - FOLDS) * wide) * inside[..., None]
    return np.asarray(MOST * np.tanh(detail / MOST), np.float32)


def measure_patches(detail: F32, places: NDArray[np.intp], side: int) -> tuple[F64, F64]:
    """Return the mean (n, 3) of every patch, and how strongly it varies (n,)."""
    both = np.concatenate([detail, detail**2], -1, dtype=np.float64)
    total = np.pad(both.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    row, column = places.T
    sums = total[row + side, column + side] - total[row, column + side]
    sums -= total[row + side, column] - total[row, column]
    mean, square = np.split(sums / side**2, 2, axis=-1)
    return mean, np.sqrt(np.maximum(square - mean**2, 0).mean(-1))


def quilt(detail: F32, places: NDArray[np.intp], side: int) -> F32:
    """Return a tile without seams, of patches that fit to one another."""
    random = np.random.default_rng(SEED)
    overlap = max(round(OVERLAP * side), 3)
    step = side - overlap
    size = COUNT * step
    tile, filled = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.bool_)
    for i in range(COUNT):
        for j in range(COUNT):
            rows, columns = (np.arange(side) + i * step) % size, (np.arange(side) + j * step) % size
            where = np.ix_(rows, columns)
            old, known = tile[where], filled[where]
            tried = places[random.integers(0, len(places), TRIED)]
            patches = np.stack([detail[y : y + side, x : x + side] for y, x in tried])
            patches[::2] = patches[::2, :, ::-1]  # mirrored, of one motif there are two
            error = (((patches - old) ** 2).sum(-1) * known).sum((1, 2))
            best = patches[random.choice(np.argsort(error, kind="stable")[:GOOD])]
            share = cut_patch(((best - old) ** 2).sum(-1), known, overlap)[..., None]
            tile[where], filled[where] = old + share * (best - old), True
    return tile - np.median(tile, (0, 1))


def cut_patch(error: F32, known: Bools, overlap: int) -> F32:
    """Return how far a new patch (k, k) covers the old picture, of which `error` is its difference from it."""
    share = np.ones(error.shape, np.float32)
    middle = len(error) // 2
    for turns, is_known in enumerate((known[middle, 0], known[0, middle], known[middle, -1], known[-1, middle])):
        if is_known:  # turned so that the overlap lies on the left
            cut = np.rot90(find_cut(np.rot90(error, turns)[:, :overlap], len(error)), -turns)
            share = np.minimum(share, cut)
    return np.where(known, cv2.GaussianBlur(share, (0, 0), 0.8), 1).astype(np.float32)


def find_cut(error: F32, width: int) -> F32:
    """Return 0 left of the line down an overlap (k, m) along which the error is least, 1 on its right (k, width)."""
    walled = np.pad(error.astype(np.float64), ((0, 0), (1, 1)), constant_values=np.inf)
    total = walled[:, 1:-1]
    for row in range(1, len(total)):
        above = walled[row - 1]
        total[row] += np.minimum(np.minimum(above[:-2], above[1:-1]), above[2:])
    line = np.zeros(len(total), int)
    line[-1] = total[-1].argmin()
    for row in range(len(total) - 2, -1, -1):
        low = max(line[row + 1] - 1, 0)
        line[row] = low + total[row, low : line[row + 1] + 2].argmin()
    return (np.arange(width) >= line[:, None]).astype(np.float32)
