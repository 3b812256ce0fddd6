"""Cloth that hangs from the head over the shoulders, open at the face: veils, mantles, shawls and hoods."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import map_coordinates, median_filter

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import grid, make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.hats import Drape, Hat
from portrait360.synth.sampling.parameters import Wear
from portrait360.synth.scene import Material, Mesh, Part, Strands
from portrait360.synth.wear.balls import ball
from portrait360.synth.wear.necklines import cut_above
from portrait360.synth.wear.shells import Shell, blur
from portrait360.synth.wear.textiles import paint
from portrait360.utils.array_types import F32

UPPER, LOWER, COLUMNS = 30, 50, 180  # rows over the top of the head, rows below, and columns round it
CENTER = np.array([0.0, 0.02, -0.03], np.float32)
LEAN = 0.2  # how far the neck's axis goes back for each unit down
JAW, THROAT = -0.34, -0.60  # head heights between which the edges of the opening go from the face to the chest
NECK = -0.58  # height in head heights over which cloth touches no shoulders
UNDER = 0.03  # head heights by which hair stays below the cloth


@dataclass(frozen=True, eq=False)
class Mantle(Shell):
    """A bell about a vertical axis: a dome with its pole at the crown, and below it rings of falling height."""

    bell: F32  # (UPPER + LOWER, COLUMNS) distance from the axis
    hem: float  # height of the lowest ring, canonical

    def cover_hair(self, strands: list[Strands]) -> list[Strands]:
        """Pull hair in below the cloth; in the opening it comes out gradually."""
        return [replace(group, points=self._press(group.points)) for group in strands]

    def _press(self, points: F32) -> F32:
        axis = find_axis(points[..., 1])
        out = points - axis
        distance = np.linalg.norm(out, axis=-1)
        azimuth = np.arctan2(out[..., 0], out[..., 2])
        polar = np.arccos(np.clip(out[..., 1] / np.maximum(distance, 1e-6), -1, 1)) / (np.pi / 2) * (UPPER - 1)
        fall = UPPER - 1 + (CENTER[1] - points[..., 1]) / (CENTER[1] - self.hem) * LOWER
        row = np.where(points[..., 1] > CENTER[1], polar, fall)
        column = azimuth % (2 * np.pi) / (2 * np.pi) * COLUMNS
        bell = map_coordinates(np.pad(self.bell, ((0, 0), (0, 1)), "wrap"), [row, column], order=1, mode="nearest")
        beyond = np.maximum(-measure_cover(points, self.hat), 0)
        limit = bell - UNDER * HEAD_HEIGHT + (0.0016 * beyond + 0.0004 * beyond**2)
        squeeze = np.minimum(1.0, limit / np.maximum(distance, 1e-6))
        return (axis + out * squeeze[..., None]).astype(np.float32)


def find_axis(height: np.ndarray) -> np.ndarray:
    """Return the points of the axis at these heights: the centre of the head, and what lies below it."""
    low = np.minimum(height, CENTER[1])
    lean = LEAN * np.maximum(-0.24 * HEAD_HEIGHT - low, 0)
    return np.stack([0 * low, low, CENTER[2] - lean], -1).astype(np.float32)


def measure_cover(points: np.ndarray, hat: Hat) -> F32:
    """Return by how many degrees points lie inside the edge of the cloth; negative in the opening."""
    drape = hat.drape
    assert drape is not None
    height = points[..., 1] / HEAD_HEIGHT
    out = points - find_axis(points[..., 1])
    azimuth = np.degrees(np.abs(np.arctan2(out[..., 0], out[..., 2])))
    middle = 0.05
    t = np.clip((height - middle) / (drape.top - middle), 0, 1)
    edge = drape.side * np.sqrt(1 - t**2) - 300 * np.maximum(height - drape.top, 0)
    edge = edge + (drape.low - drape.side) * smoothstep(JAW, THROAT, height)
    return (azimuth - edge).astype(np.float32)


def fit_mantle(head: Head, hat: Hat) -> Mantle:
    """Lay the cloth over the head and let it fall."""
    drape = hat.drape
    assert drape is not None
    origins, towards = _rays(drape.hem * HEAD_HEIGHT)
    radius = head.field.radius(origins, towards, reach=0.5)
    beside = towards[..., 2] < 0.6 * np.linalg.norm(towards[..., [0, 2]], axis=-1)
    is_head = beside & (origins[..., 1] > NECK * HEAD_HEIGHT)
    median = median_filter(radius, (1, 45), mode="wrap")
    radius = np.where(is_head, np.minimum(radius, 1.08 * median), radius)  # without spikes at holes behind the ears
    radius[:UPPER] = np.maximum(blur(radius[:UPPER], 1.0, 4.0), radius[:UPPER])
    radius = np.maximum(radius, np.minimum(_ear_reach(head, drape), 1.25 * radius))
    bell = radius + drape.loose * HEAD_HEIGHT
    pole = smoothstep(1.0, 0.0, np.arange(UPPER) / (UPPER - 1))[:, None] ** 2
    bell[:UPPER] += drape.peak * HEAD_HEIGHT * pole
    step = (CENTER[1] - drape.hem * HEAD_HEIGHT) / LOWER
    hanging = bell.copy()
    for i in range(UPPER, UPPER + LOWER):
        hanging[i] = np.maximum(bell[i], hanging[i - 1] - drape.inward * step)
    bell = np.maximum(blur(hanging, 1.2, 2.0), radius + 0.5 * drape.loose * HEAD_HEIGHT).astype(np.float32)
    empty = np.zeros((1, 1), np.float32)
    return Mantle(hat, CENTER, np.eye(3, dtype=np.float32), empty, empty, empty, bell, drape.hem * HEAD_HEIGHT)


def _rays(hem: float) -> tuple[F32, F32]:
    """Return origins and directions (UPPER + LOWER, COLUMNS, 3) of the nodes of a bell."""
    azimuth = np.arange(COLUMNS) / COLUMNS * 2 * np.pi
    polar = np.linspace(0, np.pi / 2, UPPER)[:, None]
    dome = [np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.cos(azimuth)]
    level = np.broadcast_to(np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], -1), (LOWER, COLUMNS, 3))
    height = np.concatenate([np.full(UPPER, CENTER[1]), np.linspace(CENTER[1], hem, LOWER + 1)[1:]])
    origins = np.broadcast_to(find_axis(height)[:, None], (UPPER + LOWER, COLUMNS, 3))
    return origins.astype(np.float32), np.concatenate([np.stack(dome, -1), level]).astype(np.float32)


def _ear_reach(head: Head, drape: Drape) -> np.ndarray:
    """Return how far out the ears and what lies about them extend; the distance field leaves them out."""
    points = head.body[head.mask("ears") > 0.4]
    out = points - find_axis(points[:, 1])
    column = np.round((np.arctan2(out[:, 0], out[:, 2]) % (2 * np.pi)) / (2 * np.pi) * COLUMNS).astype(int) % COLUMNS
    polar = np.arctan2(np.hypot(out[:, 0], out[:, 2]), out[:, 1]) / (np.pi / 2) * (UPPER - 1)
    fall = UPPER - 1 + (CENTER[1] - points[:, 1]) / (CENTER[1] - drape.hem * HEAD_HEIGHT) * LOWER
    row = np.clip(np.round(np.where(points[:, 1] > CENTER[1], polar, fall)).astype(int), 0, UPPER + LOWER - 1)
    reach = np.zeros((UPPER + LOWER, COLUMNS))
    np.maximum.at(reach, (row, column), np.linalg.norm(out, axis=1))
    for axis, width in ((0, 7), (1, 15)):
        reach = np.max([np.roll(reach, k, axis) for k in range(-width, width + 1)], axis=0)
    return blur(reach, 3.0, 6.0)


def mantle_meshes(head: Head, mantle: Mantle, wear: Wear, seed: int) -> list[Mesh]:
    """Return the cloth, cut open at the face, and a knot under the chin if it has one."""
    drape = mantle.hat.drape
    assert drape is not None
    origins, towards = _rays(mantle.hem)
    folds = _fold(drape, seed)
    bell = mantle.bell + folds * drape.folds * HEAD_HEIGHT
    points = origins + towards * bell[..., None]
    lift = np.full(points.shape[:2], 0.4 * drape.loose * HEAD_HEIGHT) + 0.03 * HEAD_HEIGHT
    is_low = points[..., 1] < NECK * HEAD_HEIGHT
    points[is_low] = head.field.push_out(points[is_low], lift[is_low])
    inside = measure_cover(points, mantle.hat)
    colour = paint(points, (points[..., 0], points[..., 1]), wear.hat_colour, wear.hat_trim, mantle.hat.texture, seed)
    colour = colour * (0.86 + 0.28 * smoothstep(-1.0, 1.0, folds))[..., None]
    if drape.border:
        is_border = smoothstep(drape.border + 0.4, drape.border - 0.4, inside)[..., None]
        colour = colour + (np.array(wear.hat_trim) - colour) * is_border
    values = np.concatenate([points, colour], -1).reshape(-1, 6)
    values, triangles, _ = cut_above(values, grid(*points.shape[:2], closed=True)[:, ::-1], inside.ravel())
    cloth = make_mesh(values[:, :3], triangles, values[:, 3:], Material.CLOTH, Part.ACCESSORY, opacity=drape.opacity)
    return [cloth, *(_tie_knot(head, wear, drape.knot, seed) if drape.knot else [])]


def _fold(drape: Drape, seed: int) -> F32:
    """Return the height of folds (UPPER + LOWER, COLUMNS), about -1..1: more where the cloth hangs."""
    origins, towards = _rays(drape.hem * HEAD_HEIGHT)
    height = origins[..., 1] + np.maximum(towards[..., 1], 0) * 0.25
    around = np.stack([towards[..., 0], 0.55 * height, towards[..., 2]], -1).reshape(-1, 3)
    bend = noise(around, 2.2, seed + 71, 2) - 0.5
    turned = around + np.column_stack([0.5 * bend, 0.3 * bend, -0.5 * bend])
    ridges = 1 - 2 * np.abs(noise(turned * np.array([1, 0.45, 1]), 4.6, seed + 72) - 0.5) * 2
    soft = 2 * noise(around, 3.0, seed + 73, 2) - 1
    hang = smoothstep(0.12, -0.2, height)
    return ((0.35 + 0.65 * hang) * (ridges.reshape(height.shape) * 0.9 + 0.7 * soft.reshape(height.shape))).astype(
        np.float32
    )


def _tie_knot(head: Head, wear: Wear, size: float, seed: int) -> list[Mesh]:
    """Make a knot under the chin with two ends."""
    start = np.array([0.0, -0.60 * HEAD_HEIGHT, 0.0])
    forward = np.array([0.0, 0.0, 1.0])
    center = start + forward * (head.field.radius(start, forward, reach=0.3) + 0.4 * size * HEAD_HEIGHT)
    vertices, triangles = ball(center, np.array([0.75, 0.6, 0.6]) * size * HEAD_HEIGHT, 10, 14)
    bumps = 1 + 0.5 * (noise(vertices, 60.0, seed) - 0.5)
    knot = make_mesh(center + (vertices - center) * bumps[:, None], triangles, wear.hat_colour, Material.CLOTH,
        Part.ACCESSORY)  # fmt: skip
    meshes = [knot]
    for side in (-1.0, 1.0):
        t, across = np.linspace(0, 1, 14)[:, None, None], np.linspace(-1, 1, 9)[:, None]
        path = center + (np.array([side * 0.10, -0.22, 0.03]) * t + np.array([0, 0, 0.02]) * np.sin(np.pi * t))
        width = unit(np.array([1.0, side * 0.4, 0.0])) * (0.25 + 0.9 * t) * size * HEAD_HEIGHT
        ripple = forward * 0.25 * size * HEAD_HEIGHT * t * np.cos(3 * across + side)
        points = head.field.push_out(path + width * across + ripple, 0.035 * HEAD_HEIGHT)
        shade = (0.85 + 0.15 * np.cos(3 * across + side)) * np.array(wear.hat_colour) + 0 * points
        meshes.append(
            make_mesh(
                points.reshape(-1, 3), grid(14, 9)[:, ::-1], shade.reshape(-1, 3), Material.CLOTH, Part.ACCESSORY
            )
        )
    return meshes
