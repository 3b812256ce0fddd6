"""The hue of hair by its brightness, as the photo shows it.

Light that passes through much hair takes ever more of its colour, and gloss has little of it: shaded hair is deep in
hue, lit hair pale. Strands that differ in brightness alone are of one hue: blond hair would have copper lights, and
auburn hair pink ones.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.pipeline.avatar.hair.trusted import find_trusted_hair
from portrait360.pipeline.avatar.photo.exposure import FEW, shrink
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.lights import LUMINANCE
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label, find_labels

LEVELS = np.array([0.04, 0.16, 0.33, 0.5, 0.67, 0.84, 0.96])  # quantiles of the brightness of the photo's hair
RED, YELLOW = np.array([2, -1, -1]) / 3, np.array([1, 1, -2]) / 3  # what changes one ratio of channels alone
BROWN = (0.0, 0.16)  # green against blue of lit hair, logarithms, over which its shade comes to be no more violet, up
# to the last
WIDTH = 0.35  # logarithm of the brightness over which hues are averaged
DIM = 0.002  # radiance below which hair is black
BLACK = (0.004, 0.02)  # luminances over which hair comes to have a hue of its own: black hair reflects the wall
DYED = (0.35, 0.6)  # spread of hues at one brightness, logarithms, from which hair is dyed: neither tells the other
BARE = (Label.FACE, Label.EAR, Label.SKIN)
BESIDE = 0.06  # picture sides from skin within which its hue is on the hair
LEAST = 0.05  # weight of hair right beside skin
BEADS = (0.4, 0.65)  # step in hue to the brightest hair, logarithms, over which that is none: beads, threads, or skin
PURE = 0.9  # purity of the photo's hair that counts
MOST = 0.5  # greatest change of one channel, logarithm
CALM = 0.7  # share of the differences in hue at one brightness that natural hair has not: strands that the photo
# shows at its edge, or in another light, would be grey beside the others


class Tone(NamedTuple):
    """What the hue of rendered hair lacks to the photo's, by its brightness."""

    levels: F64  # (n,) rising logarithms of luminance
    change: F64  # (n, 3) logarithms
    usual: F64  # (n, 3) logarithms of the channels of rendered hair against its luminance
    calm: Floats  # (n,) share of what single pixels differ by from those that is taken off


def find_tone(photo: Photo, film: Film) -> Tone | None:
    """Return by how much hues differ between a photo and a render at its camera; None of too little hair."""
    side = (len(film.labels),) * 2
    shown = find_trusted_hair(photo)
    drawn = shrink(find_labels(film.labels, HAIR) & (film.alpha > PURE))
    drawn &= cv2.resize(photo.shows(*HAIR).astype(np.uint8), side, interpolation=cv2.INTER_NEAREST) > 0
    if min(shown.sum(), drawn.sum()) < FEW:
        return None
    light, hue = _measure(photo.radiance, shown)
    away = cv2.distanceTransform((~photo.shows(*BARE)).astype(np.uint8), cv2.DIST_L2, 3)[shown] / photo.size
    free = LEAST + (1 - LEAST) * smoothstep(0.0, BESIDE, np.asarray(away))
    levels = np.quantile(light, LEVELS) + 1e-4 * np.arange(len(LEVELS))  # rising
    own, spread = _average(light, hue, free, levels)
    own = warm_shade(own)
    usual, _ = _average(*_measure(film.radiance, drawn), np.ones(drawn.sum()), levels)
    natural = 1 - float(smoothstep(*DYED, np.asarray(spread)))
    sure = natural * smoothstep(*BLACK, np.exp(levels) - DIM)
    return Tone(levels, np.clip(own - usual, -MOST, MOST) * sure[:, None], usual, CALM * sure)


