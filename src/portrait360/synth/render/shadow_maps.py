"""Visibility of light: depth maps rendered from a direction, for key-light shadows and ambient occlusion.

Solid surfaces block all light behind them. Hair is a medium: a map stores where it begins and how much of it there
is, and light fades with the depth of hair it has passed, until that amount is used up (a two-term deep shadow map).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from portrait360.geometry.numba_jit import njit_fast, njit_fast_inline
from portrait360.utils.array_types import F32

FADE = 0.010  # depth of dense hair in which light falls to 1 / e
REACH = 9.0  # greatest blur radius of a shadow edge, in texels
BLOCK = 16  # side of the blocks of a ceiling, in texels; greater than every blur radius
FAR = np.float32(-1e9)


class Frame(NamedTuple):
    """An orthographic view of the scene's bounding sphere: world -> (column, row, height towards the light)."""

    matrix: F32  # (3, 4)
    texel: float  # side of a texel in world units


class Maps(NamedTuple):
    """Depth maps of several directions, all of the same size."""

    matrices: F32  # (j, 3, 4), as Frame.matrix
    solid: F32  # (j, r, r) height of the surface nearest the light
    hair: F32  # (j, r, r) height at which hair begins
    amount: F32  # (j, r, r) hair area over texel area
    ceiling: F32  # (j, r / BLOCK, r / BLOCK) greatest height in a block of texels and its neighbours
    texel: float


def block_ceiling(solid: F32, hair: F32) -> F32:
    """Return the ceiling of one map (r, r), r a multiple of BLOCK."""
    count = len(solid) // BLOCK
    blocks = np.maximum(solid, hair).reshape(count, BLOCK, count, BLOCK).max((1, 3))
    padded = np.pad(blocks, 1, mode="edge")
    shifted = [padded[i : i + count, j : j + count] for i in range(3) for j in range(3)]
    return np.max(shifted, axis=0)


