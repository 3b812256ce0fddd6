"""Light on a head: a low-frequency environment and up to three keys.

The environment is given by real spherical harmonics of order 0 to 2 of what a white matt surface sends back when
it faces a direction (irradiance / pi): basis y00, y1-1 (y), y10 (z), y11 (x), y2-2 (xy), y2-1 (yz), y20 (3zz - 1),
y21 (xz), y22 (xx - yy). A key's colour is likewise what a white matt surface that faces it sends back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from portrait360.synth.scene import F32, Light

BAND = np.repeat([1.0, 2.0 / 3.0, 0.25], [1, 3, 5])  # how a matt surface dims each coefficient of the radiance
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def basis(directions: ArrayLike) -> F32:
    """The nine functions at unit directions (n, 3) -> (n, 9)."""
    x, y, z = np.asarray(directions, np.float64).T
    one = np.full_like(x, 0.28209479)
    first = [0.48860251 * y, 0.48860251 * z, 0.48860251 * x]
    second = [1.0925484 * x * y, 1.0925484 * y * z, 0.31539157 * (3 * z * z - 1), 1.0925484 * x * z]
    return np.stack([one, *first, *second, 0.54627422 * (x * x - y * y)], 1).astype(np.float32)


def matt(ambient: ArrayLike, directions: ArrayLike) -> F32:
    """What a white matt surface that faces the directions (n, 3) sends back of the environment (n, 3)."""
    return basis(directions) @ np.asarray(ambient, np.float32)


def radiance(ambient: ArrayLike, directions: ArrayLike) -> F32:
    """What the environment itself looks like in the directions (n, 3) -> (n, 3)."""
    return (basis(directions) / BAND.astype(np.float32)) @ np.asarray(ambient, np.float32)


def constant(colour: ArrayLike) -> F32:
    """The coefficients (9, 3) of the same light from everywhere."""
    ambient = np.zeros((9, 3), np.float32)
    ambient[0] = np.asarray(colour, np.float32) / 0.28209479
    return ambient
