"""Lay strands on the skin where the photo shows hair and the style has none: a fringe, sideburns, temples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.hair_outline import bare_skin
from portrait360.pipeline.avatar.photo import Photo
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.hair.growth import curl
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.render.label_view import draw_backdrop, see_labels
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32, F64, Bytes
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import Label

SIDE = 256
PER_PIXEL, MOST = 2.0, 5000  # strands
STEP, STEPS = 0.007, 9  # canonical length, and steps from a place to either end of its strand
SURE = 0.15  # length of the flow from which it counts
HEIGHT, CURLED_HEIGHT, ROOT_HEIGHT = 0.011, 0.028, 0.002  # canonical, over the skin
CURLS, CURLED = (0.035, 7.0), (1.25, 1.6)  # radius and turns; length of curly hair per way between its ends
WIDTH = 0.0046
SCRAP = 0.003  # share of the picture
LOWEST = -0.08  # height: what lies lower is hanging hair
FACING = 0.40  # least cosine between the skin's normal and the camera; beside it hair hangs free


def cover_skin(strands: Sequence[Strands], head: Head, photo: Photo, *, lies: bool = False) -> list[Strands]:
    """Return strands along the photo's flow, for where skin shows through that the photo shows covered by hair.

    They are as curly as the strands that are there, unless hair `lies` close, drawn back from the hairline.
    """
    groups = [group for group in strands if len(group.points)]
    if not groups:
        return []
    shown = see_labels(draw_backdrop([bare_skin(head)], photo.camera, SIDE), groups).labels
    labels = np.asarray(cv2.resize(photo.labels, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST))
    buffers = rasterise(head.body, head.triangles, photo.camera, SIDE)
    is_skin = cv2.erode(_faces_camera(buffers.ids, head, photo.camera), np.ones((3, 3), np.uint8)) > 0
    is_hair = (labels == Label.HAIR) & is_skin
    bare = (is_hair & (shown != Label.HAIR)).astype(np.uint8)
    bare = cv2.dilate(cv2.morphologyEx(bare, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero(_drop_scraps(np.asarray(bare, np.uint8)) & is_hair)
    count = min(round(PER_PIXEL * len(rows)), MOST)
    if len(rows) < 8:
        return []
    rng = np.random.default_rng(3)
    chosen = rng.integers(len(rows), size=count)
    start = np.stack([columns[chosen], rows[chosen]], -1) + rng.random((count, 2))
    flow = np.asarray(cv2.resize(photo.flow, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)
    paths = _trace(start, flow, is_hair, photo.camera)
    curled = 0.0 if lies else _curliness(groups)
    height = HEIGHT + (CURLED_HEIGHT - HEIGHT) * curled
    points = _lift(paths, buffers.depth, head, photo.camera, height, rng)
    if curled > 0:
        points = curl(points, CURLS[0] * curled, CURLS[1], rng.integers(max(count // 12, 1), size=count), rng)
        points = np.asarray(head.field.push_out(points, ROOT_HEIGHT), np.float32)
    points = points[points[..., 1].min(1) > LOWEST]
    return [_dress(points, groups, rng)] if len(points) else []


def _drop_scraps(area: Bytes) -> np.ndarray:
    """Return where an area is, without its small pieces: single strands over skin, which would be torn."""
    _, pieces, sizes, _ = cv2.connectedComponentsWithStats(area)
    is_large = np.asarray(sizes)[:, cv2.CC_STAT_AREA] > SCRAP * SIDE * SIDE
    return (area > 0) & is_large[np.asarray(pieces, np.int64)]


def _faces_camera(ids: np.ndarray, head: Head, camera: Camera) -> Bytes:
    """Return 1 where the skin that is seen (ids of triangles) faces the camera."""
    corners = head.triangles[np.maximum(ids, 0)]
    towards = unit(camera.position - head.body[corners[..., 0]])
    facing = (head.normals[corners[..., 0]] * towards).sum(-1)
    return ((ids >= 0) & (facing > FACING)).astype(np.uint8)


def _curliness(groups: Sequence[Strands]) -> float:
    """Return 0 for straight hair .. 1 for curls."""
    points = max(groups, key=lambda group: len(group.points)).points
    ways = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)
    detour = float(np.median(ways / np.maximum(np.linalg.norm(points[:, -1] - points[:, 0], axis=1), 1e-4)))
    return float(smoothstep(*CURLED, np.asarray(detour)))


def _trace(start: F64, flow: F32, is_hair: np.ndarray, camera: Camera) -> F32:
    """Return paths (s, k, 2) in pixels along the flow through these places, their upper ends first."""
    ends, _ = camera.project(np.array([[0.0, 0.1, 0.15], [0.0, 0.0, 0.15]]))
    stride = STEP * float(np.linalg.norm(ends[0] - ends[1])) / 0.1 * SIDE
    up = np.broadcast_to([0.0, -1.0], start.shape)
    upper, last = _walk(start, up, flow, is_hair, stride, STEPS)
    ends = upper[np.arange(len(start)), last]
    down, last = _walk(ends, -up, flow, is_hair, stride, 2 * STEPS)
    return shorten(down.astype(np.float32), np.maximum(last, 1).astype(np.float64))


def _walk(
    start: F64, heading: F64, flow: F32, is_hair: np.ndarray, stride: float, steps: int
) -> tuple[F64, np.ndarray]:
    """Walk along the flow from each place; also return the last step within the hair."""
    path, last, walks = [start], np.zeros(len(start), int), np.ones(len(start), bool)
    for step in range(1, steps + 1):
        x, y = np.moveaxis(np.clip(path[-1].astype(int), 0, SIDE - 1), -1, 0)
        at = flow[y, x]
        angle = np.arctan2(at[:, 1], at[:, 0]) / 2
        along = np.stack([np.cos(angle), np.sin(angle)], -1)
        along *= np.where((along * heading).sum(-1) < 0, -1.0, 1.0)[:, None]
        sure = np.hypot(*at.T)[:, None] > SURE
        heading = np.where(sure, 0.4 * heading + 0.6 * along, heading)
        heading = heading / np.maximum(np.linalg.norm(heading, axis=-1, keepdims=True), 1e-6)
        path.append(path[-1] + stride * heading)
        x, y = np.moveaxis(np.clip(path[-1].astype(int), 0, SIDE - 1), -1, 0)
        walks &= is_hair[y, x]
        last[walks] = step
    return np.stack(path, 1), last


def _lift(paths: F32, depth: F32, head: Head, camera: Camera, thickness: float, rng: np.random.Generator) -> F32:
    """Return points (s, k, 3) over the skin that is seen at these pixels."""
    seen = np.where(depth > 0, depth, np.nan)
    x, y = np.moveaxis(np.clip(paths, 0.5, SIDE - 1.5) - 0.5, -1, 0)
    mapped = cv2.remap(np.nan_to_num(seen, nan=float(np.nanmedian(seen))), x, y, cv2.INTER_LINEAR)
    points = camera.unproject(paths / SIDE, mapped)
    t = np.linspace(0, 1, paths.shape[1])
    layer = rng.uniform(0.3, 1.0, (len(paths), 1))
    height = ROOT_HEIGHT + thickness * layer * np.sin(np.pi * np.clip(0.15 + 0.75 * t, 0, 1))
    return np.asarray(head.field.push_out(points, height), np.float32)


def _dress(points: F32, groups: list[Strands], rng: np.random.Generator) -> Strands:
    """Give strands the look of those that are there."""
    group = max(groups, key=lambda g: len(g.points))
    rows = rng.integers(len(group.points), size=len(points))
    columns = np.linspace(0, group.albedo.shape[1] - 1, points.shape[1]).round().astype(int)
    t = np.linspace(0, 1, points.shape[1])
    width = WIDTH * np.minimum(0.35 + 3 * t, 1) * (1 - 0.6 * t**2)
    return replace(
        group,
        points=points,
        widths=np.broadcast_to(width, points.shape[:2]).astype(np.float32).copy(),
        albedo=group.albedo[rows][:, columns],
        part=group.part[rows],
        material=group.material[rows],
        normals=None,
    )
