"""Collars of paintings and costumes: ruffs, falling collars, robes, fur, ruffles, ties, rings of space suits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import grid, make_mesh, tube, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Clothes
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.synth.wear.collars import make_hem, make_jacket, neck_ring, resample_smooth
from portrait360.synth.wear.necklines import Neckline

FOLDS = 27  # of a ruff


def make_garment_collar(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make one of GARMENTS on clothes whose upper edge is the closed path `hem` (k, 3)."""
    return GARMENTS[line.collar](head, hem, line, style, seed)


def _sheet(
    points: np.ndarray, colour: np.ndarray, *, closed: bool = True, material: Material = Material.CLOTH
) -> Mesh:
    shade = np.broadcast_to(colour, points.shape).reshape(-1, 3)
    triangles = grid(*points.shape[:2], closed=closed)
    return make_mesh(points.reshape(-1, 3), triangles, shade, material, Part.CLOTHES)


def _ring(
    head: Head, heights: tuple[float, float, float, float], azimuth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the neck's skin at heights (head heights) given at azimuths 0, 60, 120 and 180 degrees."""
    degrees = np.degrees(np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi))
    ring, out = neck_ring(head, azimuth, np.interp(degrees, [0, 60, 120, 180], heights) * HEAD_HEIGHT)
    for _ in range(6):
        ring = 0.5 * ring + 0.25 * (np.roll(ring, 1, 0) + np.roll(ring, -1, 0))
    return ring, out


