"""Bring the strands of a hairstyle to the photo's matte: its outline, its hem, and the skin that it leaves bare.

The outline is read along a chain of rays in the picture: a fan over the head, and horizontal rays below its centre on
either side. What the hair is off by along the chain becomes one smooth displacement of all strands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.geometry.cameras import Camera
from portrait360.geometry.rasterizer import rasterise
from portrait360.pipeline.avatar.photo.pixels import VOID, Photo
from portrait360.synth.hair.face_guard import shorten
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import make_mesh, unit
from portrait360.synth.render.label_view import draw_backdrop, see_labels
from portrait360.synth.render.lights import uniform_environment
from portrait360.synth.scene import Light, Material, Mesh, Part, Strands
from portrait360.utils.array_types import F32, F64, Bools, Bytes
from portrait360.utils.image_ops import smoothstep
from portrait360.utils.portrait_labels import SKIN_LABELS, Label

CENTRE = np.array([0.0, 0.02, -0.02])  # canonical; the fan's
FAN = 0.2  # canonical length of a radian of the fan along the chain
QUARTER = FAN * np.pi / 2
CHAIN = np.arange(-0.9, 0.901, 0.015)  # place on the chain: 0 at the crown, positive to the right in the picture
STEPS = np.arange(0.0, 0.62, 0.002)  # canonical, along a ray
THINNEST = 0.03  # canonical; hair thinner than this is moved as if it were so thick
JAW = 0.13  # drop below the centre from which on hair hangs beside the neck
SMOOTH, FLAT, MIRROR, STIFF = 3.0, 0.2, 0.04, 2e-3  # weights against one ray's residual
FURTHEST = (-0.12, 0.16)  # canonical displacements in one round
ROUNDS, SIDE = 3, 224
LONG_SEGMENT = 0.022  # canonical
EDGE_LABELS = (Label.BACKGROUND, Label.CLOTHES, Label.SKIN, Label.OBJECT)  # beyond these hair has its outline
FORWARD = 0.3  # share of the way towards the camera
FRONT, BEHIND = 0.4, 0.8  # share of the mean displacement where the outline says nothing: before and behind the head
CHEST = 0.42  # drop below the centre at which hair that is seen hangs before the shoulders
CUT = 0.22  # the same for hair that the photo's edge cuts off
NEAREST = 0.006  # canonical; hair that was further off the skin comes no closer
RISE, ROOT_LIFT = 0.05, 0.5  # canonical way from the root within which hair is lifted, and by how much of its outline
EVEN = 0.065  # canonical: what an outline deviates by over shorter ways along the chain is that of single locks
AT_OUTLINE, BESIDE = (0.90, 0.99), (0.35, 0.85)  # cosine to the picture's plane: of locks that make it, of all hair
HEM_FACTORS = (0.6, 1.8)
BARE_INSET, MATTE_INSET, ROOT_INSET = 0.007, 0.006, 0.012  # crop sides within an outline where a photo is sure
FACING = 0.25  # least cosine between the skin's normal and the camera, where a photo surely shows bare skin
SLACK = 0.02  # canonical depth behind the skin from which on hair counts as hidden
NO_KEYS = np.zeros((0, 3), np.float32)
PLAIN_LIGHT = Light(uniform_environment((0.8, 0.8, 0.8)), NO_KEYS, NO_KEYS, NO_KEYS[:, 0])


@dataclass(frozen=True, eq=False)
class Frame:
    """The picture's plane about the head's centre, upright with the head."""

    camera: Camera
    axes: F64  # (3, 3) rows: right in the picture, up, towards the camera
    centre: F64  # (2,) crop sides
    plane: F64  # (2, 2) rows: crop sides per canonical unit to the right and up, at the centre's depth

    def locate(self, points: np.ndarray) -> tuple[F64, F64]:
        """Return where points (..., 3) appear: right and up of the centre, in canonical units."""
        uv, _ = self.camera.project(points)
        local = (uv - self.centre) @ np.linalg.inv(self.plane)
        return local[..., 0], local[..., 1]

    def place(self, right: np.ndarray, up: np.ndarray) -> F64:
        """Invert `locate` to crop sides (..., 2)."""
        return self.centre + np.stack([right, up], -1) @ self.plane


@dataclass(frozen=True, eq=False)
class Outline:
    """How far out hair and skin reach along the rays of the chain, and the hem of the hair on either side."""

    hair: F64  # (c,) canonical, 0 where there is none
    is_edge: np.ndarray  # (c,) whether the hair's edge is the outline that a picture shows
    hem: tuple[float | None, float | None]  # drop below the centre of the lowest hair, left and right in the picture
    in_front: tuple[bool, bool]  # whether hair hangs before the shoulders


@dataclass(frozen=True, eq=False)
class Shift:
    """A displacement of hair away from the head's centre, over the chain."""

    amount: F64  # (c,) canonical
    thickness: F64  # (c,) of the hair over the skin


