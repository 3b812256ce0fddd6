"""The photo as a relief: each of its pixels at the depth of the layer that its label names.

Seen from up to about 35 degrees from the photo's direction, a relief shows every pixel of the photo once and in
order, where the layers of the generator never lie quite as hair, hats and cloth of the photo do. Its depth is the
layers' own where label and layer agree, and continues smoothly from there over the rest of the label; what the layers
lack altogether lies on the proxy's surface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo import Photo
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32, F64, I32, Bools, Floats
from portrait360.utils.portrait_labels import Label

END, DRAWN_END = (32.0, 44.0), (46.0, 58.0)  # degrees from the photo's direction over which it fades; drawings'
SIDE = 256  # vertices along a side of the photo
STEP, WITHIN = 0.025, 0.1  # canonical depth between neighbours of two layers, and of one, at which the relief is torn
POOR = 0.6  # overlap of a layer with the photo's below which its depth is the proxy's
Reaches = tuple[tuple[float, float], ...]  # vertices, and weight
REACHES: Reaches = ((1.5, 1.0), (5.0, 1e-3), (20.0, 1e-6), (80.0, 1e-9))  # far only where nothing is near
BROAD: Reaches = ((12.0, 1.0), (40.0, 1e-3))  # for what hardly fits: better flat than crumpled
UNDER = 4  # vertices by which a layer goes on under another
EDGE = 3.0  # cells over which a torn edge can be soft
CRUMB = 0.004  # share of the cells that a part torn off must have to be kept further round
THIN, LONG = 9, 12  # vertices across and along of locks that hang alone
RIM = 2  # vertices by which the relief goes on beyond the matte


@dataclass(frozen=True, eq=False)
class Relief:
    vertices: F64  # (n, 3)
    triangles: I32  # (t, 3)
    uv: F32  # (n, 2) of the photo
    firm: F32  # (n,) 0 where the relief is torn .. 1 inside
    poor: frozenset[int]  # layers that hardly overlap with what the photo shows of them
    end: tuple[float, float] = END

    def draw(self, camera: Camera, size: int) -> tuple[F32, F32, F32]:
        """Return where the photo shows each pixel (s, s, 2), how firm the relief is, and its depth; 0 beside it."""
        buffers = rasterizer.rasterise(self.vertices, self.triangles, camera, size)
        values = rasterizer.interpolate(buffers, self.triangles, np.concatenate([self.uv, self.firm[:, None]], 1))
        return values[..., :2], values[..., 2], buffers.depth


def make_relief(
    photo: Photo, film: Film, layer_of_label: NDArray[np.int8], cover: Proxy, *, drawn: bool = False
) -> Relief:
    """Return the relief of a photo; `film` is a render of the layers at its camera.

    Drawings are shown further round: their faces are flat, and those of the layers are a human's.
    """
    layers = layer_of_label[_pick(photo.labels)]
    depth, poor = find_depths(photo, film, layer_of_label, cover)
    inside = (_shrink(photo.alpha) > 0.02) & (_shrink(photo.known) > 0.02) & bool(cover.visible.any())
    inside = cv2.dilate(inside.astype(np.uint8), np.ones((2 * RIM + 1,) * 2)) > 0
    y, x = np.indices((SIDE, SIDE))
    uv = np.stack([x, y], -1) / (SIDE - 1)
    firm = measure_firmness(find_whole_cells(depth, layers, inside))
    firm = firm * ~find_loose_locks(_pick(photo.labels) == Label.HAIR).ravel()
    vertices, triangles, places = [], [], []
    for layer in np.unique(layers[inside]):
        sheet, nearest, cells = make_sheet(depth, layers == layer, inside)
        kept = connect(cells)
        used, numbers = np.unique(kept, return_inverse=True)
        triangles.append(numbers.reshape(kept.shape) + sum(map(len, vertices)))
        vertices.append(photo.camera.unproject(uv, sheet).reshape(-1, 3)[used])
        places.append(nearest.ravel()[used])
    empty = np.zeros((0, 3))
    rows = np.concatenate(places or [np.zeros(0, np.int64)])
    return Relief(
        np.concatenate([empty, *vertices]).astype(np.float64),
        np.concatenate([empty, *triangles]).astype(np.int32),
        uv.reshape(-1, 2).astype(np.float32)[rows],
        firm[rows],
        poor,
        DRAWN_END if drawn else END,
    )


def find_depths(
    photo: Photo, film: Film, layer_of_label: NDArray[np.int8], cover: Proxy
) -> tuple[F32, frozenset[int]]:
    """Return the depth of every vertex (SIDE, SIDE), and the layers of which it is the proxy's, smoothed."""
    names, drawn = _pick(photo.labels), _pick(np.asarray(film.labels, np.uint8))
    shown, rendered = layer_of_label[names], layer_of_label[drawn]
    alpha, depth = _pick(film.alpha), _pick(film.depth)
    view = cover.render(photo.camera, SIDE)
    everywhere = np.where(view.mask > 0.5, view.depth, 0).astype(np.float32)
    everywhere = fill(everywhere, everywhere > 0)
    out, poor = everywhere.copy(), set[int]()
    for layer in map(int, np.unique(shown[shown >= 0])):
        region = shown == layer
        known = region & (rendered == layer) & (alpha > 0.5)
        if known.sum() > POOR * (region | ((rendered == layer) & (alpha > 0.5))).sum():
            out[region] = fill(depth, known)[region]
        else:
            poor.add(layer)
            out[region] = fill(everywhere, region, BROAD)[region]
    subject = shown >= 0
    return np.where(subject, out, fill(out, subject) if subject.any() else out), frozenset(poor)


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


def make_sheet(depth: F32, region: Bools, inside: Bools) -> tuple[F32, NDArray[np.int64], Bools]:
    """Return depth and cells of one layer's part of the relief, and the place of the photo that each vertex shows.

    It goes on under what lies before it, with the colours of its edge, so that no gap opens a little aside.
    """
    found = ndimage.distance_transform_edt(~region, return_distances=False, return_indices=True)
    rows, columns = np.asarray(found)
    sheet = np.where(region, depth, depth[rows, columns])
    kernel = np.ones((2 * UNDER + 1, 2 * UNDER + 1), np.uint8)
    under = (cv2.dilate(region.astype(np.uint8), kernel) > 0) & (sheet > depth + STEP)
    depths = _corners(sheet)
    cells = np.all(_corners(inside & (region | under)), 0) & (depths.max(0) - depths.min(0) < WITHIN)
    # between two layers that lie as deep, both take the cell
    mixed = np.any(_corners(inside & region), 0) & np.all(_corners(inside), 0)
    cells |= mixed & (np.ptp(_corners(depth), 0) < STEP)
    return np.where(region | under, sheet, depth), np.where(under, rows * SIDE + columns, _numbers()), cells


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


def measure_firmness(cells: Bools) -> F32:
    """Return 0 at vertices of torn cells and of crumbs, 1 from EDGE cells on."""
    _, parts, sizes, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4)
    cells = cells & (np.asarray(sizes)[:, cv2.CC_STAT_AREA] >= CRUMB * cells.size)[np.asarray(parts, np.int32)]
    distance = cv2.distanceTransform(np.pad(cells, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)
    return np.clip(np.asarray(distance, np.float32)[:-1, :-1] / EDGE, 0, 1).ravel()


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
