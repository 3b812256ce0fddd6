"""The shade between locks: hair that lies under other hair is darker, which shows where one lock ends.

The depth maps of the renderer are coarser than a lock. Here hair is a medium in a grid of small cells: light reaches
a strand through what lies outside it, from straight above and, within a wider cone, from further away, so that a
groove between locks is in the shade of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE, to_hair_albedo
from portrait360.synth.meshes import unit
from portrait360.synth.scene import Part, Scene, Strands
from portrait360.utils.array_types import F32, Floats

CELL = 0.006  # canonical
CONE = ((0.010, 1.5), (0.022, 2.2))  # canonical distances towards the light, and blur of the medium there, in cells
PASSES = 0.6  # of the light where hair is deepest; less makes wires of the strands on top
DENSE = 3.0  # area of hair over a place at which light has fallen to 1 / e of the way to that


def shade_locks(scene: Scene) -> Scene:
    """Return a scene in which hair that lies under hair is darker, and what is seen of it on average as bright.

    Whiskers lie under whiskers in the same way.
    """
    strands = scene.strands
    for part in (Part.HAIR, Part.BEARD):
        shaded = iter(_shade([group for group in strands if _is_of(group, part)]))
        strands = tuple(next(shaded) if _is_of(group, part) else group for group in strands)
    return replace(scene, strands=strands)


def _is_of(group: Strands, part: Part) -> bool:
    return len(group.part) > 0 and int(group.part[0]) == part


def _shade(hair: Sequence[Strands]) -> list[Strands]:
    if not hair:
        return []
    depths = measure_depth(hair)
    seen = sum(float(np.exp(-depth).sum()) for depth in depths)
    usual = sum(float((np.exp(-depth) * _dim(depth)).sum()) for depth in depths) / max(seen, 1e-6)
    gains = [np.exp(_dim(depth) - usual)[..., None] for depth in depths]
    return [replace(g, albedo=to_hair_albedo(g.albedo * gain)) for g, gain in zip(hair, gains, strict=True)]


def _dim(depth: F32) -> F32:
    return np.log(PASSES + (1 - PASSES) * np.exp(-depth / DENSE)).astype(np.float32)


def measure_depth(groups: Sequence[Strands]) -> list[F32]:
    """Return for each group how much hair lies outside its points (s, k): the area that light meets on its way."""
    points = np.concatenate([group.points.reshape(-1, 3) for group in groups])
    area = np.concatenate([_measure_area(group) for group in groups])
    low = points.min(0) - 8 * CELL
    size = tuple(((points.max(0) - low) / CELL).astype(int) + 9)
    medium = np.bincount(_find_cells(points, low, size), area, int(np.prod(size))).reshape(size).astype(np.float32)
    off = (points - HEAD_CENTRE) * np.array([1.0, 0.5, 1.0]) + np.array([0.0, 0.05, 0.0])
    outward = unit(off).astype(np.float32)
    depth, before = np.zeros(len(points), np.float32), 0.0
    for away, blur in CONE:
        around = gaussian_filter(medium, blur).ravel() / CELL**3
        depth += 2 * (away - before) * around[_find_cells(points + away * outward, low, size)]
        before = 2 * away - before
    ends = np.cumsum([group.points.shape[0] * group.points.shape[1] for group in groups])[:-1]
    return [part.reshape(group.points.shape[:2]) for group, part in zip(groups, np.split(depth, ends), strict=True)]


def _measure_area(group: Strands) -> F32:
    steps = np.linalg.norm(np.diff(group.points, axis=1), axis=2)
    ends = np.pad(steps, ((0, 0), (1, 1)))
    return np.asarray(group.widths * (ends[:, 1:] + ends[:, :-1]) / 2, np.float32).ravel()


def _find_cells(points: Floats, low: F32, size: tuple[int, ...]) -> np.ndarray:
    x, y, z = np.clip(((points - low) / CELL).astype(np.int32), 0, np.array(size, np.int32) - 1).T
    return (x * size[1] + y) * size[2] + z
