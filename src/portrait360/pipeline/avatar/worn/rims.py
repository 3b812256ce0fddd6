"""Follow the lines of a photo's frame of glasses near fitted rims, and give those rims its shape.

Ten measures give lenses a place and a usual shape. The photo's own differs from that by some pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.pipeline.avatar.worn.frame_look import even_line, measure_look, show_look
from portrait360.pipeline.avatar.worn.glasses_fit import DIM
from portrait360.pipeline.avatar.worn.glasses_photo import (
    find_front,
    is_dark,
    is_glasses,
    make_disc,
    measure_thickness,
)
from portrait360.synth.meshes import unit
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.scene import Mesh, Part, Scene
from portrait360.synth.wear.glasses import RIM_SIDES, trace_rim
from portrait360.utils.array_types import F32, F64, I32, Bools, Floats
from portrait360.utils.image_ops import look_up
from portrait360.utils.portrait_labels import Label

REACH = 14.0  # pixels of 512 by which rims may lie beside the fitted ones
SHIFT = 2.0  # those of their steps aside and up
NUDGE = 6.0  # those by which each may lie beside both
SHARES = np.linspace(-1, 1, 25)  # of that, of which a rim may move to the next from point to point
BEND, FAR = 0.12, 0.08  # what speaks against such a step, and against the furthest, in shares of a clear line
LINE, THICKER = 9.0, 1.6  # pixels of 512, and thicknesses of a frame: what is narrower is a line
CLEAR, NEAR = (0.75, 0.97), 8.0  # quantiles of the lines that are near fitted rims, pixels of 512, which are clear,
# and which are the clearest: thin rims count, but less than heavy ones beside which there are thin lines
SEEN, WHOLE = 0.5, 0.68  # share of those from which a rim is seen, and share of both rims that must be
BESIDE, CLEARANCE = 0.006, 0.006  # canonical: skin this near a rim, which lies so far before it
EVEN = 2.0  # points along a rim over which it moves evenly, lest it has dents; corners are those of the fitted one
MOST = 0.015  # canonical, by which rims move forward at most
WITH = 0.025  # canonical distance from rims within which bridge and temples move with them


def bend_rims(scene: Scene, photo: Photo, parameters: HeadParameters) -> Scene:
    """Return a scene whose clear glasses have rims where the photo shows its own, if it does so clearly."""
    front, kind = find_front(scene.meshes), parameters.wear.glasses
    if kind == "none" or is_dark(kind) or len(front) != 3:
        return scene
    fitted = [trace_rim(mesh) for mesh in front[:2]]
    thick, scale = measure_thickness(photo, parameters), photo.size / 512
    lines = measure_colour_lines(photo, thick)
    near = _find_near(fitted, photo)
    if not near.any():
        return scene
    tops = np.maximum(np.quantile(lines[near], CLEAR), 1e-3)
    weak, lines = np.clip(lines / tops[0], 0, 1), np.mean([np.clip(lines / top, 0, 1) for top in tops], 0)
    blur = max(0.25 * thick, 1.0) * scale
    lines = np.asarray(cv2.GaussianBlur(lines, (0, 0), blur), np.float32)
    found = find_rims(lines, fitted, photo.camera)
    weak = np.asarray(cv2.GaussianBlur(weak, (0, 0), blur), np.float32)
    shown = look_up(weak, photo.camera.project(np.concatenate(found))[0][None].astype(np.float32))
    if (shown > SEEN).mean() < WHOLE:
        return scene
    look = None
    for _ in range(2):  # where a rim is known better, more of it is within reach
        found = found if look is None else look.move(found)
        look = measure_look(photo, found, [_find_outward(rim) for rim in found], thick)
    found = [old + even_line(rim - old, EVEN) for rim, old in zip(found, fitted, strict=True)]
    forward = _measure_lack(scene, np.concatenate(found)) * np.array([0.0, 0.0, 1.0])
    moves = [rim + forward - old for rim, old in zip(found, fitted, strict=True)]
    moved = [_move(mesh, front, fitted, moves) for mesh in scene.meshes]
    return replace(scene, meshes=tuple(moved) if look is None else show_look(moved, look))


def _find_near(rims: Sequence[F64], photo: Photo) -> Bools:
    """Return which pixels of a frame (s, s) lie near rims."""
    around = np.zeros((photo.size, photo.size), np.uint8)
    lines = [np.round(photo.camera.project(rim)[0] * photo.size).astype(np.int32) for rim in rims]
    cv2.polylines(around, lines, True, 1, max(round(2 * NEAR * photo.size / 512), 1))
    return photo.shows(Label.GLASSES) & (around > 0)


def _measure_lack(scene: Scene, rims: F64) -> float:
    """Return by how much rims (n, 3) have to move forward, lest they cross the skin before which they lie."""
    skin = [mesh.vertices for mesh in scene.meshes if (np.asarray(mesh.part) == Part.SKIN).all()]
    front = np.concatenate([np.zeros((0, 3)), *skin])
    front = front[front[:, 2] > rims[:, 2].min() - MOST]
    if not len(front):
        return 0.0
    apart, nearest = KDTree(front[:, :2]).query(rims[:, :2], k=1)
    lack = np.where(apart < BESIDE, front[nearest, 2] + CLEARANCE - rims[:, 2], 0)
    return float(np.clip(lack.max(), 0, MOST))


def _move(mesh: Mesh, front: Sequence[Mesh], fitted: Sequence[F64], moves: Sequence[F64]) -> Mesh:
    """Return a part of glasses that has moved as the rims have, or with them where it is near."""
    if not is_glasses(mesh):
        return mesh
    for rim, move in zip(front[:2], moves, strict=True):
        if mesh is rim:
            rings = np.repeat(np.concatenate([move, move[:1]]), RIM_SIDES, axis=0)
            return replace(mesh, vertices=(mesh.vertices + rings).astype(np.float32))
    old, moved = np.concatenate(fitted), np.concatenate(moves)
    apart = np.linalg.norm(mesh.vertices[:, None] - old, axis=-1)
    share = np.exp(-((apart.min(1) / WITH) ** 2))[:, None]
    return replace(mesh, vertices=(mesh.vertices + share * moved[apart.argmin(1)]).astype(np.float32))


def measure_colour_lines(photo: Photo, thick: float) -> F32:
    """Return by how much light or hue of pixels differ from both sides of a line this thick (s, s), logarithms."""
    colours = np.log(np.maximum(photo.radiance, 0) + DIM).astype(np.float32)
    light = colours.mean(-1)
    channels = (light, colours[..., 0] - light, colours[..., 2] - light)
    wide, kinds = (
        make_disc(0.5 * max(LINE, THICKER * thick) * photo.size / 512),
        (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT),
    )
    return np.max([cv2.morphologyEx(channel, kind, wide) for channel in channels for kind in kinds], 0)


def find_rims(lines: F32, rims: Sequence[F64], camera: Camera) -> list[F64]:
    """Return the rims (k, 3) of both lenses along which a picture (s, s) has lines, near fitted ones.

    Lenses are alike: both tell their shape, the more the larger it is seen, and then each its place.
    """
    pixel, rims = float(camera.radius / camera.focal) / 512, list(rims)
    rims = [_shift(lines, rim, camera, pixel) for rim in rims]
    areas = [float(cv2.contourArea(camera.project(rim)[0].astype(np.float32))) for rim in rims]
    for reach, shared in ((REACH, True), (NUDGE, False)):
        outward = [_find_outward(rim) for rim in rims]
        steps = pixel * reach * SHARES[:, None]
        tried = [rim[:, None] + steps * out[:, None] for rim, out in zip(rims, outward, strict=True)]
        gains = np.stack(
            [
                look_up(lines, camera.project(t.reshape(-1, 3))[0].reshape(*t.shape[:2], 2).astype(np.float32))
                for t in tried
            ]
        )
        gains = np.broadcast_to(np.average(gains, 0, weights=areas), gains.shape) if shared else gains
        moves = [SHARES[follow_line(gain - FAR * SHARES**2)] for gain in gains]
        rims = [
            rim + pixel * reach * move[:, None] * out for rim, move, out in zip(rims, moves, outward, strict=True)
        ]
    return rims


def _shift(lines: F32, rim: F64, camera: Camera, pixel: float) -> F64:
    """Return a rim (k, 3) where it has the most of a picture's lines."""
    up = np.arange(-REACH, REACH + 1, SHIFT) * pixel
    moves = np.stack(np.meshgrid(up, up, [0.0]), -1).reshape(-1, 3)
    uv = camera.project((rim + moves[:, None]).reshape(-1, 3))[0].reshape(len(moves), -1, 2)
    gains = look_up(lines, uv.astype(np.float32)).clip(0, 1).mean(1) - FAR * ((moves / (pixel * REACH)) ** 2).sum(1)
    return rim + moves[int(gains.argmax())]


def _find_outward(rim: F64) -> F64:
    """Return the directions (k, 3) across a closed line in its plane, out of it."""
    along, off = np.roll(rim, -1, 0) - np.roll(rim, 1, 0), rim - rim.mean(0)
    across = unit(np.cross(along, np.cross(off, along).sum(0)))
    return across * np.where((across * off).sum() < 0, -1.0, 1.0)


def follow_line(gains: Floats) -> I32:
    """Return which place of each row (k, o) a closed line takes that gains most and has no steps."""
    total, chosen = np.zeros(gains.shape[1]), []
    for row in (*gains, *gains):  # twice around: its ends meet
        padded = np.pad(total, 1, constant_values=-np.inf)
        ways = np.stack([padded[1:-1], padded[:-2] - BEND, padded[2:] - BEND])
        chosen.append(np.arange(len(total)) + np.array([0, -1, 1])[ways.argmax(0)])
        total = row + ways.max(0)
    path = [int(total.argmax())]
    for before in reversed(chosen[1:]):
        path.append(int(before[path[-1]]))
    half = len(gains) // 2
    return np.roll(path[::-1][half : half + len(gains)], half).astype(np.int32)
