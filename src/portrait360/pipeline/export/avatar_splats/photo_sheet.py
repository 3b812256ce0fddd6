"""What an avatar's photo shows, as Gaussians on its relief: fine where the picture is, coarse where it is even.

On skin they lie on the skin's own surface, elsewhere on the relief of the photo.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.photo.head_bands import find_band
from portrait360.pipeline.avatar.view.render import LAYER_OF_LABEL
from portrait360.pipeline.avatar.view.turned_face import find_far_side
from portrait360.pipeline.export.avatar_splats.shapes import draw_cells
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.synth.render.renderer import render_linear
from portrait360.utils.array_types import F32, F64, Bools, Bytes, Floats
from portrait360.utils.portrait_labels import Label
from portrait360.utils.vectors import measure_length

SIDES = (4, 2, 1)  # of cells in pixels, the largest first
EVEN = 0.03  # standard deviation of the colours of a cell, up to which it is not split
FLAT = 0.012  # canonical depth per pixel of a cell's side, up to which it is not split
SMOOTH = 2.0  # pixels over which normals of the relief are smoothed
STEEP = 0.4  # cosine below which normals are turned to the camera: no cell is a long sliver
SKIN_TOLERANCE, TOLERANCE = 0.012, 0.025  # canonical depth behind the sheet up to which it stands for the layers
BEFORE = 0.05  # the same before it, but for skin: the avatar shows the relief over what is that near to it
FACING = 0.4  # cosine from which it does
RIM = 3  # pixels inside the outline of the photo's subject in which layers, where there are some, show it
HAIR_RIM = 6  # the same for hair, wherever layers lie behind it
HAIR_BREADTH, BREADTH = 25, 9  # pixels: hair, and what else lies beyond the layers, is left out where it is narrower
LEAST, LEAST_HAIR = 0.15, 0.7  # of the matte: single hairs would be a pale veil when seen from the side
PURE, STAINED = 0.5, 2  # least share of hair in its pixels, and pixels beside those that have less
NEAR = 0.06  # canonical depth between the sheet and the layers that it may stand for

COVERED = 0.5  # share of a pixel that layers cover where they lie beneath what the photo shows


class Sheet(NamedTuple):
    """The surface that the photo shows, pixel by pixel."""

    camera: Camera
    depth: F32  # (s, s), 0 where there is none
    normals: F64  # (s, s, 3)
    skin: Bools  # (s, s) where it is the skin's own surface
    layers: NDArray[np.int8]  # (s, s) index of the layer that the photo shows, -1 where there is none
    beneath: F32  # (s, s) depth of the avatar's own layers, 0 where there is none


def find_sheet(avatar: Avatar, size: int) -> Sheet:
    camera = avatar.camera
    film = render_linear(avatar.prepared_scene, camera, size)
    relief = avatar.projection.relief.draw(camera, size)[2]
    labels = _look_up_labels(avatar, size)
    shown = LAYER_OF_LABEL[labels]
    skin = (LAYER_OF_LABEL[film.labels] == 0) & (shown == 0) & (film.alpha > 0.9)
    depth = np.where(skin, film.depth, np.where(relief > 0, relief, film.depth))
    # a hat that is none of the layers' would stand beside theirs
    depth = np.where(np.isin(shown, list(avatar.projection.relief.poor)), 0, depth).astype(np.float32)
    beneath = np.where(film.alpha > COVERED, film.depth, np.float32(0))
    depth = np.where(find_left_out(depth, shown, beneath), np.float32(0), depth)
    smooth = cv2.GaussianBlur(np.where(depth > 0, depth, np.float32(camera.radius)), (0, 0), SMOOTH)
    points = camera.unproject(pixel_centres(size, size), smooth)
    normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    normals = np.where(skin[..., None], film.normals, normals)
    towards = camera.position - points
    normals = normals * np.where((normals * towards).sum(-1, keepdims=True) < 0, -1, 1)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    photo = avatar.projection.photo
    far_side = find_far_side(points, normals, labels, photo)
    depth = np.where(far_side & (beneath > 0), np.float32(0), depth)
    band = find_band(photo.radiance, photo.shows(Label.HAIR))  # which is none of the hair, but no wall either
    stained = find_stained(np.maximum(photo.pure, band), shown) & (beneath > 0)
    depth, shown = np.where(stained, np.float32(0), depth), np.where(stained, np.int8(-1), shown)
    return Sheet(camera, depth, normals, skin, shown, beneath)


def find_stained(pure: Floats, shown: NDArray[np.int8]) -> Bools:
    """Return where the photo shows hair (s, s) through which, or right beside which, the wall shines.

    `pure` (k, k) is 0 where the wall does. From elsewhere, layers have better colours.
    """
    share = cv2.resize(np.asarray(pure, np.float32), shown.shape[::-1], interpolation=cv2.INTER_AREA)
    share = cv2.erode(share, np.ones((2 * STAINED + 1,) * 2, np.uint8), borderValue=1)
    return (share < PURE) & (shown == LAYER_OF_LABEL[Label.HAIR])


def find_left_out(depth: F32, shown: NDArray[np.int8], beneath: F32) -> Bools:
    """Return which pixels of a sheet stay without Gaussians: rims that layers show, and what is too narrow.

    From the side, loose hair would be crumbs in the air, the edge of hair a pale thread on what is behind it, and the
    edge of a cheek, before hair far behind it, a crack in the cheek.

    Args:
        depth: 0 where the sheet has nothing to show.
        shown: index of the layer that the photo shows.
        beneath: depth of the avatar's own layers, 0 where there is none.
    """
    near = (beneath > 0) & (np.abs(depth - beneath) < NEAR)
    hair = (shown == LAYER_OF_LABEL[Label.HAIR]) & (depth > 0)
    alone = (depth > 0) & (beneath == 0)
    thin = ~_find_broad(hair, HAIR_BREADTH)
    loose = np.where(alone, thin, _find_rim(depth, shown, HAIR_RIM) | (thin & ~near))
    skin = (depth > 0) & ~near & (shown <= LAYER_OF_LABEL[Label.FACE])  # or nothing
    crumbs = (alone & ~_find_broad(alone, BREADTH)) | (skin & ~_find_broad(skin, BREADTH))
    return (_find_rim(depth, shown, RIM) & near) | (hair & loose) | crumbs


def _find_rim(depth: F32, shown: NDArray[np.int8], width: int) -> Bools:
    """Return where the photo's outline is within `width` pixels: the background shines through there."""
    inside = ((depth > 0) & (shown >= 0)).astype(np.uint8)
    return cv2.erode(inside, np.ones((2 * width + 1,) * 2, np.uint8), borderValue=1) == 0


