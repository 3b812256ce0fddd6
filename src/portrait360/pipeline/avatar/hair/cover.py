"""Lay strands on the skin where the photo shows hair and the style has none: a fringe, sideburns, temples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from portrait360.geometry.cameras import Camera
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.hair.outline import bare_skin, take_strands
from portrait360.pipeline.avatar.hair.texture import SURELY_CURLY, read_grain
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.hair.growth import clump, strand_frames
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
SHORTEST, OVER = 3, -0.05  # steps of a path; cosine to its first way from which it goes over a parting, or curls back
SURE = 0.15  # length of the flow from which it counts
HEIGHTS, ROOT_HEIGHT = (0.011, 0.020), 0.002  # canonical, over the skin: least and most of a fringe; of roots
AS_HIGH = 0.5  # share of the height of the hair beside it that a fringe has
BROAD, MOST_BENT = 0.025, 0.006  # canonical length over which bends are the path's, not curls; largest of these
CURL_ROOT = 0.015  # canonical way from the root within which curls grow to their size
LOCK, PULL, TOGETHER = 18, 0.5, 0.03  # strands of a lock, how far they come together, and canonical reach of that
UNEVEN = 0.45  # greatest share of its length that a strand is shorter: at its hem, a fringe gets thin
WIDEST, ROOT, TIP = 0.0050, 0.4, 0.2  # canonical; shares of its width at both ends
SHORT = 0.2  # canonical length of hair up to which curls stand off, and do not hang
EVERY, AROUND = 3, 150  # of so many strands one is planted where hair is curled; those that it may be like
SCRAP = 0.003  # share of the picture
LOWEST = -0.08  # height: what lies lower is hanging hair
FACING = (0.40, 0.15)  # least cosine between skin and camera, of cheeks, beside which hair hangs free, and of temples
TEMPLE = (0.05, 0.07)  # heights of these


def cover_skin(strands: Sequence[Strands], head: Head, photo: Photo, *, lies: bool = False) -> list[Strands]:
    """Return strands along the photo's flow, for where skin shows through that the photo shows covered by hair.

    They are curled as the strands beside them are, unless hair `lies` close, drawn back from the hairline.
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
    group = max(groups, key=lambda g: len(g.points))
    points = _lift(paths, buffers.depth, head, photo.camera)
    planted = points[::EVERY, points.shape[1] // 2]
    planted = planted[planted[:, 1] > TEMPLE[0]]
    if not lies and len(planted) and _are_short_curls(group, photo):
        return [_plant(planted, group, head, rng)]
    donors = np.asarray(KDTree(group.points[:, 0]).query(points[:, 0])[1])
    beside = float(np.median(head.field.distance(group.points[np.unique(donors)]).max(1)))
    points = _raise(points, head, HEIGHTS[0] if lies else np.clip(AS_HIGH * beside, *HEIGHTS), rng)
    points = points if lies else _curl_like(points, group.points[donors], head)
    points, _ = clump(points, PULL, rng, LOCK, TOGETHER)
    points = shorten(points, (points.shape[1] - 1) * (1 - UNEVEN * rng.random(len(points)) ** 2))
    points = np.asarray(head.field.push_out(points, ROOT_HEIGHT), np.float32)
    rows = points[..., 1].min(1) > LOWEST
    return [_dress(points[rows], group, donors[rows])] if rows.any() else []


def _are_short_curls(group: Strands, photo: Photo) -> bool:
    length = np.median(np.linalg.norm(np.diff(group.points, axis=1), axis=2).sum(1))
    return bool(length < SHORT) and read_grain(photo)[0] > SURELY_CURLY


def _plant(roots: F32, group: Strands, head: Head, rng: np.random.Generator) -> Strands:
    """Return strands at these roots (n, 3) that grow as some of those around them do: curls have no common flow."""
    around = np.asarray(KDTree(group.points[:, 0]).query(roots, k=min(AROUND, len(group.points)))[1])
    around = around.reshape(len(roots), -1)
    donors = around[np.arange(len(roots)), rng.integers(around.shape[1], size=len(roots))]
    points = group.points[donors] + (roots - group.points[donors, 0])[:, None]
    return take_strands(group, donors, np.asarray(head.field.push_out(points, ROOT_HEIGHT), np.float32))


def _drop_scraps(area: Bytes) -> np.ndarray:
    """Return where an area is, without its small pieces: single strands over skin, which would be torn."""
    _, pieces, sizes, _ = cv2.connectedComponentsWithStats(area)
    is_large = np.asarray(sizes)[:, cv2.CC_STAT_AREA] > SCRAP * SIDE * SIDE
    return (area > 0) & is_large[np.asarray(pieces, np.int64)]


def _faces_camera(ids: np.ndarray, head: Head, camera: Camera) -> Bytes:
    """Return 1 where the skin that is seen (ids of triangles) faces the camera."""
    corners = head.triangles[np.maximum(ids, 0)]
    towards = unit(camera.position - head.body[corners[..., 0]])
    facing, height = (head.normals[corners[..., 0]] * towards).sum(-1), head.body[corners[..., 0], 1]
    least = FACING[0] + (FACING[1] - FACING[0]) * smoothstep(*TEMPLE, height)
    return ((ids >= 0) & (facing > least)).astype(np.uint8)


def _curl_like(points: F32, donors: F32, head: Head) -> F32:
    """Return strands with the bends of those beside them (s, k, 3): locks and curls stand off the skin."""
    k = donors.shape[1]
    step = np.linalg.norm(np.diff(donors, axis=1), axis=2)
    along = np.concatenate([np.zeros((len(donors), 1)), np.cumsum(step, 1)], 1)
    sigma = BROAD / max(float(np.median(step)), 1e-4)
    broad = gaussian_filter1d(donors.astype(np.float64), sigma, axis=1, mode="nearest")
    frames = np.stack([unit(np.gradient(broad, axis=1)), *strand_frames(broad.astype(np.float32))], 2)
    bends = np.einsum("skc,skfc->skf", donors - broad, frames)
    way = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)[:, None] * np.linspace(0, 1, k)
    place = np.clip(way / np.maximum(along[:, -1:], 1e-4), 0, 1) * (k - 1)
    i, rows = np.minimum(place.astype(int), k - 2), np.arange(len(points))[:, None]
    share = (place - i)[..., None]
    bends = (bends[rows, i] * (1 - share) + bends[rows, i + 1] * share) * smoothstep(0.0, CURL_ROOT, way)[..., None]
    position = np.linspace(0, points.shape[1] - 1, k)
    i, share = np.minimum(position.astype(int), points.shape[1] - 2), (position % 1)[None, :, None]
    share = np.where(position[None, :, None] >= points.shape[1] - 1, 1.0, share)
    path = points[:, i] * (1 - share) + points[:, i + 1] * share
    frames = np.stack([unit(np.gradient(path, axis=1)), *strand_frames(path.astype(np.float32))], 2)
    size = np.linalg.norm(bends, axis=-1).max(1)[:, None, None]
    bends, size = bends * np.minimum(1, MOST_BENT / np.maximum(size, MOST_BENT)), np.minimum(size, MOST_BENT)
    path = path + size * smoothstep(0.0, CURL_ROOT, way)[..., None] * head.field.gradient(path)
    return np.asarray(path + np.einsum("skf,skfc->skc", bends, frames), np.float32)


