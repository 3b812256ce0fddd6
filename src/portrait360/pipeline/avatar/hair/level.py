"""Make the hair that a photo does not show as light as that which it shows.

What is darker behind may be so for many reasons: less light, more shade between strands, colours of the few strands
that the photo shows well. And the lamps that give a head its form put a gloss on dark hair that its photo lacks. So
hair is rendered from all sides, the photo's own among them, and compared with the photo's. What tells the colour of
hair is its middle: beside a face and a neck a photo shows a deep shade, which no other side of the head has, and
gloss moves with the eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.curls import find_curls
from portrait360.pipeline.avatar.hair.detail import average_within
from portrait360.pipeline.avatar.hair.sheen import find_gloss
from portrait360.pipeline.avatar.hair.trusted import find_trusted_hair
from portrait360.pipeline.avatar.photo.exposure import (
    FEW,
    HEAD_CENTRE,
    blur,
    is_hair,
    shrink,
    to_hair_albedo,
    trimmed_mean,
)
from portrait360.pipeline.avatar.photo.pixels import HAIR, Photo
from portrait360.synth.meshes import unit
from portrait360.synth.render.bake import DRAFT, PORTRAIT, PreparedScene, prepare_scene
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.scene import Scene, Strands
from portrait360.utils.array_types import F32, F64, Bools, Floats
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import map_in_threads

SIZE = 128  # pixels of a render
TURNS = (60.0, 120.0, 180.0, 240.0, 300.0)  # degrees from the photo's camera
HEIGHTS = (-0.26, -0.12, 0.02, 0.12, 0.20)  # canonical, from the centre, of the bands whose brightness is compared
ROUNDS = 2  # the second corrects what limits, gloss and strands of other colours leave of the first
SHARE = 1.0  # of the difference in brightness that is taken off: it is spread over neighbours, so some stays
BANDED, BAND_RANGE = 0.7, 0.8  # share of what a band of a side differs by from all of it, and its limit
RANGE, HUE = (-1.2, 0.7), 0.5  # its limits in brightness and in one channel against it, logarithms
RIM = 0.2  # weight of all hair against the trusted: grey sides of short hair lie near its outline
SHOWN = 0.4  # quarter turns from the photo's camera up to which hair is levelled as that sees it
AVERTED = (-0.4, 0.1)  # cosine to the photo's camera up to which hair is on another side of the head
HIDDEN = (0.02, 0.08)  # canonical depth behind what the photo's camera sees over which hair comes to be unseen
GLOSSY = 0.5  # share of the photo's gloss that is none of what its own camera sees: layers are glossy there, too
FEWER, WIDER = 3, 2.0  # strands of the render
Rows = NDArray[np.intp]
Contrasts = tuple[tuple[float, float], ...]
DIM = 0.002  # radiance below which hair is black
BLACK = (0.004, 0.02)  # radiances between which hair comes to have a hue of its own: black hair reflects the wall
LIT = (0.3, 0.8)  # quantiles of the brightness of hair between which it is neither in the shade nor gloss
TINTED = (0.3, 0.8)  # those between which it has a hue: neither that of the dark nor that of the light
BANDS = (0.7, 2.5, 7.0, 16.0)  # pixels of a render between which lie locks, broad ones, and sides
DARK = 0.01  # radiance below which hair is black
LEAST_CONTRAST = (0.6, 0.4, 0.4)  # of that of the photo's locks against theirs, by width
# of dark locks, then of light ones: gaps make hair look like hair, streaks make it grey; what is broad may be light
MOST_CONTRAST = ((1.6, 1.2), (1.3, 1.0), (1.0, 1.0))
MOST_SHOWN = ((2.4, 2.0), (1.8, 1.5), (1.2, 1.2))  # where locks are those that the photo shows at the same place
SHADE = 0.5  # share of hair that may lie in deep shade, as beside a neck, and tells nothing of locks
ENDS = (0.05, 0.95)  # quantiles by which dark and light locks are measured
CELL, AROUND, ALONG = 0.008, (0.6, 2.2, 6.1, 14.0), 0.02  # canonical; cells over which locks, broad ones, sides and
# the hair about them are averaged; canonical length of what a lock has in common
UNSEEN = (0.95, 0.7)  # cosine to the photo's camera from which hair has its own locks, and below which it has not
QUALITY = replace(DRAFT, hair_shade=PORTRAIT.hair_shade, gleam=PORTRAIT.gleam)  # as hair is lit in the views


def level_hair(scene: Scene, photo: Photo) -> Scene:
    """Return a scene whose hair has about the photo's brightness and hue on all sides.

    Its brightness may differ from side to side, as that of its render does; hues of dyed hair do, and stay so.
    """
    trusted = find_trusted_hair(photo)
    if trusted.sum() < FEW or not any(is_hair(group) for group in scene.strands):
        return scene
    for _ in range(ROUNDS):
        scene = _level_once(scene, photo, trusted)
    return scene


def _level_once(scene: Scene, photo: Photo, trusted: Bools) -> Scene:
    """Return a scene whose hair and locks are nearer to the photo's brightness."""
    prepared = prepare_scene(thin_out(scene), quality=QUALITY)
    films = _render_around(prepared, photo)
    gloss = 0.0 if photo.painted else find_gloss(photo.radiance, trusted)  # which is not the hair's own colour
    less = np.log1p(-gloss) * np.where(np.arange(len(films)) == 0, GLOSSY, 1)
    around = find_change(_find_lacks(films, photo, trusted) + less[:, None, None])
    curls = find_curls(photo, prepared.curves)  # which every view adds
    own = 1 - (curls.strength if curls else 0.0)
    hidden = compare_locks(photo, trusted, films[1:], MOST_CONTRAST)
    more = own * (np.stack([hidden, compare_locks(photo, trusted, films[:1], MOST_SHOWN)]) - 1)

    def level(group: Strands) -> Strands:
        if not is_hair(group):
            return group
        change = spread_around(group.points, around, find_azimuth(photo.camera))
        shown = find_shown(group.points, films[0], photo.camera)[..., None]
        change = change + shown * (spread_around(group.points, around[:1]) - change)
        change = change + stress_locks(group.points, group.albedo, more, photo.camera)
        return replace(group, albedo=to_hair_albedo(group.albedo * np.exp(change)))

    return replace(scene, strands=tuple(map_in_threads(level, scene.strands, lone_first=False)))


