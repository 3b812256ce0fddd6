"""Edges of cloth about the neck that have thickness: a sewn band, and a collar that falls back from the nape."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import grid, make_mesh, unit
from portrait360.synth.noise import smoothstep
from portrait360.synth.sampling.parameters import Clothes
from portrait360.synth.scene import Mesh, Part
from portrait360.synth.wear.collars import resample_smooth
from portrait360.synth.wear.necklines import Neckline
from portrait360.utils.array_types import Floats

COUNT = 240  # points along an edge
# profiles from the skin over the upper edge down onto the cloth: down along the body, and off the skin, head heights
BAND = np.array([(0.0, -0.030), (-0.008, 0.002), (-0.012, 0.009), (-0.011, 0.016), (-0.003, 0.021), (0.02, 0.023),
                 (0.05, 0.023), (0.063, 0.021), (0.068, 0.014), (0.07, 0.005)])  # fmt: skip
COLLAR = np.array([(0.02, 0.004), (-0.02, 0.012), (-0.05, 0.020), (-0.058, 0.028), (-0.05, 0.038), (-0.01, 0.055),
                   (0.05, 0.066), (0.10, 0.066), (0.135, 0.060),
                   (0.14, 0.052), (0.135, 0.044), (0.08, 0.040)])  # fmt: skip
WIDTHS, NARROW = {"crew": 1.0, "stand": 1.0, "v_neck": 0.8}, 0.5  # of bands, by collar
FALLS = (25.0, 70.0)  # degrees from the front over which a collar grows: before, the photo's own is seen


def make_band(head: Head, hem: Floats, line: Neckline, style: Clothes) -> Mesh:
    """Make the rounded band along a neckline."""
    width = WIDTHS.get(style.collar, NARROW)
    profile = BAND * np.array([width, 0.5 + 0.5 * width])
    path = orient(resample_smooth(hem, COUNT))
    return _sweep(head, path, np.broadcast_to(profile[:, None], (len(profile), COUNT, 2)), line, style)


def make_fallen_collar(head: Head, hem: Floats, line: Neckline, style: Clothes) -> Mesh:
    """Make a collar that stands at the nape and falls back over the cloth, and ends towards the front."""
    path = orient(resample_smooth(hem, COUNT))
    degrees = np.abs(np.degrees(np.arctan2(path[:, 0], path[:, 2] + 0.10 * HEAD_HEIGHT)))
    grown = smoothstep(*FALLS, degrees)
    flat = np.stack([np.full(len(COLLAR), 0.02), np.full(len(COLLAR), 0.008)], -1)
    profile = flat[:, None] + grown[:, None] * (COLLAR - flat)[:, None]
    return _sweep(head, path, profile, line, style)


def orient(path: Floats) -> Floats:
    """Return a closed path (k, 3) that runs such that bands along it face outwards."""
    x, z = path[:, 0], path[:, 2]
    return path[::-1] if np.sum(x * np.roll(z, 1) - z * np.roll(x, 1)) > 0 else path


def _sweep(head: Head, path: Floats, profile: Floats, line: Neckline, style: Clothes) -> Mesh:
    """Sweep a profile (rows, COUNT, 2), head heights down and off the skin, along a closed path on the body."""
    points = np.stack([path + _down(head, path) * (row[:, :1] * HEAD_HEIGHT) for row in profile])
    for _ in range(3):
        excess = head.field.distance(points) - profile[..., 1] * HEAD_HEIGHT
        points = points - excess[..., None] * head.field.gradient(points)
        points = 0.5 * points + 0.25 * (np.roll(points, 1, 1) + np.roll(points, -1, 1))
    triangles = grid(len(profile), COUNT, closed=True)
    colour = np.broadcast_to(np.array(style.colour) * 0.9, (points.size // 3, 3))
    return make_mesh(points.reshape(-1, 3), triangles, colour, line.material, Part.CLOTHES)


def _down(head: Head, path: Floats) -> Floats:
    """Return the directions (k, 3) along the body in which cloth hangs from a path."""
    along = unit(np.roll(path, -1, 0) - np.roll(path, 1, 0))
    down = unit(np.cross(head.field.gradient(path), along))
    away = unit(path * np.array([1.0, 0.0, 1.0]) + np.array([0.0, 0.0, 0.05])) * 0.4 - np.array([0.0, 1.0, 0.0])
    down = down * np.sign((down * away).sum(-1, keepdims=True))
    for _ in range(6):
        down = unit(down + 0.5 * (np.roll(down, 1, 0) + np.roll(down, -1, 0)))
    return down
