"""Hems and collars of shirts, jackets, turtlenecks and hoods; scarves and necklaces."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import grid, make_mesh, tube, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Clothes, HeadParameters
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.synth.wear.jewels import NECKLACES, make_large_necklace, necklace_heights
from portrait360.synth.wear.necklines import NECKLINES, Neckline, below_line, cut_above

SEWN = 0.008  # head heights from the skin at which cloth lies under what is sewn to it


def make_hem(edge: np.ndarray, line: Neckline, style: Clothes) -> Mesh:
    """Make a rounded hem along the neckline."""
    path = resample_smooth(edge, 120)
    radius = (0.020 if line.collar == "gorget" else 0.0125) * HEAD_HEIGHT
    vertices, triangles = tube(path, radius, 8, closed=True)
    colour = np.array(style.colour) * 0.82 if line.vee == 0 else np.array(style.colour) * 0.9
    return make_mesh(vertices, triangles, colour, line.material, Part.CLOTHES)


def resample_smooth(path: np.ndarray, count: int) -> np.ndarray:
    """Resample a closed path to equal steps and smooth it."""
    closed = np.concatenate([path, path[:1]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    position = np.linspace(0, along[-1], count, endpoint=False)
    out = np.stack([np.interp(position, along, closed[:, a]) for a in range(3)], 1)
    for _ in range(4):
        out = 0.5 * out + 0.25 * (np.roll(out, 1, 0) + np.roll(out, -1, 0))
    return out


def neck_ring(head: Head, azimuth: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points on the neck's skin at azimuths (radians) and heights (canonical), and the outward directions."""
    axis = np.stack([0 * height, height, np.full_like(height, -0.055) - 0.12 * np.maximum(-0.26 - height, 0)], -1)
    out = np.stack([np.sin(azimuth), 0 * azimuth, np.cos(azimuth)], -1)
    reach = head.field.radius(axis, out, reach=0.22)
    return axis + reach[..., None] * out, out


def _sheet(points: np.ndarray, colour: np.ndarray, material: Material, closed: bool = True) -> Mesh:
    rows, columns = points.shape[:2]
    return make_mesh(
        points.reshape(-1, 3),
        grid(rows, columns, closed=closed),
        np.broadcast_to(colour, points.shape).reshape(-1, 3),
        material,
        Part.CLOTHES,
    )