def _find_broad(inside: Bools, breadth: int) -> Bools:
    """Return what is nowhere narrower than this many pixels."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (breadth, breadth))
    return np.asarray(cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, disc)) > 0


def _look_up_labels(avatar: Avatar, size: int) -> Bytes:
    return np.asarray(cv2.resize(avatar.picture.labels, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)


def draw_sheet(sheet: Sheet, view: ProxyView) -> tuple[GaussianSplats, Bools]:
    """Return a Gaussian for each cell, and which have layers near them; `view` is the avatar's at the photo's camera.

    Where the photo sees a surface from its side, the layers that lie there show it better.
    """
    cells = split_cells(sheet, view)
    x, y, side = cells.T
    column, row = x.astype(int), y.astype(int)
    between = map_coordinates(sheet.depth, [y - 0.5, x - 0.5], order=1)
    depth = np.where(side > 1, between, sheet.depth[row, column])
    points = sheet.camera.unproject(cells[:, :2] / len(sheet.depth), depth)
    towards = _unit(sheet.camera.position - points)
    normals = sheet.normals[row, column]
    cosine = (normals * towards).sum(1, keepdims=True)
    layers = sheet.beneath[row, column]
    supported = (layers > 0) & (np.abs(depth - layers) < NEAR)
    normals = _unit(normals + towards * np.maximum(STEEP - cosine, 0) * 1.3)
    sizes = side * depth / (sheet.camera.focal * len(sheet.depth))
    splats = draw_cells(points, normals, towards, sizes, side > 1, np.clip(view.mask[row, column], 0.05, 1))
    kept = ~supported | (cosine[:, 0] > FACING)
    return splats[np.flatnonzero(kept)], supported[kept]


def split_cells(sheet: Sheet, view: ProxyView) -> F64:
    """Return centres in pixels and sides (n, 3) of cells that cover the subject, like the leaves of a quadtree."""
    picture = np.concatenate([view.rgb, view.mask[..., None]], -1)
    free, cells = np.ones(sheet.depth.shape, bool), []
    least = np.where(sheet.layers == LAYER_OF_LABEL[Label.HAIR], LEAST_HAIR, LEAST)
    for side in SIDES:
        even = np.sqrt(_blocks(picture, side).var((1, 3)).sum(-1)) < EVEN
        depth, cover = _blocks(sheet.depth, side), _blocks(view.mask, side).min((1, 3))
        flat = np.ptp(depth, axis=(1, 3)) < FLAT * side
        fine = _blocks(sheet.skin, side).any((1, 3)) & (side > 2)
        whole = even & flat & ~fine & (cover > 0.95) if side > 1 else cover > least
        chosen = whole & (depth > 0).all((1, 3)) & _blocks(free, side).all((1, 3))
        free &= ~np.kron(chosen, np.ones((side, side), bool))
        row, column = np.nonzero(chosen)
        cells.append(np.stack([(column + 0.5) * side, (row + 0.5) * side, np.full(len(row), side)], 1))
    return np.concatenate(cells)


def find_strange(sheet: Sheet, points: Floats, labels: Bytes) -> Bools:
    """Return which points of the layers with these labels lie where the photo shows another layer."""
    size = len(sheet.depth)
    uv = sheet.camera.project(points)[0]
    column, row = (np.clip((uv[:, i] * size).astype(int), 0, size - 1) for i in (0, 1))
    return ((uv > 0) & (uv < 1)).all(1) & (sheet.layers[row, column] != LAYER_OF_LABEL[labels])


def find_covered(sheet: Sheet, points: Floats, labels: Bytes) -> Bools:
    """Return which points (n, 3) of the layers with these labels the sheet stands for.

    Where it shows bare skin, hair that is close before it is none: its ends would be specks along the hairline. It
    never stands for a frame of glasses: from elsewhere, the photo's lies on the face, and half of each is none.
    """
    size = len(sheet.depth)
    uv, depth = sheet.camera.project(points)
    column, row = (np.clip((uv[:, i] * size).astype(int), 0, size - 1) for i in (0, 1))
    there, skin = sheet.depth[row, column], sheet.skin[row, column]
    behind = depth - there
    near = np.where(skin & (labels != Label.HAIR), SKIN_TOLERANCE, BEFORE)
    far = np.where(skin, SKIN_TOLERANCE, TOLERANCE)
    cosine = (sheet.normals[row, column] * _unit(sheet.camera.position - points)).sum(1)
    inside = ((uv > 0) & (uv < 1)).all(1)
    inside &= labels != Label.GLASSES
    return inside & (there > 0) & (behind > -near) & (behind < far) & (cosine > FACING)


def _blocks(values: np.ndarray, side: int) -> np.ndarray:
    count = len(values) // side
    return values[: count * side, : count * side].reshape(count, side, count, side, *values.shape[2:])


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(measure_length(vectors)[..., None], 1e-12)
