"""Near the photo's direction, the photo on the closed surface that its matte shows, where no layer takes its colours.

Hair, hats and cloth of the generator never lie quite as those of the photo do. Up to about 25 degrees from there the
photo looks right on a surface that is only roughly so; beyond, the layers take over.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.pipeline.avatar.photo import Photo
from portrait360.pipeline.avatar.relight import relight
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32, Floats
from portrait360.utils.image_ops import look_up, smoothstep

COVER_END = (20.0, 34.0)  # degrees from the photo's direction over which the surface fades
EVERYTHING = (4.0, 8.0)  # degrees up to which it shows all of the photo
POOR = 0.6  # overlap of a layer with the photo's below which all of it is shown on the surface
PATCH, SOFT = 0.012, 0.004  # picture sides: half the width of the smallest patch, and blur of its edge


class Colours(NamedTuple):
    """A picture, and how much of each pixel is the photo's."""

    rgb: Floats  # (s, s, 3)
    alpha: Floats  # (s, s)
    share: Floats  # (s, s)


def find_unexplained(photo: Photo, film: Film, layer_of_label: NDArray[np.int8], layers: int) -> F32:
    """Return 1 where the photo shows what the layers do not, by a render at its camera (s, s).

    These are all pixels of a layer that hardly overlaps with the photo's, and else patches of another layer.
    """
    names = cv2.resize(film.labels, (photo.size, photo.size), interpolation=cv2.INTER_NEAREST)
    shown, drawn = layer_of_label[photo.labels], layer_of_label[np.asarray(names, np.uint8)]
    known, out = photo.known > 0.5, np.zeros(shown.shape, np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(PATCH * photo.size) + 1,) * 2)
    for layer in range(layers):
        true, found = (shown == layer) & known, (drawn == layer) & known
        overlap = (true & found).sum() / max((true | found).sum(), 1)
        missing = (
            true if overlap < POOR else cv2.morphologyEx((true & ~found).astype(np.uint8), cv2.MORPH_OPEN, kernel)
        )
        out = np.maximum(out, missing.astype(np.float32))
    return np.asarray(cv2.GaussianBlur(out, (0, 0), SOFT * photo.size), np.float32)


def lay_cover_over(
    layers: Colours,
    photo: Photo,
    gains: F32,
    missing: F32,
    layer_of_label: NDArray[np.int8],
    cover: Proxy,
    camera: Camera,
) -> Colours:
    """Show what the layers do not explain of the photo on the cover."""
    if _view_angle(camera, photo.camera) > COVER_END[1]:
        return layers
    size = len(layers.alpha)
    view = cover.render(camera, size)
    points = camera.unproject(pixel_centres(size, size), np.where(view.mask > 0, view.depth, camera.radius))
    uv, _ = photo.camera.project(points)
    angle = angles_between(points, photo.camera, camera)
    # at the photo's own camera every ray shows the photo, also where the cover ends
    seen = np.maximum(view.visibility * (view.mask > 0), 1 - smoothstep(0.5, 1.0, angle))
    fade = np.asarray(1 - smoothstep(*COVER_END, angle))
    fade = fade * np.maximum(look_up(missing, uv), 1 - smoothstep(*EVERYTHING, angle))
    trust = fade * seen * look_up(photo.known, uv) * look_up(photo.alpha, uv)
    x, y = (np.clip((uv[..., i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    colours = relight(photo, gains, layer_of_label[photo.labels[y, x]], uv, angle)
    over = (trust * (1 - layers.share))[..., None]
    rgb = layers.rgb + over * (colours - layers.rgb)
    room = np.clip(np.maximum(sharpen(trust), layers.alpha) - layers.alpha, 0, 1)
    alpha = layers.alpha + room
    rgb = (rgb * layers.alpha[..., None] + colours * room[..., None]) / np.maximum(alpha, 1e-4)[..., None]
    return Colours(rgb, alpha, np.maximum(layers.share, trust))


def sharpen(share: Floats) -> F32:
    """Return a share with a short way from 0 to 1: half-transparent outlines look like ghosts."""
    return np.asarray(smoothstep(0.45, 0.75, share), np.float32)


def angles_between(points: Floats, first: Camera, second: Camera) -> F32:
    """Return the angle in degrees under which two cameras are seen from points (.., 3)."""
    a, b = first.position - points, second.position - points
    cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))).astype(np.float32)


def _view_angle(a: Camera, b: Camera) -> float:
    cosine = float(a.position @ b.position / (np.linalg.norm(a.position) * np.linalg.norm(b.position)))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
