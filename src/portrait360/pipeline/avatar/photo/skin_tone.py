"""The tone of a face, and what else has it: hands, arms and shoulders that were read as clothes."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from portrait360.pipeline.avatar.photo.borders import measure_borders
from portrait360.utils.array_types import F32, Bools, Bytes
from portrait360.utils.portrait_labels import Label

BINS = 16  # of a histogram of colours, each way
DIM, TONE = 0.03, (2.5, 3.0, 4.5)  # sRGB too dark to have a hue; deviations of both hues and of brightness
SHADED = 0.5  # by how much more of these deviations of hue each of brightness adds
WARM = 0.12  # logarithm of red over blue from which a face is warm
LIMB_TONE = (3.0, 3.0, 4.5)  # the same for limbs, either way
RARE = (0.02, 0.12)  # shares of the skin whose colours are too rare for any pixel of a limb, and for its core
CORE, LIKE = 0.0015, 0.4  # share of the picture that the core of a limb has at least, and share of the limb
EDGE = 0.1  # mean step of sRGB from a limb to the clothes beside it
MOST = 0.7  # share of the clothes that limbs may be: of less, what is left does not tell the colour
FEWEST = 60  # pixels of skin and of clothes between which to tell


def uncover_limbs(labels: Bytes, rgb: F32) -> Bytes:
    """Call parts of the clothes skin that have its tone, and an edge towards other cloth: hands, arms and shoulders.

    Hair, straps or collars may lie between them and the neck. A face without a hue tells nothing.
    """
    skin = open_or_erode(np.isin(labels, (Label.FACE, Label.SKIN)), cv2.MORPH_ERODE, 7)
    cloth = labels == Label.CLOTHES
    if min(skin.sum(), cloth.sum()) < FEWEST:
        return labels
    red, yellow, _ = np.median(measure_tone(rgb)[skin], 0)
    if red + yellow < WARM:
        return labels
    alike = cloth & (np.abs(measure_deviations(rgb, skin)) < LIMB_TONE).all(-1)
    density = log_density(rgb, rgb[skin])
    rarest, rare = np.quantile(density[skin], RARE)
    core = open_or_erode(alike & (density > rare), cv2.MORPH_OPEN, 7)
    found = open_or_erode(alike & (density > rarest), cv2.MORPH_OPEN, 3) | core
    number = np.asarray(cv2.connectedComponents(found.astype(np.uint8))[1], np.int32)
    large = (np.bincount(number[core], minlength=int(number.max()) + 1) >= CORE * labels.size)[number]
    part, _, step = measure_borders(rgb, large, cloth & ~large)
    usual, all_of_it = (np.bincount(numbers, minlength=len(step)) for numbers in (part[core], part.ravel()))
    limb = (step > EDGE) & (usual > LIKE * all_of_it)
    limb[0] = False
    return labels if limb[part].sum() > MOST * cloth.sum() else np.where(limb[part], np.uint8(Label.SKIN), labels)


def open_or_erode(mask: Bools, operation: int, side: int) -> Bools:
    return cv2.morphologyEx(mask.astype(np.uint8), operation, np.ones((side, side), np.uint8)) > 0


def has_skin_tone(rgb: F32, skin: Bools) -> Bools:
    """Return which pixels have the hue of masked skin, which may lie in another light."""
    off = measure_deviations(rgb, skin)
    deeper = SHADED * np.maximum(-off[..., 2:], 0) * np.array([1.0, 1.0, 0.0], np.float32)  # shade makes skin deeper
    return np.asarray(((off < TONE + deeper) & (off > -np.array(TONE))).all(-1))


def measure_deviations(rgb: F32, skin: Bools) -> F32:
    """Return by how many deviations of masked skin each pixel's tone is off from it (s, s, 3)."""
    tone = measure_tone(rgb)
    usual = np.median(tone[skin], 0)
    spread = 1.5 * np.median(np.abs(tone[skin] - usual), 0)
    return np.asarray((tone - usual) / np.maximum(spread, 1e-6), np.float32)


def measure_tone(rgb: F32) -> F32:
    """Return both hues and the brightness of pixels (s, s, 3), logarithms."""
    tone = np.log(rgb + DIM)
    return np.stack([tone[..., 0] - tone[..., 1], tone[..., 1] - tone[..., 2], tone.mean(-1)], -1)


def log_density(rgb: F32, samples: F32) -> F32:
    """Return the logarithm of the density of the samples' colours at every pixel, by a smoothed histogram."""
    cells = (np.clip(rgb, 0, 0.9999) * BINS).astype(int)
    counts, _ = np.histogramdd(np.clip(samples, 0, 0.9999), BINS, [(0, 1)] * 3)
    density = gaussian_filter(counts / len(samples), 1.0) + 1e-5
    return np.log(density)[cells[..., 0], cells[..., 1], cells[..., 2]].astype(np.float32)
