"""The closed outer surface of a head: fitted skin plus hair, hats and clothes, grown to a photo's matte.

How thick hair may lie where is known from many heads (`HairModel`: mean and modes in an unwrapped map). Three steps:
the modes' weights are fitted to the outline and to the bare face; what is left is spread smoothly from the outline
over the map; what still sticks out of the matte is cut back (visual hull).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from portrait360.assets import HAIR_MODEL
from portrait360.cameras import Camera
from portrait360.geometry.head_map import HeadMap

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

SIDE = 256  # of the picture in which outlines are compared
OUTLINE_NOISE = 0.004  # image sides: how well an outline is known
REACH = 0.12  # image sides: outlines further apart than this are not pulled together
BARE_NOISE = 0.004  # thickness that a bare face may have all the same
OVER = 0.001  # image sides: how far the surface may stand out, so that no hair of the photo falls beside it
FEWEST = 0.02  # no ray ends nearer to its origin


@dataclass(frozen=True, eq=False)
class HairModel:
    """Thickness over skin in a coarse map: mean + modes of unit variance."""

    layout: HeadMap
    mean: Floats  # (rows, columns)
    modes: Floats  # (k, rows, columns)
    share: Floats  # (3, rows, columns) how often skin, hair (and hats), clothes are seen there
    thickness_of: Floats  # (3, rows, columns) mean thickness where they are
    spread_of: Floats  # (3, rows, columns)

    def smaller(self, growth: float) -> HairModel:
        """For a head that is drawn smaller by `growth`: all hair is thinner by as much. The cells stay, since people
        with tall hair and hats were drawn smaller when the model was made, too."""
        thick = (self.mean, self.modes, self.thickness_of, self.spread_of)
        mean, modes, thickness_of, spread_of = (values / growth for values in thick)
        return HairModel(self.layout, mean, modes, self.share, thickness_of, spread_of)

    def kinds(self, thick: Floats) -> Floats:
        """Belief (3, rows, columns) that skin, hair, clothes are what is seen, given the thickness there."""
        off = (thick - self.thickness_of) / self.spread_of
        belief = self.share * np.exp(-0.5 * off.clip(-4, 4) ** 2) / self.spread_of
        return belief / belief.sum(0)

    def thickness(self, weights: Floats) -> Floats:
        return np.maximum(self.mean + np.tensordot(weights, self.modes, 1), 0)


@lru_cache(maxsize=1)
def load_hair_model() -> HairModel:
    """The model that ships with the package."""
    with np.load(HAIR_MODEL) as data:
        arrays = {name: data[name].astype(np.float64) for name in data.files}
    rows, columns = arrays["mean"].shape
    return HairModel(
        HeadMap(columns=columns, rows=rows),
        arrays["mean"],
        arrays["modes"],
        arrays["share"],
        arrays["thickness"],
        arrays["spread"],
    )


@dataclass(frozen=True, eq=False)
class Outline:
    """A matte's outline in a picture, and how far any place is from it."""

    places: Floats  # (m, 2) image sides
    normals: Floats  # (m, 2) out of the matte
    distance: Floats  # (SIDE, SIDE) image sides, positive outside

    def at(self, uv: Floats) -> Floats:
        """Signed distance at places (n, 2); beside the picture the matte goes straight on, below it it widens."""
        x, y = np.moveaxis(np.asarray(uv) * SIDE - 0.5, -1, 0)
        values = map_coordinates(self.distance, [y.ravel(), x.ravel()], order=1, mode="nearest").reshape(x.shape)
        return values - np.maximum(y / SIDE - 1, 0)


