"""The photo as a relief: each of its pixels at the depth of the layer that its label names.

Seen from up to about 35 degrees from the photo's direction, a relief shows every pixel of the photo once and in
order, where the layers of the generator never lie quite as hair, hats and cloth of the photo do. Its depth is the
layers' own where label and layer agree, and continues smoothly from there over the rest of the label; what the layers
lack altogether lies on the proxy's surface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.view.relief_edges import close_cracks, smooth_edges
from portrait360.pipeline.avatar.view.relief_trust import Shown, find_shown
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32, F64, I32, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

END, DRAWN_END = (42.0, 56.0), (46.0, 58.0)  # degrees from the photo's direction over which it fades; drawings'
SIDE = 256  # vertices along a side of the photo
STEP, WITHIN = 0.025, 0.1  # canonical depth between neighbours of two layers, and of one, at which the relief is torn
SUNK = (0.07, 0.13)  # canonical depth behind the skin from which something hangs behind it, and is not put on it
FLAT, AHEAD = 0.3, (0.03, 0.08)  # share of its canonical depth before the skin that drawn hair keeps; up to how much
POOR, UNLIKE = 0.6, 0.45  # overlap of a layer with the photo's below which its depth is the proxy's; it is another's
STEEP, EASE = 0.06, 3.5  # canonical depth between neighbours where none is known, and vertices over which it is eased
Reaches = tuple[tuple[float, float], ...]  # vertices, and weight
REACHES: Reaches = ((1.5, 1.0), (5.0, 1e-3), (20.0, 1e-6), (80.0, 1e-9))  # far only where nothing is near
BROAD: Reaches = ((12.0, 1.0), (40.0, 1e-3))  # for what hardly fits: better flat than crumpled
AROUND_MOUTH: Reaches = ((6.0, 1.0), (20.0, 1e-3), (80.0, 1e-9))
TEETH, DEEP = 0.25, 0.02  # quantile of depth in a mouth that is teeth's, and canonical depth behind of what is none
SUNKEN = 0.4  # share of their depth behind the lips that teeth have: between both, cells of the relief are stretched
UNDER = 5  # vertices by which a layer goes on under another
BENEATH = 0.005  # canonical depth by which skin must lie behind that
SEAM = 9  # cells along a seam that are torn together
EDGE = 3.0  # cells over which a torn edge can be soft
CRUMB = 0.004  # share of the cells that a part torn off must have to be kept further round
THIN, LONG = 9, 12  # vertices across and along of locks that hang alone
HAIRY = 0.3  # share of hair in a part that hangs alone from which it is a lock
RIM = 2  # vertices by which the relief goes on beyond the matte
STILL, NEAR_BY = 1e-4, 0.03  # canonical move that is none, and picture sides around what moves


class DrawnRelief(NamedTuple):
    """A relief as a camera sees it; 0 beside it."""

    uv: F32  # (s, s, 2) where the photo shows each pixel
    firm: F32  # (s, s)
    depth: F32  # (s, s)
    shift: F32 | None = None  # (s, s, 3)
    kept: F32 | None = None  # (s, s) beside the relief: 1 where nothing has moved near by


@dataclass(frozen=True, eq=False)
class Relief:
    vertices: F64  # (n, 3)
    triangles: I32  # (t, 3)
    uv: F32  # (n, 2) of the photo
    firm: F32  # (n,) 0 where the relief is torn .. 1 inside
    poor: frozenset[int]  # layers that hardly overlap with what the photo shows of them
    unlike: frozenset[int]  # those of them that look otherwise altogether
    shows: Shown
    end: tuple[float, float] = END
    shift: F32 | None = None  # (n, 3) how far an expression has moved the vertices; None: nothing has moved
    kept: F32 | None = None  # (n,) 1 where the photo still shows what is there; None: everywhere

    def draw(self, camera: Camera, size: int) -> tuple[F32, F32, F32]:
        """Return where the photo shows each pixel (s, s, 2), how firm the relief is, and its depth; 0 beside it."""
        uv, firm, depth, *_ = self.draw_moved(camera, size)
        return uv, firm, depth

    def draw_moved(self, camera: Camera, size: int) -> DrawnRelief:
        """Draw the relief, and how it has moved."""
        buffers = rasterizer.rasterise(self.vertices, self.triangles, camera, size)
        columns = [self.uv, self.firm[:, None]]
        columns += [] if self.shift is None or self.kept is None else [self.shift, self.kept[:, None]]
        values = rasterizer.interpolate(buffers, self.triangles, np.concatenate(columns, 1))
        depth, values = close_cracks(buffers.depth, values)
        drawn = DrawnRelief(values[..., :2], values[..., 2], depth)
        return drawn if len(columns) == 2 else drawn._replace(shift=values[..., 3:6], kept=_keep(values, depth))


def _keep(values: F32, depth: F32) -> F32:
    moved = (np.abs(values[..., 3:6]).max(-1) > STILL).astype(np.uint8)
    width = 2 * round(NEAR_BY * len(depth)) + 1
    beside = 1 - cv2.dilate(moved, np.ones((width, width), np.uint8)).astype(np.float32)
    return np.where(depth > 0, values[..., 6], beside)


def make_relief(
    photo: Photo, film: Film, skin: F32, layer_of_label: NDArray[np.int8], cover: Proxy, *, drawn: bool = False
) -> Relief:
    """Return the relief of a photo.

    `film` is a render of the layers at its camera, and `skin` (SIDE, SIDE) the depth of the skin alone, 0 beside it.

    Drawings are shown further round: their faces are flat, and those of the layers are a human's.
    """
    layers = layer_of_label[_pick(photo.labels)]
    depth, overlaps = find_depths(photo, film, skin, layer_of_label, cover)
    layers, depth = hang_locks(layers, depth, layer_of_label[Label.HAIR])
    rim = layers < 0
    layers, depth = go_beyond(layers, depth)
    inside = (_shrink(photo.alpha) > 0.02) & (_shrink(photo.known) > 0.02) & bool(cover.visible.any())
    inside = cv2.dilate(inside.astype(np.uint8), np.ones((2 * RIM + 1,) * 2)) > 0
    y, x = np.indices((SIDE, SIDE))
    uv = np.stack([x, y], -1) / (SIDE - 1)
    free = (skin == 0) | (depth < skin - STEP)
    loose = (find_loose_locks(_pick(photo.labels) == Label.HAIR) & free) | find_crumbs(
        find_whole_cells(depth, layers, inside)
    )
    vertices, triangles, places, firm = [], [], [], []
    for layer in np.unique(layers[inside]):
        beyond = skin if layer == layer_of_label[Label.FACE] else np.zeros_like(skin)
        sheet, nearest, cells, solid = make_sheet(depth, layers == layer, inside, beyond)
        kept = connect(cells)
        used, numbers = np.unique(kept, return_inverse=True)
        own = numbers.reshape(kept.shape).astype(np.int32)
        columns = np.dstack([uv, sheet, uv.reshape(-1, 2)[nearest]]).reshape(-1, 5)[used]
        columns = smooth_edges(columns, own, (layers == layer).ravel()[used])
        triangles.append(own + sum(map(len, vertices)))
        vertices.append(photo.camera.unproject(columns[:, :2], columns[:, 2]))
        places.append(columns[:, 3:])
        firm.append((measure_firmness(solid) * ~(loose | rim)).ravel()[used])
    empty = np.zeros((0, 3))
    return Relief(
        np.concatenate([empty, *vertices]).astype(np.float64),
        np.concatenate([empty, *triangles]).astype(np.int32),
        np.concatenate([np.zeros((0, 2)), *places]).astype(np.float32),
        np.concatenate([np.zeros(0), *firm]).astype(np.float32),
        frozenset(layer for layer, overlap in overlaps.items() if overlap <= POOR),
        frozenset(layer for layer, overlap in overlaps.items() if overlap < UNLIKE),
        find_shown(photo),
        DRAWN_END if drawn else END,
    )


def find_depths(
    photo: Photo, film: Film, skin: F32, layer_of_label: NDArray[np.int8], cover: Proxy
) -> tuple[F32, dict[int, float]]:
    """Return the depth of every vertex (SIDE, SIDE), and how far each layer overlaps with what the photo shows of it.

    Where that is little, it is the proxy's, smoothed.

    Skin beneath other layers has the fitted skin's depth; and what would lie a little behind that lies on it,
    like sideburns that the layers lack.
    """
    names, drawn = _pick(photo.labels), _pick(np.asarray(film.labels, np.uint8))
    shown, rendered = layer_of_label[names], layer_of_label[drawn]
    alpha, depth, bare = _pick(film.alpha), _pick(film.depth), layer_of_label[Label.FACE]
    depth = np.where((shown == bare) & (rendered != bare) & (skin > 0), skin, depth)
    rendered = np.where((shown == bare) & (skin > 0), bare, rendered)
    view = cover.render(photo.camera, SIDE)
    everywhere = np.where(view.mask > 0.5, view.depth, 0).astype(np.float32)
    everywhere = fill(everywhere, everywhere > 0)
    out, overlaps = everywhere.copy(), dict[int, float]()
    for layer in map(int, np.unique(shown[shown >= 0])):
        region = shown == layer
        known = region & (rendered == layer) & (alpha > 0.5)
        overlaps[layer] = float(known.sum() / (region | ((rendered == layer) & (alpha > 0.5))).sum())
        if overlaps[layer] > POOR:
            filled = seat_mouth(depth, known, names == Label.MOUTH, drawn == Label.MOUTH)
            worn = layer == layer_of_label[Label.HAT]
            out[region] = (ease_steps(filled, region, known) if worn else filled)[region]
        else:
            out[region] = fill(everywhere, region, BROAD)[region]
    sunk = np.where((shown >= 0) & (skin > 0) & (names != Label.MOUTH), np.maximum(out - skin, 0), 0)
    out = out - sunk * (1 - smoothstep(*SUNK, sunk))
    return press_on(out, skin) if photo.painted else out, overlaps


def seat_mouth(depth: F32, known: Bools, shown: Bools, drawn: Bools) -> F32:
    """Return the depth of a layer (SIDE, SIDE), going on from where it is `known`; teeth lie behind lips.

    Where an opening is `shown` and where one is `drawn`, lips and teeth differ: teeth would be bent over a lip.
    """
    lips = known & ~shown & ~drawn
    out, teeth = fill(depth, lips), known & shown & drawn
    if not teeth.any() or not lips.any():
        return out
    teeth &= depth <= np.quantile(depth[teeth], TEETH) + DEEP  # what lies between them lies deep
    before, behind = fill(depth, lips, AROUND_MOUTH), fill(depth, teeth, BROAD)
    return np.where(shown, before + SUNKEN * np.maximum(behind - before, 0), out)


def press_on(depth: F32, skin: F32) -> F32:
    """Return the depth (SIDE, SIDE) of a drawing, whose fringe is drawn on the face: gaps behind it would be rags."""
    ahead = np.where(skin > 0, np.maximum(skin - depth, 0), 0)
    return np.asarray(depth + (1 - FLAT) * ahead * (1 - smoothstep(*AHEAD, ahead)), np.float32)


def hang_locks(layers: NDArray[np.int8], depth: F32, hair: int) -> tuple[NDArray[np.int8], F32]:
    """Return layers and depth (SIDE, SIDE) in which a lock that hangs alone is one piece of hair, however it is read.

    It lies as deep as the hair around it: what a label makes of single pixels would tear it.
    """
    alone = find_loose_locks(layers >= 0)
    _, parts = cv2.connectedComponents(alone.astype(np.uint8), connectivity=8)
    part = np.asarray(parts, np.int32)
    count = np.bincount(part.ravel())
    share = np.bincount(part[layers == hair], minlength=len(count)) / np.maximum(count, 1)
    locks = alone & (share > HAIRY)[part]
    head = (layers == hair) & ~locks
    if not locks.any() or not head.any():
        return layers, depth
    return np.where(locks, np.int8(hair), layers), np.where(locks, fill(depth, head), depth)


def go_beyond(layers: NDArray[np.int8], depth: F32) -> tuple[NDArray[np.int8], F32]:
    """Return layers and depth (SIDE, SIDE) that go on beyond the outline: its soft edge is not torn off."""
    subject = layers >= 0
    if not subject.any():
        return layers, depth
    rows, columns = find_nearest(subject)
    return layers[rows, columns], depth[rows, columns]


def fill(values: F32, known: Bools, reaches: Reaches = REACHES) -> F32:
    """Return the values, smooth, going on from where they are known."""
    weight, total = np.full(values.shape, 1e-12, np.float64), np.zeros(values.shape, np.float64)
    if not known.any():
        return values
    middle = float(values[known].mean())  # the small rest is this far from all
    for sigma, share in reaches:
        weight += share * cv2.GaussianBlur(known.astype(np.float64), (0, 0), sigma)
        total += share * cv2.GaussianBlur(np.where(known, values - middle, 0).astype(np.float64), (0, 0), sigma)
    return (middle + total / weight).astype(np.float32)


def ease_steps(depth: F32, region: Bools, known: Bools) -> F32:
    """Return the depth of a region, eased where it is unknown and so steep that it would be torn.

    Nothing lies beneath there: a tail of cloth, say, that reaches further than that of the layers.
    """
    kernel = np.ones((3, 3), np.uint8)
    far, near = (np.where(region, depth, np.float32(beyond)) for beyond in (-9, 9))
    steep = region & ~known & (cv2.dilate(far, kernel) - cv2.erode(near, kernel) > STEEP)
    if not steep.any():
        return depth
    wide = cv2.dilate(steep.astype(np.float32), np.ones((9, 9), np.uint8)) * region
    share = np.clip(cv2.GaussianBlur(wide, (0, 0), EASE) * 1.2, 0, 1)
    inside = region.astype(np.float32)
    weight = np.maximum(cv2.GaussianBlur(inside, (0, 0), EASE), 1e-3)
    soft = cv2.GaussianBlur(np.where(region, depth, 0).astype(np.float32), (0, 0), EASE) / weight
    return np.asarray(depth + share * (soft - depth), np.float32)


def make_sheet(depth: F32, region: Bools, inside: Bools, beyond: F32) -> tuple[F32, NDArray[np.int64], Bools, Bools]:
    """Return the depth of one layer's part of the relief, the place of the photo that each vertex shows, and cells.

    It goes on under what lies before it, with the colours of its edge, so that no gap opens a little aside. Last come
    the cells over which it need not fade: its own, and those of what it lies before.

    Args:
        depth: Depth of every vertex.
        region: The vertices that show the layer.
        inside: Those that show anything.
        beyond: Depth of the layer beneath others, 0 where it is not known.
    """
    rows, columns = find_nearest(region)
    sheet = np.where(region, depth, np.where(beyond > 0, beyond, depth[rows, columns]))
    kernel = np.ones((2 * UNDER + 1, 2 * UNDER + 1), np.uint8)
    under = (cv2.dilate(region.astype(np.uint8), kernel) > 0) & ~region
    under &= sheet > depth + np.where(beyond > 0, BENEATH, STEP)
    depths = _corners(sheet)
    cells = np.all(_corners(inside & (region | under)), 0) & (depths.max(0) - depths.min(0) < WITHIN)
    # between two layers that lie as deep, both take the cell
    mixed = np.any(_corners(inside & region), 0) & np.all(_corners(inside), 0)
    steps = np.ptp(_corners(depth), 0)
    cells |= mixed & (steps < 2 * STEP) & ~find_torn(steps, mixed & ~np.all(_corners(region), 0))
    inner = cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # the edge itself has both colours
    rows, columns = find_nearest(inner) if inner.any() else (rows, columns)
    behind = np.all(_corners(inside & (region | under | (sheet <= depth + STEP))), 0)
    solid = cells | (behind & np.any(_corners(~region & ~under), 0))
    small = np.ones((3, 3), np.uint8)
    wide = cv2.morphologyEx(under.astype(np.uint8), cv2.MORPH_OPEN, small)
    rim = np.all([cv2.dilate(mask, small) > 0 for mask in (wide, inner.astype(np.uint8))], 0) & region & ~inner
    stained = under | rim
    return np.where(region | under, sheet, depth), np.where(stained, rows * SIDE + columns, _numbers()), cells, solid


def find_nearest(region: Bools) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return row and column of the vertex of a region that is nearest to each vertex."""
    found = ndimage.distance_transform_edt(~region, return_distances=False, return_indices=True)
    rows, columns = np.asarray(found)
    return rows, columns


