"""Complete the coat of an animal from one photo: broad colours of the fur beside, texture from patches of the photo.

Broad colours are a membrane over the surface that hangs on the fur along the seam and sinks to the coat's mean at
that height further away, so neither the seam nor the back shows bands. Over it lie patches of the photo's own fur,
each turned into the direction in which fur grows there; where patches overlap, their weights keep the variance (Heitz
and Neyret 2018). Eyes and nose are no source of either, and colours of other hues, such as the inside of ears, of no
texture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.spatial import KDTree

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.proxy.hair_shell import map_laplacian, resample_map
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.texture_completion import MAP_MODES, SurfaceSamples
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.image_ops import foreground, look_up, smoothstep
from portrait360.utils.sparse import factorise

BROAD = HeadMap(columns=128, rows=88)  # the map of broad colours
LEVEL, FAR_LEVELS = 5.0, 0.05  # rows of BROAD whose colours a height shares; weight of all others
HOLD, REACH = 4.0, 14.0  # pull of the photo's colours; cells of BROAD over which they fade to the coat's mean
SPACING = 0.055  # canonical: distance of neighbouring patches
PATCH = 0.05  # image sides: radius of a patch in the photo that shows only fur
BLUR = 0.015  # image sides: detail below this size is texture
CANDIDATES = 400  # patches to choose from
LIMIT = 0.45  # of the texture's log brightness
DARK = 0.03  # added to colours before their logarithm
SHADE_BEHIND, SHADE_BELOW = 0.06, 0.12  # how much darker fur is behind and below
OUTLIER = 2.5  # standard deviations of the coat's hue from which a colour is another material's
BACKWARD = 0.6  # share of backward in the direction in which fur grows, beside downward
AT_RIM = 0.3  # weight of colours at grazing angles in the broad colours
MIRRORED = 0.5  # weight of the other side's colours
OTHER_HUES = 0.4  # weight of colours of other hues in the broad colours: a light from one side is one, too
EDGE_FADE, RIM = 0.03, 0.014  # image sides: where the photo fades at its edges; soft rim of fur
LENGTHEN, STRENGTHEN = 1.4, 1.15  # of strands by those in the photo, which look shorter on a face than behind
MOTTLING = 0.04  # standard deviation of the coat's broad log brightness
SEED = 0


@dataclass(frozen=True, eq=False)
class Coat:
    """The photo's fur: where it is clean, and its texture."""

    share: Floats  # (s, s) 1 where the photo shows clean fur
    clean: Floats  # (s, s) 1 where it shows no eye, nose or outline
    texture: Floats  # (s, s, 3) log colour without its broad part
    centres: Floats  # (n, 2) pixels of patches of pure fur
    along: Floats  # (n, 2) unit direction of fur in them


def read_coat(clean: Floats, matte: Floats, features: Floats) -> Coat:
    """Find the clean fur of a photo (s, s, 3), given the matte, and eyes and nose (s, s)."""
    side = len(clean)
    border = cv2.erode((matte > 0.9).astype(np.uint8), _disc(0.012 * side))
    other = cv2.dilate((features > 0.3).astype(np.uint8), _disc(0.012 * side))
    share = _blur(np.asarray(border * (1 - other), np.float32), 0.004 * side)
    inner, share = share, share * own_hue(clean, share)
    logs = np.log(clean + DARK)
    blur = BLUR * side
    total = cv2.GaussianBlur(share, (0, 0), blur)[..., None]
    broad = cv2.GaussianBlur(logs * share[..., None], (0, 0), blur) / np.maximum(total, 1e-4)
    texture = np.clip(logs - broad, -LIMIT, LIMIT) * smoothstep(0.3, 0.9, share)[..., None]
    texture = texture.astype(np.float32)
    tensor = _structure_tensor(texture.mean(-1))
    centres = _choose_patches(share, texture, tensor)
    return Coat(share, inner, texture, centres, _directions(tensor, centres))


def fade_photo_edge(known: Floats) -> Floats:
    """Fade what lies inside the photo (s, s) towards its edges, unless they are those of the crop."""
    inside = (np.pad(known, 1, mode="edge") > 0.99).astype(np.uint8)
    depth = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)
    return known * smoothstep(0, EDGE_FADE, depth / len(known)).astype(np.float32)


def spread_inner(rgb: Floats, own: Floats) -> Floats:
    """Spread the subject's colours (s, s, 3) from a little inside its outline outwards.

    `own` (s, s) is the matte inside the photo. At the outline fur lets the background shine through, which a surface
    seen from the side would show as a band.
    """
    return foreground(rgb, 0.9 + 0.1 * fade_rim(own > 0.9))


def fade_rim(inside: Bools) -> Floats:
    """Return 0 at the outline of a mask (s, s), where the background shines through, and 1 a little inside."""
    padded = np.pad(inside.astype(np.uint8), 1, mode="edge")
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] / len(inside)
    return smoothstep(0.3 * RIM, RIM, depth)


