"""How thick hair, hats and clothes lie over the skin: modes of many sampled heads, for the proxy's outer shell.

    python -m portrait360.synth.hair_model -o FILE [--people 900]

Thickness is what the outermost surface adds to the radius of the skin, in a coarse unwrapped map.
"""

from __future__ import annotations

import argparse
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.head_map import HeadMap
from portrait360.synth.build import build
from portrait360.synth.head import make_head
from portrait360.synth.parameters import HeadParameters
from portrait360.synth.sample import sample
from portrait360.synth.scene import Mesh, Part, Scene

Floats = NDArray[np.floating]

COARSE = HeadMap(columns=64, rows=44)
FIRST = 200_000  # seeds far from those that anything else uses
MODES = 64
OUTER = 0.85  # of the strand points in a cell, this share lies under the surface that is taken


def outer_surface(scene: Scene, layout: HeadMap = COARSE) -> tuple[Floats, NDArray[np.int8]]:
    """Radius (rows columns) and Part of the outermost surface: meshes, and where strands are dense, strands."""
    radius = np.zeros((layout.rows, layout.columns))
    part = np.zeros(radius.shape, np.int8)
    for mesh in filter(_is_shell, scene.meshes):
        reached, triangle, _ = layout.unwrap(mesh.vertices.astype(np.float64), mesh.triangles)
        part = np.where(reached > radius, mesh.part[triangle], part)
        radius = np.maximum(radius, reached)
    points = [s.points[s.part == Part.HAIR].reshape(-1, 3) for s in scene.strands]
    if sum(map(len, points)):
        reached = _of_points(np.concatenate(points), layout)
        part = np.where(reached > radius + 0.001, Part.HAIR, part)
        radius = np.maximum(radius, reached)
    return radius, part.astype(np.int8)


def _is_shell(mesh: Mesh) -> bool:
    """Skin, clothes and hats; not lenses, frames and earrings, which stand off."""
    span = np.ptp(mesh.vertices, axis=0)
    return int(mesh.part[0]) != Part.ACCESSORY or float(np.prod(span)) > 0.012


def _of_points(points: Floats, layout: HeadMap) -> Floats:
    """Radius below which most of the points of a cell lie, 0 where there are few. Cells near the crown are so narrow
    that several share their points."""
    column, row, distance = layout.locate(points)
    inside = (row >= 0) & (row < layout.rows)
    column, row, distance = column[inside], np.floor(row[inside]).astype(int), distance[inside]
    elevation, _ = layout.place(np.arange(layout.rows) + 0.5)
    width = 2.0 ** np.ceil(np.log2(np.minimum(1 / np.cos(elevation), layout.columns / 4)))
    cell = row * layout.columns + (column // width[row] * width[row]).astype(int) % layout.columns
    order = np.lexsort((distance, cell))
    cell, distance = cell[order], distance[order]
    _, first, count = np.unique(cell, return_index=True, return_counts=True)
    out = np.zeros(layout.rows * layout.columns)
    dense = count >= 4
    at = first + np.floor(OUTER * (count - 1)).astype(int)
    out[cell[first[dense]]] = distance[at[dense]]
    out = out.reshape(layout.rows, layout.columns)
    columns = np.arange(layout.columns)
    return np.take_along_axis(out, (columns // width[:, None] * width[:, None]).astype(int), 1)


def cover(person: HeadParameters, layout: HeadMap = COARSE) -> tuple[Floats, NDArray[np.int8]]:
    """What everything but skin adds to the radius (rows columns), at least 0, and the Part that is seen there."""
    scene = build(person)
    head = make_head(person)
    scale = _framing(scene, head.landmarks)
    skin = layout.unwrap(head.body.astype(np.float64) * scale, head.triangles)[0]
    outer, part = outer_surface(scene, layout)
    covered = kinds_of(part) > 0  # teeth that stand out of an open mouth are no cover
    return np.where(covered, np.maximum(outer - skin, 0), 0) / scale, part


def _framing(scene: Scene, landmarks: dict[str, NDArray[np.float32]]) -> float:
    """By how much the scene was scaled to fit the frame."""
    name = "nose_tip" if "nose_tip" in landmarks else next(iter(landmarks))
    return float(np.linalg.norm(scene.landmarks[name]) / np.linalg.norm(landmarks[name]))


def modes(thicknesses: Floats, count: int = MODES) -> tuple[Floats, Floats]:
    """Mean (cells) and modes (count, cells), each scaled so that its weight has unit variance."""
    flat = thicknesses.reshape(len(thicknesses), -1)
    mean = flat.mean(0)
    _, singular, rows = np.linalg.svd(flat - mean, full_matrices=False)
    return mean, rows[:count] * (singular[:count, None] / np.sqrt(len(flat)))


def kinds_of(parts: NDArray[np.int8]) -> NDArray[np.int8]:
    """Parts -> 0 skin, 1 hair and what is worn on it, 2 clothes."""
    return np.select([np.isin(parts, (Part.HAIR, Part.ACCESSORY)), parts == Part.CLOTHES], [1, 2], 0).astype(np.int8)


def beliefs(thick: Floats, kinds: NDArray[np.int8]) -> tuple[Floats, Floats, Floats]:
    """For each kind and cell: how often it is seen there, and mean and spread of the thickness then (3, r, c)."""
    share, mean, spread = [], [], []
    for kind in range(3):
        mine = kinds == kind
        count = mine.sum(0)
        average = np.where(mine, thick, 0).sum(0) / np.maximum(count, 1)
        variance = np.where(mine, (thick - average) ** 2, 0).sum(0) / np.maximum(count, 1)
        share.append((count + 0.5) / (len(kinds) + 1.5))
        mean.append(average)
        spread.append(np.sqrt(variance + 0.008**2))
    return np.array(share), np.array(mean), np.array(spread)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the model of hair, hats and clothes over skin.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=900)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    seeds = range(FIRST, FIRST + arguments.people)
    with get_context("spawn").Pool(arguments.processes) as pool:
        found = pool.map(_cover_of, seeds, chunksize=8)
    thick, parts = np.array([f[0] for f in found]), np.array([f[1] for f in found])
    mean, basis = modes(thick)
    share, average, spread = beliefs(thick, kinds_of(parts))
    grid = thick.shape[1:]
    arrays = {"mean": mean.reshape(grid), "modes": basis.reshape(-1, *grid)}
    arrays |= {"share": share, "thickness": average, "spread": spread}
    np.savez_compressed(arguments.output, **{k: v.astype(np.float16) for k, v in arrays.items()})  # pyright: ignore
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB")


def _cover_of(seed: int) -> tuple[Floats, NDArray[np.int8]]:
    return cover(sample(seed, "human"))


if __name__ == "__main__":
    main()
