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
from portrait360.synth.wear.glasses import RIM_ANGLES, find_frame, trace_lens
from portrait360.utils.array_types import F32, F64, Bytes, Floats
from portrait360.utils.image_ops import look_up
from portrait360.utils.portrait_labels import Label

LOW = np.array([0.075, 0.060, 2.0, 0.0, -0.025, -0.05, -0.02, -5.0])
HIGH = np.array([0.135, 0.115, 3.6, 0.03, 0.030, 0.03, 0.02, 5.0])
"""Measures of lenses as `trace_lens` takes them."""
TRIED, BEST, CHANGED, ROUNDS = 4000, 24, 16, 6  # lenses at first; of which the best are changed, how often each
SIDE, DARK_TRIED, ALIKE = 160, 1500, 0.5  # pixels in which dark lenses are compared, how many, and least overlap
CHANGE, LESS = 0.08, 0.7  # deviation of the changes, of the range; and what is left of it in the next round
WIDTHS = (2.0, 3.5, 6.0)  # pixels of a photo of 512 on either side of a line, with which it is compared
SHARP = 0.35  # of that: what is finer does not count
DIM, DISTINCT = 0.02, 0.10  # radiance that is dark; logarithm by which a line differs
ROUGH = 0.8  # share of the roughness around a line that is added to that
FINE, AROUND = 4.0, 6.0  # pixels of 512: what is finer is rough, and over which that is measured
UPPER = 0.6  # weight of the upper half of a rim: lids, brows and fringes have lines, too
LOWER = np.sin(RIM_ANGLES) < 0.1
EYES = 4.0  # pixels of 512 around eyes and brows that do not count
SEEN, CLEAR = 0.5, 0.5  # share of the rims that must be seen, and clearness from which a line is one
RATIOS, PIXELS = (0.05, 0.45), (7.5, 1.8)  # of the clearness close by to that further aside; thickness of such lines
RIMS = (0.006, 0.018)  # head heights
SEED = 7


@dataclass(frozen=True)
class FoundGlasses:
    """Glasses that a photo may show."""

    measures: F64  # (8,) see `trace_lens`
    drawn: float  # share of the lower rims along which the photo has lines
    rim: float  # thickness, head heights

    def fit(self, kind: str) -> GlassesFit:
        """Return these measures as what is added to those of a kind of glasses."""
        frame = find_frame(kind)
        width, height, power, droop, apart, rise, aside, tilt = (round(float(v), 5) for v in self.measures)
        return GlassesFit(
            width=width - frame.width,
            height=height - frame.height,
            power=power - frame.power,
            droop=droop - frame.droop,
            rim=self.rim - frame.rim,
            apart=apart,
            rise=rise + frame.slip,
            aside=aside,
            tilt=tilt,
        )


def find_glasses(head: Head, photo: Photo) -> FoundGlasses:
    """Return the lenses along whose rims a photo has the clearest lines, and how far it has."""
    search = _Search(head, photo)
    found, _ = search_best(search.rate, TRIED)
    return FoundGlasses(found, search.find_drawn(found), search.measure_rim(found))