def _trace(start: F64, flow: F32, is_hair: np.ndarray, camera: Camera) -> F32:
    """Return paths (s, k, 2) in pixels along the flow through these places, their upper ends first.

    Upwards they end where the flow begins to fall again: there is a parting.
    """
    ends, _ = camera.project(np.array([[0.0, 0.1, 0.15], [0.0, 0.0, 0.15]]))
    stride = STEP * float(np.linalg.norm(ends[0] - ends[1])) / 0.1 * SIDE
    up = np.broadcast_to([0.0, -1.0], start.shape)
    (upper, rise), (lower, fall) = (_walk(start, heading, flow, is_hair, stride) for heading in (up, -up))
    both = np.concatenate([upper[:, :0:-1], lower], 1)
    place = STEPS - rise[:, None] + np.linspace(0, 1, 2 * STEPS + 1) * (rise + fall)[:, None]
    i = np.minimum(place.astype(int), 2 * STEPS - 1)
    rows, share = np.arange(len(start))[:, None], (place - i)[..., None]
    paths = both[rows, i] * (1 - share) + both[rows, i + 1] * share
    return np.asarray(paths[rise + fall >= SHORTEST], np.float32)


def _walk(start: F64, heading: F64, flow: F32, is_hair: np.ndarray, stride: float) -> tuple[F64, np.ndarray]:
    """Walk along the flow from each place; also return the last step that is within the hair and goes on that way."""
    wanted, path, last, walks = heading, [start], np.zeros(len(start), int), np.ones(len(start), bool)
    for step in range(1, STEPS + 1):
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
        walks &= is_hair[y, x] & ((heading * wanted).sum(-1) > OVER)
        last[walks] = step
    return np.stack(path, 1), last


def _lift(paths: F32, depth: F32, head: Head, camera: Camera) -> F32:
    """Return points (s, k, 3) on the skin that is seen at these pixels."""
    seen = np.where(depth > 0, depth, np.nan)
    x, y = np.moveaxis(np.clip(paths, 0.5, SIDE - 1.5) - 0.5, -1, 0)
    mapped = cv2.remap(np.nan_to_num(seen, nan=float(np.nanmedian(seen))), x, y, cv2.INTER_LINEAR)
    points = camera.unproject(paths / SIDE, mapped)
    height = ROOT_HEIGHT - head.field.distance(points)
    return np.asarray(points + height[..., None] * head.field.gradient(points), np.float32)


def _raise(points: F32, head: Head, thickness: float, rng: np.random.Generator) -> F32:
    """Return strands in layers up to this height over the skin."""
    t = np.linspace(0, 1, points.shape[1])
    layer = rng.uniform(0.2, 1.0, (len(points), 1))
    height = ROOT_HEIGHT + thickness * layer * np.sin(np.pi * np.clip(0.15 + 0.75 * t, 0, 1))
    return np.asarray(head.field.push_out(points, height), np.float32)


def _dress(points: F32, group: Strands, donors: np.ndarray) -> Strands:
    """Give strands the look of these rows of a group, the strands beside them."""
    columns = np.linspace(0, group.albedo.shape[1] - 1, points.shape[1]).round().astype(int)
    t = np.linspace(0, 1, points.shape[1])
    widest = np.minimum(np.median(group.widths.max(1)), WIDEST)
    width = widest * np.minimum(ROOT + 3 * t, 1) * (1 - (1 - TIP) * t**2)
    return replace(
        group,
        points=points,
        widths=np.broadcast_to(width, points.shape[:2]).astype(np.float32).copy(),
        albedo=group.albedo[donors][:, columns],
        part=group.part[donors],
        material=group.material[donors],
        normals=None,
    )
