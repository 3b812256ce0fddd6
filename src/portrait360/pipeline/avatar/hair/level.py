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

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.avatar.hair.curls import find_curls
from portrait360.pipeline.avatar.hair.detail import average_around
from portrait360.pipeline.avatar.hair.sheen import find_gloss
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
from portrait360.synth.render.bake import DRAFT, PORTRAIT, PreparedScene, prepare_scene
from portrait360.synth.render.compositing import Film
from portrait360.synth.render.renderer import render_linear
from portrait360.synth.scene import Scene, Strands
from portrait360.utils.array_types import F32, F64, Bools
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.parallel.threads import map_in_threads
from portrait360.utils.portrait_labels import Label

SIZE = 128  # pixels of a render
TURNS = (90.0, 180.0, 270.0)  # degrees from the front
SHARE = 0.8  # of the difference in brightness that is taken off
RANGE, HUE = (-0.5, 0.7), 0.5  # its limits in brightness and in one channel against it, logarithms
SHOWN = 0.4  # quarter turns from the front up to which hair is levelled as the photo's own camera sees it
FEWER, WIDER = 3, 2.0  # strands of the render
DIM = 0.002  # radiance below which hair is black
BLACK = (0.004, 0.02)  # radiances between which hair comes to have a hue of its own: black hair reflects the wall
LIT = (0.35, 0.8)  # quantiles of the brightness of hair between which it is neither in the shade nor gloss
TINTED = (0.3, 0.8)  # those between which it has a hue: neither that of the dark nor that of the light
LOCKS, DARK = (0.7, 4.0), 0.01  # pixels of a render between which lie locks; radiance below which hair is black
CONTRAST = (1.0, 1.6)  # range of that of the photo's locks against theirs
CELL, AROUND, ALONG = 0.008, (0.7, 3.0), 0.02  # canonical; cells over which a lock is averaged, and the hair about
# it; canonical length of what a lock has in common
UNSEEN = (0.11, 0.01)  # z before which hair has the photo's own locks, and behind which it has not
QUALITY = replace(DRAFT, hair_shade=PORTRAIT.hair_shade, gleam=PORTRAIT.gleam)  # as hair is lit in the views


def level_hair(scene: Scene, photo: Photo) -> Scene:
    """Return a scene whose hair has about the photo's brightness and hue on all sides.

    Its brightness may differ from side to side, as that of its render does; hues of dyed hair do, and stay so.
    """
    shown = _usual_light(photo.radiance, shrink(photo.shows(*HAIR)))
    if shown is None or not any(is_hair(group) for group in scene.strands):
        return scene
    prepared = prepare_scene(thin_out(scene), quality=QUALITY)
    films = _render_around(prepared, photo)
    lacks = _find_lacks(films, photo, shown)
    light = lacks.mean(1, keepdims=True)
    around = SHARE * np.clip(light, *RANGE) + np.clip((lacks - light).mean(0), -HUE, HUE)
    if not photo.painted:
        around += np.log1p(-find_gloss(photo.radiance, shrink(photo.shows(*HAIR))))
    curls = find_curls(photo, prepared.curves)  # which every view adds
    more = (compare_locks(photo, films[1:]) - 1) * (1 - (curls.strength if curls else 0.0))

    def level(group: Strands) -> Strands:
        change = spread_around(group.points, around) + more * stress_locks(group.points, group.albedo)
        return replace(group, albedo=to_hair_albedo(group.albedo * np.exp(change)))

    return replace(scene, strands=tuple(level(group) if is_hair(group) else group for group in scene.strands))


def compare_locks(photo: Photo, films: Sequence[Film]) -> float:
    """Return how many times as much the locks of a photo differ in brightness as those of renders of other sides."""
    side = (SIZE, SIZE)
    hair = cv2.resize(photo.shows(*HAIR).astype(np.uint8), side, interpolation=cv2.INTER_NEAREST) > 0
    picture = np.asarray(cv2.resize(photo.radiance, side, interpolation=cv2.INTER_AREA), np.float32)
    shown = _measure_locks(picture, shrink(hair, 1))
    drawn = [_measure_locks(film.radiance, _find_hair(film)) for film in films]
    found = [spread for spread in drawn if spread is not None]
    return float(np.clip(shown / np.mean(found), *CONTRAST)) if found and shown is not None else 1.0