def find_torn(steps: F32, mixed: Bools) -> Bools:
    """Return which cells between two layers are torn, by the steps in depth along the seam, not each by itself."""
    weight = cv2.blur(mixed.astype(np.float32), (SEAM, SEAM))
    return cv2.blur(steps * mixed, (SEAM, SEAM)) > STEP * np.maximum(weight, 1e-6)


def _numbers() -> NDArray[np.int64]:
    return np.arange(SIDE * SIDE).reshape(SIDE, SIDE)


def find_whole_cells(depth: F32, layers: NDArray[np.int8], inside: Bools) -> Bools:
    """Return the cells between vertices (SIDE - 1, SIDE - 1) where no layer lies much before another."""
    whole = np.all(_corners(inside), 0)
    depths, names = _corners(depth), _corners(layers)
    one = (names == names[0]).all(0)
    return whole & (depths.max(0) - depths.min(0) < np.where(one, WITHIN, STEP))


def connect(cells: Bools) -> I32:
    """Return two triangles for each of these cells."""
    a, b, c, d = (corner[cells] for corner in _corners(_numbers()))
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def find_loose_locks(hair: Bools) -> Bools:
    """Return the vertices of long and thin parts of the hair, and crumbs: from aside they would be flat scraps."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THIN, THIN))
    padded = np.pad(hair.astype(np.uint8), THIN, mode="edge")
    thick = hair & (cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)[THIN:-THIN, THIN:-THIN] > 0)
    return _choose_parts(hair & ~thick, lambda stats: stats[:, 2:4].max(1) >= LONG) | _choose_parts(
        thick, lambda stats: stats[:, 4] < CRUMB * hair.size
    )


def _choose_parts(mask: Bools, chosen: Callable[[NDArray[np.int32]], Bools]) -> Bools:
    """Return those connected parts of a mask whose left, top, width, height and area are chosen."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return mask & chosen(np.asarray(stats, np.int32))[np.asarray(parts, np.int32)]


