"""Loose hair in a matte: single hairs, and the background between locks.

The networks see where hair is, but not its strands. Along its edge, alpha is found anew: by closed-form matting, and
by the colours of single pixels where those of hair and background are unlike enough to tell.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.pipeline.avatar.photo.closed_form_matting import solve_alpha
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep

HAIRY, AROUND = 0.4, 0.015  # share of hair in what is seen from which an edge is hair's; crop sides around it
OUTER, INNER = 0.04, 0.055  # crop sides outside and inside the matte's edge in which loose hair is sought
TRACE, BESIDE = 0.03, 0.008  # alpha of what the networks hardly see, and crop sides around it
SURE = 0.97  # alpha from which a pixel shows nothing but the subject
LOCAL = ((0.02, 1.0), (0.08, 1e-2), (0.3, 1e-4))  # crop sides over which colours are compared, and their weights
AROUND_HAIR = ((0.05, 1.0), (0.15, 1e-2))  # those over which hair's are: it has lit and dark locks
BROAD = ((0.1, 1.0), (0.3, 1e-2))  # those over which it is asked whether colours tell
GRAIN = 0.012  # sRGB: noise that every background has
LIKE, UNLIKE = (1.5, 2.5), (0.75, 0.95)  # deviations of a background's colour; way from it to the hair's
SHADE, GLOSS = (0.35, 0.6), (1.1, 1.3)  # light of a background in the hair's shade, of that around it; more is gloss
ALONG = (0.5, 0.8)  # cosine between the ways from the background to a pixel and to the hair
OWN = (1.5, 3.0)  # deviations of the hair's colours by which the background differs, where they tell
DULL, LOOSE = 0.6, 0.9  # share of the hair's mean hue that what is nothing but hair has at least, and loose hair has
HUES = (
    4.0,
    8.0,
)  # deviations of a background's colour by which the hair's hue differs where it tells shade from hair
STRAY = (0.1, 0.4)  # alpha from which background is taken for hair
CLEAR = (0.14, 0.19)  # sRGB by which hues differ clearly: pale hair and a pale wall never do
ONE_HUE = (0.8, 0.92)  # length of the mean hue of hair, of the mean length: it has one hue
RARE = (0.01, 0.06)  # share of hair that looks like the background, and the reverse, up to which colours tell
COARSER = 4  # pixels per pixel of what varies slowly
TELLS = 0.3  # weight of what a colour tells
KEPT = (0.2, 0.01)  # and of what the networks are sure of, where colours do not tell, and where they do
CRISP = (0.007, 0.012)  # crop sides over which an edge goes from 0 to 1: hair that ends there is not loose, and is
HAZE = (0.04, 0.94)  # alpha that is taken for none, and for all
FEWEST = 200  # pixels of hair and background


def refine_hair(rgb: F32, alpha: F32, hair: F32, others: F32, inside: Bools) -> F32:
    """Return the matte (s, s) with loose hair.

    Args:
        rgb: The crop (s, s, 3).
        alpha: Its matte.
        hair: Share of hair and beard, as a network labels them.
        others: Share of the rest of the head and what it wears.
        inside: The pixels of the photo.
    """
    free = find_loose_edge(alpha, hair, others) & inside
    back, core = (alpha < TRACE) & ~free & inside, (alpha > SURE) & ~free
    if min(back.sum(), (core & (hair > 0.5)).sum()) < FEWEST or not free.any():
        return alpha
    guess, weight, tells, (least, most, clear) = judge_colours(rgb, back, core & (hair > 0.5), core)
    behind = ((guess < 0.5) & (weight > 0.5 * TELLS)).astype(np.uint8)
    free &= (hair >= others) | (alpha < 0.5) | (behind > 0)
    gaps = cv2.morphologyEx(behind, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) * find_loose_edge(
        alpha, hair, others, 2
    )
    free |= (cv2.dilate(gaps, np.ones((5, 5), np.uint8)) > 0) & inside
    # what the networks are sure of stays, unless colours tell otherwise
    read = np.asarray(np.abs(2 * alpha - 1) * (KEPT[0] + (KEPT[1] - KEPT[0]) * tells), np.float32)
    guess = (weight * guess + read * alpha) / np.maximum(weight + read, np.float32(1e-6))
    found = solve_alpha(rgb, alpha, free, guess.astype(np.float32), weight + read)
    found = np.clip((found - HAZE[0]) / (HAZE[1] - HAZE[0]), 0, 1)
    found += np.where(alpha < SURE, 1, clear) * (np.clip(found, least, most) - found)
    found = alpha + smoothstep(*CRISP, measure_width(alpha)) * (found - alpha)
    return np.where(free, found, alpha).astype(np.float32)


def measure_width(alpha: F32) -> F32:
    """Return over how many crop sides a matte (s, s) goes from 0 to 1 around each pixel.

    Across a straight edge, the integral of alpha (1 - alpha) is a sixth of its width, and that of its slope is 1.
    """
    down, across = np.gradient(alpha)
    slope = np.hypot(down, across).astype(np.float32)
    mixed, edge = (cv2.GaussianBlur(a, (0, 0), AROUND * len(alpha)) for a in (alpha * (1 - alpha), slope))
    return np.asarray(6 * mixed / np.maximum(edge, 1e-4) / len(alpha), np.float32)


def find_loose_edge(alpha: F32, hair: F32, others: F32, depth: float = 1) -> Bools:
    """Return where a matte (s, s) may miss hair, or take for it what is seen between locks, `depth` times as deep."""
    side = len(alpha)
    seen, strands = (cv2.GaussianBlur(share, (0, 0), AROUND * side) for share in (hair + others, hair))
    hairy = ((strands > HAIRY * seen) & (seen > TRACE)).astype(np.uint8)
    shown, trace = (alpha > 0.5).astype(np.uint8), (alpha > TRACE).astype(np.uint8)
    inner, outer = (cv2.distanceTransform(mask, cv2.DIST_L2, 5) / side for mask in (shown, 1 - shown))
    away = cv2.distanceTransform(1 - hairy, cv2.DIST_L2, 5) / side
    trace = (cv2.dilate(trace, _disc(BESIDE * side)) > 0) & (shown == 0)
    return ((away < OUTER) & (outer < OUTER) & (inner < depth * INNER)) | ((away < 2 * OUTER) & trace)


def _disc(radius: float) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(round(radius), 1) + 1,) * 2)


def judge_colours(rgb: F32, back: Bools, hair: Bools, core: Bools) -> tuple[F32, F32, F32, tuple[F32, F32, F32]]:
    """Return what the colour of each pixel says of its alpha (s, s), how much that counts, and where colours tell.

    Last come the lowest and the highest alpha that its hue allows, and how clearly hues differ.

    Args:
        rgb: The picture (s, s, 3).
        back: Certain background.
        hair: Certain hair.
        core: What certainly is of the head.
    """
    behind, front = _spread(rgb, back), _spread(rgb, hair, AROUND_HAIR)
    noise, own = (
        np.sqrt(_spread(measure_colour(rgb - mean)[..., None] ** 2, mask, reaches)[..., 0] + GRAIN**2)
        for mean, mask, reaches in ((behind, back, LOCAL), (front, hair, AROUND_HAIR))
    )
    off, apart = rgb - behind, _spread(rgb, hair) - behind
    way = (off * apart).sum(-1) / np.maximum((apart**2).sum(-1), 1e-4)
    away = measure_colour(off) / noise
    cosine = (off * apart).sum(-1) / np.maximum(3 * measure_colour(off) * measure_colour(apart), 1e-4)
    like = 1 - smoothstep(*LIKE, away)
    unlike = smoothstep(*UNLIKE, way) * smoothstep(2 * LIKE[1], 4 * LIKE[1], away)
    unlike = unlike * (1 - smoothstep(*LIKE, measure_colour(rgb - front) / own))
    mixed, hued, clear = judge_hue(rgb, behind, front, noise, hair)
    wrong = np.stack([like, hued * (1 - np.minimum(mixed / DULL, 1)), unlike], -1)
    seen = np.dstack([_spread(wrong[..., :2], core, BROAD), _spread(wrong[..., 2:], back, BROAD)])
    rare = 1 - smoothstep(*RARE, seen)
    apart = measure_colour(front - behind)
    tells = smoothstep(*OWN, apart / own) * smoothstep(2 * LIKE[1], 4 * LIKE[1], apart / noise)
    like, hued, unlike = np.moveaxis(np.stack([like, hued, unlike], -1) * rare * tells[..., None], -1, 0)
    weight = like + unlike + hued
    least = hued * np.minimum(mixed / LOOSE, 1)
    most = least + 1 - hued
    strays = smoothstep(*STRAY, least)  # a wall in many colours has some of the hair's hue
    least *= 1 - smoothstep(*RARE, _spread(strays[..., None], back, BROAD)[..., 0])
    guess = (unlike + hued * np.minimum(mixed / DULL, 1)) / np.maximum(weight, 1e-6)
    weight = TELLS * np.minimum(weight, 1)
    # neither the background nor the hair around it nor a mix of both: another lock, or another thing
    strange = smoothstep(2 * LIKE[1], 4 * LIKE[1], away) * (1 - smoothstep(*ALONG, cosine))
    tells = tells * rare[..., 0] * (1 - strange)
    return (
        np.asarray(guess, np.float32),
        np.asarray(weight, np.float32),
        np.asarray(tells, np.float32),
        (np.asarray(least, np.float32), np.asarray(most, np.float32), clear),
    )


def judge_hue(rgb: F32, behind: F32, front: F32, noise: F32, hair: Bools) -> tuple[F32, F32, F32]:
    """Return what the hue of each pixel says of its alpha (s, s), whatever its shade, and how much that counts.

    It tells where all the hair has one hue, quite another than the background's. Last comes 1 where that is so much
    another that no gloss has it.
    """
    tone = behind / np.maximum(np.sqrt((behind**2).sum(-1, keepdims=True)), 1e-3)
    light = (rgb * tone).sum(-1) / np.maximum((behind * tone).sum(-1), 1e-3)
    hue, other = (a - (a * tone).sum(-1, keepdims=True) * tone for a in (rgb, front))
    share = (hue * other).sum(-1) / np.maximum((other**2).sum(-1), 1e-4)
    lit = smoothstep(*SHADE, light) * (1 - smoothstep(*GLOSS, light))
    other = measure_colour(other)
    even = other / np.maximum(_spread(measure_colour(hue)[..., None], hair, AROUND_HAIR)[..., 0], 1e-3)
    tells = lit * smoothstep(*HUES, other / noise) * smoothstep(*ONE_HUE, even)
    clear = smoothstep(*CLEAR, other)
    return np.asarray(np.maximum(share, 0), np.float32), np.asarray(tells, np.float32), np.asarray(clear, np.float32)


def measure_colour(colour: Floats) -> Floats:
    """Return the length of differences of colours (.., 3), per channel."""
    return np.sqrt((colour**2).mean(-1))


def _spread(values: Floats, mask: Bools, reaches: tuple[tuple[float, float], ...] = LOCAL) -> F32:
    """Return the mean of the masked values (s, s, c) around every pixel."""
    size = len(mask)
    weighted = np.dstack([values * mask[..., None], mask]).astype(np.float32)
    small = cv2.resize(weighted, (size // COARSER,) * 2, interpolation=cv2.INTER_AREA)
    total = sum(share * cv2.GaussianBlur(small, (0, 0), reach * len(small)) for reach, share in reaches)
    mean = np.asarray(total, np.float32)[..., :-1] / np.maximum(np.asarray(total)[..., -1:], 1e-9)
    return np.asarray(cv2.resize(mean, (size, size), interpolation=cv2.INTER_LINEAR), np.float32).reshape(
        values.shape
    )