def outline(alpha: Floats, known: Floats | None = None) -> Outline:
    """The outline of a matte (s, s) where the picture is known."""
    small = cv2.resize(alpha.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    inside = (small > 0.5).astype(np.uint8)
    far = [cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (1 - inside, inside)]
    distance = np.where(inside > 0, 0.5 - far[1], far[0] - 0.5).astype(np.float32)
    down, across = np.gradient(gaussian_filter(distance, 1.5))
    slope = np.stack([across, down], -1)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pixels = np.concatenate([c[:, 0] for c in contours]) if contours else np.zeros((0, 2), int)
    x, y = pixels.T
    free = (x > 1) & (y > 1) & (x < SIDE - 2) & (y < SIDE - 2)
    if known is not None:
        free &= cv2.resize(known.astype(np.float32), (SIDE, SIDE))[y, x] > 0.5
    x, y = x[free], y[free]
    normals = slope[y, x]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    return Outline((np.stack([x, y], 1) + 0.5) / SIDE, normals, distance / SIDE)


@dataclass(frozen=True, eq=False)
class Rim:
    """Where a surface ends in the picture."""

    cells: NDArray[np.intp]  # (m,) flat index
    uv: Floats  # (m, 2)
    along: Floats  # (m, 2) how a cell's place in the picture moves with its radius


def rim_of(layout: HeadMap, radius: Floats, camera: Camera) -> Rim:
    """Cells of a surface that lie on its own outline as the camera sees it."""
    vertices, triangles = layout.mesh(radius)
    uv, _ = camera.project(vertices[:-1])
    pixels = camera.project(vertices)[0] * SIDE
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for polygon in np.round(pixels[triangles] * 16).astype(np.int32):  # covers every pixel that is touched
        cv2.fillConvexPoly(mask, polygon, 1, shift=4)
    deep = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    x, y = np.clip(np.floor(uv * SIDE).astype(int), 0, SIDE - 1).T
    on = (deep[y, x] <= 2.5) & (np.abs(uv - 0.5) < 0.5).all(1)
    cells = np.where(on)[0]
    _, directions = layout.rays()
    directions = directions.reshape(-1, 3)[cells]
    ahead = camera.project(vertices[cells] + 1e-4 * directions)[0]
    return Rim(cells, uv[cells], (ahead - uv[cells]) / 1e-4)


def pulls(rim: Rim, goal: Outline) -> tuple[NDArray[np.intp], Floats, Floats]:
    """For places on the outline the nearest cell of the rim: cell, distance to go along the normal, its slope."""
    if not len(rim.cells) or not len(goal.places):
        return np.zeros(0, np.intp), np.zeros(0), np.zeros(0)
    far, near = KDTree(rim.uv).query(goal.places)
    slope = (rim.along[near] * goal.normals).sum(1)
    gap = ((goal.places - rim.uv[near]) * goal.normals).sum(1) + OVER
    use = (np.asarray(far) < REACH) & (slope > 0.25 * np.abs(rim.along[near]).max())
    return rim.cells[near][use], gap[use], slope[use]


def fit_thickness(
    model: HairModel, skin: Floats, camera: Camera, goal: Outline, bare: Bools, *, steps: int = 6
) -> Floats:
    """Thickness (rows, columns) over the skin's radius on the model's map; `bare` marks cells of the open face."""
    flat = model.modes.reshape(len(model.modes), -1)
    weights = np.zeros(len(flat))
    open_face = np.where(bare.ravel())[0]
    for _ in range(steps):
        thick = model.thickness(weights)
        cells, gap, slope = pulls(rim_of(model.layout, skin + thick, camera), goal)
        # places a pixel apart see the same hair: all of them count as a few dozen
        share = np.sqrt(40 / max(len(cells), 40)) / OUTLINE_NOISE
        rows = [flat[:, cells].T * (slope * share)[:, None]]
        right = [(gap + slope * (flat[:, cells].T @ weights)) * share]
        if len(open_face):
            share = np.sqrt(20 / max(len(open_face), 20)) / BARE_NOISE
            rows.append(flat[:, open_face].T * share)
            right.append(-model.mean.ravel()[open_face] * share)
        a, b = np.concatenate(rows), np.concatenate(right)
        weights = np.linalg.solve(a.T @ a + np.eye(len(flat)), a.T @ b).clip(-3, 3)
    return np.where(bare, 0, model.thickness(weights))


def spread(layout: HeadMap, radius: Floats, camera: Camera, goal: Outline, bare: Bools, *, steps: int = 3) -> Floats:
    """The radius with what is missing at the outline added there, and fading away from it over the map."""
    for _ in range(steps):
        cells, gap, slope = pulls(rim_of(layout, radius, camera), goal)
        count = layout.rows * layout.columns
        weight = np.bincount(cells, minlength=count).astype(np.float64)
        wanted = np.bincount(cells, gap / np.maximum(slope, 1e-6), minlength=count) / np.maximum(weight, 1)
        fixed = np.minimum(weight, 1) + 2.0 * bare.ravel()
        system = sp.diags(fixed + 2e-3) + 0.5 * _laplacian(layout)
        step = splu(sp.csc_matrix(system)).solve(np.where(bare.ravel(), 0, wanted * np.minimum(weight, 1)))
        radius = np.maximum(radius + step.reshape(radius.shape), FEWEST)
    return radius


@lru_cache(maxsize=4)
def _laplacian(layout: HeadMap) -> sp.csr_matrix:
    """Graph Laplacian of the map: circular in its columns; rows near the crown are short, so they hold harder."""
    index = np.arange(layout.rows * layout.columns).reshape(layout.rows, layout.columns)
    elevation, _ = layout.place(np.arange(layout.rows) + 0.5)
    across = 1 / np.maximum(np.cos(elevation), 0.15) ** 2
    east = np.stack([index.ravel(), np.roll(index, -1, 1).ravel()], 1)
    south = np.stack([index[:-1].ravel(), index[1:].ravel()], 1)
    pairs = np.concatenate([east, south])
    values = np.concatenate([np.repeat(np.minimum(across, 20), layout.columns), np.ones(len(south))])
    size = index.size
    links = sp.csr_matrix((values, pairs.T), (size, size))
    links = links + links.T
    return sp.csr_matrix(sp.diags(np.asarray(links.sum(1)).ravel()) - links)


def carve(layout: HeadMap, radius: Floats, camera: Camera, goal: Outline, *, steps: int = 24) -> Floats:
    """The radius cut back to where every point falls into the matte, or half of it at most."""
    origins, directions = layout.rays()
    shares = np.linspace(1.0, 0.5, steps)
    best = np.full(radius.shape, shares[-1])
    left = np.ones(radius.shape, bool)
    for share in shares:
        points = origins[left] + (radius[left] * share)[:, None] * directions[left]
        uv, _ = camera.project(points)
        good = goal.at(uv) <= 3 * OVER
        rows, columns = np.where(left)
        best[rows[good], columns[good]] = share
        left[rows[good], columns[good]] = False
    return radius * best


def resampled(values: Floats, source: HeadMap, target: HeadMap) -> Floats:
    """A map brought to another layout."""
    origins, directions = target.rays()
    column, row, _ = source.locate(origins + 0.2 * directions)
    return source.sample(values, column, row)


def round_crown(layout: HeadMap, radius: Floats) -> Floats:
    """The crown without a tip: its cells are so narrow that what is smooth over the map can be a spike there."""
    elevation, _ = layout.place(np.arange(layout.rows) + 0.5)
    flat = radius.copy()
    for row in np.where(elevation > np.radians(45))[0]:
        wide = min(1.5 / np.cos(elevation[row]), layout.columns / 3)
        flat[row] = gaussian_filter1d(radius[row], wide, mode="wrap")
    flat = gaussian_filter1d(flat, layout.rows / 40, axis=0, mode="reflect")
    share = np.clip((np.degrees(elevation) - 50) / 25, 0, 1)[:, None]
    return radius + share * (flat - radius)