def compare_locks(photo: Photo, hair: Bools, films: Sequence[Film], most: Contrasts) -> F64:
    """Return how many times as much locks of a photo differ in brightness as those of renders of other sides.

    That is for locks of all widths (bands, 2): how much darker dark ones are than the hair about them, and how much
    lighter light ones, at `most`. `hair` (s, s) is where the photo shows its own.
    """
    low = 1.0 if photo.painted else np.array(LEAST_CONTRAST)[:, None]  # drawn locks have their own contrast
    shown = measure_locks(*_shrink_photo(photo, hair))
    drawn = [measure_locks(film.radiance, _find_hair(film)) for film in films]
    found = [spread for spread in drawn if spread is not None]
    if shown is None or not found:
        return np.ones((len(most), 2))
    return np.clip(shown / np.maximum(np.mean(found, 0), 1e-6), low, np.maximum(most, low))


def _shrink_photo(photo: Photo, mask: Bools) -> tuple[F32, Bools]:
    """Return the radiance of a photo and a mask at the size of the renders."""
    side = (SIZE, SIZE)
    small = cv2.resize(mask.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST) > 0
    return np.asarray(cv2.resize(photo.radiance, side, interpolation=cv2.INTER_AREA), np.float32), small


def measure_locks(radiance: F32, mask: Bools) -> F64 | None:
    """Return by how much dark and light locks differ from the hair about them (bands, 2); None of too few."""
    if mask.sum() < FEW:
        return None
    light, inside = np.log(np.maximum(radiance, 0).mean(-1) + DARK).astype(np.float32), mask.astype(np.float32)
    blurred = [blur(light, inside, width) for width in BANDS]
    lit = _find_lit(light, mask)
    ends = [np.quantile((fine - broad)[lit], ENDS) for fine, broad in pairwise(blurred)]
    return np.maximum(np.array(ends) * (-1, 1), 0)


def _find_lit(light: F32, mask: Bools) -> Bools:
    """Return which masked pixels with these logarithms of brightness (s, s) lie in no deep shade."""
    around = blur(light, mask.astype(np.float32), BANDS[-1])
    return mask & (around >= np.quantile(around[mask], SHADE))


def stress_locks(points: F32, albedo: F32, more: F64, camera: Camera) -> F32:
    """Return what makes locks (s, k, 1), logarithms, differ more from the hair about them.

    `more` (2, bands, 2) is by what share of it dark and light locks of all widths are to differ more, where no photo
    shows them and where it does.
    """
    step = float(np.linalg.norm(np.diff(points, axis=1), axis=2).mean())
    light = np.log(np.maximum(albedo, 1e-4)).mean(-1, keepdims=True)
    light = gaussian_filter1d(light, ALONG / max(step, 1e-6), axis=1, mode="nearest")  # across, it would be spots
    around = average_within(points, light, CELL, AROUND)
    bands = [fine - broad for fine, broad in pairwise(around)]
    hidden, shown = (
        sum(np.where(band < 0, dark, bright) * band for band, (dark, bright) in zip(bands, part, strict=True))
        for part in more
    )
    return np.asarray(
        shown + smoothstep(*UNSEEN, _face_camera(points, camera))[..., None] * (hidden - shown), np.float32
    )


