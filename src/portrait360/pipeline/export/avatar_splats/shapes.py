"""Make Gaussians of lines, of discs on a surface, and of the cells of a picture."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from scipy.spatial.transform import Rotation

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.utils.array_types import F32, Bools, Floats
from portrait360.utils.vectors import measure_length

ALONG, ACROSS = 0.42, 0.36  # standard deviations per length and width of a piece of a strand
DISC = 0.62  # per spacing of points at random places
CELL, COARSE_CELL = (
    0.5,
    0.62,
)  # per side of cells of one pixel, which every viewer widens a little, and of larger ones
THICKNESS = 0.1  # of a disc, per spacing
STRAND_OPACITY, DISC_OPACITY = 0.9, 0.95
GREY = 0.5  # until the colours are gathered


def draw_lines(starts: Floats, ends: Floats, widths: Floats) -> GaussianSplats:
    """Return a Gaussian along each piece of a strand."""
    axes = ends - starts
    lengths = np.linalg.norm(axes, axis=1)
    scales = np.stack([widths * ACROSS, widths * ACROSS, lengths * ALONG], 1)
    turns = find_quaternions(find_frames(axes))
    return _with_grey((starts + ends) / 2, scales, turns, np.full(len(starts), STRAND_OPACITY))


def draw_discs(points: Floats, normals: Floats, spacing: Floats, opacity: Floats) -> GaussianSplats:
    """Return flat Gaussians in a surface on which points lie about as far apart as `spacing`."""
    scales = np.stack([spacing * DISC, spacing * DISC, spacing * THICKNESS], 1)
    return _with_grey(points, scales, find_quaternions(find_frames(normals)), opacity * DISC_OPACITY)


def draw_cells(
    points: Floats, normals: Floats, towards: Floats, sizes: Floats, coarse: Bools, opacity: Floats
) -> GaussianSplats:
    """Return flat Gaussians that fill cells of a picture: longer down the slope of the surface, as it is seen.

    `towards` are unit vectors to the camera, `sizes` the sides of the cells at the points, and `coarse` are cells of
    more than a pixel.
    """
    cosine = np.clip((normals * towards).sum(1), 0.3, 1.0)
    slope = towards - normals * (normals * towards).sum(1, keepdims=True)
    steep = np.linalg.norm(slope, axis=1, keepdims=True)
    across = find_frames(normals)[:, :, 0]
    down = np.where(steep > 1e-3, slope / np.maximum(steep, 1e-9), across)
    frames = np.stack([down, np.cross(normals, down), normals], 2)
    spread = sizes * np.where(coarse, COARSE_CELL, CELL)
    scales = np.stack([spread / cosine, spread, sizes * THICKNESS], 1)
    return _with_grey(points, scales, find_quaternions(frames), opacity * DISC_OPACITY)


def find_frames(axes: Floats) -> Floats:
    """Return rotations (n, 3, 3) whose third columns point along the axes."""
    z = axes / np.maximum(measure_length(axes)[:, None], 1e-12)
    z = np.where(np.abs(z).sum(1, keepdims=True) > 0.5, z, [0.0, 0.0, 1.0])
    helper = np.where(np.abs(z[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    x = np.cross(helper, z)
    x /= measure_length(x)[:, None]
    return np.stack([x, np.cross(z, x), z], 2)


def find_quaternions(frames: Floats) -> F32:
    """Return unit quaternions w x y z of rotations (n, 3, 3)."""
    if not len(frames):
        return np.zeros((0, 4), np.float32)
    return Rotation.from_matrix(frames).as_quat()[:, [3, 0, 1, 2]].astype(np.float32)


def find_normals(rotations: F32) -> Floats:
    """Return the unit normals (n, 3) of flat Gaussians of these quaternions w x y z."""
    if not len(rotations):
        return np.zeros((0, 3))
    return Rotation.from_quat(rotations[:, [1, 2, 3, 0]]).as_matrix()[:, :, 2]


def join_splats(parts: list[GaussianSplats]) -> GaussianSplats:
    names = [field.name for field in fields(GaussianSplats)]
    return GaussianSplats(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _with_grey(means: Floats, scales: Floats, rotations: F32, opacities: Floats) -> GaussianSplats:
    colours = np.full((len(means), 3), GREY)
    return GaussianSplats(*(np.asarray(v, np.float32) for v in (means, scales, rotations, opacities, colours)))
