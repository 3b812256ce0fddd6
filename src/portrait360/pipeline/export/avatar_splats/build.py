"""Gaussian splats of an avatar in seconds: where to put them is known, so hardly anything needs to be fitted.

Pieces of strands become long Gaussians, surfaces flat ones; what the photo shows lies on its relief as finely as the
photo has it. The avatar's views say which of them are seen, and colour them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at
from portrait360.geometry.canonical_frame import FOV, RADIUS
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.view.render import LAYER_OF_LABEL
from portrait360.pipeline.avatar.view.turned_face import find_far_side
from portrait360.pipeline.export.avatar_splats.choice import (
    AvatarView,
    Shares,
    drop_most_hidden,
    find_near_surface,
    find_useful,
    measure_shares,
    paint,
)
from portrait360.pipeline.export.avatar_splats.correction import correct
from portrait360.pipeline.export.avatar_splats.layers import coarsen, draw_strands, draw_surfaces
from portrait360.pipeline.export.avatar_splats.lining import paint_lining, select_lining
from portrait360.pipeline.export.avatar_splats.photo_sheet import draw_sheet, find_covered, find_sheet, find_strange
from portrait360.pipeline.export.avatar_splats.refinement import refine
from portrait360.pipeline.export.avatar_splats.shapes import find_normals, join_splats
from portrait360.pipeline.proxy.proxy import ProxyView
from portrait360.utils.array_types import Bools, Bytes, Floats
from portrait360.utils.parallel.threads import map_in_threads, run_beside
from portrait360.utils.portrait_labels import FACE_LABELS, Label

MAX_COUNT = 150_000
SIZE, SMALL = 512, 256  # of views around, and of those from above and below
AROUND = (0, 20, 40, 65, 95, 135, 180, 225, 265, 295, 320, 340)  # degrees of azimuth from the photo's
EVEN = tuple(range(0, 360, 15))  # the same for a refinement
OBLIQUE = ((0, 30), (120, 35), (240, 35), (60, -20), (300, -20))  # azimuth, elevation
FRONT, FRONT_WEIGHT = 40.0, 1.5  # degrees of azimuth from the photo's, and the weight of views within
PHOTO_WEIGHT = 14.0
LAYER_TRUST, STRANGE = 0.4, 1e-4
"""Weights of the front's views for layers: they see from the side those that the relief leaves, or show another."""
COARSE = (Label.CLOTHES, Label.HAT, Label.HAIR)  # labels of surfaces of which fewer discs will do
CORRECTIONS = 2  # steps, of which the first also changes shapes: errors that both undo would be undone twice
LAYER_INSIDE, SHEET_INSIDE = 0.35, 0.6
"""Least share over the subject: layers must leave no hole, and the relief, where there is no layer, no debris."""


