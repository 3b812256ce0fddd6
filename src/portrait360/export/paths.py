"""Ways around a head that close: picture n would be picture 0 again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from portrait360.cameras import FOCAL_SD15, RADIUS, Array, Camera, azimuth_between, look_at, orbit
from portrait360.errors import UserError

STEEPEST = 89.0  # degrees of elevation; beyond, the camera would turn over


def figure_eight(
    views: int,
    *,
    azimuth: float = 40.0,
    elevation: float = 15.0,
    focal: float = FOCAL_SD15,
    radius: float = RADIUS,
) -> list[Camera]:
    """A lying eight before the face, as far to the sides and up and down as said."""
    turns = [2 * math.pi * i / views for i in range(views)]
    places = [(azimuth * math.sin(t), elevation * math.sin(2 * t)) for t in turns]
    return [Camera(look_at(a, e, radius=radius), focal) for a, e in places]


def through_keys(views: int, keys: Sequence[Sequence[float]], *, focal: float = FOCAL_SD15) -> list[Camera]:
    """Through (azimuth, elevation[, radius]) in turn and back to the first, as smoothly as a Catmull-Rom spline.

    Between neighbours the camera goes the shorter way around the head; half a turn goes to the subject's right.
    """
    places = _places(keys)
    steps = np.array([azimuth_between(a, b) for a, b in zip(places[:, 0], np.roll(places[:, 0], -1), strict=True)])
    places[:, 0] = places[0, 0] + np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    whole_turns = np.array([steps.sum(), 0.0, 0.0])  # what one round adds
    count = len(places)
    at = np.arange(views) * count / views
    start, t = at.astype(int), (at % 1)[:, None]
    around = (start + i for i in (-1, 0, 1, 2))
    p0, p1, p2, p3 = (places[n % count] + (n // count)[:, None] * whole_turns for n in around)
    curve = p1 + t / 2 * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    curve[:, 1] = np.clip(curve[:, 1], -STEEPEST, STEEPEST)
    return [Camera(look_at(a, e, radius=r), focal) for a, e, r in curve]


def named_path(text: str, *, focal: float) -> Callable[[int], list[Camera]]:
    """`orbit`, `eight`, or places in degrees like "0,0 60,10 180,20,3.5": azimuth, elevation and perhaps radius."""
    if text == "orbit":
        return lambda count: orbit(count, focal=focal)
    if text == "eight":
        return lambda count: figure_eight(count, focal=focal)
    try:
        keys = [[float(number) for number in place.split(",")] for place in text.split()]
    except ValueError as error:
        raise UserError(
            f'There is no path {text!r}; choose orbit, eight, or places like "0,0 60,10 180,20".'
        ) from error
    if len(_places(keys)) < 2:
        raise UserError("A path needs two places at least.")
    return lambda count: through_keys(count, keys, focal=focal)


def _places(keys: Sequence[Sequence[float]]) -> Array:
    """(n, 3) azimuth, elevation, radius."""
    if not keys or any(len(key) not in (2, 3) for key in keys):
        raise UserError("A path needs places of azimuth, elevation and, if you like, radius.")
    places = np.array([[*key, RADIUS][:3] for key in keys], np.float64)
    if not np.isfinite(places).all():
        raise UserError("A path's places are numbers.")
    if np.abs(places[:, 1]).max() > STEEPEST or places[:, 2].min() <= 0:
        raise UserError(f"Elevations of a path lie between -{STEEPEST:g} and {STEEPEST:g}, and radii above 0.")
    return places
