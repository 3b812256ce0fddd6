"""A lining beneath the skin: what hair, ears and the edges of the photo hide from the views must not be a hole.

No view says how it looks. It takes the darker colours of what lies before it, as what lies deeper is in its shade.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_splats.choice import paint
from portrait360.pipeline.export.avatar_splats.layers import find_spacing, thin_out
from portrait360.pipeline.export.avatar_splats.shapes import draw_discs, find_normals
from portrait360.synth.render.lights import LUMINANCE
from portrait360.utils.array_types import F64, Bytes
from portrait360.utils.parallel.threads import count_threads
from portrait360.utils.portrait_labels import Label

LINED = {Label.FACE: 3.0, Label.SKIN: 4.0, Label.HAIR: 4.0, Label.EAR: 2.0}  # pixels between discs, by label
SUNK = 1.5  # pixels
HIDING = (Label.CLOTHES, Label.HAT)  # beneath which nothing is lined
OPENING, CLEAR = (Label.EYE, Label.LIPS, Label.MOUTH), 14.0
"""Within so many pixels of these there is no lining: lids and lips would spread dark colours when they close."""
BESIDE, DARKER = 8, 2  # Gaussians before a disc, and which of them in order of lightness colours it


def select_lining(discs: GaussianSplats, labels: Bytes, pixel: float) -> tuple[GaussianSplats, Bytes]:
    """Return larger discs, and their labels, below those of the skin among discs all over the surfaces."""
    rows = np.flatnonzero(np.isin(labels, list(map(int, LINED))))
    moving = discs.means[np.isin(labels, OPENING)]
    if len(moving):
        far = KDTree(moving).query(discs.means[rows], distance_upper_bound=CLEAR * pixel, workers=count_threads())[0]
        rows = rows[np.isinf(far)]
    spacing = find_spacing(labels[rows], pixel, LINED)
    kept = thin_out(discs.means[rows].astype(np.float64), spacing)
    rows, spacing = rows[kept], spacing[kept]
    normals = find_normals(discs.rotations[rows])
    return draw_discs(discs.means[rows] - SUNK * pixel * normals, normals, spacing, np.ones(len(rows))), labels[rows]


def paint_lining(lining: GaussianSplats, labels: Bytes, before: GaussianSplats, kinds: Bytes) -> GaussianSplats:
    """Return the lining beneath coloured Gaussians of these kinds, without what clothes hide."""
    near = KDTree(before.means).query(lining.means, k=min(BESIDE, len(before)), workers=count_threads())[1]
    near = np.asarray(near).reshape(len(lining), -1)
    open_ = (labels != Label.SKIN) | ~np.isin(kinds[near[:, 0]], HIDING)
    near, lining = near[open_], lining[np.flatnonzero(open_)]
    lightness: F64 = before.colours.astype(np.float64) @ LUMINANCE
    order = np.argsort(lightness[near], 1, kind="stable")[:, min(DARKER, near.shape[1] - 1)]
    return paint(lining, before.colours[near[np.arange(len(near)), order]])