def make_frame(camera: Camera) -> Frame:
    towards = unit(camera.position - CENTRE)
    right = unit(np.cross([0.0, 1.0, 0.0], towards))
    axes = np.stack([right, np.cross(towards, right), towards])
    step = 0.01
    centre = camera.project(CENTRE)[0]
    plane = (camera.project(CENTRE + step * axes[:2])[0] - centre) / step
    return Frame(camera, axes, centre, plane)


def bare_skin(head: Head) -> Mesh:
    """Make the skin of a head, to hide the hair behind it."""
    grey = np.full(3, 0.5)
    return make_mesh(head.body, head.triangles, grey, Material.SKIN, Part.SKIN, rest=head.rest, normals=head.normals)


def meet_outline(
    strands: Sequence[Strands],
    head: Head,
    photo: Photo,
    solids: Sequence[Mesh] = (),
    *,
    skin: Mesh | None = None,
    rounds: int = ROUNDS,
    trust: float = 1.0,
) -> list[Strands]:
    """Move strands so that the outline and the hem of the hair meet those that the photo shows.

    `solids` are further meshes of the hair or before it, which stay; `skin` the bare skin with its labels;
    `trust` is the share of the way that they are moved.
    """
    moved, frame = [refine_strands(group) for group in strands], make_frame(photo.camera)
    if not any(len(group.points) for group in moved):
        return moved
    wanted = trace_outline(clean_hair(photo.labels), frame)
    backdrop = draw_backdrop([bare_skin(head) if skin is None else skin, *solids], photo.camera, SIDE)
    reach = trace_reach(head, frame)
    for step in range(rounds):
        found = trace_outline(clean_hair(see_labels(backdrop, moved).labels), frame)
        if step == 0:
            moved = [meet_hem(group, frame, wanted, found) for group in moved]
        shift = solve_shift(wanted, found, reach)
        shift = replace(shift, amount=shift.amount * trust)
        moved = [displace(group, head, frame, shift) for group in moved]
    return moved


def refine_strands(group: Strands) -> Strands:
    """Halve long segments, so that strands can bend where they are moved; midpoints of the four-point scheme."""
    points = group.points
    if len(points) == 0 or np.linalg.norm(np.diff(points, axis=1), axis=2).mean() < LONG_SEGMENT:
        return group
    ends = np.concatenate([2 * points[:, :1] - points[:, 1:2], points, 2 * points[:, -1:] - points[:, -2:-1]], 1)
    between = (9 * (ends[:, 1:-2] + ends[:, 2:-1]) - ends[:, :-3] - ends[:, 3:]) / 16
    return replace(
        group,
        points=_interleave(points, between),
        widths=_interleave(group.widths, (group.widths[:, 1:] + group.widths[:, :-1]) / 2),
        albedo=_interleave(group.albedo, (group.albedo[:, 1:] + group.albedo[:, :-1]) / 2),
    )


def _interleave(values: F32, between: np.ndarray) -> F32:
    out = np.empty((len(values), 2 * values.shape[1] - 1, *values.shape[2:]), np.float32)
    out[:, ::2], out[:, 1::2] = values, between
    return out


