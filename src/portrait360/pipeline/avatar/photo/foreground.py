"""The subject's own colours at its soft edges: no background shows through loose hair.

A pixel of a matte's edge is a mix: colour = alpha * foreground + (1 - alpha) * background. Both are found as the
smoothest ones that explain the picture, from coarse to fine (Germer et al., Fast multi-level foreground estimation,
2020); and where a matte takes for hair what is the background between locks, by their colours, it is made to end.
"""

from __future__ import annotations

import cv2
import numpy as np

from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import blur_picture, smoothstep

SMALLEST, ROUNDS = 8, (8, 2)  # pixels along a side of the coarsest level; rounds in coarse and in fine levels
COARSE = 64  # pixels along a side up to which a level is coarse
EVEN, EDGE = 1e-4, 1.0  # weights of neighbours: of all, and per difference in alpha
SOLID = 0.995  # alpha from which a pixel shows nothing but the subject
DEEP = (0.04, 0.06)  # crop sides within the matte in which no background is seen
DOUBTFUL = 0.018  # share of the hair there with the background's colour from which colours do not tell
SURE, LOOSE = 0.97, 0.6  # alpha of certain hair, and of hair whose colour is a guess
BESIDE, AROUND, NEAR = 0.03, 0.1, 0.02  # crop sides over which certain hair tells the hue of loose hair, and its edge
ENOUGH = 0.02  # share of certain hair beside loose hair that tells its hue
SHADES = (0.5, 1.6)  # light of loose hair in that of the certain hair beside it
LIGHT = np.array([0.3, 0.59, 0.11], np.float32)  # of sRGB


def open_gaps(alpha: Floats, pure: Floats, hair: Bools) -> F32:
    """Return the matte (s, s), open where what it takes for hair has the background's colour.

    Not where hair far within it has that, too, as dark hair may before a dark wall: then colours do not tell.

    Args:
        alpha: The matte.
        pure: 1 where a pixel of hair has the colour of the hair around it, 0 where it has the background's.
        hair: Where the matte is taken for hair.
    """
    outside = (alpha < 0.1).astype(np.uint8)
    depth = np.asarray(cv2.distanceTransform(1 - outside, cv2.DIST_L2, 3), np.float32) / len(alpha)
    deep = hair & (depth > DEEP[0]) & (depth < DEEP[1])
    if not hair.any() or (pure[deep] < 0.5).sum() > DOUBTFUL * deep.sum():
        return np.asarray(alpha, np.float32)
    gaps = cv2.morphologyEx((hair & (pure < 0.5)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, parts = cv2.connectedComponents(cv2.dilate(np.maximum(gaps, outside), np.ones((5, 5), np.uint8)))
    gaps = (gaps > 0) & np.isin(np.asarray(parts), np.unique(np.asarray(parts)[outside > 0]))
    around = cv2.dilate(gaps.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.asarray(np.where(hair & around, alpha * pure, alpha), np.float32)


def estimate_foreground(rgb: F32, alpha: F32) -> F32:
    """Return the colours (s, s, 3) of the subject, and beyond its matte those of its edge."""
    size, sides = len(rgb), [len(rgb)]
    while sides[-1] > SMALLEST:
        sides.append(-(-sides[-1] // 2))
    front, back = rgb.mean((0, 1), keepdims=True), rgb.mean((0, 1), keepdims=True)
    for side in sides[::-1]:
        shape, how = (side, side), cv2.INTER_AREA if side < size else cv2.INTER_NEAREST
        colour, share = (np.asarray(cv2.resize(a, shape, interpolation=how), np.float32) for a in (rgb, alpha))
        front, back = (_enlarge(a, shape) for a in (front, back))
        for _ in range(ROUNDS[0] if side <= COARSE else ROUNDS[1]):
            front, back = _relax(colour, share, front, back)
    solid = np.asarray(alpha >= SOLID)[..., None]
    return np.where(solid, rgb, np.clip(front, 0, 1)).astype(np.float32)


def colour_loose_hair(rgb: F32, alpha: F32, hair: Bools, others: Bools) -> F32:
    """Return the colours (s, s, 3) with loose hair in the hue of the certain hair beside it.

    A single hair is thinner than a pixel: what the background leaves of its hue is brown or grey, and of its light
    nothing. `others` are the pixels of what else the matte holds.
    """
    core, size = (hair & (alpha > SURE)).astype(np.float32), len(rgb)
    if not core.any():
        return rgb
    counted = np.dstack([rgb * core[..., None], core])
    near, far = (blur_picture(counted, reach * size) for reach in (BESIDE, AROUND))
    own = np.minimum(near[..., 3:] / ENOUGH, 1)
    near, far = (a[..., :3] / np.maximum(a[..., 3:], 1e-6) for a in (near, far))
    tone = own * near + (1 - own) * far
    shade = np.clip((rgb @ LIGHT) / np.maximum(tone @ LIGHT, 1e-3), *SHADES)
    shade = (1 + alpha * (shade - 1))[..., None]
    at_edge, at_others = (cv2.GaussianBlur(a.astype(np.float32), (0, 0), NEAR * size) for a in (hair, others))
    at_edge = np.minimum(3 * at_edge, 1) * at_edge / np.maximum(at_edge + at_others, 1e-6)
    share = ((1 - smoothstep(LOOSE, SURE, alpha)) * at_edge)[..., None]
    return np.asarray(rgb * (1 - share) + np.clip(tone * shade, 0, 1) * share, np.float32)


def _enlarge(colours: F32, shape: tuple[int, int]) -> F32:
    return np.asarray(cv2.resize(np.ascontiguousarray(colours), shape, interpolation=cv2.INTER_LINEAR), np.float32)


def _relax(colour: F32, alpha: F32, front: F32, back: F32) -> tuple[F32, F32]:
    """Return both layers (s, s, 3), nearer to what explains the colours and to their neighbours."""
    alpha = alpha[..., None]
    total, fronts, backs = np.zeros_like(alpha), np.zeros_like(front), np.zeros_like(back)
    stacked = cv2.copyMakeBorder(np.concatenate([alpha, front, back], 2), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(None, -2), slice(1, -1))):
        for beside in (stacked[rows, columns], stacked.transpose(1, 0, 2)[rows, columns].transpose(1, 0, 2)):
            weight = EVEN + EDGE * np.abs(alpha - beside[..., :1])
            total += weight
            fronts += weight * beside[..., 1:4]
            backs += weight * beside[..., 4:]
    left = colour - (alpha * fronts + (1 - alpha) * backs) / total
    step = left / (total + alpha**2 + (1 - alpha) ** 2)
    layers = fronts / total + alpha * step, backs / total + (1 - alpha) * step
    return layers[0].astype(np.float32), layers[1].astype(np.float32)
