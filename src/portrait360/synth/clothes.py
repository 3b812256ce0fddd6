"""Clothes: the bust below a clean neckline, thickened, with the collar its kind asks for."""

from __future__ import annotations

import numpy as np

from portrait360.synth.collars import band, jacket, necklace, shirt_collar, wrap
from portrait360.synth.head import HEIGHT, Head
from portrait360.synth.meshes import make_mesh, unit
from portrait360.synth.necklines import NECKLINES, Neckline, below_line, cut_above
from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.parameters import Clothes, HeadParameters
from portrait360.synth.scene import F32, I32, Mesh, Part


def clothes(head: Head, parameters: HeadParameters) -> tuple[list[Mesh], F32]:
    """Meshes, and the bare-skin share of every vertex (m,): what lies deep under cloth is not drawn."""
    style = parameters.clothes
    if style.collar == "none":
        return [], np.ones(len(head.body), np.float32)
    line = NECKLINES[style.collar]
    under = below_line(head.rest, line)
    shell, edge = _shell(head, under, line, style, parameters.seed)
    meshes = [shell]
    if line.collar in ("band", "gorget"):
        meshes.append(band(edge, line, style))
    elif line.collar == "shirt":
        meshes += shirt_collar(head, line, style)
    elif line.collar == "lapel":
        meshes += jacket(head, edge, line, style)
    else:
        meshes += wrap(head, line, style, parameters.seed)
    if line.vee > 0 and line.collar != "band":
        meshes.append(band(edge, line, style))
    if style.necklace:
        meshes.append(necklace(head, parameters))
    return meshes, smoothstep(0.035, 0.02, under)


def _shell(head: Head, under: F32, line: Neckline, style: Clothes, seed: int) -> tuple[Mesh, F32]:
    """The part below the hem, cut through its triangles, pushed out; also the hem as a closed path."""
    values = np.column_stack([head.body, head.normals, head.rest])
    vertices, triangles, rim = cut_above(values, head.triangles, under)
    points, normals, rest = vertices[:, :3], unit(vertices[:, 3:6]), vertices[:, 6:9]
    below = below_line(rest.astype(np.float32), line)
    swell = line.thick * HEIGHT * (0.55 + 0.45 * smoothstep(0.0, 0.06, below))
    folds = (noise(rest * np.array([1, 0.5, 1]), 7.0, seed + 40, 2) - 0.5) * 0.03 * HEIGHT
    drape = smoothstep(0.05, 0.3, below)
    points = points + normals * (swell + (folds + 0.02 * HEIGHT) * drape)[:, None]
    colour = _pattern(rest, style, seed)
    mesh = make_mesh(points, triangles, colour, line.material, Part.CLOTHES, rest=rest.astype(np.float32))
    return mesh, _order(points, rim)


def _order(points: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """The longest closed chain of cut edges as a path (k, 3)."""
    after: dict[int, list[int]] = {}
    for a, b in rim.tolist():
        after.setdefault(a, []).append(b)
        after.setdefault(b, []).append(a)
    best: list[int] = []
    left = set(after)
    while left:
        chain = [left.pop()]
        while True:
            step = [i for i in after[chain[-1]] if i in left]
            if not step:
                break
            chain.append(step[0])
            left.discard(step[0])
        best = max(best, chain, key=len)
    return points[best]


def _pattern(rest: np.ndarray, style: Clothes, seed: int) -> np.ndarray:
    base, second = np.array(style.colour), np.array(style.second)
    x, y, z = rest.T
    if style.pattern == "stripes":
        mix = smoothstep(-0.15, 0.15, np.sin(y * 30))
    elif style.pattern == "check":
        mix = 0.5 * (np.sin(y * 22) > 0) + 0.5 * (np.sin((x + 0.3 * z) * 22) > 0)
    elif style.pattern == "melange":
        mix = 0.5 * noise(rest, 60.0, seed)
    elif style.pattern == "flowers":
        mix = smoothstep(0.64, 0.72, noise(rest, 10.0, seed))
    elif style.pattern == "yoke":
        mix = smoothstep(-0.90, -1.10, y)
    else:
        mix = np.zeros(len(rest))
    shade = 0.94 + 0.12 * noise(rest, 30.0, seed + 8, 2)
    return (base + (second - base) * np.asarray(mix)[:, None]) * shade[:, None]


def visible(triangles: I32, bare: F32) -> I32:
    """The triangles of the skin that can be seen beside the clothes."""
    return triangles[bare[triangles].max(1) > 0.02]
