"""Choose and colour the Gaussians that an avatar's views show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from portrait360.geometry import rasterizer
from portrait360.geometry.cameras import Camera
from portrait360.geometry.gaussians.flat_gaussians import FlatGaussians, find_covariances, flatten
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_splats.blending import gather
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.parallel.threads import count_threads, map_in_threads

LEAST = 0.12  # pixels in the view that shows most of it, below which a Gaussian is left out
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
    count = len(splats)
    most, shown, inside = np.zeros(count), np.zeros(count), np.zeros(count)
    weights, colours = np.full(count, 1e-9), np.zeros((count, 3))

    def find_picture(shot: AvatarView, flat: FlatGaussians) -> Floats:
        mask = np.asarray(shot.view.mask)[..., None]
        return np.concatenate([shot.view.rgb * mask, mask], -1)

    for shot, sums in _gather_all(splats, views, find_picture):
        scale = (512 / shot.size) ** 2
        most = np.maximum(most, scale * sums[:, 0])
        seen = scale * sums[:, 0] > LEAST
        shown += seen
        inside += seen * sums[:, 4] / np.maximum(sums[:, 0], 1e-6)
        # squared: what a view shows well counts, not what it shows through gaps between others
        weight = shot.weight * (scale * sums[:, 0]) ** 2 * (trust if shot.front else 1)
        weights += weight
        colours += weight[:, None] * sums[:, 1:4] / np.maximum(sums[:, 4:], 1e-6)
    return Shares(most, inside / np.maximum(shown, 1), colours / weights[:, None])


def find_useful(shares: Shares, least_inside: Floats) -> np.ndarray:
    """Return the indices of Gaussians that some view shows and that do not stick out."""
    return np.flatnonzero((shares.most > LEAST) & (shares.inside > least_inside))


def drop_most_hidden(splats: GaussianSplats, shares: Shares, rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of the rows, in order, without those that are hidden the most for their size."""
    if len(rows) <= count:
        return rows
    size = np.sort(splats.scales[rows].astype(np.float64), 1)[:, 1:].prod(1)
    return np.sort(rows[np.argsort(-shares.most[rows] / size, kind="stable")[:count]])


def _gather_all(
    splats: GaussianSplats, views: list[AvatarView], draw_over: Callable[[AvatarView, FlatGaussians], Floats]
) -> Iterator[tuple[AvatarView, F32]]:
    """Yield each view, and what `gather` finds in it of what is drawn over it."""
    covariances = find_covariances(splats)

    def gather_view(shot: AvatarView) -> F32:
        flat = flatten(splats, covariances, shot.camera, shot.size)
        return gather(flat, draw_over(shot, flat))

    return zip(views, map_in_threads(gather_view, views, lone_first=False), strict=True)


def paint(splats: GaussianSplats, colours: Floats) -> GaussianSplats:
    return replace(splats, colours=np.clip(colours, 0, 1).astype(np.float32))
