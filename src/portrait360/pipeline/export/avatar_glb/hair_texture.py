"""The texture of cards of hair: strips of single hairs from root to tip, brightness and alpha."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from portrait360.utils.array_types import Bytes

STRIPS, WIDTH, HEIGHT = 8, 128, 512  # side by side, and their texels
HAIRS = (30, 18)  # in a strip: the fullest, and the thinnest
BRIGHT = (0.72, 1.0)  # sRGB of the darkest and the brightest hair
RAGGED = 0.09  # of the height over which hairs begin
SEED, FINER = 5, 4  # seed; how much finer hairs are drawn than the texture is
CUTOFF = 0.42  # alpha from which a texel is hair


@lru_cache(maxsize=1)
def draw_hair_texture() -> Bytes:
    """Return the texture (HEIGHT, STRIPS * WIDTH, 4): one row of strips, roots above."""
    rng = np.random.default_rng(SEED)
    hairs = np.linspace(*HAIRS, STRIPS).round().astype(int)
    return np.concatenate([_draw_strip(rng, int(count)) for count in hairs], 1)


def _draw_strip(rng: np.random.Generator, count: int) -> Bytes:
    high, wide = HEIGHT, FINER * WIDTH
    alpha, tone = np.zeros((high, wide), np.float32), np.full((high, wide), 0.85, np.float32)
    t = np.linspace(0, 1, 24)
    for start in rng.permutation(np.linspace(0.06, 0.94, count)):
        end = 0.5 + (start - 0.5) * rng.uniform(0.72, 1.0) + rng.normal(0, 0.05)
        wave = rng.normal(0, 0.02) * np.sin(np.pi * t * rng.uniform(1, 2.5) + rng.uniform(0, 6))
        x = np.clip(start + (end - start) * t**1.6 + wave * t, 0.03, 0.97) * wide
        last = rng.uniform(0.72, 1.0) if rng.random() < 0.75 else rng.uniform(0.45, 0.75)
        begin = rng.uniform(0, RAGGED) * float(rng.random() < 0.8)
        path = np.stack([x, (begin + t * (last - begin)) * high], 1)
        shade = float(rng.uniform(*BRIGHT))
        width = 0.062 * wide * rng.uniform(0.7, 1.3)
        for a, b, s in zip(path[:-1], path[1:], t[:-1], strict=True):
            thick = max(round(width * (1 - 0.75 * s**2) * min(0.5 + 5 * s, 1)), 1)
            start_at, end_at = ((round(float(p[0])), round(float(p[1]))) for p in (a, b))
            cv2.line(tone, start_at, end_at, (shade,), thick)
            cv2.line(alpha, start_at, end_at, (1.0,), thick)
    size = (WIDTH, HEIGHT)
    alpha, tone = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (alpha, tone))
    grey = np.rint(tone * 255)[..., None].repeat(3, 2)
    return np.concatenate([grey, np.rint(alpha * 255)[..., None]], -1).astype(np.uint8)
