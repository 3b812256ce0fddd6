"""Find the glasses that a photo shows: the rims of two equal lenses along which it has thin lines.

The reader often misses thin frames, and its labels are too coarse for them. A rim is a line, darker or brighter than
what lies on both sides, and it crosses a cheek, where nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.parameters import GlassesFit
from portrait360.synth.wear.glasses import RIM_ANGLES, arch_bridge, find_bridge_end, find_frame, trace_lens
from portrait360.utils.array_types import F32, F64, Bytes, Floats
from portrait360.utils.image_ops import look_up
from portrait360.utils.portrait_labels import Label

LOW = np.array([0.090, 0.056, 2.0, 0.0, 0.0, 0.0, -0.025, -0.07, -0.025, -6.0, 0.0])
HIGH = np.array([0.150, 0.120, 4.5, 0.02, 0.03, 0.35, 0.045, 0.03, 0.025, 6.0, 0.12])
"""Measures of lenses as `trace_lens` takes them."""
OFTEN = np.array([0.115, 0.085, 2.8, 0.005, 0.005, 0.15, 0.0, -0.03, 0.0, 0.0, 0.03])
SPREAD = np.array([0.02, 0.025, 1.0, 0.01, 0.015, 0.15, 0.015, 0.03, 0.01, 2.5, 0.03])
ASIDE = 15.0  # degrees by which a face is turned from which a photo tells the last of them: how far lenses stand off
ODD = 0.004  # what speaks against lenses that are as far from what is usual as most are at most
WITHIN = np.array([0.085, 0.06, 2.0, 0.0, 0.0, 0.0, 0.0, -0.02, 0.0, 0.0])  # what lies inside the rims of any glasses
DARK, LIT = 0.5, 0.75  # of the brightness of the face; quantile of the brightness in a lens that it must not reach
TRIED, BEST, CHANGED = 6000, 40, 20  # lenses at first; of which the best are changed, how often each
SLACKS = (3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0)  # pixels of 512 by which they may be off in each round
SIDE, DARK_TRIED, ALIKE = 160, 1500, 0.5  # pixels in which dark lenses are compared, how many, and least overlap
CHANGE, LESS = 0.10, 0.75  # deviation of the changes, of the range; and what is left of it in the next round
WIDTHS = (2.0, 3.5, 6.0)  # pixels of a photo of 512 on either side of a line, with which it is compared
SHARP = 0.35  # of that: what is finer does not count
DIM, DISTINCT = 0.02, 0.05  # radiance that is dark; logarithm per pixel of 512 by which a line differs
ROUGH = 0.8  # share of the roughness around a line that is added to that
FINE, AROUND = 4.0, 6.0  # pixels of 512: what is finer is rough, and over which that is measured
USUAL = 0.4  # how clear the lines of a face without glasses are
UPPER = 0.8  # weight of the upper half of a rim: lids, brows and fringes have lines, too
LOWER, ABOVE = np.sin(RIM_ANGLES) < 0.1, np.sin(RIM_ANGLES) > 0.4
BROW = 0.5  # how much of what is read as brow counts: it may be a frame before it
EYES = 4.0  # pixels of 512 around eyes and brows that do not count
BRIDGE, BRIDGE_POINTS = 2.0, np.linspace(0.1, 0.9, 9)  # weight of the bridge, and shares of its way
BRIDGE_RISES = np.linspace(-0.02, 0.04, 7)  # head heights by which it lies higher than usual
SEEN, CLEAR, DEEP = 0.4, 0.5, 0.12  # from which points of rims tell their thickness
FEWEST = 6  # points that tell it
STEP, REACH, NEAR = 0.5, 30, 6  # pixels of 512 between samples across a rim; how many on each side, and near it
EDGE, FREE = 0.65, (0.42, 0.2)  # share of their depth at which lines end; quantiles of widths, to which lids add
BLUR, LIT_EDGES = 3.0, 1.25  # pixels of 512 by which a photo widens lines; and light on their edges narrows them so
RIMS, THICKER = (0.005, 0.025), 2.0  # head heights; and how many times as thick a rim may be above
SEED, STARTS = 7, 4  # searches, of which the best counts


@dataclass(frozen=True)
class FoundGlasses:
    """Glasses that a photo may show."""

    measures: F64  # (10,) or (11,) see `trace_lens`
    rating: float  # how much speaks for them
    rim: float  # thickness, head heights
    upper: float  # thickness of the upper half of the rims

    def fit(self, kind: str) -> GlassesFit:
        """Return these measures as what is added to those of a kind of glasses."""
        frame = find_frame(kind)
        measures = (round(float(v), 5) for v in self.measures)
        width, height, power, droop, cat, taper, apart, rise, aside, tilt, *forward = measures
        return GlassesFit(
            width=width - frame.width,
            height=height - frame.height,
            power=power - frame.power,
            droop=droop - frame.droop,
            cat=cat - frame.cat,
            taper=taper - frame.taper,
            rim=round(self.rim - frame.rim, 5),
            upper=round(max(self.upper - self.rim, 0) - frame.upper, 5),
            apart=apart,
            rise=rise + frame.slip,
            aside=aside,
            tilt=tilt,
            forward=sum(forward),
        )


def find_glasses(head: Head, photo: Photo) -> FoundGlasses:
    """Return the lenses along whose rims a photo has the clearest lines, and how far it has."""
    search = _Search(head, photo)
    found, rating = max((search.find_best(SEED + i) for i in range(STARTS)), key=lambda best: best[1])
    return FoundGlasses(found, rating, *search.measure_rims(found))


def fit_dark_lenses(head: Head, photo: Photo, kind: str) -> GlassesFit | None:
    """Return how glasses of a kind with dark lenses are worn, by the outlines of the photo's; None where none fit."""
    worn = photo.shows(Label.GLASSES).astype(np.uint8)
    shown = np.asarray(cv2.resize(worn, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    search = _Search(head, photo)

    def rate(tried: F64, _: float) -> F64:
        rims = np.round(search.trace(tried)[0] * (SIDE / photo.size)).astype(np.int32).reshape(len(tried), 2, -1, 2)
        return np.array([_overlap(shown, lenses) for lenses in rims])

    found, overlap = search_best(rate, DARK_TRIED)
    rim = find_frame(kind).rim
    return FoundGlasses(found, overlap, rim, rim).fit(kind) if overlap > ALIKE else None


def shows_dark_lenses(head: Head, photo: Photo) -> bool:
    """Return whether both lenses are much darker than the face: a clear one shows lit skin, whatever its frame is."""
    light, face = photo.radiance.mean(-1), photo.shows(Label.FACE)
    bright = DARK * float(np.median(light[face])) if face.any() else 0.0
    for eye in head.eyes:
        lens = np.zeros(light.shape, np.uint8)
        rim = photo.camera.project(trace_lens(WITHIN, eye))[0] * photo.size
        cv2.fillPoly(lens, [np.round(rim).astype(np.int32)], 1)
        shown = light[(lens > 0) & (photo.alpha > CLEAR)]
        if len(shown) and np.quantile(shown, LIT) > bright:
            return False
    return True


def _overlap(shown: Bytes, lenses: NDArray[np.int32]) -> float:
    """Return the share of two filled outlines (2, k, 2), or of what is shown, that is both."""
    drawn = np.zeros(shown.shape, np.uint8)
    for lens in lenses:
        cv2.fillPoly(drawn, [lens], 1)
    return float((shown & drawn).sum() / max((shown | drawn).sum(), 1))


def search_best(
    rate: Callable[[F64, float], F64], count: int, seed: int = SEED, measures: int = 10
) -> tuple[F64, float]:
    """Return the measures (k,) of lenses that `rate` rates best, and its rating: first at random, then nearby.

    Its second argument is by how much they may be off, pixels of 512, which becomes less from round to round.
    """
    random = np.random.default_rng(seed)
    low, high = LOW[:measures], HIGH[:measures]
    tried = random.uniform(low, high, (count, measures))
    rated = rate(tried, SLACKS[0])
    for i, slack in enumerate(SLACKS):
        best = tried[np.argsort(-rated, kind="stable")[:BEST]]
        change = random.normal(size=(BEST * CHANGED, measures)) * CHANGE * LESS**i * (high - low)
        tried = np.concatenate([best, np.clip(np.repeat(best, CHANGED, 0) + change, low, high)])
        rated = rate(tried, slack)
    return tried[int(rated.argmax())], float(rated.max())


class _Search:
    """Rates the rims of lenses on one head against one photo."""

    def __init__(self, head: Head, photo: Photo) -> None:
        self.eyes, self.camera, self.pixel = head.eyes, photo.camera, photo.size / 512
        away = photo.camera.position / np.linalg.norm(photo.camera.position)
        self.measures = len(LOW) - int(away[2] > np.cos(np.radians(ASIDE)))
        light = np.log(np.maximum(photo.radiance, 0).mean(-1) + DIM).astype(np.float32)
        self.size, self.light = photo.size, {w: self._blur(light, SHARP * w) for w in WIDTHS}
        self.rough = self._blur(np.abs(light - self._blur(light, FINE)), AROUND)
        inner = photo.shows(Label.EYE).astype(np.uint8)
        near = cv2.dilate(inner, np.ones((2 * round(EYES * self.pixel) + 1,) * 2, np.uint8)) > 0
        other = photo.shows(Label.HAIR, Label.BACKGROUND, Label.HAT) | (photo.labels == VOID)
        self.counts = np.where(photo.shows(Label.BROW), BROW, ~(near | other)).astype(np.float32)

    def _blur(self, picture: F32, pixels: float) -> F32:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), pixels * self.pixel), np.float32)

    def find_best(self, seed: int) -> tuple[F64, float]:
        """Return the measures of the lenses with the clearest rims, and their rating."""
        return search_best(self.rate, TRIED, seed, self.measures)

    def trace(self, measures: F64) -> tuple[Floats, Floats]:
        """Return the rims of both lenses in the photo (n, 2 k, 2), pixels, and the way across them."""
        rims = [trace_lens(measures, eye) for eye in self.eyes]
        uv = (
            np.stack([self.camera.project(r.reshape(-1, 3))[0].reshape(*r.shape[:-1], 2) for r in rims], 1)
            * self.size
        )
        along = np.roll(uv, -1, -2) - np.roll(uv, 1, -2)
        across = np.stack([-along[..., 1], along[..., 0]], -1)
        across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
        return uv.reshape(len(uv), -1, 2), across.reshape(len(uv), -1, 2)

    def find_lines(self, uv: Floats, across: Floats) -> tuple[F32, F32]:
        """Return how clear a line the photo has at points (.., 2) across these ways, 0..1, and which points count."""
        rough = ROUGH * look_up(self.rough, uv / self.size)
        clear = np.max([self.compare(w, uv, across) / (DISTINCT * w + rough) for w in WIDTHS], 0)
        return np.clip(clear, 0, 1), look_up(self.counts, uv / self.size)

    def rate_bridge(self, measures: F64) -> F64:
        """Return how clear a line crosses the nose between lenses (n, 10), 0..1, and how long it is, photo sides."""
        rims = [trace_lens(measures, eye) for eye in self.eyes]
        ends = [find_bridge_end(rim, eye.side) for rim, eye in zip(rims, self.eyes, strict=True)]
        arch = arch_bridge(ends[0], ends[1], BRIDGE_POINTS)[..., None, :, :]
        arches = arch + (BRIDGE_RISES[:, None] * np.array([0, HEAD_HEIGHT, 0]))[:, None]
        uv = self.camera.project(arches.reshape(-1, 3))[0].reshape(*arches.shape[:-1], 2) * self.size
        along = np.gradient(uv, axis=-2)
        length = np.linalg.norm(along, axis=-1)
        across = np.stack([-along[..., 1], along[..., 0]], -1) / np.maximum(length, 1e-6)[..., None]
        clear, _ = self.find_lines(uv.reshape(len(uv), -1, 2), across.reshape(len(uv), -1, 2))
        return ((clear.reshape(length.shape) - USUAL) * length).sum(-1).max(-1) / self.size

    def compare(self, width: float, uv: Floats, across: Floats) -> F32:
        """Return by how much points of rims are darker or brighter than both points beside them."""
        places = [(uv + w * self.pixel * across) / self.size for w in (0, -width, width)]
        here, left, right = (look_up(self.light[width], place) for place in places)
        return np.maximum(np.minimum(left, right) - here, here - np.maximum(left, right))

    def rate(self, measures: F64, slack: float = 0.0) -> F64:
        """Return how much speaks for lenses (n, 10): how clear lines along them are, and how long."""
        uv, across = self.trace(measures)
        clear, counts = self.find_lines(uv, across)
        for off in (-slack, slack) if slack else ():
            clear = np.maximum(clear, self.find_lines(uv + off * self.pixel * across, across)[0])
        uv = uv.reshape(len(uv), 2, -1, 2)
        length = np.linalg.norm(np.roll(uv, -1, 2) - uv, axis=-1).reshape(clear.shape) / self.size
        rims = (clear - USUAL) * counts * np.tile(np.where(LOWER, 1, UPPER), 2) * length
        k = measures.shape[-1]
        odd = ODD * np.square((measures - OFTEN[:k]) / SPREAD[:k]).sum(1)
        return rims.sum(1) + BRIDGE * self.rate_bridge(measures) - odd

    def measure_rims(self, measures: F64) -> tuple[float, float]:
        """Return how thick rims are below and above, head heights: as far as they stay clearly dark or bright."""
        uv, across = self.trace(measures[None])
        widths, counts = self.measure_widths(uv[0], across[0])
        clear, shown = self.find_lines(uv, across)
        counts &= (clear[0] > CLEAR) & (shown[0] > SEEN)
        distance = float(np.linalg.norm(self.camera.position - np.mean([e.center for e in self.eyes], 0)))
        size = self.pixel / self.size * distance / float(self.camera.focal) / HEAD_HEIGHT
        thick = []
        for half, free in zip((LOWER, ABOVE), FREE, strict=True):
            found = widths[counts & np.tile(half, 2)]
            wide = float(np.quantile(found, free)) if len(found) >= FEWEST else thick[0] if thick else 0.0
            thick.append(LIT_EDGES * size * float(np.sqrt(max(wide * wide - BLUR * BLUR, 0))))
        lower = float(np.clip(thick[0], *RIMS))
        return lower, float(np.clip(thick[1], lower, THICKER * lower))

    def measure_widths(self, uv: Floats, across: Floats) -> tuple[F64, NDArray[np.bool_]]:
        """Return how wide the lines at points (k, 2) are near their foot, pixels of 512, and which are clear."""
        steps = np.arange(-REACH, REACH + 1)
        places = uv[:, None] + (STEP * self.pixel * steps)[:, None] * across[:, None]
        light = look_up(self.light[WIDTHS[0]], places / self.size)
        middle = slice(REACH - NEAR, REACH + NEAR + 1)
        sides = 0.5 * (light[:, REACH - 2 * NEAR] + light[:, REACH + 2 * NEAR])
        dark = light[:, middle].min(1) + light[:, middle].max(1) < 2 * sides
        light = np.where(dark[:, None], light, -light)
        start = np.argmin(light[:, middle], 1) + REACH - NEAR
        bottom = np.take_along_axis(light, start[:, None], 1)
        depth, out = [], []
        for way in (-1, 1):
            there = np.clip(start[:, None] + way * np.arange(REACH), 0, 2 * REACH)
            rise = np.take_along_axis(light, there, 1) - bottom
            depth.append(rise.max(1))
            out.append(np.argmax(rise > EDGE * rise.max(1, keepdims=True), 1))
        return STEP * (out[0] + out[1]).astype(np.float64), np.minimum(*depth) > DEEP
