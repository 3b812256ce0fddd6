"""What the photo shows of the points of a scene, and how it compares with a render at the photo's camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.geometry.pixel_points import unproject_pixels
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.meshes import unit
from portrait360.synth.render.bake import BakeQuality, prepare_scene
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.lights import LUMINANCE
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.scene import Part, Scene, Strands
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.image_ops import blur_picture, look_up, smoothstep
from portrait360.utils.parallel.threads import run_beside
from portrait360.utils.vectors import sum_products

DARKEST, FAIREST = 0.0015, 0.95  # albedo
FAIR_HAIR = (0.65, 0.8)  # greatest luminance and greatest channel of the albedo of hair
GAIN = (float(np.log(0.25)), float(np.log(4.0)))  # range of the gains of points, logarithms
FEW = 60  # pixels that say too little about a layer
QUIET = 0.01  # radiance below which colours are not compared
HEAD_CENTRE = np.array([0.0, 0.02, -0.02])
SHOWN = 0.3  # alpha from which a render shows something at its depth
HEAD_SIZE = 0.2  # canonical distance from the centre to the sides
ONE_SIDED = (0.1, 0.4)  # seen points of the lesser side per point of the other: from few nothing is learnt
STIFF, LOOSE = 0.006, 0.003  # resistance of the terms of `find_side_light` that differ from side to side, and others


@dataclass(frozen=True, eq=False)
class View:
    """A scene as the photo's camera sees it."""

    photo: Photo
    whole: Film
    bare: Film  # without strands, but in their shade


def expose(scene: Scene, photo: Photo, quality: BakeQuality) -> View:
    """Render a scene at the photo's camera and size."""
    prepared = prepare_scene(scene, quality=quality)
    curves = prepared.curves._replace(segments=prepared.curves.segments[:0], ends=prepared.curves.ends[:0])
    draw = partial(render_linear, camera=photo.camera, size=photo.size)
    whole, bare = run_beside(partial(draw, prepared), partial(draw, replace(prepared, curves=curves)))
    return View(photo, whole, bare)


def find_seen(
    points: F32,
    normals: F32,
    view: View,
    film: Film,
    tolerance: float,
    inside: Floats,
    facing: tuple[float, float] = (0.12, 0.45),
) -> F32:
    """Return how well the photo shows each point (n,): within `inside`, not behind what is rendered, not edge-on."""
    turned, out = smoothstep(*facing, cosine_to_camera(points, normals, view)), np.zeros(len(points), np.float32)
    front = np.flatnonzero(turned > 0)
    uv, depth = view.photo.camera.project(points[front])
    within = ((uv > 0) & (uv < 1)).all(-1)
    x, y = np.clip((uv * view.photo.size).astype(int), 0, view.photo.size - 1).T
    surface = np.where(film.alpha > SHOWN, film.depth, np.inf)
    seen = within & (depth < surface[y, x] + tolerance)
    out[front] = seen * (look_up_points(inside, uv) * turned[front])
    return out


def cosine_to_camera(points: F32, normals: F32, view: View) -> Floats:
    """Return the cosine between each normal and the direction of the photo's camera."""
    return sum_products(normals, unit(view.photo.camera.position - points))