def _measure_locks(radiance: F32, mask: Bools) -> float | None:
    """Return how far the brightness of locks is spread, logarithms; None of too few."""
    if mask.sum() < FEW:
        return None
    light, inside = np.log(np.maximum(radiance, 0).mean(-1) + DARK).astype(np.float32), mask.astype(np.float32)
    fine, broad = (blur(light, inside, width) for width in LOCKS)
    return float((fine - broad)[mask].std())


def stress_locks(points: F32, albedo: F32) -> F32:
    """Return by how much locks differ from the hair about them (s, k, 1), logarithms, where no photo shows them."""
    step = float(np.linalg.norm(np.diff(points, axis=1), axis=2).mean())
    light = np.log(np.maximum(albedo, 1e-4)).mean(-1, keepdims=True)
    light = gaussian_filter1d(light, ALONG / max(step, 1e-6), axis=1, mode="nearest")  # across, it would be spots
    three = np.repeat(light, 3, -1)
    lock, broad = (average_around(points, three, CELL, width)[..., :1] for width in AROUND)
    return np.asarray(smoothstep(*UNSEEN, points[..., 2])[..., None] * (lock - broad), np.float32)


def _render_around(prepared: PreparedScene, photo: Photo) -> list[Film]:
    """Return renders from the photo's camera and from each of TURNS."""
    camera = photo.camera
    turned = (Camera(look_at(turn, 0.0, radius=camera.radius), camera.focal) for turn in TURNS)
    views = [camera, *turned]
    return list(map_in_threads(lambda view: render_linear(prepared, view, SIZE), views, lone_first=False))


def _find_lacks(films: Sequence[Film], photo: Photo, shown: F64) -> F64:
    """Return by how much hair is darker than is `shown`, from before and from each of TURNS (1 + t, 3), logarithms.

    From before, it is compared where both show hair.
    """
    lacks = np.zeros((1 + len(TURNS), 3))
    for row, film in enumerate(films[1:], 1):
        found = _usual_light(film.radiance, _find_hair(film))
        lacks[row] = 0.0 if found is None else shown - found
    film, side = films[0], (SIZE, SIZE)
    both = _find_hair(film) & (cv2.resize(photo.labels, side, interpolation=cv2.INTER_NEAREST) == Label.HAIR)
    picture = np.asarray(cv2.resize(photo.radiance, side, interpolation=cv2.INTER_AREA), np.float32)
    there, found = (_usual_light(radiance, both) for radiance in (picture, film.radiance))
    lacks[0] = 0.0 if there is None or found is None else there - found
    return lacks


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


def _usual_light(radiance: F32, mask: Bools) -> F64 | None:
    """Return the logarithm of the usual light (3,) of the hair among pixels; None of too few."""
    if mask.sum() < FEW:
        return None
    light = np.maximum(cv2.GaussianBlur(radiance, (0, 0), 1.0)[mask], 0)
    lit, tinted = (trimmed_mean(light, share).astype(np.float64) for share in (LIT, TINTED))
    hue = np.log(tinted + DIM) - np.log(tinted + DIM).mean()
    return np.log(lit + DIM).mean() + hue * smoothstep(*BLACK, lit.mean())


def spread_around(points: F32, around: F64) -> F32:
    """Return values of the four sides (4, c) at points (s, k, 3), by where these lie; their mean on the crown."""
    off = points - HEAD_CENTRE
    turn = np.arctan2(off[..., 0], off[..., 2]) / (np.pi / 2)
    ahead = np.minimum(np.abs(turn), 1)
    turn = (turn + np.sign(turn) * (smoothstep(SHOWN, 1.0, ahead) - ahead)) % 4
    first, share = turn.astype(int) % 4, (turn % 1)[..., None]
    values = around[first] * (1 - share) + around[(first + 1) % 4] * share
    flat = np.hypot(off[..., 0], off[..., 2]) / np.maximum(np.linalg.norm(off, axis=-1), 1e-6)
    mean = around.mean(0)
    return np.asarray(mean + (values - mean) * flat[..., None], np.float32)
