"""Encode a portrait and its proxy as the map completer's input, and decode its output to a better proxy."""

from __future__ import annotations

import numpy as np

from portrait360.geometry.cameras import look_at
from portrait360.pipeline.proxy.head_map import HeadMap
from portrait360.pipeline.proxy.texture_completion import SurfaceSamples
from portrait360.utils.array_types import Floats

HINTS = 18  # channels
RADIUS_MEAN, RADIUS_SCALE = 0.25, 0.15  # canonical: normalisation of radii
DEEP = 0.05  # canonical: change of the radius that is encoded as 1
COLOUR = 0.5  # change of a colour that is encoded as 1


def make_hints(
    layout: HeadMap, samples: SurfaceSamples, colours: Floats, radius: Floats, azimuth: float, elevation: float
) -> Floats:
    """Stack the input (HINTS, rows, columns): photo samples, their mirror image, the proxy, and the camera's pose."""
    mirrored = SurfaceSamples(samples.rgb[:, ::-1], samples.visible[:, ::-1], samples.trust[:, ::-1])
    rays = layout.rays()[1]
    towards = rays @ look_at(azimuth, elevation)[:3, 3]
    facing = towards / np.linalg.norm(look_at(azimuth, elevation)[:3, 3])
    around = (np.arange(layout.columns) + 0.5) * (2 * np.pi / layout.columns)
    down = np.linspace(-1, 1, layout.rows)[:, None]
    scalars = [
        samples.trust,
        samples.visible,
        mirrored.trust,
        (radius - RADIUS_MEAN) / RADIUS_SCALE,
        facing,
        np.broadcast_to(np.sin(around), radius.shape),
        np.broadcast_to(np.cos(around), radius.shape),
        np.broadcast_to(down, radius.shape),
        rays[..., 1],
    ]
    colour_maps = [
        (2 * samples.rgb - 1) * samples.trust[..., None],
        (2 * mirrored.rgb - 1) * mirrored.trust[..., None],
        2 * colours - 1,
    ]
    channels = [*scalars, *(colour_map[..., i] for colour_map in colour_maps for i in range(3))]
    return np.stack(channels).astype(np.float32)


def encode_changes(colours: Floats, radius: Floats, to_colours: Floats, to_radius: Floats) -> Floats:
    """Encode the changes (4, rows, columns) from a proxy to target colours and radii."""
    colour_change = (to_colours - colours) / COLOUR
    radius_change = np.clip((to_radius - radius) / DEEP, -3, 3)
    return np.concatenate([colour_change.transpose(2, 0, 1), radius_change[None]]).astype(np.float32)


def apply_changes(colours: Floats, radius: Floats, changes: Floats) -> tuple[Floats, Floats]:
    """Apply changes to colours and radius of a proxy: the inverse of `encode_changes`."""
    new_colours = colours + COLOUR * changes[:3].transpose(1, 2, 0)
    return np.clip(new_colours, 0, 1).astype(np.float32), (radius + DEEP * changes[3]).astype(np.float32)