def splats_from_avatar(
    avatar: Avatar,
    count: int = MAX_COUNT,
    *,
    refine_steps: int = 0,
    views: Sequence[tuple[Camera, ProxyView]] | None = None,
    seed: int = 0,
    on_view: Callable[[int, int], None] = lambda done, total: None,
) -> GaussianSplats:
    """Return at most `count` Gaussians that look like the avatar.

    Args:
        avatar: What they shall look like.
        count: Most Gaussians.
        refine_steps: Steps in which they are fitted to the views; each takes about half a second.
        views: Renders of the avatar from all around, if there are some already.
        seed: Seed of all random numbers.
        on_view: Called after each render with the number of those done and of all.
    """
    photo = AvatarView(avatar.camera, avatar.render(avatar.camera, SIZE), PHOTO_WEIGHT, front=True)
    rendered = views or render_views(avatar, refine_steps, on_view)
    shots = [_weigh(camera, view, photo.camera) for camera, view in rendered]
    shots.append(photo)
    drawn = _draw_all(avatar, shots, photo, np.random.default_rng(seed))
    shares, lined = measure_shares(drawn.splats, shots, drawn.trust), len(drawn.lining)
    useful = find_useful(shares, drawn.least_inside)
    splats, chosen = _choose(drawn, shares, useful, max(count - lined, count // 2))
    splats = paint(splats[chosen], shares.colours[chosen])
    shifts = (
        shares.shifts[chosen] * (drawn.labels[chosen] != 0)[:, None]
    )  # moved, pixels of the photo would be mixed up
    splats = replace(splats, means=(splats.means + shifts).astype(np.float32))
    lining = paint_lining(drawn.lining, drawn.lining_labels, splats, drawn.labels[chosen])
    lining = lining[np.arange(min(len(lining), count - len(splats)))]
    splats, trust = join_splats([splats, lining]), np.concatenate([drawn.trust[chosen], np.ones(len(lining))])
    free = np.concatenate([drawn.is_loose[chosen], np.zeros(len(lining), bool)])
    for step in range(CORRECTIONS):
        splats = correct(splats, shots, trust, free & (step == 0))
    if not refine_steps:
        return splats
    # views of a hat that is none of the layers' and of theirs are of no single head
    another = int(LAYER_OF_LABEL[Label.HAT]) in avatar.projection.relief.poor
    shots = [shot for shot in shots if not (another and shot.front)]
    return refine(splats, shots, trust < 1, refine_steps, seed=seed)


def render_views(
    avatar: Avatar, refine_steps: int = 0, on_view: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[Camera, ProxyView]]:
    """Render an avatar, of which there is a render already, from all sides: more views for a refinement, which would
    else fit those that it knows."""
    focal = focal_from_fov(FOV)
    around = [(avatar.camera.azimuth + azimuth, 0, SIZE) for azimuth in (EVEN if refine_steps else AROUND)]
    places = around + [(azimuth, elevation, SMALL) for azimuth, elevation in OBLIQUE]
    shots, views = [(Camera(look_at(azimuth, elevation), focal), size) for azimuth, elevation, size in places], []
    renders = map_in_threads(lambda shot: avatar.render(*shot), shots, lone_first=False)
    for (camera, _), rendered in zip(shots, renders, strict=True):
        views.append((camera, rendered))
        on_view(len(views), len(places))
    return views


def _weigh(camera: Camera, view: ProxyView, photo: Camera) -> AvatarView:
    front = bool(abs(azimuth_between(photo.azimuth, camera.azimuth)) < FRONT)
    return AvatarView(camera, view, FRONT_WEIGHT if front else 1.0, front)


class Drawn(NamedTuple):
    """Gaussians that may be seen, and a lining beneath them."""

    splats: GaussianSplats
    labels: Bytes  # 0 for what the photo shows
    least_inside: Floats  # the share of each that must lie over the subject
    trust: Floats  # how far the front's views are trusted with its colour
    coarse: Bools  # of which there may be fewer
    is_face: Bools  # of which none may be missing
    is_loose: Bools  # hair and beard, and what the photo shows of more than skin: free to change opacity and size
    lining: GaussianSplats
    lining_labels: Bytes


def _draw_all(avatar: Avatar, shots: list[AvatarView], photo: AvatarView, rng: np.random.Generator) -> Drawn:
    pixel = RADIUS / (focal_from_fov(FOV) * SIZE)
    scene, sheet = avatar.prepared_scene, find_sheet(avatar, SIZE)
    ((front, supported), (strands, hairy)), (discs, labels) = run_beside(
        lambda: (draw_sheet(sheet, photo.view), draw_strands(scene, pixel)), lambda: draw_surfaces(scene, pixel, rng)
    )
    lining, lining_labels = select_lining(discs, labels, pixel)
    layers, labels = join_splats([strands, discs]), np.concatenate([hairy, labels])
    seen = np.flatnonzero(~find_covered(sheet, layers.means, labels) & find_near_surface(layers.means, shots))
    layers, labels = layers[seen], labels[seen]
    strange = find_strange(sheet, layers.means, labels)
    strange |= find_far_side(layers.means, find_normals(layers.rotations), labels, avatar.projection.photo)
    is_skin = ~find_strange(sheet, front.means, np.full(len(front), Label.FACE))
    return Drawn(
        join_splats([front, layers]),
        np.concatenate([np.zeros(len(front), np.uint8), labels]),
        np.concatenate([np.where(supported, LAYER_INSIDE, SHEET_INSIDE), np.full(len(layers), LAYER_INSIDE)]),
        np.concatenate([np.ones(len(front)), np.where(strange, STRANGE, LAYER_TRUST)]),
        np.concatenate([np.zeros(len(front), bool), (seen >= len(strands)) & np.isin(labels, COARSE)]),
        np.concatenate([is_skin, np.isin(labels, FACE_LABELS)]),
        np.concatenate([~is_skin, (seen < len(strands)) & ~np.isin(labels, FACE_LABELS)]),
        lining,
        lining_labels,
    )


def _choose(drawn: Drawn, shares: Shares, useful: np.ndarray, count: int) -> tuple[GaussianSplats, np.ndarray]:
    """Return the Gaussians, and the indices of at most `count` of them: on even cloth and hats fewer, larger ones.

    Those of a face's folds show little for their size from everywhere, but none of them is dropped: a hole in a face
    is seen first.
    """
    splats, coarse, is_face = drawn.splats, drawn.coarse, drawn.is_face
    if len(useful) <= count:
        return splats, useful
    face = drop_most_hidden(splats, shares, useful[is_face[useful]], count // 2)
    useful, count = useful[~is_face[useful]], count - len(face)
    fine, rows = useful[~coarse[useful]], useful[coarse[useful]]
    if len(rows):
        rows, factors = coarsen(splats, shares.colours, rows, len(useful) - count)
        scales = splats.scales.copy()
        scales[rows] *= factors[:, None].astype(np.float32)
        rows = drop_most_hidden(splats, shares, rows, count // 2)
        splats = replace(splats, scales=scales)
    # enlarged discs show little for their size and would be dropped first, but each of them would leave a hole
    return splats, np.sort(np.concatenate([face, rows, drop_most_hidden(splats, shares, fine, count - len(rows))]))
