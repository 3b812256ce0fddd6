"""The closed outer surface of a head: fitted skin plus hair, hats and clothes, grown to a photo's matte.

`HairModel` holds the distribution of hair thickness over many heads (mean and modes in an unwrapped map). There are
three steps: fit the weights of the modes to the outline and to the bare face, propagate the remaining offsets
smoothly from the outline over the map, and cut back what still extends beyond the matte (visual hull).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.spatial import KDTree

from portrait360.assets import HAIR_MODEL
from portrait360.geometry.cameras import Camera
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.utils.array_types import Bools, Floats
from portrait360.utils.sparse import factorise

OUTLINE_SIZE = 256  # pixels of the picture in which outlines are compared
OUTLINE_NOISE = 0.004  # image sides: uncertainty of an outline
MAX_DISTANCE = 0.12  # image sides: outlines further apart are not matched
BARE_NOISE = 0.004  # canonical: tolerated thickness on a bare face
OVERSHOOT = 0.001  # image sides: how far the surface extends beyond the matte, to cover all hair of the photo
MIN_RADIUS = 0.02  # canonical: minimum distance of the surface along a ray


@dataclass(frozen=True, eq=False)
class HairModel:
    """Thickness over the skin in a coarse map: mean + modes of unit variance."""

    layout: HeadMap
    mean: Floats  # (rows, columns)
    modes: Floats  # (k, rows, columns)
    share: Floats  # (3, rows, columns) frequency of skin, hair (and hats), clothes
    class_thickness: Floats  # (3, rows, columns) mean thickness of each class
    class_spread: Floats  # (3, rows, columns) standard deviation of the thickness of each class

    def scale_down(self, growth: float) -> HairModel:
        """Return the model for a head that is smaller in its crop by `growth`: all hair is thinner by that factor.

        The cells stay, since people with tall hair and hats were smaller in the model's training data, too.
        """
        arrays = (self.mean, self.modes, self.class_thickness, self.class_spread)
        mean, modes, thickness_of, spread_of = (values / growth for values in arrays)
        return HairModel(self.layout, mean, modes, self.share, thickness_of, spread_of)

    def class_probs(self, thick: Floats) -> Floats:
        """Return the probabilities (3, rows, columns) of skin, hair, clothes, given the thickness."""
        deviation = (thick - self.class_thickness) / self.class_spread
        likelihood = self.share * np.exp(-0.5 * deviation.clip(-4, 4) ** 2) / self.class_spread
        return likelihood / likelihood.sum(0)

    def thickness(self, weights: Floats) -> Floats:
        return np.maximum(self.mean + np.tensordot(weights, self.modes, 1), 0)


@lru_cache(maxsize=1)
def load_hair_model() -> HairModel:
    """Load the packaged model."""
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
    """The outline of a matte in a picture, and the signed distance from it."""

    points: Floats  # (m, 2) image sides
    normals: Floats  # (m, 2) pointing out of the matte
    distance: Floats  # (OUTLINE_SIZE, OUTLINE_SIZE) image sides, positive outside

    def distance_at(self, uv: Floats) -> Floats:
        """Look up the signed distance at points (n, 2).

        Beside the picture the matte continues straight, below it the matte widens.
        """
        x, y = np.moveaxis(np.asarray(uv) * OUTLINE_SIZE - 0.5, -1, 0)
        values = map_coordinates(self.distance, [y.ravel(), x.ravel()], order=1, mode="nearest").reshape(x.shape)
        return values - np.maximum(y / OUTLINE_SIZE - 1, 0)


def outline(alpha: Floats, known: Floats | None = None) -> Outline:
    """Trace the outline of a matte (s, s), only inside the photo, which `known` marks."""
    small = cv2.resize(alpha.astype(np.float32), (OUTLINE_SIZE, OUTLINE_SIZE), interpolation=cv2.INTER_AREA)
    inside = (small > 0.5).astype(np.uint8)
    distances = [cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (1 - inside, inside)]
    distance = np.where(inside > 0, 0.5 - distances[1], distances[0] - 0.5).astype(np.float32)
    gradient_y, gradient_x = np.gradient(gaussian_filter(distance, 1.5))
    gradient = np.stack([gradient_x, gradient_y], -1)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pixels = np.concatenate([c[:, 0] for c in contours]) if contours else np.zeros((0, 2), int)
    x, y = pixels.T
    valid = (x > 1) & (y > 1) & (x < OUTLINE_SIZE - 2) & (y < OUTLINE_SIZE - 2)
    if known is not None:
        valid &= cv2.resize(known.astype(np.float32), (OUTLINE_SIZE, OUTLINE_SIZE))[y, x] > 0.5
    x, y = x[valid], y[valid]
    normals = gradient[y, x]
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    return Outline((np.stack([x, y], 1) + 0.5) / OUTLINE_SIZE, normals, distance / OUTLINE_SIZE)


@dataclass(frozen=True, eq=False)
class Rim:
    """The cells of a surface on its own silhouette."""

    cells: NDArray[np.intp]  # (m,) flat indices
    uv: Floats  # (m, 2)
    uv_slope: Floats  # (m, 2) derivative of uv by the cell's radius


def silhouette_rim(layout: HeadMap, radius: Floats, camera: Camera) -> Rim:
    """Find the cells of a surface that lie on its silhouette in the camera's view."""
    vertices, triangles = layout.mesh(radius)
    uv, _ = camera.project(vertices[:-1])
    pixels = camera.project(vertices)[0] * OUTLINE_SIZE
    mask = np.zeros((OUTLINE_SIZE, OUTLINE_SIZE), np.uint8)
    for polygon in np.round(pixels[triangles] * 16).astype(np.int32):  # 4 fractional bits; fills every touched pixel
        cv2.fillConvexPoly(mask, polygon, 1, shift=4)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    x, y = np.clip(np.floor(uv * OUTLINE_SIZE).astype(int), 0, OUTLINE_SIZE - 1).T
    on_rim = (distance[y, x] <= 2.5) & (np.abs(uv - 0.5) < 0.5).all(1)
    cells = np.where(on_rim)[0]
    _, directions = layout.rays()
    directions = directions.reshape(-1, 3)[cells]
    shifted = camera.project(vertices[cells] + 1e-4 * directions)[0]
    return Rim(cells, uv[cells], (shifted - uv[cells]) / 1e-4)


