"""Closed camera paths around a head: frame n would be frame 0 again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from portrait360.geometry.cameras import Camera, azimuth_between, look_at, orbit
from portrait360.geometry.canonical_frame import FOCAL_SD15, RADIUS
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError

MAX_ELEVATION = 89.0  # degrees; beyond it, the camera would turn over


def figure_eight(
    views: int,
    *,
    azimuth: float = 40.0,
    elevation: float = 15.0,
    focal: float = FOCAL_SD15,
    radius: float = RADIUS,
) -> list[Camera]:
    """Return a horizontal figure eight in front of the face with these amplitudes in azimuth and elevation."""
    angles = [2 * math.pi * i / views for i in range(views)]
    positions = [(azimuth * math.sin(t), elevation * math.sin(2 * t)) for t in angles]
    return [Camera(look_at(a, e, radius=radius), focal) for a, e in positions]


def spline_path(views: int, keys: Sequence[Sequence[float]], *, focal: float = FOCAL_SD15) -> list[Camera]:
    """Return a closed Catmull-Rom spline through the keys (azimuth, elevation[, radius]), in their order.

    Between two keys the camera moves along the shorter arc around the head; half a turn passes the subject's right.
    """
    positions = _check_keys(keys)
    azimuths = positions[:, 0]
    steps = np.array([azimuth_between(a, b) for a, b in zip(azimuths, np.roll(azimuths, -1), strict=True)])
    positions[:, 0] = positions[0, 0] + np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    whole_turns = np.array([steps.sum(), 0.0, 0.0])  # added to azimuth by each round
    count = len(positions)
    parameters = np.arange(views) * count / views
    start, t = parameters.astype(int), (parameters % 1)[:, None]
    neighbours = (start + i for i in (-1, 0, 1, 2))
    p0, p1, p2, p3 = (positions[n % count] + (n // count)[:, None] * whole_turns for n in neighbours)
    curve = p1 + t / 2 * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    curve[:, 1] = np.clip(curve[:, 1], -MAX_ELEVATION, MAX_ELEVATION)
    return [Camera(look_at(a, e, radius=r), focal) for a, e, r in curve]


def parse_path(text: str, *, focal: float) -> Callable[[int], list[Camera]]:
    """Parse `orbit`, `eight`, or keys like "0,0 60,10 180,20,3.5": azimuth, elevation (degrees), optional radius.

    Return a function from a number of views to as many cameras.
    """
    if text == "orbit":
        return lambda count: orbit(count, focal=focal)
    if text == "eight":
        return lambda count: figure_eight(count, focal=focal)
    try:
        keys = [[float(number) for number in key.split(",")] for key in text.split()]
    except ValueError as error:
        raise UserError(
            f'`path={text}` is not valid; choose orbit, eight, or positions like "0,0 60,10 180,20".'
        ) from error
    if len(_check_keys(keys)) < 2:
        raise UserError("A path needs at least two positions.")
    return lambda count: spline_path(count, keys, focal=focal)


def _check_keys(keys: Sequence[Sequence[float]]) -> F64:
    """Return (n, 3) azimuth, elevation, radius."""
    if not keys or any(len(key) not in (2, 3) for key in keys):
        raise UserError("Give each position of a path as azimuth, elevation and, optionally, radius.")
    positions = np.array([[*key, RADIUS][:3] for key in keys], np.float64)
    if not np.isfinite(positions).all():
        raise UserError("The positions of a path must be finite numbers.")
    if np.abs(positions[:, 1]).max() > MAX_ELEVATION or positions[:, 2].min() <= 0:
        limit = f"{MAX_ELEVATION:g}"
        raise UserError(
            f"The elevations of a path must lie between -{limit} and {limit}, and its radii must be above 0."
        )
    return positions
