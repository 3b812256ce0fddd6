"""Folk of fantasy: long pointed ears, heavy brutes with tusks, horns, painted marks."""

from __future__ import annotations

import numpy as np

from portrait360.synth.meshes import make_mesh, tube, unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.pack import HeadPack
from portrait360.synth.parameters import Fantasy
from portrait360.synth.scene import F32, Material, Mesh, Part

HORNS = {  # length, root radius, bend outward, up, back, curl (turns), ridges; of one horn, in head heights
    "short": (0.22, 0.055, 0.5, 0.5, -0.2, 0.10, 0.04),
    "long": (0.50, 0.060, 0.4, 0.8, -0.5, 0.14, 0.05),
    "ram": (0.95, 0.085, 0.6, -0.1, -0.9, 0.85, 0.10),
    "devil": (0.34, 0.050, 0.5, 0.9, 0.2, -0.16, 0.03),
}


def restyle(vertices: F32, neutral: F32, rest: F32, pack: HeadPack, style: Fantasy) -> F32:
    v = vertices.astype(np.float64)
    x, y, z = rest.T
    brow = np.exp(-((y - 0.075) ** 2) / 0.0018 - (np.abs(x) / 0.24) ** 4) * (z > 0.1)
    jaw = smoothstep(-0.15, -0.42, y) * smoothstep(-0.75, -0.5, y + 0.5 * np.maximum(z, 0))
    v[:, 2] += style.brute * (0.035 * brow + 0.055 * jaw * smoothstep(0.05, 0.3, z))
    v[:, 0] *= 1 + style.brute * 0.20 * jaw
    neck = smoothstep(-0.35, -0.7, y) * smoothstep(-1.3, -0.9, y)
    v[:, 0] *= 1 + style.brute * 0.25 * neck
    v[:, 1] += style.brute * 0.06 * smoothstep(-0.6, -0.9, y)
    for side in (1, -1):
        v = _pull_ear(v, rest, side, style)
    return v.astype(np.float32)


def _pull_ear(v: np.ndarray, rest: F32, side: int, style: Fantasy) -> np.ndarray:
    """Draw the upper rim of the ear out to a point."""
    x, y, z = rest.T
    out = smoothstep(0.315, 0.36, x * side) * (np.abs(y + 0.1) < 0.3) * (np.abs(z) < 0.25)
    tip = out * smoothstep(-0.13, 0.03, y) ** 1.5
    angle = np.radians(35 + style.ear_angle)
    reach = np.array([side * 0.75 * np.cos(angle), np.sin(angle), -0.45]) * 0.30 * style.ears
    center = np.array([side * 0.36, -0.02, -0.04])
    v = v + tip[:, None] * reach
    spread = np.array([1, 0.35, 0.35])  # towards the point the ear narrows
    return np.where(out[:, None] > 0, v - (tip[:, None] * (v - center - reach)) * (1 - spread) * 0.75, v)


def extras(landmarks: dict[str, F32], scalp_point, style: Fantasy, size: float) -> list[Mesh]:  # noqa: ANN001
    """Horns and tusks. `scalp_point(side)` gives the root and the outward normal of a horn."""
    meshes = []
    for side in (1, -1):
        if style.horns != "none":
            root, normal = scalp_point(side)
            meshes.append(_horn(root, normal, side, style, size))
        if style.tusks > 0:
            meshes.append(_tusk(landmarks, side, style, size))
    return meshes


def _horn(root: F32, normal: F32, side: int, style: Fantasy, size: float) -> Mesh:
    length, thick, out, up, back, turns, ridges = HORNS[style.horns]
    t = np.linspace(0, 1, 44)
    goal = unit(np.array([side * out, up, back]))
    across = unit(np.cross(normal, goal))
    angle = 2 * np.pi * turns * t
    start = unit(normal + 0.2 * np.array([side, 1.0, 0.0]))
    over = unit(np.cross(across, start))
    heading = np.cos(angle)[:, None] * start + np.sin(angle)[:, None] * over
    heading = heading + side * 0.25 * t[:, None] * np.array([1.0, 0, 0])  # spirals clear of the cheek
    path = root - 0.02 * normal + np.cumsum(unit(heading), 0) * length * size / len(t)
    radius = thick * size * (1 - t) ** 0.7 * (1 + ridges * np.sin(t * 90)) + 0.001
    vertices, triangles = tube(path, radius, 12)
    shade = np.repeat(np.concatenate([[0.0], t, [1.0]]), 12)[:, None]
    rings = 1 - 2.2 * ridges * (0.5 + 0.5 * np.sin(shade * 90))
    colour = np.array(style.horn_colour) * (0.45 + 0.75 * shade) * rings
    return make_mesh(vertices, triangles, colour, Material.PLASTIC, Part.ACCESSORY)


def _tusk(landmarks: dict[str, F32], side: int, style: Fantasy, size: float) -> Mesh:
    corner = landmarks["left_mouth" if side > 0 else "right_mouth"]
    lip = landmarks["lip_bottom"]
    root = 0.68 * corner + 0.32 * lip + np.array([0, -0.012, -0.006]) * size / 0.46
    t = np.linspace(0, 1, 14)[:, None]
    path = root + size * style.tusks * (
        t * np.array([side * 0.012, 0.0, 0.055]) * (1 - t) ** 1 + t * np.array([side * 0.02, 0.13, 0.02])
    )
    vertices, triangles = tube(path, 0.020 * size * (1 - 0.93 * t[:, 0]) * (0.6 + 0.4 * style.tusks), 9)
    return make_mesh(vertices, triangles, (0.72, 0.65, 0.48), Material.PLASTIC, Part.ACCESSORY)