def make_frame(direction: F32, centre: F32, radius: float, resolution: int) -> Frame:
    """Return the frame of a map that looks along a direction at the sphere."""
    d = np.asarray(direction, np.float64)
    d = d / np.linalg.norm(d)
    side = np.array([0.0, 1.0, 0.0]) if abs(d[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(side, d)
    right /= np.linalg.norm(right)
    up = np.cross(d, right)
    scale = resolution / (2 * radius)
    rows = np.stack([right * scale, up * scale, d])
    shift = np.array([resolution / 2, resolution / 2, 0.0]) - rows @ centre
    return Frame(np.concatenate([rows, shift[:, None]], 1).astype(np.float32), 1 / scale)


def to_map_frame(points: F32, matrix: F32) -> F32:
    """Transform world points (n, 3) into the frame of a map."""
    out = np.empty((len(points), 3), np.float32)
    transform(points, matrix, out)
    return out


@njit_fast
def transform(points, matrix, out):
    """Write points (n, 3) times a matrix (3, 4) into out (n, 3); threads of a BLAS would cost more than they save."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for row in range(3):
            out[i, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z + matrix[row, 3]


@njit_fast
def draw_triangles(points, triangles, selection, solid):
    """Rasterise triangles, with corners in the map's frame, into its solid heights."""
    side = solid.shape[0]
    for n in range(selection.shape[0]):
        k = selection[n]
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        left, right = math.ceil(max(min(x0, x1, x2) - 0.5, 0.0)), math.floor(min(max(x0, x1, x2), side) - 0.5)
        top, bottom = math.ceil(max(min(y0, y1, y2) - 0.5, 0.0)), math.floor(min(max(y0, y1, y2), side) - 0.5)
        if left > right or top > bottom:  # most triangles are smaller than a texel and reach no centre
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not abs(area) > 1e-9:
            continue
        inverse = 1.0 / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inverse
                w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inverse
                w2 = 1.0 - w0 - w1
                if w0 >= 0.0 and w1 >= 0.0 and w2 >= 0.0:
                    height = w0 * points[a, 2] + w1 * points[b, 2] + w2 * points[c, 2]
                    if height > solid[y, x]:
                        solid[y, x] = height


@njit_fast
def draw_segments(points, widths, segments, texel, hair, amount):
    """Rasterise hair into a map: its greatest height, and its area in units of a texel."""
    side = hair.shape[0]
    for n in range(segments.shape[0]):
        a = segments[n]
        b = a + 1
        dx, dy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        length = math.sqrt(dx * dx + dy * dy)
        steps = int(length) + 1
        area = (widths[a] + widths[b]) * 0.5 / texel * length / steps
        for i in range(steps):
            t = (i + 0.5) / steps
            x, y = int(points[a, 0] + dx * t), int(points[a, 1] + dy * t)
            if x < 0 or y < 0 or x >= side or y >= side:
                continue
            height = points[a, 2] * (1 - t) + points[b, 2] * t
            amount[y, x] += area
            if height > hair[y, x]:
                hair[y, x] = height


@njit_fast_inline
def light_at(solid, hair, amount, x, y, height, bias, ramp):
    """Return the share of the light that reaches a height at one texel; full light outside the map."""
    side = solid.shape[0]
    if x < 0 or y < 0 or x >= side or y >= side:
        return 1.0
    light = 1.0 - (solid[y, x] - height - bias) / ramp
    if light <= 0.0:
        return 0.0
    light = min(light, 1.0)
    depth = hair[y, x] - height - bias
    if depth > 0.0:
        light *= math.exp(-min(depth / FADE, amount[y, x] * 1.5))
    return light


@njit_fast
def surface_occlusion(points, normals, direction, colour, solid, hair, amount, bias, visible, total):
    """Accumulate the ambient light of one direction per vertex: `visible` with occlusion, `total` without."""
    for i in range(points.shape[0]):
        facing = normals[i, 0] * direction[0] + normals[i, 1] * direction[1] + normals[i, 2] * direction[2]
        if facing <= 0.0:
            continue
        slope = math.sqrt(max(1.0 - facing * facing, 0.0)) / facing
        slack = bias * (0.6 + min(slope, 8.0))  # a steep surface rises within a texel, but must not shadow itself
        x, y, height = points[i, 0] - 0.5, points[i, 1] - 0.5, points[i, 2]
        x0, y0 = int(math.floor(x)), int(math.floor(y))
        fx, fy = x - x0, y - y0
        light = 0.0
        for dy in range(2):
            for dx in range(2):
                share = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                light += share * light_at(solid, hair, amount, x0 + dx, y0 + dy, height, slack, bias)
        for c in range(3):
            total[i, c] += facing * colour[c]
            visible[i, c] += facing * colour[c] * light


@njit_fast
def hair_occlusion(points, direction, colour, solid, hair, amount, bias, visible, total, opening):
    """Do the same as surface_occlusion for hair points, which have no facing side, and sum the open directions."""
    for i in range(points.shape[0]):
        x, y = int(points[i, 0]), int(points[i, 1])
        light = light_at(solid, hair, amount, x, y, points[i, 2], bias, bias)
        for c in range(3):
            total[i, c] += colour[c]
            visible[i, c] += colour[c] * light
            opening[i, c] += direction[c] * light


@njit_fast_inline
def light_from(maps, j, x, y, height, across, up, radius, bias):
    """Return the mean light of map j over 4 x 4 positions spread over a radius (in texels)."""
    light = 0.0
    for row in range(4):
        for column in range(4):
            exact_u, exact_v = x + (column - 1.5) * radius * 0.6, y + (row - 1.5) * radius * 0.6
            u, v = int(math.floor(exact_u)), int(math.floor(exact_v))
            level = height + across * (u + 0.5 - exact_u) + up * (v + 0.5 - exact_v)
            light += light_at(maps.solid[j], maps.hair[j], maps.amount[j], u, v, level, bias, bias)
    return light / 16.0


@njit_fast_inline
def key_light(maps, j, x, y, height, across, up, softness, bias, scatter):
    """Return the light of key j at a position in its map, twice.

    The first value has a shadow edge as wide as the source and the distance of the occluder imply; the second is
    blurred by a further `scatter` texels. `across` and `up` are by how much the surface rises per texel: a map knows
    heights at the middles of its texels only, and where light grazes a surface, the texels would be seen as stripes.
    """
    side = maps.solid.shape[1]
    block = min(max(int(y), 0), side - 1) // BLOCK, min(max(int(x), 0), side - 1) // BLOCK
    if maps.ceiling[j, block[0], block[1]] - height <= bias:
        return 1.0, 1.0
    above, count = 0.0, 0
    for row in range(4):
        for column in range(4):
            exact_u, exact_v = x + (column - 1.5) * REACH * 0.6, y + (row - 1.5) * REACH * 0.6
            u, v = int(math.floor(exact_u)), int(math.floor(exact_v))
            if u < 0 or v < 0 or u >= side or v >= side:
                continue
            level = height + across * (u + 0.5 - exact_u) + up * (v + 0.5 - exact_v)
            over = max(maps.solid[j, v, u], maps.hair[j, v, u]) - level
            if over > bias:
                above += over
                count += 1
    if count == 0:
        return 1.0, 1.0
    radius = min(max(math.tan(softness) * above / count / maps.texel, 1.2), REACH)
    sharp = light_from(maps, j, x, y, height, across, up, radius, bias)
    if scatter <= 0.0:
        return sharp, sharp
    wide = light_from(maps, j, x, y, height, across, up, radius + scatter, bias * 1.5)
    return sharp, 0.4 * sharp + 0.6 * wide


@njit_fast
def hair_shadow(points, solid, hair, amount, bias, out):
    """Fill out with the light of a key on hair points, averaged over 3 x 3 texels."""
    for n in range(points.shape[0]):
        light = 0.0
        for j in range(-1, 2):
            for i in range(-1, 2):
                x, y = int(math.floor(points[n, 0] + i)), int(math.floor(points[n, 1] + j))
                light += light_at(solid, hair, amount, x, y, points[n, 2], bias, bias)
        out[n] = light / 9.0
