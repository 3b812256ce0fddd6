"""Hair and fur shading after Kajiya and Kay (1989), with the two highlights of Marschner et al. (2003).

The diffuse light of a fibre does not depend on the camera and is baked into its points; the highlights are added per
view. The first highlight reflects the light uncoloured and is tilted towards the root; the second has passed through
the fibre, is wider, takes its colour, and is tilted towards the tip; light from behind shines through.
"""

from __future__ import annotations

import math

from portrait360.geometry.numba_jit import njit_fast, njit_fast_inline
from portrait360.synth.render import spherical_harmonics
from portrait360.synth.scene import Material

FUR, HAIR = int(Material.FUR), int(Material.HAIR)


@njit_fast
def ambient_light(sh, normals, out):
    """Fill out (n, 3) with the environment light on points whose volume faces `normals`."""
    for i in range(normals.shape[0]):
        r, g, b = spherical_harmonics.light(sh, normals[i, 0], normals[i, 1], normals[i, 2], 1.0, 1.0)
        out[i, 0], out[i, 1], out[i, 2] = r, g, b


@njit_fast_inline
def quantise_light(light, steps):
    """Quantise light for cel shading: `steps` flat levels with narrow smooth edges."""
    level = light * steps
    whole = math.floor(level)
    t = min(max((level - whole - 0.44) / 0.12, 0.0), 1.0)
    return (whole + t * t * (3 - 2 * t)) / steps


@njit_fast
def diffuse_light(curves, rig):
    """Fill curves.diffuse with ambient light and the unshadowed share of the key lights."""
    for i in range(curves.points.shape[0]):
        tx, ty, tz = curves.tangents[i, 0], curves.tangents[i, 1], curves.tangents[i, 2]
        nx, ny, nz = curves.normals[i, 0], curves.normals[i, 1], curves.normals[i, 2]
        r, g, b = curves.ambient[i, 0], curves.ambient[i, 1], curves.ambient[i, 2]
        for j in range(rig.directions.shape[0]):
            lx, ly, lz = rig.directions[j, 0], rig.directions[j, 1], rig.directions[j, 2]
            along = tx * lx + ty * ly + tz * lz
            facing = min(max((nx * lx + ny * ly + nz * lz + 0.4) / 1.4, 0.0), 1.0)
            light = facing * (0.35 + 0.65 * math.sqrt(max(1.0 - along * along, 0.0))) * curves.keys[i, j]
            if rig.steps > 0:
                light = quantise_light(light, rig.steps)
            r += rig.colours[j, 0] * light
            g += rig.colours[j, 1] * light
            b += rig.colours[j, 2] * light
        curves.diffuse[i, 0] = curves.albedo[i, 0] * r
        curves.diffuse[i, 1] = curves.albedo[i, 1] * g
        curves.diffuse[i, 2] = curves.albedo[i, 2] * b


@njit_fast_inline
def lobe(tx, ty, tz, hx, hy, hz, power):
    """Return Kajiya's highlight around a tilted tangent: the sine of its angle to the half vector, to a power."""
    length = math.sqrt(tx * tx + ty * ty + tz * tz)
    cosine = (tx * hx + ty * hy + tz * hz) / max(length, 1e-9)
    return max(1.0 - cosine * cosine, 0.0) ** (power * 0.5)


@njit_fast_inline
def radiance(curves, rig, a, t, vx, vy, vz):
    """Return the colour (3,) that the segment from point a, at share t of it, reflects towards the unit vector v."""
    b, s = a + 1, 1.0 - t
    tx = curves.tangents[a, 0] * s + curves.tangents[b, 0] * t
    ty = curves.tangents[a, 1] * s + curves.tangents[b, 1] * t
    tz = curves.tangents[a, 2] * s + curves.tangents[b, 2] * t
    nx = curves.normals[a, 0] * s + curves.normals[b, 0] * t
    ny = curves.normals[a, 1] * s + curves.normals[b, 1] * t
    nz = curves.normals[a, 2] * s + curves.normals[b, 2] * t
    cr = curves.albedo[a, 0] * s + curves.albedo[b, 0] * t
    cg = curves.albedo[a, 1] * s + curves.albedo[b, 1] * t
    cb = curves.albedo[a, 2] * s + curves.albedo[b, 2] * t
    r = curves.diffuse[a, 0] * s + curves.diffuse[b, 0] * t
    g = curves.diffuse[a, 1] * s + curves.diffuse[b, 1] * t
    blue = curves.diffuse[a, 2] * s + curves.diffuse[b, 2] * t
    gloss = 0.25 if curves.material[a] == FUR else 1.0
    jitter = 0.05 * curves.jitter[a]
    for j in range(rig.directions.shape[0]):
        key_share = (curves.keys[a, j] * s + curves.keys[b, j] * t) * gloss
        if key_share < 0.02:
            continue
        lx, ly, lz = rig.directions[j, 0], rig.directions[j, 1], rig.directions[j, 2]
        hx, hy, hz = lx + vx, ly + vy, lz + vz
        length = math.sqrt(hx * hx + hy * hy + hz * hz)
        through = max(-(lx * vx + ly * vy + lz * vz), 0.0) ** 8 * 0.5 * key_share
        first, second = 0.0, 0.0
        if length > 1e-3:
            hx, hy, hz = hx / length, hy / length, hz / length
            facing = min(max((nx * lx + ny * ly + nz * lz + 0.3) / 1.3, 0.0), 1.0) * key_share
            tilt = 0.10 + jitter
            first = 0.10 * facing * lobe(tx + nx * tilt, ty + ny * tilt, tz + nz * tilt, hx, hy, hz, 60.0)
            tilt = -0.16 + jitter
            second = 0.55 * facing * lobe(tx + nx * tilt, ty + ny * tilt, tz + nz * tilt, hx, hy, hz, 14.0)
        first *= rig.gleam
        if rig.steps > 0:
            band = quantise_light(min(first * 6.0, 1.0), 1)  # one flat band, mostly in the hair colour
            first, second = 0.06 * band, 0.8 * band
        r += rig.colours[j, 0] * (first + (second + through) * cr)
        g += rig.colours[j, 1] * (first + (second + through) * cg)
        blue += rig.colours[j, 2] * (first + (second + through) * cb)
    return r, g, blue
