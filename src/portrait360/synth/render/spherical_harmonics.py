"""Spherical-harmonic light in one direction, for kernels; the basis is that of `lights`."""

from __future__ import annotations

from portrait360.geometry.numba_jit import njit_fast_inline


@njit_fast_inline
def light(sh, x, y, z, first, second):
    """Return the light (3,) from direction (x, y, z) with the bands of order 1 and 2 scaled by `first` and `second`.

    (1, 1) is the reflection of a Lambertian surface, (1.5, 4) the environment itself; values in between are the
    reflection of a glossy surface.
    """
    b1, b2, b3 = 0.48860251 * y * first, 0.48860251 * z * first, 0.48860251 * x * first
    b4, b5 = 1.0925484 * x * y * second, 1.0925484 * y * z * second
    b6, b7 = 0.31539157 * (3 * z * z - 1) * second, 1.0925484 * x * z * second
    b8 = 0.54627422 * (x * x - y * y) * second
    r, g, b = 0.28209479 * sh[0, 0], 0.28209479 * sh[0, 1], 0.28209479 * sh[0, 2]
    r += b1 * sh[1, 0] + b2 * sh[2, 0] + b3 * sh[3, 0] + b4 * sh[4, 0] + b5 * sh[5, 0]
    g += b1 * sh[1, 1] + b2 * sh[2, 1] + b3 * sh[3, 1] + b4 * sh[4, 1] + b5 * sh[5, 1]
    b += b1 * sh[1, 2] + b2 * sh[2, 2] + b3 * sh[3, 2] + b4 * sh[4, 2] + b5 * sh[5, 2]
    r += b6 * sh[6, 0] + b7 * sh[7, 0] + b8 * sh[8, 0]
    g += b6 * sh[6, 1] + b7 * sh[7, 1] + b8 * sh[8, 1]
    b += b6 * sh[6, 2] + b7 * sh[7, 2] + b8 * sh[8, 2]
    return max(r, 0.0), max(g, 0.0), max(b, 0.0)
