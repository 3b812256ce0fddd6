"""Split the strands of a hairstyle into finer ones: thick strands look like wire over skin and against the light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.hair.growth import strand_frames
from portrait360.synth.scene import Strands

FINE = 0.0022  # canonical; median width up to which strands stay whole
PIECES, WIDTH = 2, 0.66  # strands for each, and their width against its
APART = (0.35, 0.9)  # distance from the strand's own place at its root and its tip, in its widths
SHORTER, TONE = 0.1, 0.15  # how much shorter some are, and how far their brightness differs, logarithm
POINTED = 0.3  # share of its width that a tip loses


def split_strands(group: Strands, seed: int) -> Strands:
    """Return a group with finer strands that run beside those of this group."""
    if len(group.points) == 0 or float(np.median(group.widths.max(1))) < FINE:
        return group
    rng = np.random.default_rng([seed, 47])
    count, k, _ = group.points.shape
    rows = np.repeat(np.arange(count), PIECES)
    t = np.linspace(0, 1, k)[None, :, None]
    across, over = strand_frames(group.points)
    offset = rng.normal(0, 1, (len(rows), 2, 1, 1)).clip(-2, 2)
    aside = offset[:, 0] * across[rows] + 0.5 * offset[:, 1] * over[rows]
    near, far = APART
    aside = aside * (near + (far - near) * t) * group.widths.max(1)[rows][:, None, None]
    points = (group.points[rows] + aside).astype(np.float32)
    points = shorten(points, (k - 1) * (1 - SHORTER * rng.random(len(rows)) ** 2))
    tone = np.exp(rng.normal(0, TONE, (len(rows), 1, 1)))
    return replace(
        group,
        points=points,
        widths=(WIDTH * group.widths[rows] * (1 - POINTED * t[..., 0] ** 2)).astype(np.float32),
        albedo=(group.albedo[rows] * tone).astype(np.float32),
        part=group.part[rows],
        material=group.material[rows],
        normals=None if group.normals is None else group.normals[rows],
    )
