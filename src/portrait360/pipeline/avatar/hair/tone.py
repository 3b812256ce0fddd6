"""The hue of hair by its brightness and height, as the photo shows it.

Light that passes through much hair takes ever more of its colour, and gloss has little of it: shaded hair is deep in
hue, lit hair pale. Strands that differ in brightness alone are of one hue: blond hair would have copper lights, and
auburn hair pink ones. Long hair is also of another hue at its roots than at its tips, which sun and dye have reached.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from portrait360.pipeline.avatar.hair.trusted import find_trusted_hair
from portrait360.pipeline.avatar.photo.exposure import FEW, HEAD_CENTRE, find_heights, shrink
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
SHEEN = (0.0, 0.4)  # red against blue, logarithms, over which hair comes to be warmer than the light
WARM = (0.2, 0.5)  # usual ones of hair, over which what is no warmer than the light comes to be gloss
MOST = 0.5  # greatest change of one channel, logarithm
HEIGHTS, TALL = np.array([-0.26, -0.12, 0.02, 0.11, 0.20]), 0.03  # canonical, from the head's centre, at which hues
# are compared, and over which they are averaged
LIT = 0.4  # quantile of the brightness at one height from which hair tells its hue there: shade has a hue of its own
ROUNDS = 3  # in which both are found: the one is what the other leaves
FEWER = 0.004  # share of all hair that shows half of what its height has of a hue of its own
CALM = 0.7  # share of the differences in hue at one brightness that natural hair has not: strands that the photo
# shows at its edge, or in another light, would be grey beside the others


class Tone(NamedTuple):
    """What the hue of rendered hair lacks to the photo's, by its brightness and height."""

    levels: F64  # (n,) rising logarithms of luminance
    change: F64  # (n, 3) logarithms
    usual: F64  # (n, 3) logarithms of the channels of rendered hair against its luminance
    sure: Floats  # (n,) how far hair has a hue that may differ from height to height, and not otherwise
    change_by_height: F64  # (h, 3) further logarithms, at HEIGHTS
    usual_by_height: F64  # (h, 3)


class Hues(NamedTuple):
    """The hue of hair: the sum of what its brightness has of one, and what its height has."""

    by_light: F64  # (n, 3) logarithms of the channels against the luminance, at levels of that
    by_height: F64  # (h, 3) at HEIGHTS
    spread: float  # at one brightness


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
    height = find_heights(film, photo.camera)
    of_photo = np.asarray(cv2.resize(height, (photo.size, photo.size), interpolation=cv2.INTER_NEAREST), np.float32)
    own = find_hues(light, hue, of_photo[shown], free * leave_out_sheen(hue), levels)
    usual = find_hues(*_measure(film.radiance, drawn), height[drawn], np.ones(drawn.sum()), levels)
    sure = (1 - float(smoothstep(*DYED, np.asarray(own.spread)))) * smoothstep(*BLACK, np.exp(levels) - DIM)
    change = np.clip(warm_shade(own.by_light) - usual.by_light, -MOST, MOST) * sure[:, None]
    higher = np.clip(own.by_height - usual.by_height, -MOST, MOST)
    return Tone(levels, change, usual.by_light, sure, higher, usual.by_height)


def leave_out_sheen(hue: F64) -> Floats:
    """Return how far the hues (n, 3) of hair are its own (n,): what is no warmer than the light only shines.

    Gloss has the hue of the light, and a window's or the sky's is blue. Hair with hardly any hue does not tell it.
    """
    warm = hue[:, 0] - hue[:, 2]
    has_hue = float(smoothstep(*WARM, np.asarray(np.median(warm))))
    return 1 - has_hue * (1 - smoothstep(*SHEEN, warm))


def find_hues(light: F64, hue: F64, height: Floats, weight: Floats, levels: F64) -> Hues:
    """Return what the hues (n, 3) of hair of this brightness and at these heights (n,) are the sum of.

    What hair at some height has of its own is told by what is lit there.
    """
    near = np.exp(-0.5 * ((height[:, None] - HEIGHTS) / TALL) ** 2)
    nearest = near.argmax(1)
    dark = np.zeros(len(HEIGHTS))
    for row in np.unique(nearest):
        dark[row] = np.quantile(light[nearest == row], LIT)
    near *= (weight * (light >= dark[nearest]))[:, None]
    by_light, spread = _average(light, hue, weight, levels)
    by_height = np.zeros((len(HEIGHTS), 3))
    for _ in range(ROUNDS):
        rest = hue - _interpolate(light, levels, by_light)
        by_height = (near.T @ rest) / (near.sum(0) + FEWER * weight.sum())[:, None]
        by_height -= np.average(_interpolate(height, HEIGHTS, by_height), axis=0, weights=weight)
        by_light, _ = _average(light, hue - _interpolate(height, HEIGHTS, by_height), weight, levels)
    return Hues(by_light, by_height, spread)


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


def tone_hair(film: Film, tone: Tone | None, height: Floats) -> Film:
    """Return a render whose hair has the photo's hue at each brightness and height (s, s) of what it shows."""
    hair = find_labels(film.labels, HAIR) & (film.alpha > 0)
    if tone is None or not hair.any():
        return film
    radiance = film.radiance.copy()
    radiance[hair] = tone_colours(radiance[hair], tone, height[hair] - HEAD_CENTRE[1])
    return film._replace(radiance=radiance)


def tone_colours(shown: F32, tone: Tone, height: Floats | None = None) -> F32:
    """Return radiances (n, 3) of hair as bright as these, in the photo's hues: at heights (n,), or at all."""
    single, weights = np.float32, LUMINANCE.astype(np.float32)
    shown = np.asarray(shown, single)
    bright, dim = shown @ weights, single(DIM)
    light = np.log(np.maximum(bright, 0) + dim)
    at = _look_up(light, tone.levels, np.concatenate([tone.change, tone.usual, tone.sure[:, None]], 1))
    change, usual, sure = at[:, :3], at[:, 3:6], at[:, 6:]
    if height is not None:
        higher = _look_up(height, HEIGHTS, np.concatenate([tone.change_by_height, tone.usual_by_height], 1))
        change, usual = change + sure * higher[:, :3], usual + higher[:, 3:]
    own = np.log(np.maximum(shown, 0) + dim) - light[:, None]
    toned = shown * np.exp(change - single(CALM) * sure * (own - usual))
    kept = np.maximum(bright, single(1e-6)) / np.maximum(toned @ weights, single(1e-6))
    return np.asarray(toned * kept[:, None], single)


def _look_up(where: Floats, places: F64, table: Floats) -> F32:
    """Return rows (n, c) of a table (k, c) between those for rising places (k,)."""
    place, rows = np.interp(where, places, np.arange(len(table))).astype(np.float32), table.astype(np.float32)
    below = np.minimum(place.astype(np.intp), len(table) - 2)
    return np.asarray(
        rows[below] + (place - below.astype(np.float32))[:, None] * np.diff(rows, axis=0)[below], np.float32
    )


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
    return mean, float((hue - _interpolate(light, levels, mean)).std(0).mean())


def _interpolate(where: Floats, places: F64, values: F64) -> F64:
    """Return values (k, 3) at rising places (k,) where asked for (n, 3)."""
    return np.stack([np.interp(where, places, channel) for channel in values.T], -1)
