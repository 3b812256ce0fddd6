"""Body parts and paint of fantasy characters: horns, tusks, marks on the face."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import make_mesh, tube, unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import Fantasy
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.utils.array_types import F32

HORNS = {  # one horn, in head heights: length, root radius, bend outward, up and back, curl (turns), ridges
    "short": (0.22, 0.055, 0.5, 0.5, -0.2, 0.10, 0.04),
    "long": (0.50, 0.060, 0.4, 0.8, -0.5, 0.14, 0.05),
    "ram": (0.95, 0.085, 0.6, -0.1, -0.9, 0.85, 0.10),
    "devil": (0.34, 0.050, 0.5, 0.9, 0.2, -0.16, 0.03),
}


def make_horns_and_tusks(head: Head, style: Fantasy) -> list[Mesh]:
    meshes = []
    for side in (1, -1):
        if style.horns != "none":
            heading = unit(np.array([side * 0.42, 0.80, 0.42])).astype(np.float32)
            middle = np.array([0, 0.03, 0], np.float32)
            root = middle + heading * head.field.radius(middle, heading)
            meshes.append(_make_horn(root, head.field.gradient(root), side, style, HEAD_HEIGHT))
        if style.tusks > 0:
            meshes.append(_make_tusk(head.landmarks, side, style, HEAD_HEIGHT))
    return meshes


def face_paint(rest: F32, seed: int) -> np.ndarray:
    """Return the coverage of the skin by painted marks (m,): stripes under the eyes, a line on the brow, dots."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    front = smoothstep(0.05, 0.12, z)
    stripes = (
        smoothstep(0.018, 0.012, np.abs(y + 0.085 + 0.25 * (x - 0.1)))
        * smoothstep(0.06, 0.08, x)
        * smoothstep(0.24, 0.20, x)
    )
    second = (
        smoothstep(0.013, 0.008, np.abs(y + 0.130 + 0.25 * (x - 0.1)))
        * smoothstep(0.08, 0.10, x)
        * smoothstep(0.22, 0.18, x)
    )
    line = smoothstep(0.012, 0.008, x) * smoothstep(0.07, 0.09, y) * smoothstep(0.27, 0.24, y)
    dots = smoothstep(0.012, 0.008, np.hypot(x - 0.045, y - 0.16)) + smoothstep(
        0.010, 0.006, np.hypot(x - 0.08, y - 0.175)
    )
    marks = (stripes + second, line + dots, stripes + line)[seed % 3]
    return np.clip(marks, 0, 1) * front


def _make_horn(root: F32, normal: F32, side: int, style: Fantasy, size: float) -> Mesh:
    length, thickness, out, up, back, turns, ridges = HORNS[style.horns]
    t = np.linspace(0, 1, 44)
    goal = unit(np.array([side * out, up, back]))
    across = unit(np.cross(normal, goal))
    angle = 2 * np.pi * turns * t
    start = unit(normal + 0.2 * np.array([side, 1.0, 0.0]))
    over = unit(np.cross(across, start))
    heading = np.cos(angle)[:, None] * start + np.sin(angle)[:, None] * over
    heading = heading + side * 0.25 * t[:, None] * np.array([1.0, 0, 0])  # the spiral stays clear of the cheek
    path = root - 0.02 * normal + np.cumsum(unit(heading), 0) * length * size / len(t)
    radius = thickness * size * (1 - t) ** 0.7 * (1 + ridges * np.sin(t * 90)) + 0.001
    vertices, triangles = tube(path, radius, 12)
    shade = np.repeat(np.concatenate([[0.0], t, [1.0]]), 12)[:, None]
    rings = 1 - 2.2 * ridges * (0.5 + 0.5 * np.sin(shade * 90))
    colour = np.array(style.horn_colour) * (0.45 + 0.75 * shade) * rings
    return make_mesh(vertices, triangles, colour, Material.PLASTIC, Part.ACCESSORY)


def _make_tusk(landmarks: dict[str, F32], side: int, style: Fantasy, size: float) -> Mesh:
    corner = landmarks["left_mouth" if side > 0 else "right_mouth"]
    lip = landmarks["lip_bottom"]
    root = 0.68 * corner + 0.32 * lip + np.array([0, -0.012, -0.006]) * size / 0.46
    t = np.linspace(0, 1, 14)[:, None]
    path = root + size * style.tusks * (
        t * np.array([side * 0.012, 0.0, 0.055]) * (1 - t) ** 1 + t * np.array([side * 0.02, 0.13, 0.02])
    )
    vertices, triangles = tube(path, 0.020 * size * (1 - 0.93 * t[:, 0]) * (0.6 + 0.4 * style.tusks), 9)
    return make_mesh(vertices, triangles, (0.72, 0.65, 0.48), Material.PLASTIC, Part.ACCESSORY)
