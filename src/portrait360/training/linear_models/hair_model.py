"""Build the hair model: how thick hair, hats and clothes are over the skin of sampled heads, for the proxy's shell.

    python -m portrait360.training.linear_models.hair_model -o FILE [--people 900]

Thickness is what the outermost surface adds to the radius of the skin, in a coarse unwrapped map.
"""

from __future__ import annotations

import argparse
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.synth.build import build
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.sampling.parameters import HeadParameters
from portrait360.synth.sampling.sampler import sample
from portrait360.synth.scene import Mesh, Part, Scene
from portrait360.utils.array_types import Floats

COARSE = HeadMap(columns=64, rows=44)
FIRST_SEED = 200_000  # these seeds are used by nothing else
MODES = 64
OUTER = 0.85  # share of the strand points in a cell that lie below the surface of the hair


def outer_surface(scene: Scene, layout: HeadMap = COARSE) -> tuple[Floats, NDArray[np.int8]]:
    """Return radius and Part (rows, columns) of the outermost surface: meshes, and strands where they are dense."""
    radius = np.zeros((layout.rows, layout.columns))
    part = np.zeros(radius.shape, np.int8)
    for mesh in filter(_is_shell, scene.meshes):
        mesh_radius, triangle, _ = layout.unwrap(mesh.vertices.astype(np.float64), mesh.triangles)
        part = np.where(mesh_radius > radius, mesh.part[triangle], part)
        radius = np.maximum(radius, mesh_radius)
    points = [s.points[s.part == Part.HAIR].reshape(-1, 3) for s in scene.strands]
    if sum(map(len, points)):
        hair_radius = _unwrap_strands(np.concatenate(points), layout)
        part = np.where(hair_radius > radius + 0.001, Part.HAIR, part)
        radius = np.maximum(radius, hair_radius)
    return radius, part.astype(np.int8)


def _is_shell(mesh: Mesh) -> bool:
    """Return True for skin, clothes and hats, False for glasses and earrings, which stand off the head."""
    span = np.ptp(mesh.vertices, axis=0)
    return int(mesh.part[0]) != Part.ACCESSORY or float(np.prod(span)) > 0.012


def _unwrap_strands(points: Floats, layout: HeadMap) -> Floats:
    """Return the radius below which most points of each cell lie, 0 where there are few points.

    Cells near the crown are so narrow that several share their points.
    """
    column, row, distance = layout.locate(points)
    inside = (row >= 0) & (row < layout.rows)
    column, row, distance = column[inside], np.floor(row[inside]).astype(int), distance[inside]
    elevation, _ = layout.ray_at_row(np.arange(layout.rows) + 0.5)
    width = 2.0 ** np.ceil(np.log2(np.minimum(1 / np.cos(elevation), layout.columns / 4)))
    cell = row * layout.columns + (column // width[row] * width[row]).astype(int) % layout.columns
    order = np.lexsort((distance, cell))
    cell, distance = cell[order], distance[order]
    _, first, count = np.unique(cell, return_index=True, return_counts=True)
    radius = np.zeros(layout.rows * layout.columns)
    dense = count >= 4
    quantile = first + np.floor(OUTER * (count - 1)).astype(int)
    radius[cell[first[dense]]] = distance[quantile[dense]]
    radius = radius.reshape(layout.rows, layout.columns)
    columns = np.arange(layout.columns)
    return np.take_along_axis(radius, (columns // width[:, None] * width[:, None]).astype(int), 1)


def cover(person: HeadParameters, layout: HeadMap = COARSE) -> tuple[Floats, NDArray[np.int8]]:
    """Return what hair, hats and clothes add to the radius (rows, columns), at least 0, and the visible Part."""
    scene = build(person)
    head = make_head(person)
    scale = _framing_scale(scene, head.landmarks)
    skin = layout.unwrap(head.body.astype(np.float64) * scale, head.triangles)[0]
    outer, part = outer_surface(scene, layout)
    covered = kinds_of(part) > 0  # teeth in an open mouth do not count as cover
    return np.where(covered, np.maximum(outer - skin, 0), 0) / scale, part


def _framing_scale(scene: Scene, landmarks: dict[str, NDArray[np.float32]]) -> float:
    """Return the factor by which the scene was scaled to fit the frame."""
    name = "nose_tip" if "nose_tip" in landmarks else next(iter(landmarks))
    return float(np.linalg.norm(scene.landmarks[name]) / np.linalg.norm(landmarks[name]))


def modes(thicknesses: Floats, count: int = MODES) -> tuple[Floats, Floats]:
    """Return the mean (cells,) and modes (count, cells), each scaled so that its weight has unit variance."""
    flat = thicknesses.reshape(len(thicknesses), -1)
    mean = flat.mean(0)
    _, singular, rows = np.linalg.svd(flat - mean, full_matrices=False)
    return mean, rows[:count] * (singular[:count, None] / np.sqrt(len(flat)))


def kinds_of(parts: NDArray[np.int8]) -> NDArray[np.int8]:
    """Map parts to kinds: 0 skin, 1 hair and accessories, 2 clothes."""
    return np.select([np.isin(parts, (Part.HAIR, Part.ACCESSORY)), parts == Part.CLOTHES], [1, 2], 0).astype(np.int8)


def beliefs(thick: Floats, kinds: NDArray[np.int8]) -> tuple[Floats, Floats, Floats]:
    """Return (3, r, c) per kind and cell: its frequency, and the mean and spread of its thickness."""
    share, mean, spread = [], [], []
    for kind in range(3):
        mask = kinds == kind
        count = mask.sum(0)
        average = np.where(mask, thick, 0).sum(0) / np.maximum(count, 1)
        variance = np.where(mask, (thick - average) ** 2, 0).sum(0) / np.maximum(count, 1)
        share.append((count + 0.5) / (len(kinds) + 1.5))
        mean.append(average)
        spread.append(np.sqrt(variance + 0.008**2))
    return np.array(share), np.array(mean), np.array(spread)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the model of hair, hats and clothes over skin.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=900)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.people)
    with get_context("spawn").Pool(args.processes) as pool:
        covers = pool.map(_sample_cover, seeds, chunksize=8)
    thick, parts = np.array([c[0] for c in covers]), np.array([c[1] for c in covers])
    mean, basis = modes(thick)
    share, average, spread = beliefs(thick, kinds_of(parts))
    grid = thick.shape[1:]
    arrays = {"mean": mean.reshape(grid), "modes": basis.reshape(-1, *grid)}
    arrays |= {"share": share, "thickness": average, "spread": spread}
    np.savez_compressed(args.output, **{k: v.astype(np.float16) for k, v in arrays.items()})  # pyright: ignore
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


def _sample_cover(seed: int) -> tuple[Floats, NDArray[np.int8]]:
    return cover(sample(seed, "human"))


if __name__ == "__main__":
    main()
