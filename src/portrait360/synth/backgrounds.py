"""Pictures to be put behind a head: plain, gradients, clouds of noise, rooms out of focus.

All are made in linear light and returned sRGB-encoded, as `tone.over` wants them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from portrait360.synth.scene import F32
from portrait360.synth.tone import linear_to_srgb

Generator = np.random.Generator


def background(rng: Generator, size: int) -> F32:
    """A random background (size, size, 3), sRGB in [0, 1]."""
    kinds: list[tuple[Callable[[Generator, int], F32], float]] = [
        (plain, 0.25),
        (gradient, 0.25),
        (clouds, 0.15),
        (room, 0.35),
    ]
    weights = np.array([weight for _, weight in kinds])
    draw, _ = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    return linear_to_srgb(draw(rng, size))


def colour(rng: Generator) -> F32:
    """A linear colour: often grey, sometimes strong, over the whole range from black to white."""
    grey = rng.uniform(0.02, 0.98) ** 2.0
    hue = rng.uniform(0.0, 1.0, 3) ** 1.5
    return (grey * (1 - (k := rng.beta(1.2, 1.6))) + grey * hue / max(hue.max(), 0.2) * k).astype(np.float32)


def plain(rng: Generator, size: int) -> F32:
    """One colour: white and black are frequent, as cut-outs and studios have them."""
    kind = rng.random()
    tone = np.ones(3) if kind < 0.35 else np.zeros(3) if kind < 0.45 else colour(rng)
    return np.broadcast_to(np.asarray(tone, np.float32), (size, size, 3)).copy()


def gradient(rng: Generator, size: int) -> F32:
    """From one colour to another, along a line or away from a spot as behind a studio portrait."""
    x, y = _places(size)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * math.pi)
        t = 0.5 + (x * math.cos(angle) + y * math.sin(angle)) * 0.7
    else:
        t = np.hypot(x - rng.uniform(-0.3, 0.3), y - rng.uniform(-0.3, 0.3)) * rng.uniform(0.9, 1.8)
    return _mix(colour(rng), colour(rng), np.clip(t, 0, 1))


def clouds(rng: Generator, size: int) -> F32:
    """Smooth noise of several octaves between two colours."""
    field, amplitude = np.zeros((size, size)), 1.0
    cells = int(rng.integers(2, 6))
    for _ in range(5):
        field += amplitude * _noise(rng, cells, size)
        amplitude, cells = amplitude * rng.uniform(0.4, 0.65), cells * 2
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-9)
    return _mix(colour(rng), colour(rng), field)


def room(rng: Generator, size: int) -> F32:
    """A wall, a floor, furniture and windows as boxes, and lamps as discs, all out of focus."""
    x, y = _places(size)
    blur = rng.uniform(0.015, 0.09)
    floor = rng.uniform(0.1, 0.6)
    image = _mix(colour(rng), colour(rng) * 0.6, _edge(y - floor, blur))
    image *= (1 + rng.uniform(-0.4, 0.4) * x)[..., None]
    for _ in range(rng.integers(3, 9)):
        centre, half = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.04, 0.3, 2)
        inside = _edge(half[0] - abs(x - centre[0]), blur) * _edge(half[1] - abs(y - centre[1]), blur)
        glow = rng.uniform(1.0, 2.5) if rng.random() < 0.25 else 1.0
        image = _mix(image, colour(rng) * glow, inside)
    for _ in range(rng.integers(0, 18)):
        centre, radius = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.012, 0.05)
        away = np.hypot(x - centre[0], y - centre[1])
        disc = _edge(radius - away, 0.25 * radius) * (0.75 + 0.25 * away / radius)
        image = image + (colour(rng) * rng.uniform(0.3, 1.5)) * disc[..., None]
    return np.clip(image, 0, 1).astype(np.float32)


def _places(size: int) -> tuple[F32, F32]:
    """Pixel centres in image sides from the middle: x right, y down."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def _edge(distance: F32, width: float) -> F32:
    """0 well outside, 1 well inside, smooth over the width."""
    t = np.clip(distance / width * 0.5 + 0.5, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _mix(a: F32, b: F32, t: NDArray) -> F32:
    return (a * (1 - t[..., None]) + b * t[..., None]).astype(np.float32)


def _noise(rng: Generator, cells: int, size: int) -> F32:
    """Value noise with `cells` cells across the image, smoothly interpolated."""
    values = rng.random((cells + 2, cells + 2)).astype(np.float32)
    at = np.arange(size) / size * cells
    i, f = at.astype(int), at - at.astype(int)
    f = (f * f * (3 - 2 * f)).astype(np.float32)
    rows = values[i] * (1 - f[:, None]) + values[i + 1] * f[:, None]
    return (rows[:, i] * (1 - f) + rows[:, i + 1] * f).astype(np.float32)