def own_hue(clean: Floats, share: Floats) -> Floats:
    """Return 1 where a colour (s, s, 3) has the hue of most fur, 0 where it is another material's."""
    total = clean.sum(-1, keepdims=True) + 3 * DARK
    hue = (clean[..., :2] + DARK) / total
    weight = share > 0.5
    if weight.sum() < 50:
        return np.ones(share.shape, np.float32)
    middle = np.median(hue[weight], 0)
    spread = 1.48 * np.median(np.abs(hue[weight] - middle), 0) + 0.012
    light = clean.mean(-1)
    low, high = np.percentile(light[weight], [8, 50])
    off = np.sqrt((((hue - middle) / spread) ** 2).sum(-1))
    dark = smoothstep(0.45 * low, 0.9 * low + 0.02 * high, light)  # nostrils, lips, shadows
    return (smoothstep(1.6 * OUTLIER, OUTLIER, off) * dark).astype(np.float32)


def _blur(picture: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(np.asarray(picture, np.float32), (0, 0), sigma), np.float32)


def _disc(radius: float) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(round(radius), 1) + 1,) * 2)


def _structure_tensor(grey: Floats) -> Floats:
    """Return the components (s, s, 3) xx, yy, xy of the mean outer product of gradients within a patch."""
    smooth = cv2.GaussianBlur(np.asarray(grey, np.float32), (0, 0), 1.0)
    dy, dx = np.gradient(smooth)
    products = np.dstack([dx * dx, dy * dy, dx * dy]).astype(np.float32)
    return _blur(products, 0.4 * PATCH * len(grey))


def _choose_patches(share: Floats, texture: Floats, tensor: Floats) -> Floats:
    """Return the centres (n, 2) of patches that show only fur, of about the usual contrast, all in one direction."""
    side = len(share)
    for shrink in (1.0, 0.6, 0.3):
        radius = PATCH * side * shrink
        pure = cv2.distanceTransform((share > 0.7).astype(np.uint8), cv2.DIST_L2, 5) > radius
        if pure.sum() > 50:
            break
    else:
        return np.zeros((0, 2))
    contrast = np.sqrt(cv2.GaussianBlur((texture**2).mean(-1), (0, 0), radius / 2))
    low, high = np.percentile(contrast[pure], [40, 95])
    pure &= (contrast >= low) & (contrast <= high)
    xx, yy, xy = tensor.transpose(2, 0, 1)
    ordered = np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-9)
    rows, columns = np.where(pure & (ordered >= np.percentile(ordered[pure], 60)))
    chosen = np.random.default_rng(SEED).integers(len(rows), size=CANDIDATES)
    return np.stack([columns[chosen], rows[chosen]], 1) + 0.5


def _directions(tensor: Floats, centres: Floats) -> Floats:
    """Return the direction (n, 2) of fur in patches of the photo: away from the middle of the face."""
    side = len(tensor)
    x, y = np.clip(centres.astype(int), 0, side - 1).T
    xx, yy, xy = tensor[y, x].T
    angle = 0.5 * np.arctan2(-2 * xy, yy - xx)  # of the smallest change
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    outward = centres - 0.5 * side
    return along * np.where((along * outward).sum(1) < 0, -1, 1)[:, None]


def complete_coat(layout: HeadMap, radius: Floats, samples: SurfaceSamples, coat: Coat, camera: Camera) -> Floats:
    """Complete the colours (rows, columns, 3) of an animal's surface."""
    vertices, triangles = layout.mesh(radius)
    shape = radius.shape
    points, normals = vertices[:-1], rasterizer.vertex_normals(vertices, triangles)[:-1]
    uv = camera.project(points)[0].reshape(*shape, 2)
    share, clean = np.moveaxis(look_up(np.dstack([coat.share, coat.clean]), uv), -1, 0)
    fur = np.maximum(samples.trust, AT_RIM * samples.visible) * (share + OTHER_HUES * (clean - share))
    broad = spread_colours(layout, *add_mirrored(samples.rgb, fur))
    foreign = (clean - share) * smoothstep(0.9, 0.4, samples.trust)  # background at grazing angles
    shown = smoothstep(0.15, 0.8, samples.trust) * (1 - foreign)
    texture = np.zeros((*shape, 3))
    missing = shown < 1
    if len(coat.centres):
        texture[missing] = lay_patches(points, normals, missing.ravel(), coat, camera)
    mottling = MOTTLING * _smooth_noise(layout)[..., None]
    fill = (broad + DARK) * np.exp(STRENGTHEN * texture + mottling) - DARK
    fill = fill * shade_unseen(normals, camera).reshape(*shape, 1)
    return np.clip(fill + shown[..., None] * (samples.rgb - fill), 0, 1)


