"""From samples and fragments to pixels: blended in linear light, from front to back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.compiled import quick, quick_inline
from portrait360.synth.borrow import borrow
from portrait360.synth.fragments import DEEP, INK_SOURCE
from portrait360.synth.scene import Part
from portrait360.synth.seen import gather, group_samples, shade, shade_group, shade_strand, turn_to_eye, unit

HAIR_PART = int(Part.HAIR)
INK = (0.014, 0.011, 0.013)
VALUES = 18  # that are interpolated on a surface
PARTS = len(Part)
HIDDEN = 0.002  # a share of a pixel too small to be worth shading


class Film(NamedTuple):
    """What is collected per pixel."""

    radiance: NDArray[np.float32]  # (h, w, 3) linear, straight
    alpha: NDArray[np.float32]  # (h, w)
    depth: NDArray[np.float32]  # (h, w)
    normals: NDArray[np.float32]  # (h, w, 3)
    parts: NDArray[np.uint8]  # (h, w)


class Pixel(NamedTuple):
    """The working memory of one pixel."""

    groups: NDArray[np.int32]  # (s,) which surface each sample sees, -1 none
    shaded: NDArray[np.float64]  # (s, 9) of each surface: as shade_group leaves it
    clear: NDArray[np.float64]  # (s,) light of each sample that has not been stopped yet
    one: NDArray[np.float64]  # (VALUES,) of one place
    mean: NDArray[np.float64]  # (VALUES,) of a surface
    layer: NDArray[np.float64]  # (7,) of one fragment: colour times cover, normal, cover
    total: NDArray[np.float64]  # (6,) colour times alpha, normal times alpha
    shares: NDArray[np.float64]  # (PARTS,) alpha of each part
    depths: NDArray[np.float64]  # (DEEP + 1 + s,) of all layers
    weights: NDArray[np.float64]  # (DEEP + 1 + s,) and their alpha


@quick_inline
def free(p, bits, z, depth):
    """Share of the pixel, in the samples `bits`, that light from depth z can still cross."""
    share = 0.0
    for s in range(p.clear.shape[0]):
        if bits >> s & 1 and (p.groups[s] < 0 or depth[s] > z):
            share += p.clear[s]
    return share


@quick_inline
def stop(p, bits, z, depth, cover):
    """Let a layer at depth z take its cover from what lies behind it."""
    for s in range(p.clear.shape[0]):
        if bits >> s & 1 and (p.groups[s] < 0 or depth[s] > z):
            p.clear[s] *= 1.0 - cover


@quick_inline
def add(p, used, z, share, weight, part):
    """Add the layer, seen in a share of the pixel, with its alpha."""
    for i in range(3):
        p.total[i] += share * p.layer[i]
        p.total[3 + i] += weight * p.layer[3 + i]
    p.shares[part] += weight
    p.depths[used], p.weights[used] = z, weight


@quick_inline
def shade_fragment(p, surface, points, curves, rig, maps, eye, x, y, source, along, cover):
    """Fill the layer from one fragment; its part."""
    if source == INK_SOURCE:
        r, g, b, nx, ny, nz = INK[0] * cover, INK[1] * cover, INK[2] * cover, 0.0, 0.0, 0.0
        part = HAIR_PART
    elif source >= 0:
        a = curves.segments[source]
        r, g, b, nx, ny, nz = shade_strand(curves, a, along, rig, maps, eye)
        r, g, b = r * cover, g * cover, b * cover
        part = curves.part[a]
    else:
        k = -1 - source
        gather(surface, k, points, x + 0.5, y + 0.5, p.one)
        turn_to_eye(surface, k, eye, p.one)
        p.one[16] = cover
        r, g, b, nx, ny, nz, cover = shade(surface, k, rig, maps, eye, p.one)
        part = surface.part[k]
    p.layer[0], p.layer[1], p.layer[2] = r, g, b
    p.layer[3], p.layer[4], p.layer[5] = nx, ny, nz
    p.layer[6] = min(cover, 1.0)
    return part


@quick_inline
def blend_fragments(p, surface, points, curves, rig, maps, eye, x, y, depth, f):
    """Blend the fragments of a pixel; how many layers that were. Those that were not kept look like the
    last."""
    used, part = 0, 0
    for n in range(f.filled[y, x]):
        z, bits = f.depth[y, x, n], f.samples[y, x, n]
        share = free(p, bits, z, depth)
        if share < HIDDEN:
            continue
        source, along, cover = f.source[y, x, n], f.along[y, x, n], f.cover[y, x, n]
        part = shade_fragment(p, surface, points, curves, rig, maps, eye, x, y, source, along, cover)
        add(p, used, z, share, share * p.layer[6], part)
        stop(p, bits, z, depth, p.layer[6])
        used += 1
    rest = 1.0 - f.behind[y, x]
    if used > 0 and rest > 0.0:
        z = f.depth[y, x, f.filled[y, x] - 1]
        share = free(p, 255, z, depth)
        scale = rest / max(p.layer[6], 1e-3)
        p.layer[0], p.layer[1], p.layer[2] = p.layer[0] * scale, p.layer[1] * scale, p.layer[2] * scale
        add(p, used, z, share, share * rest, part)
        stop(p, 255, z, depth, rest)
        used += 1
    return used


@quick_inline
def blend_surfaces(p, found, used, surface):
    """Blend the solid surfaces of a pixel behind what has been blended; how many layers there are now."""
    for g in range(found):
        weight = 0.0
        for s in range(p.clear.shape[0]):
            if p.groups[s] == g:
                weight += p.clear[s]
        for i in range(6):
            p.layer[i] = p.shaded[g, i]
        add(p, used, p.shaded[g, 6], weight, weight, surface.part[int(p.shaded[g, 8])])
        used += 1
    return used


@quick_inline
def expose(p, used, film, x, y):
    """Write a blended pixel to the film."""
    alpha = p.shares.sum()
    if alpha <= 0.0:
        return
    nx, ny, nz = unit(p.total[3], p.total[4], p.total[5])
    film.normals[y, x, 0], film.normals[y, x, 1], film.normals[y, x, 2] = nx, ny, nz
    for i in range(3):
        film.radiance[y, x, i] = p.total[i] / alpha
    film.alpha[y, x] = min(alpha, 1.0)
    film.depth[y, x] = middle(p.depths[:used], p.weights[:used], 0.5 * alpha)
    p.shares[0] = 1.0 - alpha
    film.parts[y, x] = np.argmax(p.shares)


@quick
def resolve(surface, points, curves, rig, maps, eye, samples, ids, depth, f, film):
    """Fill the film from the solid samples ids, depth (h, w, s) and the fragments."""
    height, width, count = ids.shape
    groups = np.empty(count, np.int32)
    shaded, memory = np.empty((count, 9)), np.zeros((8, VALUES + DEEP + 1 + count))
    m = borrow(memory)
    p = Pixel(
        borrow(groups), borrow(shaded), m[0, :count], m[1, :VALUES], m[2, :VALUES],
        m[3, :7], m[4, :6], m[5, :PARTS], m[6], m[7],
    )  # fmt: skip
    surface, curves, rig, maps, eye = borrow(surface), borrow(curves), borrow(rig), borrow(maps), borrow(eye)
    points, samples, ids, depth = borrow(points), borrow(samples), borrow(ids), borrow(depth)
    f, film = borrow(f), borrow(film)
    for y in range(height):
        for x in range(width):
            found = group_samples(surface, ids[y, x], depth[y, x], p.groups)
            if found == 0 and f.filled[y, x] == 0:
                continue
            for g in range(found):
                one, mean, out = p.one, p.mean, p.shaded[g]
                shade_group(surface, points, ids[y, x], p.groups, g, samples, x, y, rig, maps, eye, one, mean, out)
            p.clear[:] = 1.0 / count
            p.shares[:] = 0.0
            p.total[:] = 0.0
            used = blend_fragments(p, surface, points, curves, rig, maps, eye, x, y, depth[y, x], f)
            used = blend_surfaces(p, found, used, surface)
            expose(p, used, film, x, y)


@quick_inline
def middle(depths, weights, half):
    """The depth by which half of the weight is reached, from the front: never between two surfaces."""
    reached = 0.0
    nearest = depths[0]
    floor = -1.0
    for _ in range(depths.shape[0]):
        nearest, weight = np.inf, 0.0
        for i in range(depths.shape[0]):
            if weights[i] > 0.0 and depths[i] > floor and depths[i] < nearest:
                nearest = depths[i]
        for i in range(depths.shape[0]):
            if depths[i] == nearest:
                weight += weights[i]
        reached += weight
        floor = nearest
        if reached >= half * 0.9999:
            break
    return nearest
