"""Square crops of a photo: resampled without aliasing, and padded softly beyond the edges of the photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.utils.array_types import Floats

MIRROR_DEPTH = 0.03  # crop sides: how deep a mirror image reaches into the photo before it turns back
BLUR_PER_PIXEL = 0.4  # pixels of blur for every pixel of distance from the photo
FAR_WEIGHT = 0.02  # weight of distant colours against near ones
MAX_SAMPLES = 4  # along each axis of a pixel
LEAST_CLOTH, GREY_CLOTH = 0.002, 0.35  # share of the crop from which its colour is known; the colour if it is not
EDGE_BLUR = 1.5  # pixels of a 512-pixel crop: blur of the edge of `inside_photo`


@dataclass(frozen=True)
class CropSquare:
    """A square in pixels of a photo; (0, 0) is the corner of the first pixel."""

    corner: tuple[float, float]  # x, y
    side: float

    @property
    def center(self) -> tuple[float, float]:
        return self.corner[0] + self.side / 2, self.corner[1] + self.side / 2

    def scale(self, factor: float) -> CropSquare:
        """Return the square enlarged by a factor around its centre."""
        x, y = self.center
        side = self.side * factor
        return CropSquare((x - side / 2, y - side / 2), side)

    def normalise(self, points: Floats) -> Floats:
        """Convert points (n, 2) from photo pixels to units of the square's side, relative to its corner."""
        return (np.asarray(points, np.float64) - self.corner) / self.side


