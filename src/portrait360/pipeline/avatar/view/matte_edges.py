"""Outlines from aside: without the haze of a matte, in the colours of what lies within, and without loose specks.

A soft edge of a matte holds some of the wall behind. At the photo's own camera it is the photo's; a little aside,
before another background or over layers of the head, it would be a halo.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy import ndimage

from portrait360.pipeline.avatar.photo.foreground import LIGHT, SHADES, colour_loose_hair
from portrait360.pipeline.avatar.photo.pixels import CLOTHES, HAIR, SKIN, WORN, Photo
from portrait360.pipeline.avatar.view.relief_trust import find_pure
from portrait360.synth.render.tone_mapping import srgb_to_radiance
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

HAZE = (0.15, 0.7)  # alpha over which a matte becomes solid: less is haze
INNER = (0.8, 0.97)  # share of the subject in a pixel over which its colour becomes the subject's own
HALF, DEEP = 0.5, (0.01, 0.02)  # alpha within a matte, and picture sides from its edge at which no wall is seen
EVEN = 0.003  # picture sides over which colours from within are evened
HUE = 0.03  # picture sides over which hair within has one hue
HAIRY = 0.03  # picture sides beside hair in which what is soft is taken for haze
OTHERS = (*SKIN, *CLOTHES, *WORN)
STAINED, SOFT = 2, 1.0  # pixels of the photo within its matte that are stained by the wall, and of a soft edge
CLEAR_ANGLES = np.array([[0.5, 1.5], [7.0, 12.0]])
"""Degrees from the photo's direction over which its edges are cleared: of hair that looks like haze, and of hair that
can be told from the wall."""
RIM_PURITY = (0.7, 0.8)  # mean purity of the hair's rim over which it loses the wall's hue
RIM = 0.01  # width of that in picture sides
TURNED = (0.5, 1.5)  # those over which what the turn has torn off is dropped
EVEN_EDGE, EDGE = 0.004, (0.3, 0.7)  # picture sides over which outlines are evened, and the alpha of their soft edge
SLIT = (0.003, 0.01)  # picture sides: half the width of slits in a view's matte, and of what they run through
LOOSE = (0.3, 0.45)  # share of slits in what they run through over which that is not solid: strands stay apart
SPECK = (0.15, 0.0012)  # alpha from which it is seen, and share of a view below which what hangs alone is a speck


def clear_edges(photo: Photo) -> Photo:
    """Return a photo as it is shown from aside: loose hair without haze and in the colours within it.

    Other edges are sharp, and what is soft there may well be a part of them.
    """
    hair = photo.shows(Label.HAIR)
    share = np.asarray(photo.alpha * find_pure(photo), np.float32)
    sure = find_core(share >= INNER[1], hair)
    if not hair.any() or not sure.any():
        return photo
    width = 2 * round(HAIRY * photo.size) + 1
    near = cv2.dilate(hair.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    near = cv2.GaussianBlur(near * ~photo.shows(*OTHERS), (0, 0), SOFT)
    alpha = photo.alpha + near * (smoothstep(*HAZE, photo.alpha) - photo.alpha)
    rows, columns = np.asarray(ndimage.distance_transform_edt(~sure, return_distances=False, return_indices=True))
    pure, others = np.asarray(find_pure(photo), np.float32), ~hair & (photo.alpha > HALF)
    own_hue = colour_loose_hair(photo.rgb.astype(np.float32), pure, hair, others)
    calm = even_hue(own_hue, sure & hair)
    within = cv2.GaussianBlur(calm[rows, columns], (0, 0), EVEN * photo.size)
    own = smoothstep(*INNER, share) * cv2.GaussianBlur(sure.astype(np.float32), (0, 0), SOFT)
    depth = cv2.distanceTransform((photo.alpha >= HALF).astype(np.uint8), cv2.DIST_L2, 5) / photo.size
    stained = near * (1 - np.maximum(own, smoothstep(*DEEP, depth)))
    rgb = np.asarray(own_hue + stained[..., None] * (within - own_hue), np.float32)
    return replace(photo, rgb=rgb, radiance=srgb_to_radiance(rgb), alpha=np.asarray(alpha, np.float32))


def even_hue(rgb: F32, core: Bools) -> F32:
    """Return colours (s, s, 3) in which hair's core has its own light in the mean hue of the core around.

    Carried outwards, the hue of a single pixel that the wall has stained would be a patch.
    """
    counted = np.dstack([rgb * core[..., None], core]).astype(np.float32)
    around = cv2.GaussianBlur(counted, (0, 0), HUE * len(rgb))
    tone = around[..., :3] / np.maximum(around[..., 3:], 1e-6)
    shade = np.clip((rgb @ LIGHT) / np.maximum(tone @ LIGHT, 1e-3), *SHADES)
    return np.where(core[..., None], np.clip(tone * shade[..., None], 0, 1), rgb).astype(np.float32)


def find_cleared(photo: Photo) -> tuple[float, float]:
    """Return the degrees over which the edges of a photo are cleared.

    Where the wall shows through loose hair, the rim has its hue. A soft rim in the hair's own hue is haze or paint.
    """
    depth = cv2.distanceTransform((photo.alpha > 0.1).astype(np.uint8), cv2.DIST_L2, 3) / photo.size
    rim = photo.shows(*HAIR) & (depth < RIM)
    wall_share = 1 - float(smoothstep(*RIM_PURITY, np.asarray(photo.pure[rim].mean()))) if rim.any() else 0.0
    begin, end = CLEAR_ANGLES[0] + wall_share * (CLEAR_ANGLES[1] - CLEAR_ANGLES[0])
    return float(begin), float(end)


def find_core(sure: Bools, hair: Bools) -> Bools:
    """Return a mask without the rim of hair, which has the wall's colour, too; a single lock, all rim, stays."""
    core = cv2.erode(sure.astype(np.uint8), np.ones((2 * STAINED + 1,) * 2, np.uint8))
    near = cv2.dilate(core, np.ones((4 * STAINED + 3,) * 2, np.uint8))
    return sure & ((core > 0) | (near == 0) | ~hair)