def warm_shade(hues: F64) -> F64:
    """Return hues (n, 3) by rising brightness, of which none darker than the warmest of the lit ones is cooler.

    Shade deepens the hue of hair. What is bluer there is what a lens adds of the sky and of bright walls. It takes
    the hue of lit hair: without blue alone, neutral shade would be olive.
    """
    warm, row = hues[:, 0] - hues[:, 2], np.arange(len(hues))
    step = max(float(warm[-1] - warm[-2]), 0.0)
    warm[-1] -= step * float(smoothstep(*BEADS, np.asarray(step)))
    lit = int(np.argmax(np.where(row < len(hues) // 2, -np.inf, warm)))
    if warm[lit] <= 0:  # blue hair is bluer in the shade
        return hues
    lack = np.where(row < lit, np.maximum(warm[lit] - warm, 0), 0)
    red, yellow = (np.maximum(ratio[lit] - ratio, 0) for ratio in _compare_channels(hues))
    share = red / np.maximum(red + yellow, 1e-9)
    hues = hues + (lack * share)[:, None] * RED + (lack * (1 - share))[:, None] * YELLOW
    yellow = _compare_channels(hues)[1]
    most = int(np.argmax(np.where(row < len(hues) // 2, -np.inf, yellow)))
    violet = np.where(row < most, np.maximum(min(yellow[most], BROWN[1]) - yellow, 0), 0)
    return hues + (float(smoothstep(*BROWN, yellow[most])) * violet)[:, None] * YELLOW


def _compare_channels(hues: F64) -> tuple[F64, F64]:
    """Return red against green, and green against blue (n,)."""
    return hues[:, 0] - hues[:, 1], hues[:, 1] - hues[:, 2]


def tone_hair(film: Film, tone: Tone | None) -> Film:
    """Return a render whose hair has the photo's hue at each brightness."""
    hair = find_labels(film.labels, HAIR) & (film.alpha > 0)
    if tone is None or not hair.any():
        return film
    radiance = film.radiance.copy()
    radiance[hair] = tone_colours(radiance[hair], tone)
    return film._replace(radiance=radiance)


def tone_colours(shown: F32, tone: Tone) -> F32:
    """Return radiances (n, 3) of hair as bright as these, in the photo's hues."""
    single, weights = np.float32, LUMINANCE.astype(np.float32)
    shown = np.asarray(shown, single)
    bright, dim = shown @ weights, single(DIM)
    light = np.log(np.maximum(bright, 0) + dim)
    table = np.concatenate([tone.change, tone.usual, tone.calm[:, None]], 1).astype(single)
    place = np.interp(light, tone.levels, np.arange(len(table))).astype(single)
    below = np.minimum(place.astype(np.intp), len(table) - 2)
    at = table[below] + (place - below.astype(single))[:, None] * (table[below + 1] - table[below])
    own = np.log(np.maximum(shown, 0) + dim) - light[:, None]
    toned = shown * np.exp(at[:, :3] - at[:, 6:] * (own - at[:, 3:6]))
    kept = np.maximum(bright, single(1e-6)) / np.maximum(toned @ weights, single(1e-6))
    return np.asarray(toned * kept[:, None], single)


def _measure(radiance: F32, mask: Bools) -> tuple[F64, F64]:
    """Return the logarithms of the luminance (n,) of what is masked, and of its channels against that (n, 3)."""
    colours = np.maximum(cv2.GaussianBlur(radiance, (0, 0), 0.7)[mask], 0).astype(np.float64)
    light = np.log(colours @ LUMINANCE + DIM)
    return light, np.log(colours + DIM) - light[:, None]


def _average(light: F64, hue: F64, weight: Floats, levels: F64) -> tuple[F64, float]:
    """Return the mean hue (n, 3) at each of the levels, and how far hues are spread about it."""
    near = (np.exp(-0.5 * ((light[:, None] - levels) / WIDTH) ** 2) + 1e-9) * weight[:, None]
    near /= near.sum(0)
    mean = near.T @ hue
    rest = hue - np.stack([np.interp(light, levels, channel) for channel in mean.T], -1)
    return mean, float(rest.std(0).mean())
