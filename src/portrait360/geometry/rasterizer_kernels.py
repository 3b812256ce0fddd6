"""The loops of the rasteriser, compiled for the CPU.

Points are in homogeneous pixel coordinates K (x, y, z): a point projects to (x / z, y / z) at depth z. With the ray
d = (px, py, 1), the perspective-correct weight of vertex i is d . (p_j x p_k), so a triangle needs neither a division
nor clipping before it is drawn (Olano and Greer 1997). Shared edges get exactly opposite weights; none of these
kernels may use fastmath, because meshes would get cracks.
"""

from __future__ import annotations

import math

import numpy as np

from portrait360.geometry.numba_jit import njit_exact, njit_exact_inline

NEAR = 0.01  # the near plane


@njit_exact_inline
def edges(points, a, b, c):
    """Return a triangle's three weight functions, each a row for (x, y, 1) that is positive inside; their sum times
    depth; and the sign that made them positive. All are zero for a degenerate or edge-on triangle."""
    x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
    x1, y1, z1 = points[b, 0], points[b, 1], points[b, 2]
    x2, y2, z2 = points[c, 0], points[c, 1], points[c, 2]
    e00, e01, e02 = y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2
    e10, e11, e12 = y2 * z0 - z2 * y0, z2 * x0 - x2 * z0, x2 * y0 - y2 * x0
    e20, e21, e22 = y0 * z1 - z0 * y1, z0 * x1 - x0 * z1, x0 * y1 - y0 * x1
    volume = x0 * e00 + y0 * e01 + z0 * e02
    s = 0.0
    if volume > 1e-12:
        s = 1.0
    elif volume < -1e-12:
        s = -1.0
    return (
        (e00 * s, e01 * s, e02 * s),
        (e10 * s, e11 * s, e12 * s),
        (e20 * s, e21 * s, e22 * s),
        volume * s,
        s,
    )


@njit_exact_inline
def bounds(points, a, b, c, width, height, low, high):
    """Return the pixels (x0, x1, y0, y1), both ends included, whose samples a triangle may cover; empty behind the
    camera. `low` and `high` are the smallest and largest offset of a sample inside its pixel."""
    z0, z1, z2 = points[a, 2], points[b, 2], points[c, 2]
    if z0 < NEAR and z1 < NEAR and z2 < NEAR:
        return 0, -1, 0, -1
    if z0 < NEAR or z1 < NEAR or z2 < NEAR:  # crosses the near plane: the projected vertices do not bound it
        return 0, width - 1, 0, height - 1
    u0, u1, u2 = points[a, 0] / z0, points[b, 0] / z1, points[c, 0] / z2
    v0, v1, v2 = points[a, 1] / z0, points[b, 1] / z1, points[c, 1] / z2
    left, right = min(u0, u1, u2) - high, max(u0, u1, u2) - low
    top, bottom = min(v0, v1, v2) - high, max(v0, v1, v2) - low
    if not (right >= 0 and left <= width - 1 and bottom >= 0 and top <= height - 1):  # false for NaN too
        return 0, -1, 0, -1
    return (
        int(max(math.ceil(left), 0)),
        int(min(math.floor(right), width - 1)),
        int(max(math.ceil(top), 0)),
        int(min(math.floor(bottom), height - 1)),
    )


@njit_exact_inline
def reach(samples):
    """Return the smallest and largest offset of the samples (s, 2) in a pixel."""
    low, high = 1.0, 0.0
    for s in range(samples.shape[0]):
        low = min(low, samples[s, 0], samples[s, 1])
        high = max(high, samples[s, 0], samples[s, 1])
    return low, high