def make_ruff(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make a wheel of white folds round the neck."""
    azimuth = np.linspace(0, 2 * np.pi, 14 * FOLDS + 1)[:-1]
    ring, out = _ring(head, (-0.69, -0.63, -0.56, -0.53), azimuth)
    t = np.linspace(0, 1, 9)[:, None]
    width = (0.16 + 0.16 * np.random.default_rng([seed, 63]).random()) * HEAD_HEIGHT
    wave = np.sin(FOLDS * azimuth)
    depth = 0.052 * HEAD_HEIGHT * (0.35 + 0.65 * t)
    meshes = []
    for side in (1.0, -1.0):  # the upper and the lower half of each loop
        height = side * depth * np.sqrt(np.maximum(1 - (0.25 + 0.75 * wave**2), 0) + 0.02) + 0.6 * depth * wave
        reach = 0.02 * HEAD_HEIGHT + width * t
        points = ring + out * reach[..., None] * np.ones((1, len(azimuth), 1))
        points[..., 1] += height - 0.02 * HEAD_HEIGHT * t
        points = head.field.push_out(points, 0.05 * HEAD_HEIGHT * smoothstep(0.0, 0.4, t) + 0 * height)
        shade = (0.60 + 0.40 * smoothstep(-1.0, 0.5, wave * side)) * (0.72 + 0.28 * t)
        white = 0.6 * np.array([0.82, 0.80, 0.74]) + 0.4 * np.array(style.second)
        meshes.append(_sheet(points[:: int(-side)], (white * shade[..., None])[:: int(-side)]))
    return [*meshes, make_hem(hem, line, style)]


def make_falling_collar(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make a broad collar that lies on the shoulders, with a scalloped edge."""
    rng = np.random.default_rng([seed, 64])
    azimuth = np.linspace(np.radians(5), np.radians(355), 220)
    ring, out = neck_ring(head, azimuth, np.interp(np.degrees(azimuth), [0, 60, 180, 300, 360],
        [-0.70, -0.63, -0.57, -0.63, -0.70]) * HEAD_HEIGHT)  # fmt: skip
    t = np.linspace(0, 1, 16)[:, None, None]
    scallop = 1 + 0.06 * np.abs(np.sin(19 * azimuth))[:, None] * smoothstep(0.7, 1, t)
    width = rng.uniform(0.26, 0.46) * HEAD_HEIGHT
    points = ring + out * 0.02 * HEAD_HEIGHT + (out - np.array([0, 0.8, 0])) * (width * t * scallop)
    target = (0.035 + 0.03 * smoothstep(0, 0.3, t[..., 0])) * HEAD_HEIGHT
    for _ in range(3):
        excess = head.field.distance(points) - target
        points = points - (excess * smoothstep(0.1, 0.4, t[..., 0]))[..., None] * head.field.gradient(points)
    points = head.field.push_out(points, target + 0 * points[..., 0])
    lace = 0.88 + 0.12 * np.sin(60 * azimuth)[:, None] * np.sin(40 * t) * (t > 0.72)
    white = 0.6 * np.array([0.80, 0.78, 0.72]) + 0.4 * np.array(style.second)
    return [_sheet(points[::-1], (white * lace)[::-1], closed=False), make_hem(hem, line, style)]


def make_stand_collar(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make a narrow collar of the second colour that stands round the neck."""
    azimuth = np.linspace(0, 2 * np.pi, 121)[:-1]
    heights = ((-0.90, -0.78, -0.70, -0.68), (-0.70, -0.60, -0.53, -0.51))
    rings = [_ring(head, h, azimuth) for h in heights]
    t = np.linspace(0, 1, 7)[:, None, None]
    out = rings[0][1]
    points = rings[0][0] * (1 - t) + rings[1][0] * t + out * (0.022 + 0.018 * t) * HEAD_HEIGHT
    wave = noise(np.concatenate(points) * np.array([1, 0.4, 1]), 16.0, seed + 65).reshape(7, -1) - 0.5
    points = points + out * (0.02 * HEAD_HEIGHT * wave)[..., None]
    inner = points[-1:] - out * 0.016 * HEAD_HEIGHT
    points = np.concatenate([points, inner, inner - np.array([0, 0.03, 0])])
    return [_sheet(points, np.array(style.second) * 0.95), make_hem(hem, line, style)]


def _border(
    head: Head, hem: np.ndarray, width: float, lift: float, count: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Return a band (rows, count, 3) that lies on the cloth along its upper edge, and the share of its width."""
    path = resample_smooth(hem, count)
    x, z = path[:, 0], path[:, 2]
    if np.sum(x * np.roll(z, 1) - z * np.roll(x, 1)) > 0:  # so that the band faces outwards
        path = path[::-1]
    away = unit((path - np.array([0.0, 0.0, -0.05])) * np.array([1.0, 0.0, 0.6]))
    t = np.linspace(0, 1, 8)[:, None, None]
    points = path + (away + np.array([0, -0.55, 0])) * (width * HEAD_HEIGHT * t)
    height = (lift + 0.02 * np.sin(np.pi * t[..., 0])) * HEAD_HEIGHT
    for _ in range(2):
        excess = head.field.distance(points) - height
        points = points - (excess * smoothstep(0, 0.3, t[..., 0]))[..., None] * head.field.gradient(points)
    return points, t


def make_robe_border(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make the broad edge of a robe or a coat."""
    points, t = _border(head, hem, 0.12, 0.055)
    shade = 0.9 + 0.1 * np.cos(2 * np.pi * t)
    return [_sheet(points, np.array(style.second) * shade), make_hem(hem, line, style)]


def make_ruffle(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make a gathered edge of thin cloth."""
    points, t = _border(head, hem, 0.10, 0.05, 360)
    around = np.linspace(0, 2 * np.pi, 361)[:-1]
    wave = np.sin(58 * around + 3 * np.sin(5 * around + seed))
    points = points + head.field.gradient(points) * (0.014 * HEAD_HEIGHT * wave * t[..., 0])[..., None]
    shade = 0.82 + 0.18 * wave[:, None] * t
    return [_sheet(points, np.array(style.second) * shade), make_hem(hem, line, style)]


def make_fur_edge(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    path = resample_smooth(hem, 160) - np.array([0, 0.012, 0])
    path = head.field.push_out(path, 0.07 * HEAD_HEIGHT)
    vertices, triangles = tube(path, 0.075 * HEAD_HEIGHT, 16, closed=True)
    rough = noise(vertices, 60.0, seed + 66, 2) - 0.5
    centre = np.repeat(np.concatenate([path, path[:1]]), 16, axis=0)
    vertices = centre + (vertices - centre) * (1 + 0.5 * rough)[:, None]
    colour = np.array(style.second) * (0.7 + 0.9 * (rough + 0.5))[:, None]
    return [make_mesh(vertices, triangles, colour, Material.FUR, Part.CLOTHES)]


def make_suit_ring(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make the neck ring of a space suit: a metal rim on a coloured one, wide enough for a helmet."""
    azimuth = np.linspace(0, 2 * np.pi, 161)[:-1]
    ring, out = _ring(head, (-0.72, -0.70, -0.68, -0.67), azimuth)
    center = ring.mean(0)
    reach = float(np.linalg.norm((ring - center)[:, [0, 2]], axis=1).max()) + 0.10 * HEAD_HEIGHT
    circle = center + out * reach + np.array([0.0, 0.0, 0.012])
    circle[:, 1] += 0.16 * (0.06 - circle[:, 2]) - 0.012
    meshes = []
    profile = (
        (-0.13, 0.05),
        (-0.03, 0.03),
        (0.0, 0.035),
        (0.035, 0.03),
        (0.045, 0.0),
        (0.03, -0.025),
        (-0.08, -0.03),
    )
    rings = [circle + np.array([0, y, 0]) * HEAD_HEIGHT + out * (r * HEAD_HEIGHT) for y, r in profile]
    meshes.append(_sheet(np.stack(rings), np.array([0.55, 0.55, 0.56]), material=Material.METAL))
    for height, radius, colour in ((-0.10, 0.030, style.second), (-0.035, 0.016, (0.6, 0.6, 0.62))):
        path = circle + np.array([0, height, 0]) * HEAD_HEIGHT + out * 0.045 * HEAD_HEIGHT
        vertices, triangles = tube(path, radius * HEAD_HEIGHT, 10, closed=True)
        meshes.append(make_mesh(vertices, triangles, colour, Material.PLASTIC, Part.CLOTHES))
    return [*meshes, make_hem(hem, line, style)]


def make_suit_and_tie(head: Head, hem: np.ndarray, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make a jacket over a white shirt, with a tie."""
    rng = np.random.default_rng([seed, 67])
    hue = np.array(
        [(0.3, 0.02, 0.03), (0.02, 0.03, 0.12), (0.02, 0.02, 0.02), (0.1, 0.1, 0.12)][int(rng.integers(4))]
    )
    y = np.linspace(-0.68, -1.36, 44)[:, None]
    half = np.interp(y, [-1.36, -0.80, -0.77, -0.68], [0.085, 0.034, 0.030, 0.05])
    x = np.linspace(-1, 1, 7)[None] * half
    start = np.stack([x, y + 0 * x, -0.15 + 0 * x], -1) * HEAD_HEIGHT
    forward = np.broadcast_to(np.array([0.0, 0.0, 1.0]), start.shape)
    lift = (0.055 + 0.02 * (1 - (x / half) ** 2)) * HEAD_HEIGHT
    points = start + forward * (head.field.radius(start, forward, reach=0.4) + lift)[..., None]
    stripes = 1 + (0.8 * (np.sin(120 * (x + y)) > 0.6) if rng.random() < 0.4 else 0)
    colour = hue * (stripes + 0 * x)[..., None]
    shirt = Clothes(colour=style.colour, second=(0.75, 0.75, 0.74) if rng.random() < 0.7 else style.second)
    tie = _sheet(points[::-1], colour, closed=False)
    return [*make_jacket(head, hem, line, shirt), tie, make_hem(hem, line, style)]


GARMENTS: dict[str, Callable[[Head, np.ndarray, Neckline, Clothes, int], list[Mesh]]] = {
    "ruff": make_ruff,
    "falling": make_falling_collar,
    "stand": make_stand_collar,
    "robe": make_robe_border,
    "ruffle": make_ruffle,
    "fur": make_fur_edge,
    "ring": make_suit_ring,
    "tie": make_suit_and_tie,
}
