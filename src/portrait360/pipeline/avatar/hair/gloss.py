"""The gloss of hair in light from above, where a photo does not show its own: a band across locks that lie alike.

The highlight of one strand would be a speck. What gleams is a surface of strands that run the same way, so the band
is that of their mean direction, and as strong as they agree: straight hair shines, curls hardly do.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.synth.meshes import unit
from portrait360.synth.render.lights import LUMINANCE
from portrait360.utils.array_types import F32, F64, Floats
from portrait360.utils.image_ops import smoothstep

CELL, BLUR = 0.012, 1.2  # canonical; cells
LIGHT = 0.75  # height of the light against its distance, from a viewer before the hair
TILTS, POWERS = (0.10, -0.16), (60.0, 16.0)  # of the clear and of the coloured highlight: towards root and tip
CLEAR, COLOURED = 0.03, 0.3  # radiance of the one, share of the hair's own colour of the other
TINT, PUREST = 0.9, 2.5  # how far the clear highlight has the hue of the hair, and its greatest share of one channel
BAND = (0.45, 0.35)  # height of the band as seen from the centre of the head (1 is the crown), and its width
ALIKE = (0.75, 0.97)  # length of the mean direction from which strands gleam, and gleam fully
UNEVEN = 0.35  # how far strands differ


def add_gloss(points: F32, albedo: F32) -> F32:
    """Return what gloss adds to the albedo (s, k, 3) of strands (s, k, 3)."""
    along, alike = find_direction(points)
    outward = unit(points - HEAD_CENTRE)
    flat = outward * np.array([1.0, 0.0, 1.0])
    half = unit(unit(flat + 1e-6) + unit(flat + np.array([0.0, LIGHT, 0.0]) + 1e-6))
    strand = np.random.default_rng(len(points)).normal(0, 1, (len(points), 1))
    lobes = []
    for tilt, power in zip(TILTS, POWERS, strict=True):
        tangent = unit(along + (tilt + 0.05 * strand)[..., None] * outward)
        lobes.append(np.clip(1 - (tangent * half).sum(-1) ** 2, 0, 1) ** (power / 2))
    place, width = BAND
    band = np.exp(-0.5 * ((outward[..., 1] - place) / width) ** 2) * alike * np.exp(UNEVEN * strand)
    usual = (albedo.astype(np.float64) @ LUMINANCE).mean()
    clear = CLEAR * np.minimum(1.0, (usual / 0.08) ** 0.5)  # of black hair in this light, less would be seen of it
    hue = np.minimum(albedo / np.maximum(albedo @ LUMINANCE, 1e-4)[..., None], PUREST) ** TINT
    added = clear * hue * lobes[0][..., None] + COLOURED * lobes[1][..., None] * albedo
    return np.asarray(band[..., None] * added, np.float32)


def find_direction(points: F32) -> tuple[F64, Floats]:
    """Return the mean direction (s, k, 3) of the strands about every point, and how far they are alike (s, k)."""
    tangents = unit(np.gradient(points.astype(np.float64), axis=1))
    low = points.reshape(-1, 3).min(0) - 3 * CELL
    cells = ((points - low) / CELL).astype(int)
    size = tuple(cells.reshape(-1, 3).max(0) + 4)
    row = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), size)
    count = int(np.prod(size))
    grids = [np.bincount(row.ravel(), tangents[..., a].ravel(), count).reshape(size) for a in range(3)]
    crowd = np.bincount(row.ravel(), minlength=count).astype(np.float64).reshape(size)
    around = gaussian_filter(crowd, BLUR)
    mean = np.stack([gaussian_filter(grid, BLUR) / np.maximum(around, 1e-3) for grid in grids], -1)
    mean = mean.reshape(-1, 3)[row]
    length = np.linalg.norm(mean, axis=-1)
    return mean / np.maximum(length, 1e-6)[..., None], smoothstep(*ALIKE, length)