def clean_hair(labels: Bytes) -> Bytes:
    """Return labels without single wisps of hair, which are no outline."""
    side = max(3, round(0.008 * len(labels)) | 1)
    hair = (labels == Label.HAIR).astype(np.uint8)
    solid = cv2.morphologyEx(hair, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    return np.where((hair > 0) & (solid == 0), np.uint8(Label.BACKGROUND), labels).astype(np.uint8)


def cast(picture: np.ndarray, frame: Frame) -> np.ndarray:
    """Sample a picture (s, s) along the rays of the chain (c, k), to the nearest pixel; VOID beyond it."""
    drop = np.maximum(np.abs(CHAIN) - QUARTER, 0)
    angle = np.clip(CHAIN / FAN, -np.pi / 2, np.pi / 2)
    right = np.sin(angle)[:, None] * STEPS
    up = np.cos(angle)[:, None] * STEPS - drop[:, None]
    at = np.floor(frame.place(right, up) * len(picture)).astype(int)
    inside = ((at >= 0) & (at < len(picture))).all(-1)
    x, y = np.moveaxis(np.clip(at, 0, len(picture) - 1), -1, 0)
    return np.where(inside, picture[y, x], VOID)


def trace_outline(labels: Bytes, frame: Frame) -> Outline:
    """Read the outline and the hem of the hair in a picture of labels (s, s)."""
    rays = cast(labels, frame)
    is_hair = rays == Label.HAIR
    rows = np.arange(len(rays))
    last = rays.shape[1] - 1 - is_hair[:, ::-1].argmax(1)
    beyond = rays[rows, np.minimum(last + 4, rays.shape[1] - 1)]
    has_hair = is_hair.any(1)
    hair = np.where(has_hair, STEPS[last] + STEPS[1] / 2, 0.0)
    hems = [_find_hem(rays, side) for side in (-1, 1)]
    wide = is_hair.sum(1) * STEPS[1] > 0.03
    on_chest = [_hangs_before(rays, wide, side) for side in (-1, 1)]
    return Outline(hair, has_hair & np.isin(beyond, EDGE_LABELS), (hems[0], hems[1]), (on_chest[0], on_chest[1]))


def _hangs_before(rays: np.ndarray, wide: np.ndarray, side: int) -> bool:
    """Return whether hair is seen before the shoulders, or at the lower edge of the photo, beside the neck."""
    drop = side * CHAIN - QUARTER
    if (wide & (drop > CHEST)).sum() >= 3:
        return True
    seen = np.flatnonzero(wide & (drop > CUT))
    if len(seen) < 2:
        return False
    lowest = seen[np.argmax(drop[seen])]
    below = int(np.clip(lowest + 2 * side, 0, len(rays) - 1))
    return bool((rays[below][rays[lowest] == Label.HAIR] == VOID).mean() > 0.5)


def _find_hem(rays: np.ndarray, side: int) -> float | None:
    """Return the drop of the lowest hair on one side, None where there is none or where the photo ends before it."""
    drop = side * CHAIN - QUARTER
    rows = np.flatnonzero(drop > 0)
    rows = rows[np.argsort(drop[rows])]
    wide = (rays[rows] == Label.HAIR).sum(1) * STEPS[1] > 0.016
    if not wide.any():
        return None
    lowest = int(np.flatnonzero(wide)[-1])
    below = rays[rows[min(lowest + 2, len(rows) - 1)]][rays[rows[lowest]] == Label.HAIR]
    if lowest > len(rows) - 3 or (below == VOID).mean() > 0.3:
        return None
    return float(drop[rows[lowest]])


def trace_reach(head: Head, frame: Frame) -> F64:
    """Return how far the bare head reaches along the rays (c,); below the jaw as far as at the jaw."""
    buffers = rasterise(head.body, head.triangles, frame.camera, SIDE)
    is_skin = cast((buffers.ids >= 0).astype(np.uint8), frame) == 1
    reach = is_skin.sum(1) * STEPS[1]
    jaw = np.clip(CHAIN, -QUARTER - JAW, QUARTER + JAW)
    return np.interp(jaw, CHAIN, reach)


def solve_shift(wanted: Outline, found: Outline, reach: F64) -> Shift:
    """Return the smooth displacement that brings the outline found to the one wanted.

    It minimises |w (a - d)|^2 + SMOOTH |a''|^2 + FLAT |a'|^2 + MIRROR |a - mirrored a|^2 + STIFF |a|^2.
    """
    count = len(CHAIN)
    off = np.clip(wanted.hair - found.hair, *FURTHEST)
    weight = (wanted.is_edge & found.is_edge).astype(np.float64)
    far = np.abs(wanted.hair - found.hair) > 2 * FURTHEST[1]
    weight[far] = 0.0
    identity = np.eye(count)
    bend = np.diff(identity, 2, axis=0)
    lean = identity - identity[::-1]
    slope = np.diff(identity, axis=0)
    system = np.diag(weight) + SMOOTH * bend.T @ bend + FLAT * slope.T @ slope + MIRROR * lean.T @ lean
    system += STIFF * identity
    amount = np.linalg.solve(system, weight * off)
    thickness = np.where(found.hair > 0, found.hair - reach, np.nan)
    thickness = np.where(np.abs(CHAIN) > QUARTER + JAW, np.nan, thickness)
    known = np.isfinite(thickness)
    if not known.any():
        return Shift(amount, np.full(count, THINNEST))
    thickness = np.interp(CHAIN, CHAIN[known], thickness[known])
    smooth = gaussian_filter1d(thickness, 3.0, mode="nearest")
    return Shift(amount, np.maximum(smooth, THINNEST))


def displace(group: Strands, head: Head, frame: Frame, shift: Shift) -> Strands:
    """Move a group's points away from the head's centre; the roots stay."""
    if len(group.points) == 0:
        return group
    points = group.points.astype(np.float64)
    right, up = frame.locate(points)
    x, y, z = np.moveaxis((points - CENTRE) @ frame.axes.T, -1, 0)
    drop = np.maximum(-up, 0)
    place = np.sign(right) * (FAN * np.arctan2(np.abs(right), np.maximum(up, 0)) + drop)
    across = np.where(up > 0, np.hypot(x, y), np.abs(x))
    length = np.where(up > 0, np.sqrt(x * x + y * y + z * z), np.hypot(x, z))
    cosine = across / np.maximum(length, 1e-6)
    amount = _spread(shift.amount, place, drop, cosine, z)
    thickness = _spread(shift.thickness, place, drop, cosine, np.zeros_like(z))
    distance = head.field.distance(points)
    share = np.maximum.accumulate(np.clip(distance / thickness, 0, 1), axis=1)  # what hangs follows what lies
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    along = np.concatenate([np.zeros((len(points), 1)), np.cumsum(steps, 1)], 1)
    lifted = smoothstep(0.0, RISE, along) * (ROOT_LIFT + (1 - ROOT_LIFT) * share)  # all hair rises from its roots
    share = np.where(amount > 0, np.maximum(share, lifted) * np.minimum(along / 0.012, 1), share)
    move = np.where(drop > JAW, amount * share, np.maximum(amount * share, -0.85 * np.maximum(distance, 0)))
    move = gaussian_filter1d(move, 0.8, axis=1, mode="nearest")  # no kinks
    # hair before the head moves in the picture's plane, not towards the camera
    outward = unit(np.stack([x, np.where(up > 0, y, 0.0), np.where(z > 0, FORWARD * z, z)], -1))
    moved = points + (outward * move[..., None]) @ frame.axes
    pushed = head.field.push_out(moved, np.clip(distance, -1.0, NEAREST))
    moved = np.where(drop[..., None] > JAW, moved, pushed)  # over the shoulders hair is draped later
    moved[:, 0] = group.points[:, 0]
    return replace(group, points=moved.astype(np.float32))


def _spread(values: F64, place: F64, drop: F64, cosine: np.ndarray, depth: F64) -> F64:
    """Return values over the chain at points that appear at `place`; the mean where they are not at the outline.

    The waves of the outline are those of the locks that make it: all hair around would become a washboard by them.
    """
    even = gaussian_filter1d(values, EVEN / float(CHAIN[1] - CHAIN[0]), mode="nearest")
    both = (even + even[::-1]) / 2
    mean = both[np.abs(CHAIN) < QUARTER + JAW].mean()
    row = np.interp(QUARTER + drop, CHAIN, both)
    inner = mean + (row - mean) * smoothstep(0.0, 0.15, drop)
    inner = inner * np.where(depth == 0, 1.0, FRONT + (BEHIND - FRONT) * smoothstep(0.05, -0.05, depth))
    broad = inner + (np.interp(place, CHAIN, even) - inner) * smoothstep(*BESIDE, cosine)
    return broad + np.interp(place, CHAIN, values - even) * smoothstep(*AT_OUTLINE, cosine)


def meet_hem(group: Strands, frame: Frame, wanted: Outline, found: Outline) -> Strands:
    """Stretch or shrink what hangs below the jaw so that the hem lies where the photo shows it."""
    factors = [_hem_factor(a, b) for a, b in zip(wanted.hem, found.hem, strict=True)]
    if factors == [None, None]:
        return group
    left, right = (f if f is not None else next(g for g in factors if g is not None) for f in factors)
    points = group.points.astype(np.float64)
    local = (points - CENTRE) @ frame.axes.T
    factor = left + (right - left) * smoothstep(-0.08, 0.08, local[..., 0])
    below = np.maximum(-local[..., 1] - JAW, 0)
    local[..., 1] -= below * (factor - 1)
    return replace(group, points=(CENTRE + local @ frame.axes).astype(np.float32))


def _hem_factor(wanted: float | None, found: float | None) -> float | None:
    if wanted is None or found is None or min(wanted, found) < JAW + 0.04:
        return None
    return float(np.clip((wanted - JAW) / (found - JAW), *HEM_FACTORS))


@dataclass(frozen=True, eq=False)
class Bareness:
    """Where a photo surely shows no hair, and what the bare head hides there."""

    camera: Camera
    wrong: Bools  # (s, s) no strand may be seen
    rootless: Bools  # (s, s) none may begin
    depth: F32  # (s, s) of the head

    def shows(self, points: np.ndarray) -> Bools:
        """Return which points (s, k, 3) would be seen where there is no hair."""
        return _look(points, self.camera, self.wrong, self.depth)


def find_bareness(head: Head, photo: Photo) -> Bareness:
    size = photo.size
    bare = (*SKIN_LABELS, Label.BEARD, Label.GLASSES)
    wrong = _inside(photo.shows(*bare), BARE_INSET * size) | _inside(
        photo.shows(Label.BACKGROUND), MATTE_INSET * size
    )
    wrong |= _inside(photo.shows(Label.CLOTHES), BARE_INSET * size)
    rootless = _inside(photo.shows(*bare), ROOT_INSET * size)
    buffers = rasterise(head.body, head.triangles, photo.camera, size)
    depth = np.where(buffers.ids >= 0, buffers.depth, np.inf).astype(np.float32)
    return Bareness(photo.camera, wrong, rootless, depth)


def trim_strands(strands: Sequence[Strands], head: Head, photo: Photo) -> list[Strands]:
    """End strands where they would hang before what the photo shows bare, or beyond its matte.

    Strands with roots in bare skin are dropped; what the photo does not see stays.
    """
    bareness = find_bareness(head, photo)
    return [_trim_group(group, head, bareness) for group in strands]


def _inside(mask: np.ndarray, inset: float) -> np.ndarray:
    side = 2 * round(inset) + 1
    return cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def _trim_group(group: Strands, head: Head, bareness: Bareness) -> Strands:
    points = group.points
    if len(points) == 0:
        return group
    is_wrong = bareness.shows(points)
    is_wrong_between = bareness.shows((points[:, :-1] + points[:, 1:]) / 2)
    is_wrong[:, 1:] &= is_wrong_between  # a single point at an edge does not count
    is_wrong[:, :-1] |= is_wrong_between & np.roll(is_wrong_between, 1, 1)
    is_wrong[:, 0] = False
    is_rootless = _look(points[:, :1], bareness.camera, bareness.rootless, bareness.depth)[:, 0]
    is_rootless &= _faces(points[:, 0], head, bareness.camera)
    steps = points.shape[1] - 1
    last = np.where(is_wrong.any(1), is_wrong.argmax(1) - 0.5, steps)
    keep = (last > 1) & ~is_rootless
    short = shorten(points[keep], last[keep])
    return take_strands(replace(group, points=points), keep, short)


def _faces(points: F32, head: Head, camera: Camera) -> np.ndarray:
    """Return which points of the skin face the camera; what it sees edge-on it does not see surely."""
    return (head.field.gradient(points) * unit(camera.position - points)).sum(-1) > FACING


def _look(points: np.ndarray, camera: Camera, mask: np.ndarray, depth: F32) -> np.ndarray:
    """Return which points (s, k, 3) are seen by the camera within a mask."""
    uv, away = camera.project(points)
    at = np.floor(uv * len(mask)).astype(int)
    inside = ((at >= 0) & (at < len(mask))).all(-1)
    x, y = np.moveaxis(np.clip(at, 0, len(mask) - 1), -1, 0)
    return inside & (away < depth[y, x] + SLACK) & mask[y, x]


def take_strands(group: Strands, keep: np.ndarray, points: F32) -> Strands:
    """Return some strands of a group, with other points."""
    normals = None if group.normals is None else group.normals[keep]
    return Strands(
        points,
        group.widths[keep],
        group.albedo[keep],
        group.part[keep],
        group.material[keep],
        normals,
        group.label,
    )