def _render_around(prepared: PreparedScene, photo: Photo) -> list[Film]:
    """Return renders from the photo's camera and from each of TURNS."""
    return list(
        map_in_threads(lambda view: render_linear(prepared, view, SIZE), _aim(photo.camera), lone_first=False)
    )


def _aim(camera: Camera) -> list[Camera]:
    """Return the photo's camera and those at TURNS."""
    first = np.degrees(find_azimuth(camera))
    return [camera, *(Camera(look_at(first + turn, 0.0, radius=camera.radius), camera.focal) for turn in TURNS)]


def find_azimuth(camera: Camera) -> float:
    """Return where a camera stands, radians from before the head to its left."""
    return float(np.arctan2(camera.position[0], camera.position[2]))


def _find_lacks(films: Sequence[Film], photo: Photo, trusted: Bools) -> F64:
    """Return by how much hair is darker than the photo's, from before and from each of TURNS (1 + t, 1 + h, 3).

    That is of all hair and of each of its HEIGHTS, logarithms. From before, it is compared where both show hair, the
    photo that which is trusted (s, s); from elsewhere all hair with what the photo shows at the same height.
    """
    rows = [_find_bands(camera) for camera in _aim(photo.camera)]
    picture, small = _shrink_photo(photo, trusted)
    outer = _shrink_photo(photo, shrink(photo.shows(*HAIR)))[1]
    light = _shrink_light(photo)
    shown, rim = (_measure_bands(picture, light, mask, rows[0]) for mask in (small, outer))
    usual = (1 - RIM) * shown + RIM * np.where(np.isnan(rim), shown, rim)
    usual = np.where(np.isnan(usual), usual[:1], usual)  # at heights that the photo does not show
    masks = [_find_hair(film) for film in films]
    masks[0] &= small
    found = [
        _measure_bands(film.radiance, _measure_light(film.radiance), mask, row)
        for film, mask, row in zip(films, masks, rows, strict=True)
    ]
    before = _measure_bands(picture, light, masks[0], rows[0])
    lacks = np.stack([before, *[usual] * len(TURNS)]) - np.stack(found)
    return _fill_lacks(lacks, np.stack([_count(mask, row) for mask, row in zip(masks, rows, strict=True)]))


def _fill_lacks(lacks: F64, seen: F64) -> F64:
    """Return what hair lacks (n, 1 + h, 3) where some is unknown: bands that see little of it as all of that side.

    All of a side is as dark as its bands (n, h), of which it sees other shares than the photo does.
    """
    lacks[:, 0] = np.where(np.isnan(lacks[:, 0]), 0.0, lacks[:, 0])
    weight, bands = np.where(np.isnan(lacks[:, 1:, 0]), 0.0, seen), np.nan_to_num(lacks[:, 1:].mean(-1))
    usual = (weight * bands).sum(1) / np.maximum(weight.sum(1), 1)
    lacks[:, 0] += np.where(weight.any(1), usual - lacks[:, 0].mean(-1), 0)[:, None]
    return np.where(np.isnan(lacks), lacks[:, :1], lacks)


def _count(mask: Bools, bands: Rows) -> F64:
    """Return how many pixels of a mask lie in each band (h,)."""
    return np.bincount(bands, mask.sum(1), len(HEIGHTS)).astype(np.float64)


def find_change(lacks: F64) -> F64:
    """Return what hair is to gain from each side and at each of HEIGHTS (1 + t, h, 3), from what it lacks."""
    light, hue = lacks.mean(-1, keepdims=True), lacks[:, :1] - lacks[:, :1].mean(-1, keepdims=True)
    whole, bands = light[:, :1], light[:, 1:] - light[:, :1]
    change = SHARE * np.clip(whole, *RANGE) + BANDED * np.clip(bands, -BAND_RANGE, BAND_RANGE)
    return change + np.clip(hue.mean(0), -HUE, HUE)


def _find_bands(camera: Camera) -> Rows:
    """Return which of HEIGHTS each row of a render is nearest to (s,), at the distance of the head's centre."""
    places = HEAD_CENTRE + np.array(HEIGHTS)[:, None] * np.array([0.0, 1.0, 0.0])
    rows = SIZE * camera.project(places)[0][:, 1] - 0.5
    return np.abs(np.arange(SIZE)[:, None] - rows).argmin(1)


def _measure_bands(radiance: F32, light: F32, mask: Bools, bands: Rows) -> F64:
    """Return the usual light of masked pixels (1 + h, 3): of all, and of each band; NaN of too few."""
    masks = [mask, *(mask & (bands == band)[:, None] for band in range(len(HEIGHTS)))]
    found = [_usual_light(radiance, light, part) for part in masks]
    return np.stack([np.full(3, np.nan) if usual is None else usual for usual in found])


