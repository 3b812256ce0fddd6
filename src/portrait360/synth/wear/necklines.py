"""Necklines, and cutting a mesh along a line."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from portrait360.synth.noise import smoothstep
from portrait360.synth.scene import Material
from portrait360.utils.array_types import F32, I32


@dataclass(frozen=True)
class Neckline:
    """The upper edge of the cloth: its height at the front, sides and back (head heights), and the depth of a V."""

    front: float
    side: float
    back: float
    vee: float = 0.0
    thick: float = 0.012
    collar: str = "band"
    material: Material = Material.CLOTH
    heights: tuple[float, ...] = ()  # of a fitted edge, at equal steps of azimuth all around, in place of the above


NECKLINES: dict[str, Neckline] = {
    "crew": Neckline(-0.76, -0.665, -0.61),
    "v_neck": Neckline(-0.76, -0.665, -0.61, vee=0.26),
    "scoop": Neckline(-0.98, -0.74, -0.70),
    "turtleneck": Neckline(-0.76, -0.68, -0.62, collar="tube", thick=0.016),
    "shirt": Neckline(-0.74, -0.66, -0.60, vee=0.14, collar="shirt"),
    "polo": Neckline(-0.74, -0.66, -0.60, vee=0.10, collar="shirt", thick=0.014),
    "hoodie": Neckline(-0.80, -0.70, -0.64, collar="hood", thick=0.022),
    "jacket": Neckline(-0.74, -0.66, -0.60, vee=0.36, collar="lapel", thick=0.022),
    "scarf": Neckline(-0.78, -0.68, -0.62, collar="scarf", thick=0.016),
    "armour": Neckline(-0.82, -0.74, -0.66, collar="gorget", thick=0.026, material=Material.METAL),
    "bare": Neckline(-0.93, -1.02, -0.88),
    "wide_scoop": Neckline(-0.96, -0.84, -0.74),
    "off_shoulder": Neckline(-0.88, -0.95, -0.84, thick=0.016, collar="ruffle"),
    "ruffled": Neckline(-0.80, -0.70, -0.64, vee=0.08, collar="ruffle"),
    "robe": Neckline(-0.74, -0.66, -0.60, vee=0.40, thick=0.020, collar="robe"),
    "open_shirt": Neckline(-0.74, -0.66, -0.60, vee=0.34, collar="shirt"),
    "ruff": Neckline(-0.74, -0.66, -0.60, collar="ruff"),
    "falling": Neckline(-0.74, -0.66, -0.60, collar="falling"),
    "stand": Neckline(-0.78, -0.68, -0.62, collar="stand", thick=0.016),
    "fur": Neckline(-0.84, -0.72, -0.66, vee=0.16, thick=0.022, collar="fur"),
    "space_suit": Neckline(-0.82, -0.76, -0.70, thick=0.05, collar="ring"),
    "suit": Neckline(-0.74, -0.66, -0.60, vee=0.36, collar="tie", thick=0.022),
}


def drop_line(line: Neckline, drop: float) -> Neckline:
    """Lower a neckline in front by `drop` head heights, and less at the sides and the back."""
    return replace(line, front=line.front - drop, side=line.side - 0.4 * drop, back=line.back - 0.2 * drop)


def neck_azimuth(rest: F32) -> F32:
    """Return the direction (radians) in which points (.., 3) lie from the axis of the neck; 0 is the front."""
    return np.arctan2(rest[..., 0], rest[..., 2] + 0.10)


def line_height(rest: F32, line: Neckline) -> F32:
    """Return the height of the neckline (head heights) at the azimuth of each vertex."""
    x, _, z = rest.T
    if line.heights:
        place = neck_azimuth(rest) * len(line.heights) / (2 * np.pi)
        heights = np.interp(place, np.arange(len(line.heights)), line.heights, period=len(line.heights))
        return heights.astype(np.float32)
    azimuth = np.degrees(np.abs(neck_azimuth(rest)))
    t = smoothstep(0, 80, azimuth)
    height = line.front + (line.side - line.front) * t + (line.back - line.side) * smoothstep(75, 140, azimuth)
    return height - line.vee * np.maximum(0, 1 - np.abs(x) / (0.10 + 0.45 * line.vee)) * (z > 0)


def below_line(rest: F32, line: Neckline) -> F32:
    """Return how far below the neckline a vertex lies (head heights); 0 is the hem."""
    return (line_height(rest, line) - rest[..., 1]).astype(np.float32)


def cut_above(values: np.ndarray, triangles: I32, level: np.ndarray) -> tuple[np.ndarray, I32, np.ndarray]:
    """Keep the part with level > 0, cut at level = 0; return values, triangles and the edges of the cut."""
    inside = level > 0
    count = inside[triangles].sum(1)
    inner = triangles[count == 3]
    crossing = triangles[(count == 1) | (count == 2)]
    # rotate each crossing triangle so that the corner on its own side comes first
    first_corner = np.where(inside[crossing].sum(1) == 1, inside[crossing].argmax(1), (~inside[crossing]).argmax(1))
    crossing = np.take_along_axis(crossing, (first_corner[:, None] + np.arange(3)) % 3, 1)
    ends = np.sort(np.concatenate([crossing[:, [0, 1]], crossing[:, [0, 2]]]), axis=1)
    edges, edge_index = np.unique(ends, axis=0, return_inverse=True)
    a, b = level[edges[:, 0]], level[edges[:, 1]]
    t = (a / (a - b))[:, None]
    cut = values[edges[:, 0]] * (1 - t) + values[edges[:, 1]] * t
    n = len(values)
    first, second = n + edge_index[: len(crossing)], n + edge_index[len(crossing) :]
    one_inside = inside[crossing[:, 0]]
    tips = np.stack([crossing[:, 0], first, second], 1)[one_inside]
    p, q, r, s = first[~one_inside], crossing[~one_inside, 1], crossing[~one_inside, 2], second[~one_inside]
    out = np.concatenate([inner, tips, np.stack([p, q, r], 1), np.stack([p, r, s], 1)])
    rows = np.unique(out)
    remap = np.zeros(n + len(cut), np.int64)
    remap[rows] = np.arange(len(rows))
    return (
        np.concatenate([values, cut])[rows],
        remap[out].astype(np.int32),
        remap[np.stack([first, second], 1)],
    )
