"""Blend samples and fragments into pixels, in linear light, from front to back."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.numba_jit import njit_fast, njit_fast_inline
from portrait360.synth.render.fragments import DEEP, INK_SOURCE
from portrait360.synth.render.numba_borrow import borrow
from portrait360.synth.render.pixel_shading import (
    gather,
    group_samples,
    shade,
    shade_group,
    shade_strand,
    turn_to_eye,
    unit,
)
from portrait360.synth.scene import Part
from portrait360.utils.portrait_labels import Label

HAIR_PART, HAIR_LABEL = int(Part.HAIR), int(Label.HAIR)
INK = (0.014, 0.011, 0.013)
VALUES = 18  # number of values interpolated on a surface
PARTS, LABELS = len(Part), len(Label)
HIDDEN = 0.002  # pixel shares below this are not shaded


class Film(NamedTuple):
    """The rendered values of every pixel."""

    radiance: NDArray[np.float32]  # (h, w, 3) linear, straight
    alpha: NDArray[np.float32]  # (h, w)
    depth: NDArray[np.float32]  # (h, w)
    normals: NDArray[np.float32]  # (h, w, 3)
    parts: NDArray[np.uint8]  # (h, w)
    labels: NDArray[np.uint8]  # (h, w)
    flow: NDArray[np.float32]  # (h, w, 2) direction of the hair, see Rendering


class Pixel(NamedTuple):
    """The working memory for one pixel."""

    groups: NDArray[np.int32]  # (s,) surface index of each sample, -1 for none
    shaded: NDArray[np.float64]  # (9,) shading of a surface, as shade_group writes it
    clear: NDArray[np.float64]  # (s,) remaining transmittance of each sample, times its share of the pixel
    point: NDArray[np.float64]  # (VALUES,) values at one point
    mean: NDArray[np.float64]  # (VALUES,) mean values of a surface
    layer: NDArray[np.float64]  # (7,) one fragment: colour times coverage, normal, coverage
    total: NDArray[np.float64]  # (6,) colour times alpha, normal times alpha
    shares: NDArray[np.float64]  # (PARTS,) alpha of each part
    labels: NDArray[np.float64]  # (LABELS,) alpha of each label
    flow: NDArray[np.float64]  # (2,) direction of the hair times alpha
    unshaded: NDArray[np.float64]  # (1,) alpha of surfaces without a colour of their own
    depths: NDArray[np.float64]  # (DEEP + 1 + s,) depths of all layers
    weights: NDArray[np.float64]  # (DEEP + 1 + s,) alphas of all layers


@njit_fast_inline
def unblocked_share(p, bits, z, depth):
    """Return the share of the pixel, within the samples `bits`, that is still visible at depth z."""
    share = 0.0
    for s in range(p.clear.shape[0]):
        if bits >> s & 1 and (p.groups[s] < 0 or depth[s] > z):
            share += p.clear[s]
    return share


@njit_fast_inline
def attenuate(p, bits, z, depth, cover):
    """Attenuate what lies behind a layer at depth z by its coverage."""
    for s in range(p.clear.shape[0]):
        if bits >> s & 1 and (p.groups[s] < 0 or depth[s] > z):
            p.clear[s] *= 1.0 - cover


@njit_fast_inline
def add_layer(p, count, z, share, weight, part, label):
    """Accumulate the layer, visible in a share of the pixel, with its alpha."""
    for i in range(3):
        p.total[i] += share * p.layer[i]
        p.total[3 + i] += weight * p.layer[3 + i]
    p.shares[part] += weight
    p.labels[label] += weight
    p.depths[count], p.weights[count] = z, weight


@njit_fast_inline
def shade_fragment(p, surface, points, curves, rig, maps, eye, x, y, source, along, cover):
    """Fill the layer from one fragment and return its part and label."""
    if source == INK_SOURCE:
        r, g, b, nx, ny, nz = INK[0] * cover, INK[1] * cover, INK[2] * cover, 0.0, 0.0, 0.0
        part, label = HAIR_PART, HAIR_LABEL
    elif source >= 0:
        a = curves.segments[source]
        r, g, b, nx, ny, nz = shade_strand(curves, a, along, rig, maps, eye)
        r, g, b = r * cover, g * cover, b * cover
        part, label = curves.part[a], curves.labels[a]
    else:
        k = -1 - source
        gather(surface, k, points, x + 0.5, y + 0.5, p.point)
        turn_to_eye(surface, k, eye, p.point)
        p.point[16] = cover
        r, g, b, nx, ny, nz, cover = shade(surface, k, rig, maps, eye, p.point)
        part, label = surface.part[k], surface.labels[k]
    p.layer[0], p.layer[1], p.layer[2] = r, g, b
    p.layer[3], p.layer[4], p.layer[5] = nx, ny, nz
    p.layer[6] = min(cover, 1.0)
    return part, label


@njit_fast_inline
def blend_fragments(p, surface, points, curves, directions, rig, maps, eye, x, y, depth, f):
    """Blend the fragments of a pixel and return the number of layers; dropped fragments look like the last one."""
    count, part, label = 0, 0, 0
    for n in range(f.filled[y, x]):
        z, bits = f.depth[y, x, n], f.samples[y, x, n]
        share = unblocked_share(p, bits, z, depth)
        if share < HIDDEN:
            continue
        source, along, cover = f.source[y, x, n], f.along[y, x, n], f.cover[y, x, n]
        part, label = shade_fragment(p, surface, points, curves, rig, maps, eye, x, y, source, along, cover)
        add_layer(p, count, z, share, share * p.layer[6], part, label)
        if source >= 0 and label == HAIR_LABEL:
            p.flow[0] += share * p.layer[6] * directions[source, 0]
            p.flow[1] += share * p.layer[6] * directions[source, 1]
        attenuate(p, bits, z, depth, p.layer[6])
        count += 1
    dropped_alpha = 1.0 - f.behind[y, x]
    if count > 0 and dropped_alpha > 0.0:
        z = f.depth[y, x, f.filled[y, x] - 1]
        share = unblocked_share(p, 255, z, depth)
        scale = dropped_alpha / max(p.layer[6], 1e-3)
        p.layer[0], p.layer[1], p.layer[2] = p.layer[0] * scale, p.layer[1] * scale, p.layer[2] * scale
        add_layer(p, count, z, share, share * dropped_alpha, part, label)
        attenuate(p, 255, z, depth, dropped_alpha)
        count += 1
    return count


@njit_fast_inline
def blend_surfaces(p, surface_count, count, surface, points, ids, samples, x, y, rig, maps, eye):
    """Blend the solid surfaces of a pixel behind its fragments, and return the number of layers.

    Those that fragments all but hide, such as skin under hair, are the dearest to shade: they only count as opaque.
    """
    for g in range(surface_count):
        weight, k = 0.0, 0
        for s in range(p.clear.shape[0]):
            if p.groups[s] == g:
                weight += p.clear[s]
                k = ids[s]
        if weight < HIDDEN and count > 0:
            p.unshaded[0] += weight
            p.shares[surface.part[k]] += weight
            p.labels[surface.labels[k]] += weight
            continue
        out = p.shaded
        shade_group(surface, points, ids, p.groups, g, samples, x, y, rig, maps, eye, p.point, p.mean, out)
        for i in range(6):
            p.layer[i] = out[i]
        k = int(out[8])
        add_layer(p, count, out[6], weight, weight, surface.part[k], surface.labels[k])
        count += 1
    return count


@njit_fast_inline
def write_pixel(p, count, film, x, y):
    """Write a blended pixel to the film."""
    alpha = p.shares.sum()
    if alpha <= 0.0:
        return
    nx, ny, nz = unit(p.total[3], p.total[4], p.total[5])
    film.normals[y, x, 0], film.normals[y, x, 1], film.normals[y, x, 2] = nx, ny, nz
    for i in range(3):
        film.radiance[y, x, i] = p.total[i] / (alpha - p.unshaded[0])
    film.alpha[y, x] = min(alpha, 1.0)
    film.depth[y, x] = median_depth(p.depths[:count], p.weights[:count], 0.5 * alpha)
    p.shares[0] = 1.0 - alpha
    film.parts[y, x] = np.argmax(p.shares)
    p.labels[0] = 1.0 - alpha
    film.labels[y, x] = np.argmax(p.labels)
    strength = math.sqrt(p.flow[0] * p.flow[0] + p.flow[1] * p.flow[1])
    if strength > 1e-6:
        film.flow[y, x, 0], film.flow[y, x, 1] = p.flow[0] / strength, p.flow[1] / strength


@njit_fast
def resolve(surface, points, curves, directions, rig, maps, eye, samples, ids, depth, f, film):
    """Fill the film from the solid samples ids, depth (h, w, s) and the fragments.

    `directions` (segments, 2) holds cos and sin of twice the angle of each segment in the image.
    """
    height, width, count = ids.shape
    groups = np.empty(count, np.int32)
    memory = np.zeros((11, max(VALUES, LABELS) + DEEP + 1 + count))
    m = borrow(memory)
    p = Pixel(
        borrow(groups), m[10, :9], m[0, :count], m[1, :VALUES], m[2, :VALUES],
        m[3, :7], m[4, :6], m[5, :PARTS], m[8, :LABELS], m[9, :2], m[9, 2:3], m[6], m[7],
    )  # fmt: skip
    surface, curves, rig, maps, eye = borrow(surface), borrow(curves), borrow(rig), borrow(maps), borrow(eye)
    points, samples, ids, depth = borrow(points), borrow(samples), borrow(ids), borrow(depth)
    f, film, directions = borrow(f), borrow(film), borrow(directions)
    for y in range(height):
        for x in range(width):
            surface_count = group_samples(surface, ids[y, x], depth[y, x], p.groups)
            if surface_count == 0 and f.filled[y, x] == 0:
                continue
            p.clear[:] = 1.0 / count
            p.shares[:] = 0.0
            p.labels[:] = 0.0
            p.flow[:] = 0.0
            p.unshaded[0] = 0.0
            p.total[:] = 0.0
            layer_count = blend_fragments(
                p, surface, points, curves, directions, rig, maps, eye, x, y, depth[y, x], f
            )
            layer_count = blend_surfaces(
                p, surface_count, layer_count, surface, points, ids[y, x], samples, x, y, rig, maps, eye
            )
            write_pixel(p, layer_count, film, x, y)
    groups[0], memory[0, 0] = (
        0,
        0.0,
    )  # a use at the end: what is only borrowed any more would be freed before the loops


@njit_fast_inline
def median_depth(depths, weights, half):
    """Return the depth at which the accumulated weight from the front reaches half; always the depth of a layer."""
    accumulated = 0.0
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
        accumulated += weight
        floor = nearest
        if accumulated >= half * 0.9999:
            break
    return nearest
