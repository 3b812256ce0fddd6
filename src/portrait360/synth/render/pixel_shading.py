"""Gather the values at a point of a pixel from triangles or strands, and shade them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.numba_jit import njit_fast_inline
from portrait360.geometry.rasterizer_kernels import edges
from portrait360.synth.render import hair_shading, spherical_harmonics, surface_shading
from portrait360.synth.scene import Material

GAP = 0.012  # samples of a pixel further apart in depth than this are shaded separately
GLASS, HAIR, FUR = int(Material.GLASS), int(Material.HAIR), int(Material.FUR)


class Eye(NamedTuple):
    """The camera as the kernels read it."""

    position: NDArray[np.float64]  # (3,)
    pixel: float  # side length of a pixel at depth 1


@njit_fast_inline
def gather(surface, k, points, x, y, sums):
    """Interpolate the values of triangle k at pixel position (x, y) into sums (18,); layout: Surface.values."""
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


@njit_fast_inline
def depth_at(surface, k, points, x, y, near):
    """Return the depth of the plane of triangle k at a pixel's centre.

    It differs by at most GAP from `near`, the depth at the samples. It must not depend on which samples were hit.
    """
    a, b, c = surface.triangles[k, 0], surface.triangles[k, 1], surface.triangles[k, 2]
    e0, e1, e2, volume, _ = edges(points, a, b, c)
    total = (e0[0] + e1[0] + e2[0]) * x + (e0[1] + e1[1] + e2[1]) * y + e0[2] + e1[2] + e2[2]
    if total <= 0.0:
        return near
    return min(max(volume / total, near - GAP), near + GAP)


@njit_fast_inline
def turn_to_eye(surface, k, eye, s):
    """Flip the gathered normal to the visible side of triangle k.

    The geometric normal decides, because the smooth normal may point slightly away from the camera at the silhouette.
    """
    a, b, c = surface.triangles[k, 0], surface.triangles[k, 1], surface.triangles[k, 2]
    v = surface.values
    ux, uy, uz = v[b, 0] - v[a, 0], v[b, 1] - v[a, 1], v[b, 2] - v[a, 2]
    wx, wy, wz = v[c, 0] - v[a, 0], v[c, 1] - v[a, 1], v[c, 2] - v[a, 2]
    gx, gy, gz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    outer_side = gx * s[3] + gy * s[4] + gz * s[5]
    visible_side = gx * (eye.position[0] - s[0]) + gy * (eye.position[1] - s[1]) + gz * (eye.position[2] - s[2])
    if outer_side * visible_side < 0.0:
        s[3], s[4], s[5] = -s[3], -s[4], -s[5]


@njit_fast_inline
def unit(x, y, z):
    length = math.sqrt(x * x + y * y + z * z)
    if length < 1e-12:
        return 0.0, 1.0, 0.0
    return x / length, y / length, z / length


@njit_fast_inline
def shade(surface, k, rig, maps, eye, s):
    """Shade gathered values and return radiance (3), normal (3) and coverage."""
    material = surface.material[k]
    nx, ny, nz = unit(s[3], s[4], s[5])
    vx, vy, vz = unit(eye.position[0] - s[0], eye.position[1] - s[1], eye.position[2] - s[2])
    if s[15] > 0.0 and rig.steps == 0:
        lean = max(nx * vx + ny * vy + nz * vz, 0.2)
        footprint = eye.pixel * s[17] / lean
        px, py, pz = surface_shading.relief(s[12], s[13], s[14], s[15], footprint, nx, ny, nz)
    else:
        px, py, pz = nx, ny, nz
    albedo, view = (s[6], s[7], s[8]), (vx, vy, vz)
    if material == surface_shading.INK:
        return s[6], s[7], s[8], nx, ny, nz, 1.0
    if material == GLASS:
        r, g, b, cover = surface_shading.shade_lens(rig, (px, py, pz), view, albedo, s[16])
        return r, g, b, nx, ny, nz, cover
    position, ambient_share = (s[0], s[1], s[2]), (s[9], s[10], s[11])
    r, g, b = surface_shading.shade_surface(rig, maps, material, position, (px, py, pz), view, albedo, ambient_share)
    return r * s[16], g * s[16], b * s[16], nx, ny, nz, s[16]


@njit_fast_inline
def shade_strand(curves, a, t, rig, maps, eye):
    """Return radiance (3) and normal (3) of a strand at share t of the segment from point a."""
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
        r, g, blue = hair_shading.radiance(curves, rig, a, t, vx, vy, vz)
        return r, g, blue, nx, ny, nz
    # carved or cast hair: a surface whose normal is tilted across the strand towards the camera
    tx, ty, tz = curves.tangents[a, 0], curves.tangents[a, 1], curves.tangents[a, 2]
    nx, ny, nz = nx + 0.5 * vx, ny + 0.5 * vy, nz + 0.5 * vz
    d = nx * tx + ny * ty + nz * tz
    nx, ny, nz = unit(nx - d * tx, ny - d * ty, nz - d * tz)
    light = 0.0
    for i in range(3):
        light += curves.ambient[a, i] / 3.0
    er, eg, eb = spherical_harmonics.light(rig.sh, nx, ny, nz, 1.0, 1.0)
    share = min(light / max((er + eg + eb) / 3.0, 1e-4), 1.0)
    albedo = (curves.albedo[a, 0], curves.albedo[a, 1], curves.albedo[a, 2])
    position, view = (x, y, z), (vx, vy, vz)
    r, g, blue = surface_shading.shade_surface(
        rig, maps, material, position, (nx, ny, nz), view, albedo, (share, share, share)
    )
    return r, g, blue, nx, ny, nz


@njit_fast_inline
def group_samples(surface, ids, depth, groups):
    """Assign each sample (s,) of a pixel to a surface index, and return the number of surfaces."""
    count = ids.shape[0]
    surface_count = 0
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
            groups[s] = surface_count
            surface_count += 1
    return surface_count


@njit_fast_inline
def shade_group(surface, points, ids, groups, g, samples, x, y, rig, maps, eye, point, mean, out):
    """Shade one surface of a pixel into out (9,): radiance, normal, depth at its centre, sample count, triangle.

    Interpolated values are averaged over the samples first; samples of the same triangle need one look-up.
    """
    mean[:] = 0.0
    count, last, centre = 0, -1, 0.0
    for s in range(ids.shape[0]):
        if groups[s] != g:
            continue
        k = ids[s]
        is_first = True
        for q in range(s):
            if groups[q] == g and ids[q] == k:
                is_first = False
        if not is_first:
            continue
        sx, sy, n = 0.0, 0.0, 0
        for q in range(s, ids.shape[0]):
            if groups[q] == g and ids[q] == k:
                sx, sy, n = sx + samples[q, 0], sy + samples[q, 1], n + 1
        gather(surface, k, points, x + sx / n, y + sy / n, point)
        turn_to_eye(surface, k, eye, point)
        centre += n * depth_at(surface, k, points, x + 0.5, y + 0.5, point[17])
        for i in range(18):
            mean[i] += point[i] * n
        count += n
        last = k
    for i in range(18):
        mean[i] /= count
    r, gr, b, nx, ny, nz, _ = shade(surface, last, rig, maps, eye, mean)
    out[0], out[1], out[2], out[3], out[4], out[5] = r, gr, b, nx, ny, nz
    out[6], out[7], out[8] = centre / count, count, last
