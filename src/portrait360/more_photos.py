"""More photos of the same head, among them one from behind: their cameras brought to the first photo's head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera
from portrait360.errors import UserError
from portrait360.geometry import raster
from portrait360.geometry.completion import Seen
from portrait360.geometry.morphable import load_morphable
from portrait360.images import eight_bits
from portrait360.outline import find_head
from portrait360.portrait import Portrait, make_portrait
from portrait360.view_sheet import View

Floats = NDArray[np.floating]

BEHIND = 180.0
SIZE = 256  # pixels: of the outlines that are compared
SURE = 0.3  # weight: landmarks that the network places less surely are not used
FACING = 0.2  # cosine: landmarks on skin that is turned further away are not used
ENOUGH = 200  # cells that two photos both show: with fewer nothing says how their colours differ
STRONGEST = 1.6  # how much brighter a photo may be made


def back_portrait(photo: Path, size: int) -> Portrait:
    """A photo from behind."""
    try:
        return make_portrait(photo, azimuth=BEHIND, elevation=0.0, size=size)
    except UserError as error:
        if "--azimuth" not in str(error):
            raise
        raise UserError(f"{photo} shows a face, so it is not taken from behind; give it as --reference.") from error


def seen_behind(view: View, portrait: Portrait) -> Portrait:
    """A view from behind, as a portrait is kept."""
    rgb, alpha = (eight_bits(values).astype(np.float32) / 255 for values in (view.rgb, view.alpha))
    return replace(
        portrait,
        rgb=rgb,
        alpha=alpha,
        known=np.ones_like(alpha),
        camera=view.camera,
        source="proxy",
        corner=(0.0, 0.0),
        side=float(view.size),
        landmarks=None,
        notes=(),
    )


def reference_portrait(photo: Path, size: int) -> Portrait:
    """A further photo, which must tell by a face where it was taken from."""
    portrait = make_portrait(photo, size=size)
    if portrait.source != "face":
        raise UserError(f"No face was found in {photo}, so nothing says where it was taken from; leave it away.")
    return portrait


def camera_on(other: Portrait, first: Portrait, vertices: Floats, triangles: NDArray[np.int32]) -> Camera:
    """The camera of another photo around the head that was made from the first."""
    if other.source == "face" and first.source == "face":
        return _by_landmarks(other, first)
    return _by_outline(other, vertices, triangles)


def _by_landmarks(other: Portrait, first: Portrait) -> Camera:
    """As the other photo was posed by itself, the lens set so that the first one's face meets its landmarks. The
    landmarks say less well than that pose where the face is turned to."""
    assert other.landmarks is not None
    model, camera = load_morphable(), other.camera
    points = model.landmarks.at(first.shape, other.expression) / first.growth
    centred = points - points.mean(0)
    outward = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    used = (outward @ (camera.position / camera.radius) > FACING) & (model.weights > SURE)
    return _with_lens(camera, camera.project(points[used])[0], other.landmarks[: len(points)][used])


def _with_lens(camera: Camera, drawn: Floats, seen: Floats) -> Camera:
    """Focal length and centre changed so that what is drawn (n, 2) lies on what is seen, by least squares."""
    middle, goal = drawn.mean(0), seen.mean(0)
    scale = float(((drawn - middle) * (seen - goal)).sum() / ((drawn - middle) ** 2).sum())
    x, y = scale * (np.array(camera.center) - middle) + goal
    return replace(camera, focal=camera.focal * scale, center=(float(x), float(y)))


def _by_outline(other: Portrait, vertices: Floats, triangles: NDArray[np.int32]) -> Camera:
    """Crown and chin of the head's outline have their places."""
    alpha = np.asarray(cv2.resize(other.alpha, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.float32)
    drawn = raster.rasterise(vertices, triangles, other.camera, SIZE).ids >= 0
    heads = find_head(drawn.astype(np.float32)), find_head(alpha)
    if heads[0] is None or heads[1] is None:
        return other.camera
    here, there = (np.add(h.center, [[0, -h.height / 2], [0, h.height / 2]]) / SIZE for h in heads if h)
    return _with_lens(other.camera, here, there)


def together(first: Seen, other: Seen) -> Seen:
    """The first photo wherever it is to be trusted; elsewhere the other, in the first one's light."""
    both = (first.trust > 0.3) & (other.trust > 0.3)
    gain = np.ones(3)
    if both.sum() >= ENOUGH:
        gain = (np.median(first.rgb[both], 0) / np.maximum(np.median(other.rgb[both], 0), 0.02)).clip(
            1 / STRONGEST, STRONGEST
        )
    share = other.trust * (1 - first.trust)
    total = first.trust + share
    part = np.where(total > 1e-6, share / np.maximum(total, 1e-6), 0)[..., None]
    rgb = first.rgb + part * ((other.rgb * gain).clip(0, 1) - first.rgb)
    return Seen(rgb, np.maximum(first.visible, other.visible), total)