@njit_exact
def draw(points, triangles, indices, samples, depth, ids):
    """Depth-test the triangles at `indices` into depth (h, w, s), which starts at infinity, and ids (h, w, s).

    `samples` (s, 2) are positions within a pixel. On a tie the triangle drawn first stays.
    """
    height, width, count = depth.shape
    low, high = reach(samples)
    offsets = np.empty((count, 3))
    for n in range(indices.shape[0]):
        k = indices[n]
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        x0, x1, y0, y1 = bounds(points, a, b, c, width, height, low, high)
        if x1 < x0 or y1 < y0:
            continue
        e0, e1, e2, volume, sign = edges(points, a, b, c)
        if sign == 0.0:
            continue
        m0 = m1 = m2 = -np.inf
        for s in range(count):
            offsets[s, 0] = e0[0] * samples[s, 0] + e0[1] * samples[s, 1]
            offsets[s, 1] = e1[0] * samples[s, 0] + e1[1] * samples[s, 1]
            offsets[s, 2] = e2[0] * samples[s, 0] + e2[1] * samples[s, 1]
            m0, m1, m2 = max(m0, offsets[s, 0]), max(m1, offsets[s, 1]), max(m2, offsets[s, 2])
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                b0 = e0[0] * x + e0[1] * y + e0[2]
                b1 = e1[0] * x + e1[1] * y + e1[2]
                b2 = e2[0] * x + e2[1] * y + e2[2]
                if b0 + m0 < 0 or b1 + m1 < 0 or b2 + m2 < 0:  # no sample of this pixel is inside
                    continue
                for s in range(count):
                    w0, w1, w2 = b0 + offsets[s, 0], b1 + offsets[s, 1], b2 + offsets[s, 2]
                    if min(w0, w1, w2) < 0:
                        continue
                    total = w0 + w1 + w2
                    if total <= 0:
                        continue
                    z = np.float32(volume / total)
                    if z >= NEAR and z < depth[y, x, s]:
                        depth[y, x, s] = z
                        ids[y, x, s] = k


@njit_exact
def weights(points, triangles, ids, barycentrics):
    """Write the perspective-correct barycentrics (h, w, 3) of the triangles ids (h, w) at the pixel centres."""
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            k = ids[y, x]
            if k < 0:
                continue
            e0, e1, e2, _, _ = edges(points, triangles[k, 0], triangles[k, 1], triangles[k, 2])
            w0 = e0[0] * (x + 0.5) + e0[1] * (y + 0.5) + e0[2]
            w1 = e1[0] * (x + 0.5) + e1[1] * (y + 0.5) + e1[2]
            w2 = e2[0] * (x + 0.5) + e2[1] * (y + 0.5) + e2[2]
            total = w0 + w1 + w2
            barycentrics[y, x, 0] = w0 / total
            barycentrics[y, x, 1] = w1 / total
            barycentrics[y, x, 2] = w2 / total


@njit_exact
def gather(triangles, attributes, ids, barycentrics, out):
    """Interpolate the vertices' attributes (n, c) into out (h, w, c); pixels without a triangle stay unchanged."""
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            k = ids[y, x]
            if k < 0:
                continue
            a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
            w0, w1, w2 = barycentrics[y, x, 0], barycentrics[y, x, 1], barycentrics[y, x, 2]
            for i in range(attributes.shape[1]):
                out[y, x, i] = w0 * attributes[a, i] + w1 * attributes[b, i] + w2 * attributes[c, i]


@njit_exact
def bilinear(texture, triangles, uv, ids, barycentrics, out):
    """Sample a texture (th, tw, c) at the interpolated uv (n, 2) into out (h, w, c), clamped at its borders."""
    rows, columns, channels = texture.shape
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            k = ids[y, x]
            if k < 0:
                continue
            a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
            w0, w1, w2 = barycentrics[y, x, 0], barycentrics[y, x, 1], barycentrics[y, x, 2]
            u = (w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]) * columns - 0.5
            v = (w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]) * rows - 0.5
            u, v = min(max(u, 0.0), columns - 1.0), min(max(v, 0.0), rows - 1.0)
            j0, i0 = int(u), int(v)
            j1, i1 = min(j0 + 1, columns - 1), min(i0 + 1, rows - 1)
            fu, fv = u - j0, v - i0
            for i in range(channels):
                above = texture[i0, j0, i] * (1 - fu) + texture[i0, j1, i] * fu
                below = texture[i1, j0, i] * (1 - fu) + texture[i1, j1, i] * fu
                out[y, x, i] = above * (1 - fv) + below * fv


@njit_exact
def add_area_normals(vertices, triangles, out):
    """Add the area-weighted normals of the triangles to their vertices in out (n, 3), then normalise them."""
    for k in range(triangles.shape[0]):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(out.shape[0]):
        length = math.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 1e-20:
            out[i, 0] /= length
            out[i, 1] /= length
            out[i, 2] /= length
        else:  # no triangle, or only degenerate ones: any unit vector
            out[i, 0], out[i, 1], out[i, 2] = 0.0, 1.0, 0.0
