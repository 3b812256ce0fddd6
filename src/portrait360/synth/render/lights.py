"""Light on a head: a low-frequency environment and up to three key lights.

The environment is given by real spherical harmonics of order 0 to 2 of the light that a white Lambertian surface
reflects when it faces a direction (irradiance / pi): basis y00, y1-1 (y), y10 (z), y11 (x), y2-2 (xy), y2-1 (yz), y20
(3zz - 1), y21 (xz), y22 (xx - yy). The colour of a key light is likewise the light that a white Lambertian surface
facing it reflects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from portrait360.synth.scene import Light
from portrait360.utils.array_types import F32

BAND = np.repeat([1.0, 2.0 / 3.0, 0.25], [1, 3, 5])  # Lambertian factor of each coefficient of the radiance
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def basis(directions: ArrayLike) -> F32:
    """Evaluate the nine basis functions at unit directions (n, 3) -> (n, 9)."""
    x, y, z = np.asarray(directions, np.float64).T
    constant_term = np.full_like(x, 0.28209479)
    first = [0.48860251 * y, 0.48860251 * z, 0.48860251 * x]
    second = [1.0925484 * x * y, 1.0925484 * y * z, 0.31539157 * (3 * z * z - 1), 1.0925484 * x * z]
    return np.stack([constant_term, *first, *second, 0.54627422 * (x * x - y * y)], 1).astype(np.float32)


def reflected_light(ambient: ArrayLike, directions: ArrayLike) -> F32:
    """Return the environment light that a white Lambertian surface facing the directions (n, 3) reflects (n, 3)."""
    return basis(directions) @ np.asarray(ambient, np.float32)


def radiance(ambient: ArrayLike, directions: ArrayLike) -> F32:
    """Return the radiance of the environment in the directions (n, 3) -> (n, 3)."""
    return ((basis(directions) / BAND) @ np.asarray(ambient, np.float32)).astype(np.float32)


def uniform_environment(colour: ArrayLike) -> F32:
    """Return the coefficients (9, 3) of uniform light of this colour."""
    ambient = np.zeros((9, 3), np.float32)
    ambient[0] = np.asarray(colour, np.float32) / 0.28209479
    return ambient


def project_environment(values: ArrayLike, directions: ArrayLike) -> F32:
    """Return coefficients (9, 3) of an environment with radiance (n, 3) in directions spread over the sphere."""
    weights = basis(directions) * (4 * math.pi / len(np.asarray(directions)))
    return ((weights.T @ np.asarray(values, np.float32)) * BAND[:, None]).astype(np.float32)


def sphere_directions(count: int) -> F32:
    """Return directions (count, 3) spread evenly over the sphere."""
    i = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * i / count), math.pi * (1 + math.sqrt(5)) * i
    points = [np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)]
    return np.stack(points, 1).astype(np.float32)


@dataclass(frozen=True)
class Key:
    colour: tuple[float, float, float]
    azimuth: tuple[float, float]  # range in degrees, as for cameras; the sign is random
    elevation: tuple[float, float]
    softness: tuple[float, float]  # range of the angular radius, degrees
    weight: float = 1.0


@dataclass(frozen=True)
class Mood:
    """A lighting preset; colours are linear RGB, angles degrees, ranges (low, high)."""

    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    ground: tuple[float, float, float]
    keys: tuple[Key, ...]
    brightness: tuple[float, float] = (0.62, 0.85)  # luminance of a white sphere
    share: tuple[float, float] = (0.35, 0.55)  # share of the brightness that comes from the environment


WARM, COOL, WHITE = (1.0, 0.80, 0.58), (0.62, 0.80, 1.0), (1.0, 0.97, 0.93)
MOODS: dict[str, Mood] = {
    "sky": Mood(
        (0.45, 0.65, 1.0),
        (0.85, 0.92, 1.0),
        (0.42, 0.38, 0.30),
        (Key((1, 0.93, 0.80), (15, 70), (25, 60), (1, 4)),),
    ),
    "overcast": Mood(
        (1, 1.02, 1.05),
        (0.75, 0.78, 0.82),
        (0.30, 0.29, 0.27),
        (Key(WHITE, (0, 60), (40, 75), (20, 30)),),
        share=(0.65, 0.8),
    ),
    "window": Mood(
        (0.5, 0.45, 0.40),
        (0.62, 0.55, 0.48),
        (0.42, 0.33, 0.25),
        (Key((1, 0.90, 0.76), (45, 85), (5, 30), (10, 18)), Key(COOL, (120, 160), (10, 40), (5, 10), 0.35)),
    ),
    "softbox": Mood(
        (0.8, 0.8, 0.82),
        (0.6, 0.6, 0.62),
        (0.45, 0.45, 0.46),
        (
            Key(WHITE, (20, 50), (20, 45), (9, 16)),
            Key(WHITE, (-70, -30), (0, 20), (14, 20), 0.35),
            Key(COOL, (140, 170), (20, 45), (4, 9), 0.6),
        ),
    ),
    "sunset": Mood(
        (0.35, 0.40, 0.75),
        (1.0, 0.62, 0.42),
        (0.30, 0.22, 0.20),
        (
            Key((1, 0.60, 0.30), (30, 110), (4, 16), (2, 5)),
            Key((0.55, 0.6, 1), (150, 180), (20, 50), (8, 15), 0.3),
        ),
    ),
    "rim": Mood(
        (0.45, 0.50, 0.62),
        (0.40, 0.44, 0.55),
        (0.28, 0.28, 0.32),
        (
            Key((0.65, 0.82, 1), (130, 165), (10, 35), (3, 8), 1.1),
            Key((1, 0.85, 0.70), (15, 50), (10, 30), (8, 14), 0.8),
        ),
        brightness=(0.55, 0.72),
    ),
    "indoor": Mood(
        (1.0, 0.84, 0.64),
        (0.70, 0.56, 0.42),
        (0.40, 0.28, 0.20),
        (Key(WARM, (0, 60), (45, 75), (6, 14)), Key((1, 0.72, 0.45), (60, 150), (0, 25), (6, 12), 0.4)),
        share=(0.45, 0.6),
    ),
    "stage": Mood(
        (0.45, 0.40, 0.60),
        (0.50, 0.42, 0.58),
        (0.32, 0.30, 0.36),
        (
            Key((1, 0.55, 0.75), (35, 85), (5, 35), (5, 10)),
            Key((0.40, 0.80, 1), (-150, -60), (5, 35), (5, 10), 0.9),
        ),
    ),
    "flat": Mood(
        (1, 1, 1),
        (1, 1, 1),
        (0.75, 0.74, 0.72),
        (Key(WHITE, (0, 30), (15, 40), (15, 25)),),
        share=(0.6, 0.75),
    ),
}
ODDS = {
    "sky": 5,
    "overcast": 4,
    "window": 5,
    "softbox": 7,
    "sunset": 3,
    "rim": 3,
    "indoor": 4,
    "stage": 1,
    "flat": 3,
}


def sample_light(rng: np.random.Generator) -> Light:
    """Sample a light of a random preset."""
    odds = np.array(list(ODDS.values()), float)
    return light_of(MOODS[list(ODDS)[rng.choice(len(odds), p=odds / odds.sum())]], rng)


def light_of(mood: Mood, rng: np.random.Generator) -> Light:
    """Sample a light of one preset: place its keys, vary all colours, set brightness and environment share."""
    side = rng.choice([-1.0, 1.0])
    directions, colours, softness = [], [], []
    for key in mood.keys:
        azimuth, elevation = (
            math.radians(side * rng.uniform(*key.azimuth)),
            math.radians(rng.uniform(*key.elevation)),
        )
        flat = math.cos(elevation)
        directions.append([math.sin(azimuth) * flat, math.sin(elevation), math.cos(azimuth) * flat])
        colours.append(np.array(key.colour) * key.weight * rng.uniform(0.8, 1.25) * _tint(rng))
        softness.append(math.radians(rng.uniform(*key.softness)))
    brightness, share = rng.uniform(*mood.brightness), rng.uniform(*mood.share)
    ambient = _environment(mood, math.radians(rng.uniform(0, 360)), rng)
    ambient *= brightness * share / float(0.28209479 * ambient[0] @ LUMINANCE)
    keys = np.array(colours)
    keys *= 4 * brightness * (1 - share) / float(keys.sum(0) @ LUMINANCE)
    return Light(*(np.asarray(a, np.float32) for a in (ambient, directions, keys, softness)))


def _tint(rng: np.random.Generator) -> F32:
    return rng.uniform(0.94, 1.06, 3).astype(np.float32)


def _environment(mood: Mood, turn: float, rng: np.random.Generator) -> F32:
    """Return sky over horizon over ground, with one side of the horizon brighter than the other."""
    directions = sphere_directions(256)
    height = directions[:, 1:2]
    around = directions[:, :1] * math.sin(turn) + directions[:, 2:] * math.cos(turn)
    zenith, horizon, ground = (np.array(c) * _tint(rng) for c in (mood.zenith, mood.horizon, mood.ground))
    up, down = np.clip(height, 0, 1) ** 0.6, np.clip(-height, 0, 1) ** 0.4
    values = horizon * (1 - up) * (1 - down) + zenith * up + ground * down
    return project_environment(values * (1 + rng.uniform(0.1, 0.35) * around), directions)
