"""The clothes of an animal: a torso below its head, and which part of what the photo does not show is cloth.

The label of a pixel says what it shows. Nothing says what is behind it: there, cloth begins at the height at which
the outline turns from fur to cloth on either side, so a collar that is open in front is closed behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.portrait.crop import cut_centre
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.fur_texture import AT_RIM, fade_rim, shade_unseen, spread_colours
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.texture_completion import SurfaceSamples
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

DRESSED = 0.5  # share of cloth along the lower end of the photo from which the body wears it
TORSO = 0.5  # half the depth of a torso by half its width, beyond that of the neck
RIM = 0.2  # share of the width that is the outline on either side
OUTLINE = 0.004  # image sides over which labels spread to the outline
PURE = 0.008  # image sides: what is nearer to other labels may have their colour
FACING = 0.2  # cosine to the camera over which what is behind takes over
SMOOTH = 0.012  # of the height: how far heights of the outline are averaged


@dataclass(frozen=True, eq=False)
class Clothes:
    """What the photo shows of them."""

    mask: Bools  # (s, s) the animal
    share: Floats  # (s, s) the probability that a pixel shows cloth


def cloth_share(portrait: Portrait) -> Floats:
    """Return which share (s, s) of what a pixel shows of the animal is cloth; at the outline as beside it."""
    assert portrait.reading is not None
    shares = cut_centre(portrait.reading.probabilities, portrait.reading_scale, len(portrait.alpha))
    subject, sigma = 1 - shares[int(Label.BACKGROUND)], OUTLINE * len(portrait.alpha)
    cloth, total = (cv2.GaussianBlur(v, (0, 0), sigma) for v in (shares[int(Label.CLOTHES)] * subject, subject**2))
    return np.asarray(np.minimum(cloth / np.maximum(total, 1e-4), 1), np.float32)


def is_dressed(mask: Bools, cloth: Floats) -> bool:
    """Return whether cloth (rows, columns) goes on to the lower end of the mask."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return False
    low = slice(max(rows[-1] - len(mask) // 20, 0), rows[-1] + 1)
    return bool(cloth[low][mask[low]].mean() > DRESSED)


def torso_depth(mask: Bools, neck: float) -> Floats:
    """Return half the depth (rows, columns) of a torso in cells: an ellipse in each row.

    `neck` is half the width of the neck in cells; what is no wider is round.
    """
    left, right = _find_ends(mask)
    half, middle = (right - left) / 2, (right + left) / 2
    deep = TORSO * half + (1 - TORSO) * np.minimum(half, neck)
    deep = gaussian_filter1d(deep, SMOOTH * len(mask), mode="nearest")
    across = (np.arange(mask.shape[1])[None] + 0.5 - middle[:, None]) / np.maximum(half, 1e-6)[:, None]
    return deep[:, None] * np.sqrt(np.maximum(1 - across**2, 0))


def cloth_behind(mask: Bools, cloth: Floats) -> Floats:
    """Return the share of cloth (rows, columns) behind the head: from left to right as at the outline."""
    left, right = _find_ends(mask)
    columns = np.arange(mask.shape[1])[None] + 0.5
    place = np.clip((columns - left[:, None]) / np.maximum(right - left, 1)[:, None], 0, 1)
    ends, dressed = [], is_dressed(mask, cloth)
    for is_rim in (place < RIM, place > 1 - RIM):
        weight = mask * is_rim + 1e-9
        end = gaussian_filter1d((cloth * weight).sum(1) / weight.sum(1), SMOOTH * len(mask), mode="nearest")
        ends.append(np.maximum.accumulate(end) if dressed else end)
    share = ends[0][:, None] + place * (ends[1] - ends[0])[:, None]
    return np.asarray(smoothstep(0.35, 0.65, share), np.float64)


def dress_animal(
    layout: HeadMap, radius: Floats, samples: SurfaceSamples, colours: Floats, clothes: Clothes, camera: Camera
) -> Floats:
    """Return the colours (rows, columns, 3) of a surface with cloth where it is worn."""
    vertices, triangles = layout.mesh(radius)
    normals = rasterizer.vertex_normals(vertices, triangles)[:-1]
    uv = camera.project(vertices[:-1])[0].reshape(*radius.shape, 2)
    front, behind = look_up(clothes.share, uv), look_up(cloth_behind(clothes.mask, clothes.share), uv)
    facing = smoothstep(-FACING, FACING, -normals @ camera.cam2world[:3, 2]).reshape(radius.shape)
    share = behind + facing * (front - behind)
    pure = look_up(smoothstep(0.7, 1, gaussian_filter(clothes.share, PURE * len(clothes.share))), uv)
    weight = np.maximum(samples.trust, AT_RIM * samples.visible) * pure
    fill = spread_colours(layout, samples.rgb, weight) * shade_unseen(normals, camera).reshape(*radius.shape, 1)
    inside = look_up(fade_rim(clothes.mask), uv)
    seen = smoothstep(0.15, 0.8, samples.trust) * np.maximum(inside, smoothstep(0.4, 0.9, samples.trust))
    cloth = fill + seen[..., None] * (samples.rgb - fill)
    return colours + share[..., None] * (np.clip(cloth, 0, 1) - colours)


def _find_ends(mask: Bools) -> tuple[Floats, Floats]:
    """Return where each row of the mask begins and ends; empty rows lie between those beside them."""
    filled = np.flatnonzero(mask.any(1))
    left = mask.argmax(1)[filled]
    right = (mask.shape[1] - mask[:, ::-1].argmax(1))[filled]
    rows = np.arange(len(mask))
    return np.interp(rows, filled, left), np.interp(rows, filled, right)