def mix_photos(first: Photo, second: Photo, share: float) -> Photo:
    """Return what lies between two photos of the same labels, at the `share` of the second."""
    if share in (0, 1):
        return second if share else first
    pairs = ((getattr(first, name), getattr(second, name)) for name in ("rgb", "radiance", "alpha", "known"))
    rgb, radiance, alpha, known = (np.asarray(a + share * (b - a), np.float32) for a, b in pairs)
    return replace(first, rgb=rgb, radiance=radiance, alpha=alpha, known=known)


def measure_turn(angle: Floats, alpha: Floats, over: tuple[float, float]) -> float:
    """Return 0 where a view (s, s) has the photo's own direction, and 1 after a turn `over` some degrees."""
    seen = angle[alpha > 0]
    return float(smoothstep(*over, np.atleast_1d(np.median(seen)))[0]) if len(seen) else 0.0


def drop_specks(alpha: Floats) -> F32:
    """Return a view's alpha (s, s) without small parts that hang alone: torn off as the view turns, or strays."""
    seen = (alpha > SPECK[0]).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(seen, connectivity=8)
    small = np.asarray(stats)[:, cv2.CC_STAT_AREA] < SPECK[1] * alpha.size
    small[0] = False
    if not small.any():
        return np.asarray(alpha, np.float32)
    speck = small[np.asarray(parts, np.int32)]
    near = cv2.dilate(speck.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # with its soft edge
    return np.asarray(np.where(near & (speck | (seen == 0)), 0, alpha), np.float32)


def close_slits(alpha: F32) -> F32:
    """Return a matte (s, s), closed where narrow slits run through something wide and solid, and without all else."""
    slit, wide = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(round(half * len(alpha)), 1) + 1,) * 2) for half in SLIT
    )
    whole = cv2.morphologyEx(cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, slit), cv2.MORPH_OPEN, wide)
    added, around = (
        cv2.GaussianBlur(part, (0, 0), SLIT[1] * len(alpha)) for part in (np.maximum(whole - alpha, 0), whole)
    )
    open_share = np.asarray(added / np.maximum(around, 1e-3), np.float32)
    return np.asarray(whole * (1 - smoothstep(*LOOSE, open_share)), np.float32)


def even_outline(rgb: Floats, alpha: Floats, fine: Floats, turned: float) -> tuple[Floats, Floats]:
    """Return a view (s, s, 3), (s, s) without the teeth, chips and haze of its outlines, and without slits.

    Torn edges of the photo and cut ones of the layers are ragged, but skin and cloth are not. What is `fine` (s, s),
    such as hair, keeps its outline. All that only so far as the view is `turned` from the photo's direction.
    """
    if not turned:
        return rgb, alpha
    weight, sigma = np.asarray(alpha, np.float32), EVEN_EDGE * len(alpha)
    soft = np.asarray(cv2.GaussianBlur(weight, (0, 0), sigma), np.float32)
    even = np.asarray(weight + turned * (1 - fine) * (smoothstep(*EDGE, soft) - weight), np.float32)
    even = np.maximum(even, turned * close_slits(weight))
    around = cv2.GaussianBlur((rgb * weight[..., None]).astype(np.float32), (0, 0), sigma)
    around = around / np.maximum(soft, 1e-3)[..., None]
    added = np.maximum(even - weight, 0) / np.maximum(even, 1e-3)
    return rgb + added[..., None] * (around - rgb), even