def cut(image: Floats, square: CropSquare, size: int, border: int = cv2.BORDER_REPLICATE) -> Floats:
    """Resample the square to size x size pixels: cubic interpolation, averaged over the samples of each pixel."""
    image, square = _downscale_for_crop(image, square, size)
    samples = max(1, math.ceil(square.side / size - 1e-6))  # along each axis of a pixel: none is skipped
    step = square.side / (size * samples)
    first = [corner + step / 2 - 0.5 for corner in square.corner]  # OpenCV counts from the first pixel's centre
    matrix = np.array([[step, 0, first[0]], [0, step, first[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, matrix, (size * samples, size * samples), flags=flags, borderMode=border)
    out = cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA) if samples > 1 else out
    return np.clip(out, 0, 1).astype(np.float32)


def _downscale_for_crop(image: Floats, square: CropSquare, size: int) -> tuple[Floats, CropSquare]:
    """Downscale the picture, and the square with it, until at most a few samples a pixel are needed."""
    factor = int(square.side / size / MAX_SAMPLES)
    if factor < 2:
        return image, square
    below, right = (-n % factor for n in image.shape[:2])
    whole = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    small = np.asarray(
        cv2.resize(whole, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA), np.float32
    )
    x, y = square.corner
    return small, CropSquare((x / factor, y / factor), square.side / factor)


def cut_centre(channels: Floats, scale: float, size: int) -> Floats:
    """Cut the middle out of channels (c, s, s): 1 / scale of the side, resampled to (c, size, size)."""
    side = channels.shape[-1]
    step = side / scale / size
    first = side / 2 - side / scale / 2 + step / 2 - 0.5
    matrix = np.array([[step, 0, first], [0, step, first]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    rows = [cv2.warpAffine(c, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE) for c in channels]
    return np.stack(rows).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Garment:
    """What the photo shows of the clothes, and where they are put on."""

    cloth: Floats  # (s, s) share of cloth
    place: NDArray[np.bool_]  # (s, s) below the neck, without hair


class CropPadding:
    """The part of a crop that extends beyond its photo, and how to fill it."""

    def __init__(self, square: CropSquare, photo_shape: tuple[int, int], size: int) -> None:
        """`photo_shape` is (height, width)."""
        self.size = size
        self.spans = []  # of the photo in the crop, whole pixels: columns, rows
        for low, end in zip(square.corner, photo_shape[::-1], strict=True):
            start = int(np.clip(math.ceil(-low / square.side * size - 0.01), 0, size - 1))
            stop = int(np.clip(math.floor((end - low) / square.side * size + 0.01), start + 1, size))
            self.spans.append((start, stop))
        columns, rows = (
            np.maximum(start - np.arange(size), np.arange(size) - stop + 1) for start, stop in self.spans
        )
        self.distance = np.maximum(np.maximum(columns[None], rows[:, None]), 0)  # pixels beyond the photo

    @property
    def inside_photo(self) -> Floats:
        """A soft mask that is 1 inside the photo and 0 beyond it."""
        inside = (self.distance == 0).astype(np.float32)
        return cv2.GaussianBlur(inside, (0, 0), EDGE_BLUR * self.size / 512, borderType=cv2.BORDER_REPLICATE)

    @property
    def edge(self) -> NDArray[np.bool_]:
        """A mask of the photo's outermost pixels."""
        outside = (self.distance > 0).astype(np.uint8)
        return (cv2.dilate(outside, np.ones((3, 3), np.uint8)) > outside).astype(bool)

    def repeat_edges(self, values: Floats) -> Floats:
        """Repeat the values at the photo's edge beyond it."""
        columns, rows = (np.clip(np.arange(self.size), start, stop - 1) for start, stop in self.spans)
        return values[rows[:, None], columns]

    def mirror_edges(self, values: Floats) -> Floats:
        """Mirror a narrow strip along the photo's edge back and forth beyond it."""
        depth = max(1, round(MIRROR_DEPTH * self.size))
        columns, rows = (_mirror_indices(self.size, start, stop, depth) for start, stop in self.spans)
        return values[rows[:, None], columns]

    def fill(self, rgb: Floats, matte: Floats, garment: Garment | None = None) -> Floats:
        """Fill with the photo's mirror image, blurred more with distance; subject and background do not mix.

        With a garment, what lies below the neck takes the colours of cloth: bare shoulders are rare.
        """
        if not self.distance.any():
            return rgb
        values = self.mirror_edges(rgb)
        subject = self.mirror_edges(matte)
        weight = matte[..., None]
        body = self._soften(values, subject)
        if garment is not None:
            body = np.where(garment.place[..., None], self._cloth_colours(rgb, garment), body)
        soft = body * weight + self._soften(values, 1 - subject) * (1 - weight)
        out = np.where(self.distance[..., None] > 0, soft, rgb)
        return np.clip(out, 0, 1).astype(np.float32)

    def _cloth_colours(self, rgb: Floats, garment: Garment) -> Floats:
        """Return the colours of the nearest cloth at every pixel; grey where the photo shows none."""
        cloth = garment.cloth * (self.distance == 0)
        if cloth.mean() < LEAST_CLOTH:
            return np.full_like(rgb, GREY_CLOTH)
        return self._soften(self.mirror_edges(rgb), self.mirror_edges(cloth))

    def _soften(self, rgb: Floats, weight: Floats) -> Floats:
        """Blur with weights, over a radius that grows with the distance from the photo."""
        weight = np.maximum(weight, 1e-3)[..., None].astype(np.float32)
        premultiplied = np.concatenate([rgb * weight, weight], -1)
        level = np.log2(1 + BLUR_PER_PIXEL * self.distance)
        out = premultiplied.copy()
        for k in range(1, math.ceil(float(level.max())) + 1):
            share = np.clip(level - (k - 1), 0, 1)[..., None]  # `out` is correct up to level k - 1
            out = out * (1 - share) + _blur(premultiplied, k) * share
        far = _blur(premultiplied, 8)  # for pixels with no colour of this kind nearby
        out = out + FAR_WEIGHT * far / far[..., 3:]
        return out[..., :3] / out[..., 3:]


def _blur(values: Floats, k: int) -> Floats:
    """Blur by about 2^k pixels, on a downscaled picture."""
    size = values.shape[0]
    small = max(4, size >> max(0, k - 1))
    reduced = cv2.resize(values, (small, small), interpolation=cv2.INTER_AREA)
    reduced = cv2.GaussianBlur(reduced, (0, 0), 1.4, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def _mirror_indices(size: int, start: int, stop: int, depth: int) -> NDArray[np.intp]:
    """Return indices 0..size, unchanged in [start, stop), and outside mirrored within `depth` of the nearer end."""
    index = np.arange(size)
    depth = min(depth, stop - start)
    below, above = start - 1 - index, index - stop  # 0 for the first index outside
    out = np.where(below >= 0, start + _fold(below, depth), index)
    return np.where(above >= 0, stop - 1 - _fold(above, depth), out)


def _fold(distance: NDArray[np.intp], depth: int) -> NDArray[np.intp]:
    turn = distance % (2 * depth)
    return np.minimum(turn, 2 * depth - 1 - turn)
