"""Jewellery large enough to be seen in a portrait: earrings, and necklaces of pearls, beads and pendants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import make_mesh, tube, unit
from portrait360.synth.sampling.parameters import Colour, HeadParameters, Wear
from portrait360.synth.scene import Material, Mesh, Part
from portrait360.synth.wear.balls import ball

LARGE_EARRINGS = ("pearl", "pearl_drop", "large_hoop", "long_drop", "disc", "chandelier")


@dataclass(frozen=True)
class Necklace:
    """Heights in head heights, radii of its beads in canonical units."""

    front: float
    side: float
    back: float
    bead: float
    count: int  # beads; 0: a chain
    gems: bool = False
    pendant: float = 0.0


NECKLACES: dict[str, Necklace] = {
    "pearls": Necklace(-0.74, -0.66, -0.60, 0.0085, 46, gems=True),
    "long_pearls": Necklace(-1.00, -0.74, -0.62, 0.0075, 74, gems=True),
    "choker": Necklace(-0.62, -0.58, -0.56, 0.0070, 50, gems=True),
    "ribbon": Necklace(-0.62, -0.58, -0.56, 0.0075, 0, pendant=0.012),
    "beads": Necklace(-0.86, -0.70, -0.60, 0.0120, 38, gems=True),
    "pendant": Necklace(-0.90, -0.70, -0.60, 0.0024, 0, pendant=0.018),
    "thick_chain": Necklace(-0.84, -0.68, -0.60, 0.0065, 90),
}
RIBBON: Colour = (0.01, 0.01, 0.012)


def make_large_earring(lobe: np.ndarray, side: int, wear: Wear) -> Mesh:
    """Make an earring that hangs from a lobe."""
    root = lobe + np.array([side * 0.003, 0.002, 0.003])
    if wear.earrings == "pearl":
        vertices, triangles = ball(root + np.array([side * 0.004, -0.004, 0.002]), np.full(3, 0.011), 12, 16)
        return _shiny(vertices, triangles, wear.gem, pearl=True)
    if wear.earrings == "pearl_drop":
        vertices, triangles = ball(root + [side * 0.004, -0.030, 0.0], [0.0145, 0.019, 0.0145], 14, 18)
        return _shiny(vertices, triangles, wear.gem, pearl=True)
    if wear.earrings == "large_hoop":
        angle = np.linspace(0, 2 * np.pi, 41)[:-1, None]
        ring = np.cos(angle) * np.array([side * 0.15, 0.0, 1.0]) + np.sin(angle) * np.array([0, 1.0, 0])
        vertices, triangles = tube(root + np.array([side * 0.006, -0.042, 0]) + 0.043 * ring, 0.0034, 7, closed=True)
        return _shiny(vertices, triangles, wear.metal)
    if wear.earrings == "disc":
        vertices, triangles = ball(root + [side * 0.008, -0.028, 0.004], [0.005, 0.024, 0.024], 12, 22)
        return _shiny(vertices, triangles, wear.metal)
    t = np.linspace(0, 1, 60)
    long = 0.075 if wear.earrings == "long_drop" else 0.062
    path = root + np.outer(t, np.array([side * 0.004, -long, 0.0]))
    if wear.earrings == "long_drop":
        radius = 0.0022 + 0.0085 * np.exp(-(((t - 0.82) / 0.13) ** 2)) + 0.004 * np.exp(-(((t - 0.4) / 0.06) ** 2))
        vertices, triangles = tube(path, radius, 10)
        return _shiny(vertices, triangles, wear.gem)
    vertices, triangles = tube(path, 0.003 + 0.015 * t**1.5 * (0.7 + 0.3 * np.sin(40 * t)), 12)
    return _shiny(vertices, triangles, wear.metal)


def _shiny(vertices: np.ndarray, triangles: np.ndarray, colour: Colour, *, pearl: bool = False) -> Mesh:
    material = Material.PLASTIC if pearl else Material.METAL
    return make_mesh(vertices, triangles, colour, material, Part.ACCESSORY)


def make_large_necklace(head: Head, ring: np.ndarray, parameters: HeadParameters) -> list[Mesh]:
    """Make a necklace along a closed ring (k, 3) on the skin that starts at the front."""
    wear, kind = parameters.wear, NECKLACES[parameters.wear.necklace]
    path = head.field.push_out(ring, 0.8 * kind.bead + 0.004)
    colour = wear.gem if kind.gems else RIBBON if wear.necklace == "ribbon" else wear.metal
    material = Material.PLASTIC if kind.gems else Material.CLOTH if wear.necklace == "ribbon" else Material.METAL
    meshes = []
    if kind.count:
        meshes.append(_string_beads(path, kind, colour, material))
    else:
        vertices, triangles = tube(path, kind.bead, 8, closed=True)
        meshes.append(make_mesh(vertices, triangles, colour, material, Part.ACCESSORY))
    if kind.pendant:
        size = kind.pendant
        center = head.field.push_out(path[:1] - np.array([0, 1.3 * size, 0]), 0.5 * size + 0.012)[0]
        vertices, triangles = ball(center, np.array([0.85, 1.2, 0.45]) * size, 12, 16)
        meshes.append(_shiny(vertices, triangles, wear.gem if wear.necklace == "ribbon" else wear.metal))
    return meshes


def _string_beads(path: np.ndarray, kind: Necklace, colour: Colour, material: Material) -> Mesh:
    """Make balls at equal distances along a closed path, each as large as there is room."""
    closed = np.concatenate([path, path[:1]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    count = max(int(along[-1] / (2.02 * kind.bead)), 8)
    place = np.linspace(0, along[-1], count, endpoint=False)
    centers = np.stack([np.interp(place, along, closed[:, a]) for a in range(3)], 1)
    bead, triangles = ball(np.zeros(3), np.full(3, kind.bead), 8, 12)
    vertices = (centers[:, None] + bead).reshape(-1, 3)
    faces = (triangles[None] + (np.arange(count) * len(bead))[:, None, None]).reshape(-1, 3)
    normals = np.tile(unit(bead), (count, 1))
    return make_mesh(vertices, faces, colour, material, Part.ACCESSORY, normals=normals)


def necklace_heights(name: str) -> np.ndarray:
    """Return the heights (canonical) of a necklace at azimuths 0, 60, 120 and 180 degrees."""
    kind = NECKLACES[name]
    between = 0.5 * (kind.side + kind.back)
    return np.array([kind.front, kind.side, between, kind.back]) * HEAD_HEIGHT
