"""Choose and colour the Gaussians that an avatar's views show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.geometry.gaussians.flat_gaussians import FlatGaussians, find_covariances, flatten
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_splats.blending import gather
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.parallel.threads import count_threads, map_in_threads

LEAST = 0.12  # pixels in the view that shows most of it, below which a Gaussian is left out
MOST_OVERHANG = 1.0  # pixels of a view
BEHIND = 0.012  # canonical depth behind the surface at which points are not even tried


@dataclass(frozen=True, eq=False)
class AvatarView:
    """A render of the avatar that the Gaussians shall look like."""

    camera: Camera
    view: ProxyView
    weight: float = 1.0  # of its colours
    front: bool = False  # it shows the relief of the photo

    @property
    def size(self) -> int:
        return len(self.view.mask)


@dataclass(frozen=True, eq=False)
class Shares:
    """What views show of n Gaussians."""

    most: F64  # (n,) pixels in the view that shows most
    inside: F64  # (n,) share that lies over the subject, the mean of all views that show it
    colours: F64  # (n, 3) mean colour over the subject
    shifts: F64  # (n, 3) from the part beyond the outline towards the rest, in views that show such a part


def find_near_surface(points: Floats, views: list[AvatarView]) -> Bools:
    """Return which points are near the first surface in some view."""

    def find(part: Floats) -> Bools:
        found = np.zeros(len(part), bool)
        for shot in views:
            rest = np.flatnonzero(~found)
            depth = np.asarray(shot.view.depth, np.float32)
            found[rest] = rasterizer.visible(part[rest], depth, shot.camera, tolerance=BEHIND)
        return found

    return np.concatenate(list(map_in_threads(find, np.array_split(points, count_threads()), lone_first=False)))


def measure_shares(splats: GaussianSplats, views: list[AvatarView], trust: Floats) -> Shares:
    """Return what the views show; in those of the front a Gaussian's colour counts by its `trust` (n,)."""
    count, covariances = len(splats), find_covariances(splats)
    most, shown, inside = np.zeros(count), np.zeros(count), np.zeros(count)
    weights, colours = np.full(count, 1e-9), np.zeros((count, 3))
    beyond, shifts = np.full(count, 1e-9), np.zeros((count, 3))

    def gather_view(shot: AvatarView) -> tuple[F32, Floats]:
        flat = flatten(splats, covariances, shot.camera, shot.size)
        sums = gather(flat, _stack_picture(shot))
        return sums[:, :5], _find_overhang(flat, sums, shot.camera)

    for shot, (sums, overhang) in zip(views, map_in_threads(gather_view, views, lone_first=False), strict=True):
        scale = (512 / shot.size) ** 2
        most = np.maximum(most, scale * sums[:, 0])
        seen = scale * sums[:, 0] > LEAST
        shown += seen
        inside += seen * sums[:, 4] / np.maximum(sums[:, 0], 1e-6)
        # squared: what a view shows well counts, not what it shows through gaps between others
        trusted = trust if shot.front else np.ones(count)
        weight = shot.weight * (scale * sums[:, 0]) ** 2 * trusted
        weights += weight
        colours += weight[:, None] * sums[:, 1:4] / np.maximum(sums[:, 4:], 1e-6)
        weight = scale * np.maximum(sums[:, 0] - sums[:, 4], 0) * trusted
        beyond += weight
        shifts -= weight[:, None] * overhang
    return Shares(most, inside / np.maximum(shown, 1), colours / weights[:, None], shifts / beyond[:, None])


def _stack_picture(shot: AvatarView) -> F32:
    """Return what to gather (s, s, 6): the subject's colours, its mask, and where it is not, the pixel's place."""
    mask = np.asarray(shot.view.mask)[..., None]
    places = pixel_centres(shot.size, shot.size) * shot.size
    return np.concatenate([shot.view.rgb * mask, mask, places * (1 - mask)], -1).astype(np.float32)


def _find_overhang(flat: FlatGaussians, sums: F32, camera: Camera) -> Floats:
    """Return the mean offset (n, 3), in space, to the part of each Gaussian beyond the outline, times its share."""
    beyond = np.maximum(sums[:, :1] - sums[:, 4:5], 0)
    offsets = (sums[:, 5:] - flat.means * beyond) / np.maximum(sums[:, :1], 1e-3)
    offsets = np.clip(offsets, -MOST_OVERHANG, MOST_OVERHANG) * flat.depths[:, None] / (camera.focal * flat.size)
    return offsets @ camera.cam2world[:3, :2].T


def find_useful(shares: Shares, least_inside: Floats) -> np.ndarray:
    """Return the indices of Gaussians that some view shows and that do not stick out."""
    return np.flatnonzero((shares.most > LEAST) & (shares.inside > least_inside))


def drop_most_hidden(splats: GaussianSplats, shares: Shares, rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of the rows, in order, without those that are hidden the most for their size."""
    if len(rows) <= count:
        return rows
    size = np.sort(splats.scales[rows].astype(np.float64), 1)[:, 1:].prod(1)
    return np.sort(rows[np.argsort(-shares.most[rows] / size, kind="stable")[:count]])


def paint(splats: GaussianSplats, colours: Floats) -> GaussianSplats:
    return replace(splats, colours=np.clip(colours, 0, 1).astype(np.float32))