def _find_hair(film: Film) -> Bools:
    return shrink(np.isin(film.labels, HAIR) & (film.alpha > 0.9), 1)


def thin_out(scene: Scene) -> Scene:
    """Return a scene with fewer and wider strands, which look alike from afar."""
    rows = slice(None, None, FEWER)
    strands = [
        replace(
            group,
            points=group.points[rows],
            widths=WIDER * group.widths[rows],
            albedo=group.albedo[rows],
            part=group.part[rows],
            material=group.material[rows],
            normals=None if group.normals is None else group.normals[rows],
        )
        for group in scene.strands
    ]
    return replace(scene, strands=tuple(strands))


def _usual_light(radiance: F32, light: F32, mask: Bools) -> F64 | None:
    """Return the logarithm of the usual light (3,) of the hair among pixels; None of too few.

    `light` (s, s) is the logarithm of that of each pixel, or the mean of its logarithms.
    """
    if mask.sum() < FEW:
        return None
    lit = float(trimmed_mean(light[mask][:, None], LIT).mean())
    tinted = np.maximum(cv2.GaussianBlur(radiance, (0, 0), 1.0)[mask], 0)
    tinted = np.log(trimmed_mean(tinted, TINTED).astype(np.float64) + DIM)
    return lit + (tinted - tinted.mean()) * float(smoothstep(*BLACK, np.asarray(np.exp(lit) - DIM)))


def _measure_light(radiance: F32) -> F32:
    return np.log(np.maximum(radiance.mean(-1), 0) + np.float32(DIM)).astype(np.float32)


def _shrink_light(photo: Photo) -> F32:
    """Return the mean logarithm of a photo's light at the size of the renders.

    Eyes see that: a photo's locks differ more than a render's, and a mean of light is that of its few bright ones.
    """
    light = cv2.resize(_measure_light(photo.radiance), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(light, np.float32)


def spread_around(points: F32, around: F64, first: float = 0.0) -> F32:
    """Return values of sides and heights (n, h, c) at points (s, k, 3), by where these lie.

    The sides are evenly spaced, from the azimuth `first` (radians) to the head's left; the crown has their mean.
    """
    off, sides = points - HEAD_CENTRE, len(around)
    turn = np.arctan2(off[..., 0], off[..., 2]) / (np.pi / 2) - first / (np.pi / 2)
    turn = (turn + 2) % 4 - 2
    ahead = np.minimum(np.abs(turn), 1)
    turn = (turn + np.sign(turn) * (smoothstep(SHOWN, 1.0, ahead) - ahead)) * sides / 4 % sides
    height = np.clip(np.interp(off[..., 1], HEIGHTS, np.arange(len(HEIGHTS))), 0, len(HEIGHTS) - 1)
    aside = np.hypot(off[..., 0], off[..., 2])
    flat = aside / np.maximum(np.hypot(aside, np.maximum(off[..., 1], 0)), 1e-6)  # what hangs low has a side, too
    values = _interpolate(around, turn, height)
    mean = _interpolate(around.mean(0, keepdims=True), np.zeros_like(turn), height)
    return np.asarray(mean + (values - mean) * flat[..., None], np.float32)


def find_shown(points: F32, film: Film, camera: Camera) -> F32:
    """Return how surely (s, k) a film shows points (s, k, 3) of strands: not what lies behind others, or behind."""
    uv, depth = camera.project(points.reshape(-1, 3))
    x, y = np.clip((uv * len(film.depth)).astype(int), 0, len(film.depth) - 1).T
    behind = np.where(film.alpha[y, x] > 0.5, depth - film.depth[y, x], 0)
    first = (1 - smoothstep(*HIDDEN, behind)).reshape(points.shape[:2])
    return np.asarray(first * smoothstep(*AVERTED, _face_camera(points, camera)), np.float32)


def _face_camera(points: F32, camera: Camera) -> Floats:
    """Return the cosine between the side on which points (s, k, 3) lie and the camera."""
    return unit((points - HEAD_CENTRE) * np.array([1.0, 0.0, 1.0]) + 1e-9) @ unit(camera.position)


def _interpolate(around: F64, turn: F64, height: F64) -> Floats:
    """Return values (n, h, c) at fractional rows, which go on around, and columns."""
    table, (count, heights) = around.astype(np.float32), around.shape[:2]
    row, column = turn.astype(int), np.minimum(height.astype(int), heights - 2)
    across, up = ((turn - row)[..., None]).astype(np.float32), ((height - column)[..., None]).astype(np.float32)
    first, second = row % count, (row + 1) % count
    low = table[first, column] * (1 - across) + table[second, column] * across
    high = table[first, column + 1] * (1 - across) + table[second, column + 1] * across
    return low * (1 - up) + high * up
