"""A portrait and its proxy as the map completer is shown them, and what it says as a better proxy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import look_at
from portrait360.geometry.completion import Seen
from portrait360.geometry.head_map import HeadMap

Floats = NDArray[np.floating]

HINTS = 18  # channels
MIDDLE, SPREAD = 0.25, 0.15  # canonical: of radii
DEEP = 0.05  # canonical: a change of the radius by so much is one
COLOUR = 0.5  # a change of a colour by so much is one


def hints_of(
    layout: HeadMap, seen: Seen, colours: Floats, radius: Floats, azimuth: float, elevation: float
) -> Floats:
    """(HINTS, rows, columns): what the photo shows, its mirror image, the proxy, and where the camera stood."""
    mirrored = Seen(seen.rgb[:, ::-1], seen.visible[:, ::-1], seen.trust[:, ::-1])
    rays = layout.rays()[1]
    towards = rays @ look_at(azimuth, elevation)[:3, 3]
    facing = towards / np.linalg.norm(look_at(azimuth, elevation)[:3, 3])
    around = (np.arange(layout.columns) + 0.5) * (2 * np.pi / layout.columns)
    down = np.linspace(-1, 1, layout.rows)[:, None]
    alone = [
        seen.trust,
        seen.visible,
        mirrored.trust,
        (radius - MIDDLE) / SPREAD,
        facing,
        np.broadcast_to(np.sin(around), radius.shape),
        np.broadcast_to(np.cos(around), radius.shape),
        np.broadcast_to(down, radius.shape),
        rays[..., 1],
    ]
    shown = [
        (2 * seen.rgb - 1) * seen.trust[..., None],
        (2 * mirrored.rgb - 1) * mirrored.trust[..., None],
        2 * colours - 1,
    ]
    channels = [*alone, *(picture[..., i] for picture in shown for i in range(3))]
    return np.stack(channels).astype(np.float32)


def changes_of(colours: Floats, radius: Floats, to_colours: Floats, to_radius: Floats) -> Floats:
    """(4, rows, columns): from the proxy to the truth."""
    colour = (to_colours - colours) / COLOUR
    deeper = np.clip((to_radius - radius) / DEEP, -3, 3)
    return np.concatenate([colour.transpose(2, 0, 1), deeper[None]]).astype(np.float32)


def changed(colours: Floats, radius: Floats, changes: Floats) -> tuple[Floats, Floats]:
    """Colours and radius of the proxy with the changes: the inverse of `changes_of`."""
    new = colours + COLOUR * changes[:3].transpose(1, 2, 0)
    return np.clip(new, 0, 1).astype(np.float32), (radius + DEEP * changes[3]).astype(np.float32)
