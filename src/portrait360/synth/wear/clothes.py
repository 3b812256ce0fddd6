"""Clothes: the bust below a neckline, thickened, with the collar of its kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import make_mesh, unit
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Clothes, HeadParameters
from portrait360.synth.scene import Mesh, Part
from portrait360.synth.wear.collars import (
    make_hem,
    make_jacket,
    make_necklace,
    make_shirt_collar,
    make_wrapped_collar,
)
from portrait360.synth.wear.garments import GARMENTS, make_garment_collar
from portrait360.synth.wear.jewels import NECKLACES
from portrait360.synth.wear.neck_edges import make_band, make_fallen_collar
from portrait360.synth.wear.necklines import NECKLINES, Neckline, below_line, cut_above, drop_line
from portrait360.utils.array_types import F32, I32


def make_clothes(head: Head, parameters: HeadParameters, heights: tuple[float, ...] = ()) -> tuple[list[Mesh], F32]:
    """Return the meshes, and the bare-skin share of every vertex (m,); skin deep under cloth is not rendered.

    `heights` are those of a fitted neckline, in place of the one that the parameters name.
    """
    style = parameters.clothes
    if style.collar == "none":
        is_shown = style.necklace and parameters.wear.necklace in NECKLACES
        return make_necklace(head, parameters) if is_shown else [], np.ones(len(head.body), np.float32)
    line = drop_line(NECKLINES[style.collar], style.drop)
    if heights:
        line = replace(line, vee=0.0, collar="fallen" if line.collar == "shirt" else "band", heights=heights)
    depth = below_line(head.rest, line)
    shell, hem = _make_shell(head, depth, line, style, parameters.seed)
    meshes = [shell]
    if line.heights:
        make_edge = make_fallen_collar if line.collar == "fallen" else make_band
        meshes.append(make_edge(head, hem, line, style))
    elif line.collar in ("band", "gorget"):
        meshes.append(make_hem(hem, line, style))
    elif line.collar == "shirt":
        meshes += make_shirt_collar(head, line, style)
    elif line.collar == "lapel":
        meshes += make_jacket(head, hem, line, style)
    elif line.collar in GARMENTS:
        return [*meshes, *_finish(head, hem, line, parameters)], smoothstep(0.035, 0.02, depth)
    else:
        meshes += make_wrapped_collar(head, line, style, parameters.seed)
    if line.vee > 0 and line.collar != "band":
        meshes.append(make_hem(hem, line, style))
    if style.necklace:
        meshes += make_necklace(head, parameters)
    return meshes, smoothstep(0.035, 0.02, depth)


def _finish(head: Head, hem: F32, line: Neckline, parameters: HeadParameters) -> list[Mesh]:
    """Return the collar of one of GARMENTS and the necklace over it."""
    collar = make_garment_collar(head, hem, line, parameters.clothes, parameters.seed)
    return collar + (make_necklace(head, parameters) if parameters.clothes.necklace else [])


def _make_shell(head: Head, depth: F32, line: Neckline, style: Clothes, seed: int) -> tuple[Mesh, F32]:
    """Cut the bust along the hem and push it outwards; also return the hem as a closed path (k, 3)."""
    values = np.column_stack([head.body, head.normals, head.rest])
    vertices, triangles, rim = cut_above(values, head.triangles, depth)
    points, normals, rest = vertices[:, :3], unit(vertices[:, 3:6]), vertices[:, 6:9]
    hem_distance = below_line(rest.astype(np.float32), line)
    thickness = line.thick * HEAD_HEIGHT * (0.55 + 0.45 * smoothstep(0.0, 0.06, hem_distance))
    folds = (noise(rest * np.array([1, 0.5, 1]), 7.0, seed + 40, 2) - 0.5) * 0.03 * HEAD_HEIGHT
    drape = smoothstep(0.05, 0.3, hem_distance)
    points = points + normals * (thickness + (folds + 0.02 * HEAD_HEIGHT) * drape)[:, None]
    colour = _pattern_colour(rest, style, seed)
    mesh = make_mesh(points, triangles, colour, line.material, Part.CLOTHES, rest=rest.astype(np.float32))
    return mesh, _longest_loop(points, rim)


def _longest_loop(points: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """Return the longest closed chain of cut edges as a path (k, 3)."""
    neighbours: dict[int, list[int]] = {}
    for a, b in rim.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    longest: list[int] = []
    unvisited = set(neighbours)
    while unvisited:
        chain = [unvisited.pop()]
        while True:
            candidates = [i for i in neighbours[chain[-1]] if i in unvisited]
            if not candidates:
                break
            chain.append(candidates[0])
            unvisited.discard(candidates[0])
        longest = max(longest, chain, key=len)
    return points[longest]


def _pattern_colour(rest: np.ndarray, style: Clothes, seed: int) -> np.ndarray:
    base, second = np.array(style.colour), np.array(style.second)
    x, y, z = rest.T
    if style.pattern == "stripes":
        weight = smoothstep(-0.15, 0.15, np.sin(y * 30))
    elif style.pattern == "check":
        weight = 0.5 * (np.sin(y * 22) > 0) + 0.5 * (np.sin((x + 0.3 * z) * 22) > 0)
    elif style.pattern == "melange":
        weight = 0.5 * noise(rest, 60.0, seed)
    elif style.pattern == "flowers":
        weight = smoothstep(0.64, 0.72, noise(rest, 10.0, seed))
    elif style.pattern == "yoke":
        weight = smoothstep(-0.90, -1.10, y)
    else:
        weight = np.zeros(len(rest))
    shade = 0.94 + 0.12 * noise(rest, 30.0, seed + 8, 2)
    return (base + (second - base) * np.asarray(weight)[:, None]) * shade[:, None]


def visible_triangles(triangles: I32, bare: F32) -> I32:
    """Return the triangles of the skin that clothes leave visible."""
    return triangles[bare[triangles].max(1) > 0.02]
