"""Bring the layers' broad colours to the photo's beside it, so that no seam is seen where it ends.

As in multi-band blending, fine detail changes within a few pixels from the photo's to the layers', and broad colour
over a wider band.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

REACHES = ((0.005, 1.0, 2), (0.014, 0.03, 4), (0.04, 0.001, 8))
"""Picture sides, weights (far only where nothing is near), and pixels along a side of the cells that are blurred."""
MOST = (-0.9, 0.5)  # logarithms of the largest changes: what is lifted further shows the noise of its shade
QUIET = 0.05  # sRGB that is added to both colours: the ratio of two blacks says nothing
SURE = (0.6, 0.95)  # share of the photo from which its colours count: its edges are other things', too
HELD = 0.45  # share of its brightness that the darkest keeps
MIXED = 0.7  # pixels along whose edges two groups are mixed
FEW = 0.02  # share of the photo that is none
GROUPS = np.full(256, -1, np.int8)  # labels whose colours have to do with each other; the neck often lies in shade
for _i, _labels in enumerate(
    (
        (Label.FACE, Label.EAR, Label.BROW, Label.LIPS),
        (Label.EYE,),  # their whites would glow on lids that close
        (Label.SKIN,),
        (Label.HAIR,),
        (Label.BEARD,),
        (Label.CLOTHES,),
        (Label.HAT,),
    )
):
    GROUPS[list(map(int, _labels))] = _i


def hide_seams(rgb: Floats, bare: F32, film: Film, share: Floats, own: Floats) -> Floats:
    """Return a view (s, s, 3) in which the layers have the broad colours that the photo has beside them.

    Args:
        rgb: The layers with the photo over them.
        bare: The layers without it.
        film: What they were made of.
        share: How much of each pixel is the photo's (s, s).
        own: How much of that shows what the layer there is, not, say, hair before skin.
    """
    change, groups = np.zeros_like(bare), GROUPS[film.labels]
    step = np.log((np.asarray(rgb, np.float32).clip(0) + QUIET) / (bare + QUIET))
    own = np.asarray(smoothstep(*SURE, own), np.float32)
    for group in np.unique(groups[(own > FEW) & (groups >= 0)]):
        mask = ((groups == group) * film.alpha).astype(np.float32)
        change += mask[..., None] * _spread(step, own, mask)
    layers = np.asarray((1 - share) * (film.alpha > 0), np.float32)[..., None]
    added = (bare + QUIET) * np.expm1(cv2.GaussianBlur(change, (0, 0), MIXED))
    return np.maximum(rgb + layers * added, HELD * rgb)


def _spread(step: F32, own: F32, mask: F32) -> F32:
    """Return the steps of colour (s, s, 3) of a mask's pixels where the photo is, fading beside it."""
    size = len(mask)
    stacked = np.dstack([step * (own * mask)[..., None], own * mask, mask])
    side = max(size // REACHES[0][2], 1)
    small = _shrink(stacked, side)
    total, near = np.full((*small.shape[:2], 4), 1e-9, np.float32), small
    for reach, weight, cell in REACHES:
        cells = max(size // cell, 1)
        near = cv2.resize(cv2.GaussianBlur(_shrink(small, cells), (0, 0), reach * cells), (side, side))
        total += weight * near[..., :4]
    broad = np.clip(total[..., :3] / total[..., 3:], *MOST)
    # half of the pixels around the edge are the photo's
    fading = broad * np.clip(2 * near[..., 3:4] / np.maximum(near[..., 4:5], 1e-4), 0, 1)
    return np.asarray(cv2.resize(fading, (size, size)), np.float32)


def _shrink(picture: Floats, side: int) -> F32:
    """Return a picture of five channels, of which OpenCV takes four at once where cells do not divide it evenly."""
    size, parts = (side, side), (picture[..., :3], picture[..., 3:])
    parts = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts)
    return np.asarray(np.dstack(list(parts)), np.float32)
