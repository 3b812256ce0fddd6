"""Pores, freckles and grain for the skin that a photo does not show, in patches of the skin that it does.

Patches of the photo, each from a random place, overlap in a tile, mixed so that their variance stays (Heitz and
Neyret, High-performance by-example noise, 2018), for a mean of details would be smooth. The tile covers the head
from three sides, the coarser half of it as colours of vertices, the finer one pixel by pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.exposure import QUIET, blur, shrink
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.portrait_labels import Label

BROAD = 0.016  # canonical width of details: what is wider is shape and light
WIDE, ALIKE = 0.005, 0.5  # width from which they may be folds and shade; how strong that may be, of finer ones
FINE = 0.006  # that of what is too fine for colours of vertices
MOST = 0.3  # logarithm of the gain of a detail
RADII = (0.026, 0.020, 0.015)  # canonical radii of patches, the widest that fit into the seen skin
APART = 0.6  # distance between patches, of their radius
ENOUGH = 100  # places that patches of a radius can come from
MANY = 8 * ENOUGH  # of which enough are left where folds and lines are not taken
LIT = 0.4  # quantile of the light on skin from which places are taken
USUAL = (0.25, 0.8)  # quantiles of how strong details are around a place: above them are folds and edges
UNMARKED = 0.7  # quantile of the strongest detail in a patch
UNLINED = 0.6  # quantile of how far details run one way, as wrinkles do
SHARP = 4.0  # exponent of the shares of patches
TILE = 0.4  # canonical side of the tile
FROM_SIDE = 4  # exponent of how far a surface faces one of the three sides
SEED = 7


@dataclass(frozen=True, eq=False)
class SkinDetail:
    """A tile (t, t, 3) of what skin varies by, logarithms of gains; its pixels are as fine as the photo's."""

    coarse: F32
    fine: F32
    pixel: float  # canonical side of a pixel


def make_detail(photo: Photo, label: Label = Label.FACE) -> SkinDetail | None:
    """Return the detail of the skin of a face, or of a hat; None where a photo shows too little of one."""
    pixel = float(photo.camera.radius / photo.camera.focal) / photo.size
    sure = shrink(photo.shows(label)) & (photo.known > 0.9)
    detail = _hold_back_folds(_find_detail(photo.radiance, sure, pixel), sure, pixel)
    lit = find_lit(photo.radiance, sure, pixel)
    room = np.asarray(cv2.distanceTransform(sure.astype(np.uint8), cv2.DIST_L2, 3), np.float32)
    for radius in RADII:
        places = _find_places(detail, sure, lit, room, radius / pixel)
        if len(places) >= ENOUGH:
            tile = _lay_tile(detail, places, radius / pixel, max(round(TILE / pixel), 8))
            coarse = _blur_tile(tile, FINE / pixel)
            return SkinDetail(coarse, tile - coarse, pixel)
    return None


def look_up_detail(tile: F32, pixel: float, points: Floats, normals: Floats, exponent: float = FROM_SIDE) -> F32:
    """Return what a tile shows at points (n, 3) of a surface, from the side, from above and from before."""
    share = np.abs(normals) ** exponent
    share = share / np.maximum(np.linalg.norm(share, axis=-1, keepdims=True), 1e-6)
    out = np.zeros((len(points), 3), np.float32)
    for axis, (across, up) in enumerate(((2, 1), (0, 2), (0, 1))):
        out += share[:, axis, None] * _look_up_tile(tile, points[:, across] / pixel, -points[:, up] / pixel)
    return out


def coarser(tile: F32, step: float) -> F32:
    """Return a tile for points that lie `step` of its pixels apart."""
    return tile if step < 0.8 else _blur_tile(tile, 0.45 * step)


def _find_detail(radiance: Floats, sure: Bools, pixel: float) -> F32:
    """Return by what skin differs from the skin around it (s, s, 3), logarithms, 0 elsewhere."""
    light, inside = np.log(np.maximum(radiance, 0) + QUIET).astype(np.float32), sure.astype(np.float32)
    detail = (light - blur(light, inside, BROAD / pixel)) * inside[..., None]
    return np.asarray(MOST * np.tanh(detail / MOST), np.float32)


