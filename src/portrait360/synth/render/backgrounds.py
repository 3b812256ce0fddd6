"""Background images behind a head: plain, gradients, noise clouds, rooms out of focus.

All are generated in linear light and returned sRGB-encoded, as `tone_mapping.over` expects them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from portrait360.synth.render.tone_mapping import linear_to_srgb
from portrait360.utils.array_types import F32

Generator = np.random.Generator


def random_background(rng: Generator, size: int) -> F32:
    """Return a random background (size, size, 3), sRGB in [0, 1]."""
    kinds: list[tuple[Callable[[Generator, int], F32], float]] = [
        (plain, 0.25),
        (gradient, 0.25),
        (clouds, 0.15),
        (room, 0.35),
    ]
    weights = np.array([weight for _, weight in kinds])
    generate, _ = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    return linear_to_srgb(generate(rng, size))


def random_colour(rng: Generator) -> F32:
    """Return a random linear colour: often grey, sometimes saturated, from black to white."""
    grey = rng.uniform(0.02, 0.98) ** 2.0
    hue = rng.uniform(0.0, 1.0, 3) ** 1.5
    return (grey * (1 - (k := rng.beta(1.2, 1.6))) + grey * hue / max(hue.max(), 0.2) * k).astype(np.float32)


def plain(rng: Generator, size: int) -> F32:
    """Return one colour; white and black are frequent, as in cut-outs and studios."""
    kind = rng.random()
    tone = np.ones(3) if kind < 0.35 else np.zeros(3) if kind < 0.45 else random_colour(rng)
    return np.broadcast_to(np.asarray(tone, np.float32), (size, size, 3)).copy()


def gradient(rng: Generator, size: int) -> F32:
    """Return a gradient between two colours, linear or radial as behind a studio portrait."""
    x, y = _pixel_centres(size)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * math.pi)
        t = 0.5 + (x * math.cos(angle) + y * math.sin(angle)) * 0.7
    else:
        t = np.hypot(x - rng.uniform(-0.3, 0.3), y - rng.uniform(-0.3, 0.3)) * rng.uniform(0.9, 1.8)
    return _mix(random_colour(rng), random_colour(rng), np.clip(t, 0, 1))


def clouds(rng: Generator, size: int) -> F32:
    """Return smooth noise of several octaves between two colours."""
    field, amplitude = np.zeros((size, size)), 1.0
    cells = int(rng.integers(2, 6))
    for _ in range(5):
        field += amplitude * _noise(rng, cells, size)
        amplitude, cells = amplitude * rng.uniform(0.4, 0.65), cells * 2
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-9)
    return _mix(random_colour(rng), random_colour(rng), field)


def room(rng: Generator, size: int) -> F32:
    """Return a wall, a floor, furniture and windows as boxes, and lamps as discs, all out of focus."""
    x, y = _pixel_centres(size)
    blur = rng.uniform(0.015, 0.09)
    floor = rng.uniform(0.1, 0.6)
    image = _mix(random_colour(rng), random_colour(rng) * 0.6, _soft_step(y - floor, blur))
    image *= (1 + rng.uniform(-0.4, 0.4) * x)[..., None]
    for _ in range(rng.integers(3, 9)):
        centre, half = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.04, 0.3, 2)
        inside = _soft_step(half[0] - abs(x - centre[0]), blur) * _soft_step(half[1] - abs(y - centre[1]), blur)
        glow = rng.uniform(1.0, 2.5) if rng.random() < 0.25 else 1.0
        image = _mix(image, random_colour(rng) * glow, inside)
    for _ in range(rng.integers(0, 18)):
        centre, radius = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.012, 0.05)
        distance = np.hypot(x - centre[0], y - centre[1])
        disc = _soft_step(radius - distance, 0.25 * radius) * (0.75 + 0.25 * distance / radius)
        image = image + (random_colour(rng) * rng.uniform(0.3, 1.5)) * disc[..., None]
    return np.clip(image, 0, 1).astype(np.float32)


def _pixel_centres(size: int) -> tuple[F32, F32]:
    """Return pixel centres relative to the image centre, in image sides: x right, y down."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def _soft_step(distance: F32, width: float) -> F32:
    """Return 0 well outside, 1 well inside, smooth over the width."""
    t = np.clip(distance / width * 0.5 + 0.5, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _mix(a: F32, b: F32, t: NDArray) -> F32:
    return (a * (1 - t[..., None]) + b * t[..., None]).astype(np.float32)


def _noise(rng: Generator, cells: int, size: int) -> F32:
    """Return value noise with `cells` cells across the image, smoothly interpolated."""
    values = rng.random((cells + 2, cells + 2)).astype(np.float32)
    position = np.arange(size) / size * cells
    i, f = position.astype(int), position - position.astype(int)
    f = (f * f * (3 - 2 * f)).astype(np.float32)
    rows = values[i] * (1 - f[:, None]) + values[i + 1] * f[:, None]
    return (rows[:, i] * (1 - f) + rows[:, i + 1] * f).astype(np.float32)