def find_crumbs(cells: Bools) -> Bools:
    """Return the vertices (SIDE, SIDE) that are in none of these cells, or only in small parts torn off."""
    _, parts, sizes, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4)
    large = cells & (np.asarray(sizes)[:, cv2.CC_STAT_AREA] >= CRUMB * cells.size)[np.asarray(parts, np.int32)]
    wide = np.pad(large, 1)
    return ~(wide[1:, 1:] | wide[1:, :-1] | wide[:-1, 1:] | wide[:-1, :-1])


def measure_firmness(cells: Bools) -> F32:
    """Return 0 at vertices (SIDE, SIDE) where these cells end, 1 from EDGE cells on."""
    distance = cv2.distanceTransform(np.pad(cells, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)
    return np.clip(np.asarray(distance, np.float32)[:-1, :-1] / EDGE, 0, 1)


def _corners(values: np.ndarray) -> np.ndarray:
    """Return the values at the corners of all cells, in the order around them (4, SIDE - 1, SIDE - 1)."""
    return np.stack([values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]])


def _pick(picture: np.ndarray) -> np.ndarray:
    """Return a picture at the vertices: its nearest pixels."""
    nearest = np.round(np.linspace(0, len(picture) - 1, SIDE)).astype(int)
    return picture[nearest][:, nearest]


def _shrink(picture: Floats) -> F32:
    side = len(picture) // SIDE
    return _pick(cv2.blur(picture.astype(np.float32), (max(side, 1),) * 2))
