"""Near the photo's direction, the photo's relief over the layers.

Hair, hats and cloth of the generator never lie quite as those of the photo do. Up to about 35 degrees from there the
photo looks right on a surface that is only roughly so; beyond, the layers take over.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.cameras import Camera, pixel_centres
from portrait360.pipeline.avatar.photo import VOID, Photo
from portrait360.pipeline.avatar.relief import STEP, Relief
from portrait360.pipeline.avatar.relight import relight
from portrait360.synth.render.compositing import Film
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import look_up, smoothstep
from portrait360.utils.portrait_labels import Label

OWN = (0.4, 1.2)  # degrees up to which the view is the photo's own
FINE = (0.3, 0.65)  # pixels of the photo per rendered pixel over which the relief fades in
SOFT_EDGE = (6.0, 16.0)  # degrees over which its torn edges get soft
OVERRULED = (5.0, 10.0)  # degrees over which what the user overrules fades
SLIT = 0.03  # picture sides: widest gap in the relief that another hat may fill
BEFORE = 0.05  # canonical depth by which a layer must lie before the relief to hide it


class Colours(NamedTuple):
    """A picture, and how much of each pixel is the photo's."""

    rgb: Floats  # (s, s, 3)
    alpha: Floats  # (s, s)
    share: Floats  # (s, s)
    depth: Floats  # (s, s) 0 beside the head


def lay_relief_over(
    layers: Colours,
    film: Film,
    behind: Floats,
    photo: Photo,
    gains: F32,
    layer_of_label: NDArray[np.int8],
    relief: Relief,
    camera: Camera,
) -> Colours:
    """Show the photo's relief over the layers near the photo's direction, but for what they have before it.

    `behind` says how far a layer's surface lies behind the first that the photo sees: what the photo sees, it knows
    better, and only what it does not see can hide it.
    """
    if _view_angle(camera, photo.camera) > relief.end[1]:
        return layers
    size = len(layers.alpha)
    uv, firm, distance = relief.draw(camera, size)
    drawn = (distance > 0)[..., None]
    points = camera.unproject(pixel_centres(size, size), np.where(drawn[..., 0], distance, camera.radius))
    angle = angles_between(points, photo.camera, camera)
    # at the photo's own camera every ray shows its pixel, also where the relief is torn
    straight = photo.camera.project(points)[0]
    uv = np.where(drawn, straight + smoothstep(*OWN, angle)[..., None] * (uv - straight), straight)
    hidden = (film.alpha > 0.5) & (film.depth < distance - BEFORE) & (behind > BEFORE)
    seen = np.maximum(drawn[..., 0] * ~hidden, 1 - smoothstep(*OWN, angle))
    sure = firm * smoothstep(*FINE, measure_density(uv)) * look_up(photo.pure, uv)
    firm = 1 - smoothstep(*SOFT_EDGE, angle) * (1 - sure)
    fade = np.asarray(1 - smoothstep(*relief.end, angle)) * seen * firm
    trust = fade * look_up(photo.known, uv) * look_up(photo.alpha, uv)
    x, y = (np.clip((uv[..., i] * photo.size).astype(int), 0, photo.size - 1) for i in (0, 1))
    trust = np.where(photo.labels[y, x] == VOID, trust * (1 - smoothstep(*OVERRULED, angle)), trust)
    colours = relight(photo, gains, layer_of_label[photo.labels[y, x]], uv, angle)
    colours = soften_steps(colours, distance, smoothstep(*OWN, angle))
    layers = layers._replace(
        alpha=layers.alpha * (1 - find_strange(relief, film, layer_of_label, angle, distance > 0))
    )
    return blend_over(layers, colours, trust, distance)


def blend_over(layers: Colours, colours: Floats, trust: Floats, depth: Floats) -> Colours:
    """Return the layers with colours over them; where there are no layers, at this depth."""
    rgb = layers.rgb + trust[..., None] * (colours - layers.rgb)
    room = np.clip(np.maximum(sharpen(trust), layers.alpha) - layers.alpha, 0, 1)
    alpha = layers.alpha + room
    rgb = (rgb * layers.alpha[..., None] + colours * room[..., None]) / np.maximum(alpha, 1e-4)[..., None]
    depth = np.where(layers.depth > 0, layers.depth, np.where(trust > 0, depth, 0))
    return Colours(rgb, alpha, np.maximum(layers.share, trust), depth)


def find_strange(relief: Relief, film: Film, layer_of_label: NDArray[np.int8], angle: Floats, drawn: Bools) -> Floats:
    """Return 1 where a hat is seen that is not like the photo's, beside the relief, near the photo's direction."""
    worn = int(layer_of_label[Label.HAT])
    if worn not in relief.poor:
        return np.zeros(drawn.shape)
    width = 2 * round(SLIT * len(drawn)) + 1
    closed = cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((width, width), np.uint8)) > 0
    hat = cv2.dilate((layer_of_label[film.labels] == worn).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return hat * ~closed * sharpen(1 - smoothstep(*relief.end, angle))


def soften_steps(colours: Floats, distance: F32, share: Floats) -> Floats:
    """Blur colours (s, s, 3) where one part of the relief ends before another: its triangles have hard edges."""
    steps = cv2.morphologyEx(distance, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > STEP
    soft = cv2.GaussianBlur(cv2.dilate(steps.astype(np.float32), np.ones((2, 2))), (0, 0), 0.7) * share
    return colours + soft[..., None] * (cv2.GaussianBlur(colours, (0, 0), 0.9) - colours)


def measure_density(uv: Floats) -> F32:
    """Return how many pixels of the photo a rendered pixel spans (s, s), at equal sizes: few where it saw a side."""
    steps = [np.linalg.norm(np.gradient(uv, axis=axis), axis=-1) * len(uv) for axis in (0, 1)]
    return cv2.GaussianBlur(np.minimum(*steps).clip(0, 1).astype(np.float32), (0, 0), 0.004 * len(uv) + 0.5)


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
