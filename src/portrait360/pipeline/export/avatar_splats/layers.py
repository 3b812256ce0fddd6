"""The layers of an avatar as Gaussians: pieces of strands, and points spread over the surfaces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.avatar_splats.shapes import DISC, draw_discs, draw_lines, find_normals
from portrait360.synth.render.bake import PreparedScene
from portrait360.synth.render.mesh_buffers import NORMAL, OPACITY, POSITION
from portrait360.synth.render.strand_buffers import Curves
from portrait360.utils.array_types import F64, Bools, Bytes, Floats
from portrait360.utils.portrait_labels import Label
from portrait360.utils.vectors import measure_length

PIECE = 11.0  # pixels: longest piece of a strand
MOST_PIECES = 8  # of a segment
SAGITTA = 0.3  # pixels by which a strand leaves a piece of two of its segments
THIN = 0.005  # pixels: strands that are thinner are not there
SPACING = {Label.CLOTHES: 2.6, Label.HAT: 1.8, Label.SKIN: 1.8, Label.HAIR: 2.0, Label.EAR: 1.4}
FINE = 1.2
"""Pixels between points on a surface, by label; a face, eyes and what is worn before them are finest."""
SPARE = 5.0  # points tried per point kept, so that few gaps stay
WIDER, MOST_COARSE = 1.1, 2.5  # factors of the spacing of discs where there are too many
BENT, PRINTED = 0.012, 0.035
"""Where normals turn by more, as a lack of the length of their mean, or colours vary by more, discs stay small."""
MOST_POINTS = 2_000_000  # tried in all


def draw_strands(scene: PreparedScene, pixel: float) -> tuple[GaussianSplats, Bytes]:
    """Return a Gaussian and a label for each piece of each strand; `pixel` is the size of a pixel of the views."""
    curves = scene.curves
    first, last = _join_segments(curves, pixel)
    widths = (curves.widths[first] + curves.widths[last]) / 2
    thick = widths > THIN * pixel
    first, last, widths = first[thick], last[thick], widths[thick]
    starts, steps = curves.points[first], curves.points[last] - curves.points[first]
    pieces = np.clip(np.ceil(np.linalg.norm(steps, axis=1) / (PIECE * pixel)), 1, MOST_PIECES).astype(int)
    rows = np.repeat(np.arange(len(pieces)), pieces)
    number = (np.arange(len(rows)) - (np.cumsum(pieces) - pieces)[rows])[:, None]
    steps = steps[rows] / pieces[rows, None]
    begin = starts[rows] + number * steps
    return draw_lines(begin, begin + steps, widths[rows]), curves.labels[first[rows]]


def _join_segments(curves: Curves, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last points of pieces of strands: of two segments where the strand is nearly straight."""
    first = curves.segments
    begins = np.ones(len(first), bool)
    begins[1:] = first[1:] != first[:-1] + 1
    number = np.arange(len(first)) - np.maximum.accumulate(np.where(begins, np.arange(len(first)), 0))
    leads = (number % 2 == 0) & ~np.roll(begins, -1)
    start, middle, end = (curves.points[np.minimum(first + i, len(curves.points) - 1)] for i in (0, 1, 2))
    chord = end - start
    length = np.maximum(measure_length(chord), 1e-12)
    bow = measure_length(np.cross(middle - start, chord)) / length
    leads &= (bow < SAGITTA * pixel) & (length < PIECE * pixel)
    follows = np.roll(leads, 1)
    return first[~follows], (first + 1 + leads)[~follows]


