"""What a place in a pixel sees, gathered from triangles or strands, and shaded."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.compiled import quick_inline
from portrait360.geometry.raster_numba import edges
from portrait360.synth import fibres, shading
from portrait360.synth.scene import Material

GAP = 0.012  # samples of a pixel further apart in depth than this are shaded apart
GLASS, HAIR, FUR = int(Material.GLASS), int(Material.HAIR), int(Material.FUR)


class Eye(NamedTuple):
    """The camera as the kernels want it."""

    position: NDArray[np.float64]  # (3,)
    pixel: float  # side of a pixel at depth 1


@quick_inline
def gather(surface, k, points, x, y, sums):
    """What triangle k has at pixel place (x, y) into sums (18,), laid out as in prepare.Surface, with the
    depth."""
    a, b, c = surface.triangles[k, 0], surface.triangles[k, 1], surface.triangles[k, 2]
    e0, e1, e2, _, _ = edges(points, a, b, c)
    w0 = e0[0] * x + e0[1] * y + e0[2]
    w1 = e1[0] * x + e1[1] * y + e1[2]
    w2 = e2[0] * x + e2[1] * y + e2[2]
    total = w0 + w1 + w2
    w0, w1, w2 = w0 / total, w1 / total, w2 / total
    values = surface.values
    for i in range(18):
        sums[i] = w0 * values[a, i] + w1 * values[b, i] + w2 * values[c, i]


@quick_inline
def depth_at(surface, k, points, x, y, near):
    """Depth of the plane of triangle k at a pixel's centre, no further than GAP from `near`, its depth at the
    samples: depth must not depend on which samples of a slope were hit."""
    a, b, c = surface.triangles[k, 0], surface.triangles[k, 1], surface.triangles[k, 2]
    e0, e1, e2, volume, _ = edges(points, a, b, c)
    total = (e0[0] + e1[0] + e2[0]) * x + (e0[1] + e1[1] + e2[1]) * y + e0[2] + e1[2] + e2[2]
    if total <= 0.0:
        return near
    return min(max(volume / total, near - GAP), near + GAP)


@quick_inline
def turn_to_eye(surface, k, eye, s):
    """Turn the gathered normal to the side of triangle k that is seen. What decides is the triangle, not the
    smooth normal, which may point a little away at the outline."""
    a, b, c = surface.triangles[k, 0], surface.triangles[k, 1], surface.triangles[k, 2]
    v = surface.values
    ux, uy, uz = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
    wx, wy, wz = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
    gx, gy, gz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    outside = gx * s[3] + gy * s[4] + gz * s[5]
    seen = gx * (eye.position[0] - s[0]) + gy * (eye.position[1] - s[1]) + gz * (eye.position[2] - s[2])
    if outside * seen < 0.0:
        s[3], s[4], s[5] = -s[3], -s[4], -s[5]


@quick_inline
def unit(x, y, z):
    length = math.sqrt(x * x + y * y + z * z)
    if length < 1e-12:
        return 0.0, 1.0, 0.0
    return x / length, y / length, z / length


@quick_inline
def shade(surface, k, rig, maps, eye, s):
    """Shade gathered values: radiance (3), normal (3), cover."""
    material = surface.material[k]
    nx, ny, nz = unit(s[3], s[4], s[5])
    vx, vy, vz = unit(eye.position[0] - s[0], eye.position[1] - s[1], eye.position[2] - s[2])
    if s[15] > 0.0 and rig.steps == 0:
        lean = max(nx * vx + ny * vy + nz * vz, 0.2)
        footprint = eye.pixel * s[17] / lean
        px, py, pz = shading.relief(s[12], s[13], s[14], s[15], footprint, nx, ny, nz)
    else:
        px, py, pz = nx, ny, nz
    albedo, view = (s[6], s[7], s[8]), (vx, vy, vz)
    if material == shading.INK:
        return s[6], s[7], s[8], nx, ny, nz, 1.0
    if material == GLASS:
        r, g, b, cover = shading.lens(rig, (px, py, pz), view, albedo, s[16])
        return r, g, b, nx, ny, nz, cover
    place, arriving = (s[0], s[1], s[2]), (s[9], s[10], s[11])
    r, g, b = shading.surface(rig, maps, material, place, (px, py, pz), view, albedo, arriving)
    return r * s[16], g * s[16], b * s[16], nx, ny, nz, s[16]


@quick_inline
def shade_strand(curves, a, t, rig, maps, eye):
    """Radiance (3) and normal (3) of a strand at share t of the segment from point a."""
    b, q = a + 1, 1.0 - t
    x = curves.points[a, 0] * q + curves.points[b, 0] * t
    y = curves.points[a, 1] * q + curves.points[b, 1] * t
    z = curves.points[a, 2] * q + curves.points[b, 2] * t
    nx = curves.normals[a, 0] * q + curves.normals[b, 0] * t
    ny = curves.normals[a, 1] * q + curves.normals[b, 1] * t
    nz = curves.normals[a, 2] * q + curves.normals[b, 2] * t
    nx, ny, nz = unit(nx, ny, nz)
    vx, vy, vz = unit(eye.position[0] - x, eye.position[1] - y, eye.position[2] - z)
    material = curves.material[a]
    if material in (HAIR, FUR):
        r, g, blue = fibres.radiance(curves, rig, a, t, vx, vy, vz)
        return r, g, blue, nx, ny, nz
    # carved or cast hair: a surface whose normal leans across the strand towards the eye
    tx, ty, tz = curves.tangents[a, 0], curves.tangents[a, 1], curves.tangents[a, 2]
    nx, ny, nz = nx + 0.5 * vx, ny + 0.5 * vy, nz + 0.5 * vz
    d = nx * tx + ny * ty + nz * tz
    nx, ny, nz = unit(nx - d * tx, ny - d * ty, nz - d * tz)
    light = 0.0
    for i in range(3):
        light += curves.ambient[a, i] / 3.0
    er, eg, eb = shading.spherical.light(rig.sh, nx, ny, nz, 1.0, 1.0)
    share = min(light / max((er + eg + eb) / 3.0, 1e-4), 1.0)
    albedo = (curves.albedo[a, 0], curves.albedo[a, 1], curves.albedo[a, 2])
    place, view = (x, y, z), (vx, vy, vz)
    r, g, blue = shading.surface(rig, maps, material, place, (nx, ny, nz), view, albedo, (share, share, share))
    return r, g, blue, nx, ny, nz


@quick_inline
def group_samples(surface, ids, depth, groups):
    """Give each sample (s,) of a pixel the number of the surface it belongs to; returns how many there
    are."""
    count = ids.shape[0]
    found = 0
    for s in range(count):
        groups[s] = -1
        if ids[s] < 0:
            continue
        for q in range(s):
            if groups[q] < 0 or abs(depth[q] - depth[s]) > GAP:
                continue
            i, j = ids[q], ids[s]
            if surface.material[i] == surface.material[j] and surface.part[i] == surface.part[j]:
                groups[s] = groups[q]
                break
        if groups[s] < 0:
            groups[s] = found
            found += 1
    return found


@quick_inline
def shade_group(surface, points, ids, groups, g, samples, x, y, rig, maps, eye, one, mean, out):
    """Shade one surface of a pixel into out (9,): radiance, normal, depth at its centre, samples, triangle.

    What is interpolated is averaged over its samples first; samples of the same triangle need one look-up.
    """
    mean[:] = 0.0
    count, last, centre = 0, -1, 0.0
    for s in range(ids.shape[0]):
        if groups[s] != g:
            continue
        k = ids[s]
        fresh = True
        for q in range(s):
            if groups[q] == g and ids[q] == k:
                fresh = False
        if not fresh:
            continue
        sx, sy, n = 0.0, 0.0, 0
        for q in range(s, ids.shape[0]):
            if groups[q] == g and ids[q] == k:
                sx, sy, n = sx + samples[q, 0], sy + samples[q, 1], n + 1
        gather(surface, k, points, x + sx / n, y + sy / n, one)
        turn_to_eye(surface, k, eye, one)
        centre += n * depth_at(surface, k, points, x + 0.5, y + 0.5, one[17])
        for i in range(18):
            mean[i] += one[i] * n
        count += n
        last = k
    for i in range(18):
        mean[i] /= count
    r, gr, b, nx, ny, nz, _ = shade(surface, last, rig, maps, eye, mean)
    out[0], out[1], out[2], out[3], out[4], out[5] = r, gr, b, nx, ny, nz
    out[6], out[7], out[8] = centre / count, count, last