def fit_dark_lenses(head: Head, photo: Photo, kind: str) -> GlassesFit | None:
    """Return how glasses of a kind with dark lenses are worn, by the outlines of the photo's; None where none fit."""
    worn = photo.shows(Label.GLASSES).astype(np.uint8)
    shown = np.asarray(cv2.resize(worn, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    search = _Search(head, photo)

    def rate(tried: F64) -> F64:
        rims = np.round(search.trace(tried)[0] * (SIDE / photo.size)).astype(np.int32).reshape(len(tried), 2, -1, 2)
        return np.array([_overlap(shown, lenses) for lenses in rims])

    found, overlap = search_best(rate, DARK_TRIED)
    return FoundGlasses(found, 1.0, find_frame(kind).rim).fit(kind) if overlap > ALIKE else None


def _overlap(shown: Bytes, lenses: NDArray[np.int32]) -> float:
    """Return the share of two filled outlines (2, k, 2), or of what is shown, that is both."""
    drawn = np.zeros(shown.shape, np.uint8)
    for lens in lenses:
        cv2.fillPoly(drawn, [lens], 1)
    return float((shown & drawn).sum() / max((shown | drawn).sum(), 1))


def search_best(rate: Callable[[F64], F64], count: int) -> tuple[F64, float]:
    """Return the measures (8,) of lenses that `rate` rates best, and its rating: first at random, then nearby."""
    random = np.random.default_rng(SEED)
    tried = random.uniform(LOW, HIGH, (count, len(LOW)))
    rated = rate(tried)
    for i in range(ROUNDS):
        best = tried[np.argsort(-rated, kind="stable")[:BEST]]
        change = random.normal(size=(BEST * CHANGED, len(LOW))) * CHANGE * LESS**i * (HIGH - LOW)
        tried = np.concatenate([best, np.clip(np.repeat(best, CHANGED, 0) + change, LOW, HIGH)])
        rated = rate(tried)
    return tried[int(rated.argmax())], float(rated.max())


class _Search:
    """Rates the rims of lenses on one head against one photo."""

    def __init__(self, head: Head, photo: Photo) -> None:
        self.eyes, self.camera, self.pixel = head.eyes, photo.camera, photo.size / 512
        light = np.log(np.maximum(photo.radiance, 0).mean(-1) + DIM).astype(np.float32)
        self.size, self.light = photo.size, {w: self._blur(light, SHARP * w) for w in WIDTHS}
        self.rough = self._blur(np.abs(light - self._blur(light, FINE)), AROUND)
        inner = photo.shows(Label.EYE, Label.BROW).astype(np.uint8)
        near = cv2.dilate(inner, np.ones((2 * round(EYES * self.pixel) + 1,) * 2, np.uint8)) > 0
        other = photo.shows(Label.HAIR, Label.BACKGROUND, Label.HAT) | (photo.labels == VOID)
        self.counts = (~(near | other)).astype(np.float32)

    def _blur(self, picture: F32, pixels: float) -> F32:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), pixels * self.pixel), np.float32)

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

    def find_lines(self, measures: F64) -> tuple[F32, F32]:
        """Return how clear a line the photo has at each point of the rims (n, 2 k), 0..1, and which points count."""
        uv, across = self.trace(measures)
        clear = np.max([self.compare(width, uv, across) for width in WIDTHS], 0)
        clear = np.clip(clear / (DISTINCT + ROUGH * look_up(self.rough, uv / self.size)), 0, 1)
        return clear, look_up(self.counts, uv / self.size)

    def compare(self, width: float, uv: Floats, across: Floats) -> F32:
        """Return by how much points of rims are darker or brighter than both points beside them."""
        places = [(uv + w * self.pixel * across) / self.size for w in (0, -width, width)]
        here, left, right = (look_up(self.light[width], place) for place in places)
        return np.maximum(np.minimum(left, right) - here, here - np.maximum(left, right))

    def rate(self, measures: F64) -> F64:
        """Return how clear the lines along lenses (n, 8) are."""
        clear, counts = self.find_lines(measures)
        weight = counts * np.tile(np.where(LOWER, 1, UPPER), 2)
        return (clear * weight).sum(1) / np.maximum(weight.sum(1), 1) * np.clip(counts.mean(1) / SEEN, 0, 1)

    def find_drawn(self, measures: F64) -> float:
        """Return the share of the lower rims along which there are lines."""
        clear, counts = self.find_lines(measures[None])
        lower = counts * np.tile(LOWER, 2)
        return float(((clear > CLEAR) * lower).sum() / max(lower.sum(), 1))

    def measure_rim(self, measures: F64) -> float:
        """Return how thick rims are: a thin line differs from what lies close beside it, too."""
        uv, across = self.trace(measures[None])
        weight = look_up(self.counts, uv / self.size) * np.tile(LOWER, 2)
        clear = [float((self.compare(w, uv, across).clip(0) * weight).sum()) for w in (WIDTHS[0], WIDTHS[-1])]
        pixels = float(np.interp(clear[0] / max(clear[1], 1e-6), RATIOS, PIXELS)) * self.pixel
        size = pixels * float(self.camera.radius / self.camera.focal) / self.size
        return float(np.clip(size / HEAD_HEIGHT, *RIMS))