def _hold_back_folds(detail: F32, sure: Bools, pixel: float) -> F32:
    """Return details (s, s, 3) whose wide part is hardly stronger than the fine one is in usual skin."""
    if not sure.any():
        return detail
    inside = sure.astype(np.float32)
    wide = blur(detail, inside, WIDE / pixel) * inside[..., None]
    power = blur(((detail - wide) ** 2).mean(-1), inside, BROAD / pixel)[sure]
    most, strength = ALIKE * np.sqrt(np.median(power)) + 1e-6, np.abs(wide).max(-1, keepdims=True) + 1e-9
    return np.asarray(detail + wide * (most * np.tanh(strength / most) / strength - 1), np.float32)


def find_lit(radiance: Floats, sure: Bools, pixel: float) -> Bools:
    """Return where skin is about as light as most of it (s, s): in shade its grain is the camera's, or a canvas's."""
    if not sure.any():
        return sure
    broad = blur(np.asarray(radiance.mean(-1), np.float32), sure.astype(np.float32), BROAD / pixel)
    return np.asarray(broad >= np.quantile(broad[sure], LIT))


def _find_places(detail: F32, sure: Bools, lit: Bools, room: F32, radius: float) -> F64:
    """Return the pixels (n, 2) around which there is skin all over a radius, not folded, lined or out of focus.

    They are `lit`, unless too few would be.
    """
    free = room > radius
    free = free & lit if (free & lit).sum() >= MANY else free
    if not free.any():
        return np.zeros((0, 2))
    strength = blur((detail**2).mean(-1), sure.astype(np.float32), 0.6 * radius)
    low, high = np.quantile(strength[free], USUAL)
    lined = _find_lines(detail.mean(-1), radius)
    usual = free & (strength >= low) & (strength <= high) & (lined <= np.quantile(lined[free], UNLINED))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(radius) + 1, 2 * int(radius) + 1))
    strongest = cv2.dilate(np.abs(detail.mean(-1)), disc)  # a nostril all over the head would be seen
    usual &= strongest <= np.quantile(strongest[free], UNMARKED)
    rows, columns = np.nonzero(usual)
    return np.stack([columns, rows], 1).astype(np.float64)


def _find_lines(detail: F32, radius: float) -> F32:
    """Return how far the details around each pixel run one way (s, s), 0..1, as wrinkles do: structure tensor."""
    across, down = (cv2.Sobel(detail, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    xx, yy, xy = (cv2.GaussianBlur(a, (0, 0), 0.6 * radius) for a in (across**2, down**2, across * down))
    return np.asarray(np.hypot(xx - yy, 2 * xy) / (xx + yy + 1e-9), np.float32)


def _lay_tile(detail: F32, places: F64, radius: float, side: int) -> F32:
    """Return a tile (side, side, 3) without seams, of patches from random places."""
    random = np.random.default_rng(SEED)
    count = max(round(side / (APART * radius)), 3)
    step = side / count
    middles = step * (np.indices((count, count)) + random.uniform(0.2, 0.8, (2, count, count)))
    middles = np.floor(middles) + 0.5  # between pixels, the finest grain would be lost
    chosen = places[random.integers(0, len(places), (count, count))]
    flip = random.choice([-1.0, 1.0], (count, count))
    y, x = np.indices((side, side)) + 0.5
    row, column = (y // step).astype(int), (x // step).astype(int)
    out, power = np.zeros((side, side, 3), np.float32), np.full((side, side, 1), 1e-9, np.float32)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            at = (row + i) % count, (column + j) % count
            down = y - (middles[0][at] + side * ((row + i) // count))
            right = x - (middles[1][at] + side * ((column + j) // count))
            share = np.maximum(1 - np.hypot(down, right) / radius, 0)[..., None].astype(np.float32) ** SHARP
            u, v = chosen[at][..., 0] + flip[at] * right, chosen[at][..., 1] + down
            out += share * cv2.remap(detail, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
            power += share**2
    return np.asarray(out / np.sqrt(power), np.float32)


def _blur_tile(tile: F32, sigma: float) -> F32:
    edge = int(np.ceil(3 * sigma)) + 1
    wide = np.pad(tile, ((edge, edge), (edge, edge), (0, 0)), mode="wrap")
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), sigma)[edge:-edge, edge:-edge], np.float32)


def _look_up_tile(tile: F32, x: Floats, y: Floats) -> F32:
    """Return the values (n, 3) at places in pixels; OpenCV limits the length of a row."""
    count, columns = len(x), 4096
    places = np.zeros((2, -(-count // columns) * columns), np.float32)
    places[:, :count] = x % len(tile), y % len(tile)
    x, y = places.reshape(2, -1, columns)
    values = cv2.remap(tile, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)  # linear, the finest grain is lost
    return np.asarray(values.reshape(-1, 3)[:count], np.float32)