def look_up_points(picture: Floats, uv: Floats) -> F32:
    """Look up a list of points (n, 2) as rows of an image, since OpenCV limits the length of a row."""
    count, columns = len(uv), 4096
    if count == 0:
        return np.zeros((0, *picture.shape[2:]), np.float32)
    table = np.zeros((-(-count // columns) * columns, 2), np.float32)
    table[:count] = uv
    values = look_up(picture, table.reshape(-1, columns, 2))
    return values.reshape(-1, *picture.shape[2:])[:count]


def is_part(film: Film, part: Part) -> Floats:
    return (film.parts == part).astype(np.float32)


def log_ratio(photo: Floats, film: Floats) -> F32:
    return np.log((np.maximum(photo, 0) + QUIET) / (np.maximum(film, 0) + QUIET)).astype(np.float32)


def smooth_ratio(photo: F32, film: F32, inside: Floats, sigma: float) -> F32:
    return blur(log_ratio(photo, film), np.asarray(inside, np.float32), sigma)


def blur(picture: Floats, inside: Floats, sigma: float, *, is_exact: bool = False) -> F32:
    """Blur within a mask; outside it the colours of the mask continue. A broad blur is nearly exact, see `CELLS`."""
    weight = np.asarray(inside, np.float32) + np.float32(1e-4)
    spread = weight if picture.ndim == 2 else weight[..., None]
    find = partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=sigma) if is_exact else partial(blur_picture, sigma=sigma)
    total, blurred = (find(np.asarray(a, np.float32)) for a in (weight, picture * spread))
    return np.asarray(blurred / (total if picture.ndim == 2 else total[..., None]), np.float32)


def find_heights(film: Film, camera: Camera) -> F32:
    """Return how high above the head's centre pixels show something (s, s); nothing, as if at the head's distance."""
    depth = np.where(film.alpha > SHOWN, film.depth, np.float32(camera.radius))
    return np.asarray(unproject_pixels(camera, depth)[..., 1] - HEAD_CENTRE[1], np.float32)


def shrink(mask: Bools, inset: int = 2) -> Bools:
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * inset + 1, 2 * inset + 1), np.uint8)) > 0


def trimmed_mean(colours: F32, quantiles: tuple[float, float]) -> F32:
    """Return the mean of the colours (n, 3) whose brightness lies between two quantiles."""
    brightness = colours.mean(-1)
    low, high = np.quantile(brightness, quantiles)
    return colours[(brightness >= low) & (brightness <= high)].mean(0)


def to_albedo(values: np.ndarray) -> F32:
    return np.clip(values, DARKEST, FAIREST).astype(np.float32)


def to_hair_albedo(values: np.ndarray) -> F32:
    """Return albedo (..., 3) of hair that is no fairer than hair can be, and hardly loses its hue by that."""
    light = values @ LUMINANCE
    return np.clip(
        values * np.minimum(1.0, FAIR_HAIR[0] / np.maximum(light, DARKEST))[..., None], DARKEST, FAIR_HAIR[1]
    ).astype(np.float32)


def find_side_light(points: F32, light: Floats, weight: Floats) -> F32:
    """Return by how much the brightness (n,) of points differs broadly between left and right.

    It is fitted to the points that have weight, and reaches beyond them.
    """
    return find_side_lights(points, [light], weight)[0]


def find_side_lights(points: F32, lights: Sequence[Floats], weight: Floats) -> list[F32]:
    """Do the same with several values (n,) of points, such as the channels of their colours."""
    left, right = weight[points[:, 0] > 0].sum(), weight[points[:, 0] < 0].sum()
    if min(left, right) <= 0:
        return [np.zeros(len(points), np.float32) for _ in lights]
    known = weight > 0.3 * weight.max()
    x, y, z = ((points - HEAD_CENTRE) / HEAD_SIZE).T.astype(np.float64)
    y, z = (np.clip(a, *np.quantile(a[known], (0.02, 0.98))) for a in (y, z))
    side = np.tanh(1.5 * x)
    rows = np.stack([side, side * y, side * z, np.abs(side), y, z, y * y, z * z, np.ones_like(x)], 1)
    ridge = np.diag([STIFF] * 3 + [LOOSE] * 6) * weight.sum()
    system = (rows * weight[:, None]).T @ rows + ridge
    sure = smoothstep(*ONE_SIDED, np.array(min(left, right) / max(left, right)))
    found = []
    for light in lights:
        solved = np.linalg.solve(system, rows.T @ (weight * light))
        uneven = rows[:, :3] @ solved[:3]
        most = np.abs(uneven[known]).max()
        found.append((sure * np.clip(uneven, -most, most)).astype(np.float32))
    return found


def is_hair(group: Strands) -> bool:
    """Return whether strands are hair of the head, not beard or brows."""
    return len(group.part) > 0 and int(group.part[0]) == Part.HAIR