def add_mirrored(rgb: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return colours and weights with those of the head's other side: most coats are the same on both."""
    other = MIRRORED * weight[:, ::-1]
    total = weight + other
    mixed = (weight[..., None] * rgb + other[..., None] * rgb[:, ::-1]) / np.maximum(total, 1e-9)[..., None]
    return mixed, total


def spread_colours(layout: HeadMap, rgb: Floats, weight: Floats) -> Floats:
    """Spread the colours of cells with a weight, as a membrane that sinks to their mean at each height."""
    values = np.concatenate([rgb * weight[..., None], weight[..., None]], -1)
    smooth = np.stack([gaussian_filter(v, 2, mode=MAP_MODES) for v in np.moveaxis(values, -1, 0)], -1)
    coarse = resample_map(smooth, layout, BROAD)
    lit = (weight * rgb.mean(-1))[..., None]  # shadows of a face are not behind it
    rows = resample_map(np.concatenate([rgb * lit, lit], -1), layout, BROAD).sum(1)
    rows = gaussian_filter1d(rows, LEVEL, axis=0, mode="nearest") + FAR_LEVELS * rows.mean(0)
    level = rows[:, None, :3] / np.maximum(rows[:, None, 3:], 1e-9)
    system = sp.diags(HOLD * coarse[..., 3].ravel() + REACH**-2) + map_laplacian(BROAD)
    right = HOLD * coarse[..., :3] + REACH**-2 * level
    out = factorise(system).solve(right.reshape(-1, 3)).reshape(BROAD.rows, BROAD.columns, 3)
    return resample_map(out, BROAD, layout)


def _smooth_noise(layout: HeadMap) -> Floats:
    """Return noise (rows, columns) of unit variance that varies over some cells of BROAD."""
    noise = np.random.default_rng(SEED).normal(size=(BROAD.rows, BROAD.columns))
    noise = gaussian_filter(noise, 4, mode=MAP_MODES)
    return resample_map(noise / noise.std(), BROAD, layout)


def shade_unseen(normals: Floats, camera: Camera) -> Floats:
    """Return how much light fur gets that the photo does not show: less behind and below."""
    towards = -normals @ camera.cam2world[:3, 2]
    behind, below = smoothstep(0.2, -0.8, towards), smoothstep(0, -0.9, normals[:, 1])
    return (1 - SHADE_BEHIND * behind) * (1 - SHADE_BELOW * below)


def lay_patches(points: Floats, normals: Floats, wanted: Bools, coat: Coat, camera: Camera) -> Floats:
    """Return the texture (n, 3) of the wanted points of a surface, from patches of the photo's fur."""
    rng = np.random.default_rng(SEED)
    anchors = _place_anchors(points, wanted, rng)
    along = fur_direction(normals[anchors], camera)
    across = np.cross(normals[anchors], along)
    patch = rng.integers(len(coat.centres), size=len(anchors))
    distance, nearest = KDTree(points[anchors]).query(points[wanted], k=min(4, len(anchors)))
    distance, nearest = np.atleast_2d(distance.T).T, np.atleast_2d(nearest.T).T
    weights = np.maximum(1 - distance / (distance[:, -1:] + 1e-9), 1e-3)
    weights = weights / np.sqrt((weights**2).sum(1, keepdims=True))
    side = len(coat.share)
    pixels = camera.focal / camera.radius * side  # of the photo, a canonical unit
    out = np.zeros((int(wanted.sum()), 3))
    for k in range(nearest.shape[1]):
        anchor = nearest[:, k]
        offset = (points[wanted] - points[anchors[anchor]]) * pixels
        down, right = ((offset * axis[anchor]).sum(1) for axis in (along, across))
        direction = coat.along[patch[anchor]]
        turned = np.stack([-direction[:, 1], direction[:, 0]], 1)
        place = coat.centres[patch[anchor]] + down[:, None] / LENGTHEN * direction + right[:, None] * turned
        rows_columns = [place[:, 1] - 0.5, place[:, 0] - 0.5]
        layer = [map_coordinates(coat.texture[..., i], rows_columns, order=1, mode="mirror") for i in range(3)]
        out += weights[:, k, None] * np.stack(layer, -1)
    return out


def _place_anchors(points: Floats, wanted: Bools, rng: np.random.Generator) -> np.ndarray:
    """Choose points that are spread over the wanted part of a surface, about SPACING apart."""
    cells = np.where(wanted)[0]
    boxes = np.floor(points[cells] / SPACING + rng.random(3)).astype(np.int64)
    order = rng.permutation(len(cells))
    _, first = np.unique(boxes[order], axis=0, return_index=True)
    return cells[order[first]]


def fur_direction(normals: Floats, camera: Camera) -> Floats:
    """Return the direction (n, 3) in which fur grows: backward and down along the surface."""
    goal = BACKWARD * camera.cam2world[:3, 2] - np.array([0.0, 1.0, 0.0])
    along = goal - (normals @ goal)[:, None] * normals
    return along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
