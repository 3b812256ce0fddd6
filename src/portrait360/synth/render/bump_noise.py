"""Fine relief fixed to a surface: the gradient of smooth 3D noise, for kernels."""

from __future__ import annotations

import math

import numpy as np

from portrait360.geometry.numba_jit import njit_fast_inline


@njit_fast_inline
def lattice(x, y, z):
    """Return a fixed pseudo-random number in [-1, 1] for every integer position."""
    h = (
        np.uint32(x) * np.uint32(374761393)
        + np.uint32(y) * np.uint32(668265263)
        + np.uint32(z) * np.uint32(2246822519)
    )
    h = np.uint32(h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    return (np.uint32(h ^ (h >> np.uint32(16))) & np.uint32(0xFFFF)) / 32767.5 - 1.0


@njit_fast_inline
def slope(x, y, z):
    """Return the gradient (3,) of value noise with cubic fading at a position; one cell is one unit."""
    i, j, k = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
    u, v, w = x - i, y - j, z - k
    su, sv, sw = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    du, dv, dw = 6 * u * (1 - u), 6 * v * (1 - v), 6 * w * (1 - w)
    n000, n100 = lattice(i, j, k), lattice(i + 1, j, k)
    n010, n110 = lattice(i, j + 1, k), lattice(i + 1, j + 1, k)
    n001, n101 = lattice(i, j, k + 1), lattice(i + 1, j, k + 1)
    n011, n111 = lattice(i, j + 1, k + 1), lattice(i + 1, j + 1, k + 1)
    x00, x10 = n000 + (n100 - n000) * su, n010 + (n110 - n010) * su
    x01, x11 = n001 + (n101 - n001) * su, n011 + (n111 - n011) * su
    y0, y1 = x00 + (x10 - x00) * sv, x01 + (x11 - x01) * sv
    d0 = (n100 - n000) * (1 - sv) + (n110 - n010) * sv
    d1 = (n101 - n001) * (1 - sv) + (n111 - n011) * sv
    return (
        du * (d0 * (1 - sw) + d1 * sw),
        dv * ((x10 - x00) * (1 - sw) + (x11 - x01) * sw),
        dw * (y1 - y0),
    )
