"""Read of hair what its outline does not say: how curly it is, and whether it is drawn back to a hidden knot."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry.cameras import pixel_centres
from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.hair.drawn import measure_from_edge
from portrait360.pipeline.avatar.hair.outline import (
    CHAIN,
    QUARTER,
    clean_hair,
    make_frame,
    trace_outline,
    trace_reach,
)
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.reading.reading import Reading
from portrait360.synth.hair.growth import clump, curl
from portrait360.synth.head.bare_head import Head
from portrait360.synth.sampling.hairstyles import HairStyle, find_style
from portrait360.synth.sampling.parameters import Hair
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

GRAIN_SIDE, GRAIN_BLUR = 256, 2.0  # pixels
STRAIGHT_GRAIN, CURL_OF_GRAIN, MOST_CURL = 0.85, 0.6, 0.28
TRUST = (0.3, 0.75)  # agreement of the picture with the reader's flow from which it counts, and counts fully
SURELY_CURLY, STRAIGHT = 0.21, 0.10  # radius times turns: of the photo, and of a style without curls
SHORTEST_CURL = 0.11  # head heights of the hair on top; shorter hair shows no curls
CURLS = {"wave": (0.034, 12.0), "clump": 0.6, "frizz": 0.012}  # of hair whose style has none
SMALL_CURLS = {"wave": (0.032, 6.0), "clump": 0.7, "frizz": 0.006}  # of long hair that the reader calls curly
SEEN_CURLY, UNEVEN = 0.4, 0.08  # least odds of curly styles for that, and radius times turns of the photo
ORDERLY, LEAST_FRIZZ = 0.8, 0.004  # share of a style's frizz that hair combed alike has not; what any hair has
SMOOTH, LAYERED = 0.7, 0.5  # the same of its tufts and short waves; head heights of the hair that shows tips all over
CURLY_ODDS, COILY = 0.5, 0.7  # least odds of curly hair whose curls are measured; most of coils that are curls
TURNS, CURL_RADIUS, CLUMP = (4.0, 14.0), (0.018, 0.045), (0.55, 0.8)  # a head height; head heights; how they cling
LOOSE = {"count": 6500, "width": 0.0125, "frizz": 0.010, "lift": 1.2}  # of curls, where a style has coils
TIED_WAVE, TIED_CLUMP, TIED_LOCK = (0.030, 4.5), 0.5, 24  # radius and turns of curls in a tie; their locks
FRONT, CALM_FRONT = (0.05, 0.12), 0.8  # z from which hair is combed flat over the forehead, and how flat
FLAT = 0.25  # share of their height over the skin: under tension curls lie flat, and are rings where they stand up
CALM_LINE = (0.01, 0.09)  # canonical way from the hairline over which they come to their size: there hair is taut
NEAREST, FEWEST = 0.005, 200  # canonical, over the skin; strands of a group
KNOT = "low_bun"  # the style of hair that is drawn back to a knot out of sight
WOMAN, DOUBT = 0.7, 0.2  # least odds of a woman, most of a drawing or an unusual cut
JAW, HANGING = -0.11, 0.06  # height over the frame's centre, and share of the hair below it that counts as hanging
FOREHEAD, FRINGE = (0.05, 0.045, 0.09), 0.15  # half its width, and its heights; share of it that a fringe covers
TIED_OFFSET = (0.02, 0.15)  # head heights: range of the thickness of hair that is drawn back
FLATTER = 0.8  # its thickness beside that of its outline, where single hairs stand off
UNTIED, SURELY_UNTIED = ("curly", "locks", "bald"), 0.7  # families that show bare foreheads untied, and their odds
FORWARD, UPWARD, SURELY_LOOSE = 0.3, 0.5, 0.78
"""How far styles are combed that are not drawn back; least odds of such."""


def read_grain(photo: Photo) -> tuple[float, float]:
    """Return how curly the hair looks, and how far the reader's flow can be trusted.

    Curls show in how unevenly the picture is combed, and how seldom along the reader's flow.
    """
    size = (GRAIN_SIDE, GRAIN_SIDE)
    hair = cv2.resize(photo.shows(Label.HAIR).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    inside = cv2.erode(hair, np.ones((7, 7), np.uint8)) > 0
    if inside.sum() < 50:
        return 0.0, 0.0
    grey = np.log(cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA).mean(-1).astype(np.float32) + 0.05)
    across, down = cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)
    products = np.stack([across * across - down * down, 2 * across * down, across * across + down * down], -1)
    x, y, total = np.moveaxis(cv2.GaussianBlur(products, (0, 0), GRAIN_BLUR)[inside], -1, 0)
    strength = np.hypot(x, y) + 1e-6
    flow = cv2.resize(photo.flow, size, interpolation=cv2.INTER_AREA)[inside]
    coherence = strength / (total + 1e-4)
    agreement = (-(flow[:, 0] * x + flow[:, 1] * y) / strength * coherence).sum() / coherence.sum()
    grain = (float(coherence.mean()) + float(agreement)) / 2
    curl = np.clip(CURL_OF_GRAIN * (STRAIGHT_GRAIN - grain), 0, MOST_CURL)
    return float(curl), float(smoothstep(*TRUST, np.asarray(agreement)))


def add_curls(style: HairStyle, hair: Hair, curl: float, reading: Reading, *, shows_waves: bool) -> HairStyle:
    """Return the style with curls where the photo shows them and the style that fits its outline has none.

    Curls that only the reader sees are small: of larger ones the photo shows the waves.
    """
    is_straight = style.wave[0] * style.wave[1] < STRAIGHT and style.locks == "none" and not style.ties
    if not is_straight or style.lengths[0] * hair.length < SHORTEST_CURL:
        return style
    if curl >= SURELY_CURLY:
        return replace(style, **CURLS)
    return (
        replace(style, **SMALL_CURLS)
        if find_odds_of_curls(reading) > SEEN_CURLY and curl > UNEVEN and not shows_waves
        else style
    )


def find_odds_of_curls(reading: Reading) -> float:
    """Return how likely the reader takes hair for a style with curls."""
    styles = {name: find_style(name) for name in reading.answers.get("style", {})}
    curly = [name for name, s in styles.items() if s.texture in ("curly", "coily") and s.locks == "none"]
    return sum(reading.answers["style"][name] for name in curly)


def size_curls(style: HairStyle, hair: Hair, curl: float, reading: Reading) -> HairStyle:
    """Return a curly style with curls of the size that the reader sees, and as curly as the photo shows it.

    The outline tells how far curls stand off the head, not how wide they are.
    """
    odds, values = reading.answers["family"].get("curly", 0.0), reading.values
    if odds < CURLY_ODDS or style.texture not in ("curly", "coily") or style.locks != "none" or style.ties:
        return style
    turns = float(np.clip(values["curl_turns"].mean, *TURNS))
    radius = float(np.clip(max(curl, SURELY_CURLY) / turns, *CURL_RADIUS))
    changes = {"wave": (radius / max(hair.curl, 0.1), turns), "clump": float(np.clip(values["clump"].mean, *CLUMP))}
    if style.texture == "coily" and values["coily"].mean < COILY:
        changes |= LOOSE | {"gravity": max(style.gravity, float(np.clip(values["gravity"].mean, 0.0, 0.3)))}
    return replace(style, **changes)


def order_strands(style: HairStyle, hair: Hair, curl: float, trust: float) -> HairStyle:
    """Return the style with strands that lie as much in order as the photo shows it: `trust` is that of its flow.

    Short hair ends all over the head: tips that come together in tufts, each waved by itself, would be a thatch.
    """
    calm = 1 - ORDERLY * trust
    style = replace(style, frizz=max(calm * style.frizz, min(style.frizz, LEAST_FRIZZ)))
    is_curled = style.texture in ("curly", "coily") or curl >= SURELY_CURLY or style.locks != "none"
    if is_curled or style.ties or max(style.lengths) * hair.length > LAYERED:
        return style
    (radius, turns), smooth = style.wave, 1 - SMOOTH * trust
    return replace(style, clump=smooth * style.clump, wave=(smooth * radius, turns))


def curl_tied(group: Strands, head: Head, shown: float) -> Strands:
    """Return hair drawn to a knot in waves, if the photo shows such curls: a tie flattens them, but not away."""
    if shown < SURELY_CURLY or len(group.points) < FEWEST:
        return group
    rng = np.random.default_rng(61)
    straight, lock = clump(group.points, TIED_CLUMP, rng, TIED_LOCK)
    curled = curl(straight, *TIED_WAVE, lock, rng)
    straight, widths, albedo = (_resample(a, curled.shape[1]) for a in (straight, group.widths, group.albedo))
    way = measure_from_edge(replace(group, points=np.asarray(straight, np.float32)), head)
    loose = (1 - CALM_FRONT * smoothstep(*FRONT, straight[..., 2])) * smoothstep(*CALM_LINE, way)
    bend, up = loose[..., None] * (curled - straight), head.field.gradient(straight)
    bend = bend - (1 - FLAT) * (bend * up).sum(-1, keepdims=True) * up
    points = np.asarray(head.field.push_out(straight + bend, NEAREST), np.float32)
    return replace(group, points=points, widths=widths, albedo=albedo)


def _resample(values: F32, count: int) -> F32:
    """Return values (s, k, ...) at `count` even steps along strands."""
    position = np.linspace(0, values.shape[1] - 1, count)
    i = np.minimum(position.astype(int), values.shape[1] - 2)
    share = (position - i).reshape(-1, *(1,) * (values.ndim - 2)).astype(np.float32)
    return values[:, i] * (1 - share) + values[:, i + 1] * share


def find_hidden_knot(photo: Photo, head: Head, reading: Reading) -> HairStyle | None:
    """Return the style of a woman's hair that leaves forehead and neck bare; None for other hair.

    Such hair may well be a short cut, but hardly ever is, unless it is thick or the reader is sure that it is cut.
    """
    answers = reading.answers
    loose = sum(odds for name, odds in answers.get("style", {}).items() if _is_loose(find_style(name)))
    drawn, special = answers["kind"].get("toon", 0.0), answers["family"].get("special", 0.0)
    untied = sum(answers["family"].get(family, 0.0) for family in UNTIED)
    if answers["woman"].get("yes", 0.0) < WOMAN or max(drawn, special) > DOUBT:
        return None
    if untied > SURELY_UNTIED or loose > SURELY_LOOSE:
        return None
    frame = make_frame(photo.camera)
    right, up = np.moveaxis(
        ((pixel_centres(photo.size, photo.size) - frame.centre) @ np.linalg.inv(frame.plane)), -1, 0
    )
    hair = photo.shows(Label.HAIR)
    width, low, high = FOREHEAD
    forehead = (np.abs(right) < width) & (up > low) & (up < high)
    hanging = (hair & (up < JAW)).sum() / max(hair.sum(), 1)
    if hanging > HANGING or hair[forehead].mean() > FRINGE:
        return None
    outline, reach = trace_outline(clean_hair(photo.labels), frame), trace_reach(head, frame)
    rows = outline.is_edge & (np.abs(CHAIN) < QUARTER)
    thickness = float(np.median((outline.hair - reach)[rows])) / HEAD_HEIGHT if rows.any() else 0.0
    offset = FLATTER * thickness
    if offset > TIED_OFFSET[1]:
        return None  # an afro, say: what is drawn back lies close to the head
    return replace(find_style(KNOT), offset=round(max(offset, TIED_OFFSET[0]), 4))


def _is_loose(style: HairStyle) -> bool:
    """Return whether hair of this style is combed forward or up, or hangs to a blunt cut: it is not drawn back."""
    is_combed = style.comb.get("forward", 0.0) >= FORWARD or style.comb.get("up", 0.0) >= UPWARD
    return is_combed or style.fringe > 0 or style.cut is not None
