"""What backgrounds, objects and filters draw with: smooth noise, grids and colours, all sRGB-encoded in [0, 1]."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np

from portrait360.synth.render.backgrounds import random_colour
from portrait360.synth.render.tone_mapping import linear_to_srgb
from portrait360.utils.array_types import F32, Bytes, Floats

Generator = np.random.Generator
Paint = tuple[float, float, float]  # RGB in [0, 255], as OpenCV wants it

SKIN_TONES = np.array(
    [
        [0.98, 0.86, 0.77],
        [0.93, 0.74, 0.62],
        [0.84, 0.62, 0.48],
        [0.66, 0.45, 0.32],
        [0.46, 0.3, 0.21],
        [0.28, 0.18, 0.14],
    ],
    np.float32,
)
HAIR_TONES = np.array(
    [
        [0.07, 0.06, 0.06],
        [0.22, 0.15, 0.11],
        [0.4, 0.27, 0.17],
        [0.72, 0.57, 0.36],
        [0.55, 0.25, 0.12],
        [0.75, 0.74, 0.72],
    ],
    np.float32,
)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@lru_cache(maxsize=8)
def make_grid(size: int) -> tuple[F32, F32]:
    """Return the pixel centres' x (to the right) and y (down) in image sides; they are shared, so read-only."""
    line = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = (np.ascontiguousarray(v) for v in np.meshgrid(line, line))
    x.flags.writeable = y.flags.writeable = False
    return x, y


@lru_cache(maxsize=4)
def make_pixel_grid(height: int, width: int) -> tuple[F32, F32]:
    """Return x and y in pixels; they are shared, so read-only."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x.flags.writeable = y.flags.writeable = False
    return x, y


def draw_noise(rng: Generator, height: int, width: int, cells: float, octaves: int = 1) -> F32:
    """Return smooth noise in [0, 1] with about `cells` bumps along the longer side; each octave is half as strong."""
    total, strength, weight = np.zeros((height, width), np.float32), 1.0, 0.0
    for _ in range(octaves):
        step = max(height, width) / min(max(cells, 1.0), max(height, width))
        rows, columns = (int(np.ceil(side / step)) + 2 for side in (height, width))
        values = rng.random((rows, columns), dtype=np.float32)
        total += strength * np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC))
        weight, strength, cells = weight + strength, 0.5 * strength, 2 * cells
    return np.clip(total / weight, 0, 1)


def draw_grain(rng: Generator, height: int, width: int) -> F32:
    """Return white noise of mean 0 and deviation 1."""
    return rng.standard_normal((height, width), dtype=np.float32)


def pick_colour(rng: Generator) -> F32:
    """Return a colour: often grey, sometimes vivid, sometimes that of skin or hair."""
    choice = rng.random()
    if choice < 0.5:
        return np.asarray(linear_to_srgb(random_colour(rng)), np.float32)
    if choice < 0.65:
        return pick_tone(rng, SKIN_TONES)
    if choice < 0.8:
        return pick_tone(rng, HAIR_TONES)
    return pick_hue(rng, 0.0, 1.0)


def pick_tone(rng: Generator, tones: F32) -> F32:
    """Return a colour between two of the tones, a little off."""
    a, b = tones[rng.integers(len(tones))], tones[rng.integers(len(tones))]
    tone = a + (b - a) * rng.random() * 0.5 + rng.normal(0, 0.02, 3)
    return np.clip(tone, 0.01, 0.99).astype(np.float32)


def pick_hue(rng: Generator, low: float, high: float, saturation: float = 0.9) -> F32:
    """Return a colour with a hue in [low, high], of any brightness."""
    hue, strength, value = rng.uniform(low, high), rng.uniform(0.15, saturation), rng.uniform(0.15, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, strength, value), np.float32)


def mix(a: Floats, b: Floats, t: Floats) -> F32:
    """Return a where t (h, w) is 0 and b where it is 1; a and b are colours or pictures."""
    return (a + (b - a) * t[..., None]).astype(np.float32, copy=False)


def fill(size: int, colour: Floats) -> Bytes:
    """Return a canvas for OpenCV to draw on."""
    return np.full((size, size, 3), np.round(colour * 255), np.uint8)


def to_paint(colour: Floats) -> Paint:
    r, g, b = (float(v) for v in np.clip(colour, 0, 1) * 255)
    return r, g, b


def to_points(points: Floats) -> np.ndarray:
    """Return points in pixels as OpenCV wants them with `shift=4`."""
    return np.round(np.asarray(points) * 16).astype(np.int32)


def to_floats(picture: Bytes) -> F32:
    return picture.astype(np.float32) * np.float32(1 / 255)


def to_bytes(picture: Floats) -> Bytes:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def blur(picture: Floats, sigma: float) -> F32:
    """Blur by a Gaussian; a wide one at a lower resolution, which is as smooth and faster."""
    if sigma <= 0.2:
        return picture.astype(np.float32, copy=False)
    if sigma < 4:
        smooth = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(smooth, np.float32)
    h, w = picture.shape[:2]
    return resize(blur(resize(picture, max(h // 2, 1), max(w // 2, 1)), sigma / 2), h, w)


def resize(picture: Floats, height: int, width: int) -> F32:
    """Resize by the area's mean if it gets smaller, else linearly."""
    shrinks = height < picture.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.float32)
