"""Where clothes begin, and cutting a mesh along such a line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.synth.noise import smoothstep
from portrait360.synth.scene import F32, I32, Material


@dataclass(frozen=True)
class Neckline:
    """Where cloth begins: height at the front, sides and back (head heights), and the depth of a V."""

    front: float
    side: float
    back: float
    vee: float = 0.0
    thick: float = 0.012
    collar: str = "band"
    material: Material = Material.CLOTH


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
}


def below_line(rest: F32, line: Neckline) -> F32:
    """How far below the neckline a vertex lies (head heights); 0 is the hem."""
    x, y, z = rest.T
    around = np.degrees(np.arctan2(np.abs(x), z + 0.10))
    t = smoothstep(0, 80, around)
    height = line.front + (line.side - line.front) * t + (line.back - line.side) * smoothstep(75, 140, around)
    height = height - line.vee * np.maximum(0, 1 - np.abs(x) / (0.10 + 0.45 * line.vee)) * (z > 0)
    return (height - y).astype(np.float32)


def cut_above(values: np.ndarray, triangles: I32, level: np.ndarray) -> tuple[np.ndarray, I32, np.ndarray]:
    """Keep what has level > 0, cutting triangles along level = 0: values, triangles, the cut's edges."""
    inside = level > 0
    count = inside[triangles].sum(1)
    whole = triangles[count == 3]
    mixed = triangles[(count == 1) | (count == 2)]
    # turn each mixed triangle so that the odd corner out comes first
    odd = np.where(inside[mixed].sum(1) == 1, inside[mixed].argmax(1), (~inside[mixed]).argmax(1))
    mixed = np.take_along_axis(mixed, (odd[:, None] + np.arange(3)) % 3, 1)
    ends = np.sort(np.concatenate([mixed[:, [0, 1]], mixed[:, [0, 2]]]), axis=1)
    edges, of = np.unique(ends, axis=0, return_inverse=True)
    a, b = level[edges[:, 0]], level[edges[:, 1]]
    t = (a / (a - b))[:, None]
    cut = values[edges[:, 0]] * (1 - t) + values[edges[:, 1]] * t
    n = len(values)
    first, second = n + of[: len(mixed)], n + of[len(mixed) :]
    lone = inside[mixed[:, 0]]
    tips = np.stack([mixed[:, 0], first, second], 1)[lone]
    p, q, r, s = first[~lone], mixed[~lone, 1], mixed[~lone, 2], second[~lone]
    out = np.concatenate([whole, tips, np.stack([p, q, r], 1), np.stack([p, r, s], 1)])
    used = np.unique(out)
    remap = np.zeros(n + len(cut), np.int64)
    remap[used] = np.arange(len(used))
    return (
        np.concatenate([values, cut])[used],
        remap[out].astype(np.int32),
        remap[np.stack([first, second], 1)],
    )
