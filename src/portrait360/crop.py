"""Square crops of a photo: resampled without aliasing, and continued softly where the photo ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

STRIP = 0.03  # of the crop's side: how deep a mirror image reaches into the photo before it turns back
BLUR = 0.4  # pixels of blur for every pixel that lies beyond the photo
FAR = 0.02  # weight of what lies far off, against what lies near
MOST_SAMPLES = 4  # along each axis of a pixel
EDGE = 1.5  # softness of the known region's edge, in pixels of the crop


@dataclass(frozen=True)
class Square:
    """In pixels of a photo; (0, 0) is the corner of the first pixel."""

    corner: tuple[float, float]  # x, y
    side: float

    @property
    def center(self) -> tuple[float, float]:
        return self.corner[0] + self.side / 2, self.corner[1] + self.side / 2

    def grown(self, factor: float) -> Square:
        """A square with the same centre."""
        x, y = self.center
        side = self.side * factor
        return Square((x - side / 2, y - side / 2), side)

    def inside(self, points: Floats) -> Floats:
        """Photo pixels (n, 2) -> sides of the square."""
        return (np.asarray(points, np.float64) - self.corner) / self.side


def cut(image: Floats, square: Square, size: int, border: int = cv2.BORDER_REPLICATE) -> Floats:
    """The square as size x size pixels: each the mean of the samples in it, or cubic between the photo's pixels."""
    image, square = _thinned(image, square, size)
    samples = max(1, math.ceil(square.side / size - 1e-6))  # along each axis of a pixel: none is skipped
    step = square.side / (size * samples)
    first = [corner + step / 2 - 0.5 for corner in square.corner]  # OpenCV counts from the first pixel's centre
    matrix = np.array([[step, 0, first[0]], [0, step, first[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(image, matrix, (size * samples, size * samples), flags=flags, borderMode=border)
    out = cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA) if samples > 1 else out
    return np.clip(out, 0, 1).astype(np.float32)


def _thinned(image: Floats, square: Square, size: int) -> tuple[Floats, Square]:
    """The picture and the square in it, reduced as far as it takes to need but a few samples a pixel."""
    factor = int(square.side / size / MOST_SAMPLES)
    if factor < 2:
        return image, square
    below, right = (-n % factor for n in image.shape[:2])
    whole = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    small = np.asarray(
        cv2.resize(whole, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA), np.float32
    )
    x, y = square.corner
    return small, Square((x / factor, y / factor), square.side / factor)


class Beyond:
    """Where a crop leaves its photo, and what to put there."""

    def __init__(self, square: Square, photo: tuple[int, int], size: int) -> None:
        """`photo` is (height, width)."""
        self.size = size
        self.spans = []  # of the photo in the crop, whole pixels: columns, rows
        for low, end in zip(square.corner, photo[::-1], strict=True):
            start = int(np.clip(math.ceil(-low / square.side * size - 0.01), 0, size - 1))
            stop = int(np.clip(math.floor((end - low) / square.side * size + 0.01), start + 1, size))
            self.spans.append((start, stop))
        columns, rows = (
            np.maximum(start - np.arange(size), np.arange(size) - stop + 1) for start, stop in self.spans
        )
        self.distance = np.maximum(np.maximum(columns[None], rows[:, None]), 0)  # pixels beyond the photo

    @property
    def known(self) -> Floats:
        """1 where the photo is, 0 beyond it."""
        inside = (self.distance == 0).astype(np.float32)
        return cv2.GaussianBlur(inside, (0, 0), EDGE * self.size / 512, borderType=cv2.BORDER_REPLICATE)

    @property
    def edge(self) -> NDArray[np.bool_]:
        """The last pixels of the photo."""
        outside = (self.distance > 0).astype(np.uint8)
        return (cv2.dilate(outside, np.ones((3, 3), np.uint8)) > outside).astype(bool)

    def straight(self, values: Floats) -> Floats:
        """The values at the photo's edge, carried on."""
        columns, rows = (np.clip(np.arange(self.size), start, stop - 1) for start, stop in self.spans)
        return values[rows[:, None], columns]

    def mirrored(self, values: Floats) -> Floats:
        """A narrow strip along the photo's edge, to and fro."""
        depth = max(1, round(STRIP * self.size))
        columns, rows = (_to_and_fro(self.size, start, stop, depth) for start, stop in self.spans)
        return values[rows[:, None], columns]

    def filled(self, rgb: Floats, matte: Floats) -> Floats:
        """Beyond the photo its mirror image, the softer the farther out; subject and background do not mix there."""
        if not self.distance.any():
            return rgb
        values = self.mirrored(rgb)
        own = self.mirrored(matte)
        weight = matte[..., None]
        soft = self._softened(values, own) * weight + self._softened(values, 1 - own) * (1 - weight)
        out = np.where(self.distance[..., None] > 0, soft, rgb)
        return np.clip(out, 0, 1).astype(np.float32)

    def _softened(self, rgb: Floats, weight: Floats) -> Floats:
        """Weighted means whose reach grows with the distance from the photo."""
        weight = np.maximum(weight, 1e-3)[..., None].astype(np.float32)
        both = np.concatenate([rgb * weight, weight], -1)
        level = np.log2(1 + BLUR * self.distance)
        out = both.copy()
        for k in range(1, math.ceil(float(level.max())) + 1):
            share = np.clip(level - (k - 1), 0, 1)[..., None]  # `out` is right up to level k - 1
            out = out * (1 - share) + _blurred(both, k) * share
        far = _blurred(both, 8)  # where there is nothing of this kind near by
        out = out + FAR * far / far[..., 3:]
        return out[..., :3] / out[..., 3:]


def _blurred(values: Floats, k: int) -> Floats:
    """A blur of about 2^k pixels, worked out on a smaller picture."""
    size = values.shape[0]
    small = max(4, size >> max(0, k - 1))
    reduced = cv2.resize(values, (small, small), interpolation=cv2.INTER_AREA)
    reduced = cv2.GaussianBlur(reduced, (0, 0), 1.4, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def _to_and_fro(size: int, start: int, stop: int, depth: int) -> NDArray[np.intp]:
    """Indices 0..size: themselves in [start, stop), beyond it mirrored within `depth` of the end."""
    index = np.arange(size)
    depth = min(depth, stop - start)
    below, above = start - 1 - index, index - stop  # 0 for the first one outside
    out = np.where(below >= 0, start + _folded(below, depth), index)
    return np.where(above >= 0, stop - 1 - _folded(above, depth), out)


def _folded(distance: NDArray[np.intp], depth: int) -> NDArray[np.intp]:
    turn = distance % (2 * depth)
    return np.minimum(turn, 2 * depth - 1 - turn)