def draw_surfaces(scene: PreparedScene, pixel: float, rng: np.random.Generator) -> tuple[GaussianSplats, Bytes]:
    """Return discs all over the surfaces, at most one in each cube of their spacing, and their labels."""
    surface = scene.surface
    corners = surface.values[surface.triangles]
    places = corners[..., POSITION].astype(np.float64)
    area = np.linalg.norm(np.cross(places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]), axis=1) / 2
    spacing = find_spacing(surface.labels[: len(area)], pixel)
    wanted = SPARE * area / spacing**2
    wanted *= min(1.0, MOST_POINTS / max(float(wanted.sum()), 1.0))
    rows = np.repeat(np.arange(len(area)), np.floor(wanted + rng.random(len(area))).astype(int))
    weights = _spread(len(rows), rng)
    points = (places[rows] * weights).sum(1)
    kept = thin_out(points, spacing[rows])
    rows, weights = rows[kept], weights[kept]
    normals = (corners[rows][..., NORMAL] * weights).sum(1)
    opacity = (corners[rows][..., OPACITY] * weights[..., 0]).sum(1)
    return draw_discs(points[kept], normals, spacing[rows], opacity), surface.labels[rows]


def find_spacing(labels: Bytes, pixel: float, spacing: Mapping[Label, float] = SPACING) -> Floats:
    """Return how far points with these labels lie apart; `spacing` has pixels by label, FINE for others."""
    table = np.full(256, FINE)
    table[list(map(int, spacing))] = list(spacing.values())
    return table[labels] * pixel


def thin_out(points: F64, spacing: Floats) -> np.ndarray:
    """Return the indices, in order, of the first point in each cube of its own spacing."""
    return np.sort(np.unique(_find_cubes(points, spacing), return_index=True)[1])


def _find_cubes(points: F64, spacing: Floats) -> np.ndarray:
    """Return the number of the cube, of its own spacing, in which each point lies."""
    cubes = np.floor(points / spacing[:, None]).astype(np.int64) + (1 << 19)
    key = (cubes[:, 0] << 40) + (cubes[:, 1] << 20) + cubes[:, 2]
    kind = np.unique(spacing, return_inverse=True)[1]
    return key + (kind.astype(np.int64) << 60)


def coarsen(splats: GaussianSplats, colours: Floats, rows: np.ndarray, excess: int) -> tuple[np.ndarray, Floats]:
    """Return which of the discs `rows` stay, and how much larger each gets, for about `excess` fewer of them.

    Only discs of even ground get larger: on a collar or a fold they would stand out like a fringe, and blur a print.
    """
    factor = WIDER * np.sqrt(len(rows) / max(len(rows) - excess, len(rows) / MOST_COARSE**2))
    places, spacing = splats.means[rows].astype(np.float64), splats.scales[rows, 0].astype(np.float64) / DISC
    even = find_even(places, find_normals(splats.rotations[rows]), colours[rows], factor * spacing)
    kept = ~even
    kept[np.flatnonzero(even)[thin_out(places[even], (factor * spacing)[even])]] = True
    return rows[kept], np.where(even[kept], WIDER * factor, 1.0)


def find_even(points: F64, normals: Floats, colours: Floats, spacing: Floats) -> Bools:
    """Return which points have around them, within their spacing, normals and colours that hardly vary.

    Two grids of cubes look for it, so that no edge is missed because it lies between two cubes.
    """
    return np.all([_is_even(points + shift * spacing[:, None], normals, colours, spacing) for shift in (0.0, 0.5)], 0)


def _is_even(points: F64, normals: Floats, colours: Floats, spacing: Floats) -> Bools:
    cube = np.unique(_find_cubes(points, spacing), return_inverse=True)[1]
    count = np.bincount(cube).astype(np.float64)

    def average(values: Floats) -> F64:
        return np.stack([np.bincount(cube, column) for column in values.T], 1) / count[:, None]

    bent = 1 - measure_length(average(normals))
    spread = np.sqrt(np.maximum(average(colours**2) - average(colours) ** 2, 0)).max(1)
    return ((bent < BENT) & (spread < PRINTED))[cube]


def _spread(count: int, rng: np.random.Generator) -> F64:
    """Return barycentric coordinates (count, 3, 1), even over a triangle."""
    root, along = np.sqrt(rng.random(count)), rng.random(count)
    return np.stack([1 - root, root * (1 - along), root * along], 1)[..., None]