def silhouette_matches(rim: Rim, goal: Outline) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Match points on the outline to the nearest rim cells.

    Returns flat cell indices, distances to move along the outline's normals, and their derivatives by the radius.
    """
    if not len(rim.cells) or not len(goal.points):
        return np.zeros(0, np.intp), np.zeros(0), np.zeros(0)
    distance, nearest = KDTree(rim.uv).query(goal.points)
    slope = (rim.uv_slope[nearest] * goal.normals).sum(1)
    gap = ((goal.points - rim.uv[nearest]) * goal.normals).sum(1) + OVERSHOOT
    valid = (np.asarray(distance) < MAX_DISTANCE) & (slope > 0.25 * np.abs(rim.uv_slope[nearest]).max())
    return rim.cells[nearest][valid], gap[valid], slope[valid]


def fit_thickness(
    model: HairModel, skin: Floats, camera: Camera, goal: Outline, bare: Bools, *, steps: int = 6
) -> Floats:
    """Fit the thickness (rows, columns) over the skin's radius on the model's map; `bare` marks the bare face."""
    flat = model.modes.reshape(len(model.modes), -1)
    weights = np.zeros(len(flat))
    bare_cells = np.where(bare.ravel())[0]
    for _ in range(steps):
        thick = model.thickness(weights)
        cells, gap, slope = silhouette_matches(silhouette_rim(model.layout, skin + thick, camera), goal)
        # points a pixel apart show the same hair, so all of them count as at most 40
        scale = np.sqrt(40 / max(len(cells), 40)) / OUTLINE_NOISE
        rows = [flat[:, cells].T * (slope * scale)[:, None]]
        targets = [(gap + slope * (flat[:, cells].T @ weights)) * scale]
        if len(bare_cells):
            scale = np.sqrt(20 / max(len(bare_cells), 20)) / BARE_NOISE
            rows.append(flat[:, bare_cells].T * scale)
            targets.append(-model.mean.ravel()[bare_cells] * scale)
        a, b = np.concatenate(rows), np.concatenate(targets)
        weights = np.linalg.solve(a.T @ a + np.eye(len(flat)), a.T @ b).clip(-3, 3)
    return np.where(bare, 0, model.thickness(weights))


def propagate_offsets(
    layout: HeadMap, radius: Floats, camera: Camera, goal: Outline, bare: Bools, *, steps: int = 3
) -> Floats:
    """Move the surface to the outline, with offsets that fade smoothly over the map away from it."""
    for _ in range(steps):
        cells, gap, slope = silhouette_matches(silhouette_rim(layout, radius, camera), goal)
        count = layout.rows * layout.columns
        weight = np.bincount(cells, minlength=count).astype(np.float64)
        target = np.bincount(cells, gap / np.maximum(slope, 1e-6), minlength=count) / np.maximum(weight, 1)
        stiffness = np.minimum(weight, 1) + 2.0 * bare.ravel()
        system = sp.diags(stiffness + 2e-3) + 0.5 * map_laplacian(layout)
        offset = factorise(system).solve(np.where(bare.ravel(), 0, target * np.minimum(weight, 1)))
        radius = np.maximum(radius + offset.reshape(radius.shape), MIN_RADIUS)
    return radius


@lru_cache(maxsize=4)
def map_laplacian(layout: HeadMap) -> sp.csr_matrix:
    """Graph Laplacian of the map, circular in its columns; weights are larger in the short rows near the crown."""
    index = np.arange(layout.rows * layout.columns).reshape(layout.rows, layout.columns)
    elevation, _ = layout.ray_at_row(np.arange(layout.rows) + 0.5)
    across = 1 / np.maximum(np.cos(elevation), 0.15) ** 2
    east = np.stack([index.ravel(), np.roll(index, -1, 1).ravel()], 1)
    south = np.stack([index[:-1].ravel(), index[1:].ravel()], 1)
    pairs = np.concatenate([east, south])
    values = np.concatenate([np.repeat(np.minimum(across, 20), layout.columns), np.ones(len(south))])
    size = index.size
    links = sp.csr_matrix((values, pairs.T), (size, size))
    links = links + links.T
    return sp.csr_matrix(sp.diags(np.asarray(links.sum(1)).ravel()) - links)


def carve_to_silhouette(layout: HeadMap, radius: Floats, camera: Camera, goal: Outline, *, steps: int = 24) -> Floats:
    """Reduce the radius until every point projects into the matte, to half of it at most."""
    origins, directions = layout.rays()
    scales = np.linspace(1.0, 0.5, steps)
    best = np.full(radius.shape, scales[-1])
    remaining = np.ones(radius.shape, bool)
    for scale in scales:
        points = origins[remaining] + (radius[remaining] * scale)[:, None] * directions[remaining]
        uv, _ = camera.project(points)
        inside = goal.distance_at(uv) <= 3 * OVERSHOOT
        rows, columns = np.where(remaining)
        best[rows[inside], columns[inside]] = scale
        remaining[rows[inside], columns[inside]] = False
    return radius * best


def resample_map(values: Floats, source: HeadMap, target: HeadMap) -> Floats:
    """Resample a map to another layout."""
    origins, directions = target.rays()
    column, row, _ = source.locate(origins + 0.2 * directions)
    return source.sample(values, column, row)


def round_crown(layout: HeadMap, radius: Floats) -> Floats:
    """Smooth the crown: its cells are so narrow that a surface that is smooth over the map can have a spike there."""
    elevation, _ = layout.ray_at_row(np.arange(layout.rows) + 0.5)
    smooth = radius.copy()
    for row in np.where(elevation > np.radians(45))[0]:
        sigma = min(1.5 / np.cos(elevation[row]), layout.columns / 3)
        smooth[row] = gaussian_filter1d(radius[row], sigma, mode="wrap")
    smooth = gaussian_filter1d(smooth, layout.rows / 40, axis=0, mode="reflect")
    share = np.clip((np.degrees(elevation) - 50) / 25, 0, 1)[:, None]
    return radius + share * (smooth - radius)