def _collar_base(head: Head, line: Neckline, azimuth: np.ndarray, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ring just above the neckline on which a collar stands, and its outward directions."""
    degrees = np.degrees(np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi))
    height = np.interp(degrees, [0, 60, 120, 180], [line.front + 0.05, line.side + 0.02, line.back, line.back]) + lift
    return neck_ring(head, azimuth, height * HEAD_HEIGHT)


def make_shirt_collar(head: Head, line: Neckline, style: Clothes) -> list[Mesh]:
    """Make a stand, and a leaf folded over it that ends in two points."""
    azimuth = np.linspace(np.radians(14), np.radians(346), 72)
    side = np.abs(np.linspace(-1, 1, 72))  # 1 at the front ends
    base, out = _collar_base(head, line, azimuth, -0.03)
    top, _ = _collar_base(head, line, azimuth, 0.075)
    top = base * 0.35 + top * 0.65
    ease = 0.016 * HEAD_HEIGHT + 0.012 * HEAD_HEIGHT * side[:, None] ** 2
    stand = np.stack([base + out * ease * 0.8, 0.5 * (base + top) + out * ease, top + out * ease])
    drop = np.array([0, -1.0, 0]) * (0.105 + 0.075 * side[:, None] ** 4) * HEAD_HEIGHT
    flare = out * (0.055 + 0.045 * side[:, None] ** 3) * HEAD_HEIGHT
    forward = np.array([0, 0, 1.0]) * 0.05 * HEAD_HEIGHT * side[:, None] ** 4
    t = np.linspace(0, 1, 6)[:, None, None]
    ridge = stand[-1] + out * 0.004 + np.array([0, 0.004, 0])
    leaf = ridge + (drop + flare + forward) * t + out * 0.006 * np.sin(np.pi * t)
    leaf = head.field.push_out(leaf, 0.022 * HEAD_HEIGHT + 0.012 * HEAD_HEIGHT * t[..., 0])
    leaf = head.field.pull_in(leaf, (0.045 + 0.015 * t[..., 0]) * HEAD_HEIGHT)  # its points lie on the chest
    colour = np.array(style.colour)
    fold = np.concatenate([stand[-1:], leaf])[::-1]  # reversed: the fold faces outwards, the stand faces the neck
    parts = (stand, fold, sew_edge(head, leaf[-1]))
    return [_sheet(part, colour, Material.CLOTH, closed=False) for part in parts]


def sew_edge(head: Head, edge: np.ndarray) -> np.ndarray:
    """Return the sheet (2, k, 3) that joins the edge of cloth (k, 3) to what lies beneath: nothing shows between."""
    return np.stack([edge, head.field.pull_in(edge, SEWN * HEAD_HEIGHT)])


def make_jacket(head: Head, edge: np.ndarray, line: Neckline, style: Clothes) -> list[Mesh]:
    """Make a shirt collar under lapels that run down both sides of the opening."""
    shirt = Clothes(colour=style.second, second=style.second)
    inner = NECKLINES["shirt"]
    meshes = make_shirt_collar(head, inner, shirt)
    values = np.column_stack([head.body, head.normals, head.rest])
    keep = np.minimum(below_line(head.rest, inner), 0.03 - below_line(head.rest, line))
    vertices, triangles, _ = cut_above(values, head.triangles, keep)
    front = vertices[:, :3] + unit(vertices[:, 3:6]) * 0.010 * HEAD_HEIGHT
    meshes.append(make_mesh(front, triangles, style.second, Material.CLOTH, Part.CLOTHES))
    path = resample_smooth(edge, 160)
    behind = smoothstep(0.02, -0.10, path[:, 2] + 0.06)
    low = smoothstep(path[:, 1].max() - 0.03, path[:, 1].min() + 0.03, path[:, 1])
    center = np.array([0.0, 0.0, -0.05])
    away = unit((path - center) * np.array([1.0, 0.0, 0.35]))
    width = (
        0.11 * behind + (1 - behind) * (0.145 * np.sin(np.pi * np.clip(low * 0.92 + 0.05, 0, 1)) + 0.02)
    ) * HEAD_HEIGHT
    fall = np.array([0, -0.75, 0]) * (0.35 + 0.65 * behind)[:, None]
    t = np.linspace(0, 1, 6)[:, None, None]
    leaf = path + (away + fall) * (width[:, None] * t) + np.array([0, 0.006, 0]) * (1 - t)
    leaf = head.field.push_out(leaf, 0.055 * HEAD_HEIGHT + 0.012 * HEAD_HEIGHT * np.sin(np.pi * t[..., 0]))
    parts = (leaf, sew_edge(head, leaf[0])[::-1], sew_edge(head, leaf[-1]))
    return meshes + [_sheet(part, np.array(style.colour) * 0.85, Material.CLOTH) for part in parts]


def make_wrapped_collar(head: Head, line: Neckline, style: Clothes, seed: int) -> list[Mesh]:
    """Make a turtleneck, a hood lying on the back, or a scarf, as soft tubes about the neck."""
    azimuth = np.linspace(0, 2 * np.pi, 73)[:-1]
    back = 0.5 - 0.5 * np.cos(azimuth)
    t = np.linspace(0, 1, 16)[:, None]
    # profile (height, distance from the skin) from the hem up and, at the end, over and back down inside
    if line.collar == "tube":
        height, offset, colour = (
            (-0.06, 0.20),
            0.016 + 0.016 * np.sin(np.pi * t) ** 0.6 + 0 * azimuth,
            style.colour,
        )
    elif line.collar == "hood":
        height = (-0.07, 0.10)
        offset = (0.03 + (0.05 + 0.16 * back**2) * np.sin(np.pi * t) ** 0.7) * (1 - 0.55 * smoothstep(0.75, 1.0, t))
        colour = style.colour
    else:
        height = (-0.10, 0.16)
        offset = 0.03 + 0.075 * np.abs(np.sin(1.5 * np.pi * t + 0.5 * np.sin(azimuth))) ** 0.7 + 0.03 * back
        colour = style.second
    lift = height[0] + (height[1] - height[0]) * t
    degrees = np.degrees(np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi))
    base = np.interp(degrees, [0, 60, 120, 180], [line.front + 0.06, line.side + 0.03, line.back, line.back])
    ring, out = neck_ring(head, np.broadcast_to(azimuth, lift.shape[:1] + azimuth.shape), (base + lift) * HEAD_HEIGHT)
    points = ring + out * (offset * HEAD_HEIGHT)[..., None]
    wave = noise((points * np.array([1, 2.2, 1])).reshape(-1, 3), 14.0, seed + 60, 2).reshape(points.shape[:2]) - 0.5
    strength = {"tube": 0.006, "hood": 0.02, "scarf": 0.03}[line.collar]
    points = points + out * (strength * HEAD_HEIGHT * wave)[..., None]
    for _ in range(2):
        points = 0.5 * points + 0.25 * (np.roll(points, 1, 1) + np.roll(points, -1, 1))
    inner = points[-1] - out[-1] * 0.012 * HEAD_HEIGHT - np.array([0, 0.03 * HEAD_HEIGHT, 0])
    points = np.concatenate([points, points[-1:] + np.array([0, 0.004, 0]), inner[None]])
    ribs = 1.0 if line.collar != "tube" else 0.88 + 0.12 * np.sin(azimuth * 44)[None, :, None]
    colour = np.broadcast_to(np.array(colour) * ribs, points.shape)
    return [_sheet(points, colour, Material.CLOTH)]


def make_necklace(head: Head, parameters: HeadParameters) -> list[Mesh]:
    is_large = parameters.wear.necklace in NECKLACES
    azimuth = np.linspace(0, 2 * np.pi, 81)[:-1]
    degrees = np.degrees(np.abs((azimuth + np.pi) % (2 * np.pi) - np.pi))
    heights = np.array([-0.74, -0.66, -0.60, -0.59])
    if is_large:
        height = np.interp(degrees, [0, 60, 120, 180], necklace_heights(parameters.wear.necklace))
    else:
        height = np.interp(degrees, [0, 60, 120, 180], heights) * HEAD_HEIGHT
    ring, out = neck_ring(head, azimuth, height)
    path = resample_smooth(ring, 80)
    if is_large:
        return make_large_necklace(head, path, parameters)
    path = head.field.push_out(path, 0.004)
    beads = 0.0035 + 0.0012 * (np.arange(80) % 2)
    vertices, triangles = tube(path, beads, 7, closed=True)
    return [make_mesh(vertices, triangles, parameters.wear.metal, Material.METAL, Part.ACCESSORY)]
