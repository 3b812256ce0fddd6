"""Which views are refined, and which finished neighbour leads each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portrait360.cameras import Camera, look_at

FIXED = 13  # views, the reference with them


class Stop(NamedTuple):
    camera: Camera
    driving: int | None  # the place of the view that leads it; None: the reference itself


def outward(reference: Camera, count: int = FIXED) -> list[Stop]:
    """The reference, then views all around at its height, from its sides to its back; even circles end behind it."""
    step, stops = 360 / count, [Stop(reference, None)]
    for i in range(1, count):
        turns, side = (i + 1) // 2, 1 if i % 2 else -1
        stops.append(Stop(beside(reference, side * turns * step, reference.elevation), max(i - 2, 0)))
    return stops


def beside(reference: Camera, turn: float, elevation: float = 0.0) -> Camera:
    """At the reference's lens, so many degrees on around the axis."""
    return Camera(look_at((reference.azimuth + turn) % 360, elevation), reference.focal)


def between(reference: Camera, stops: list[Stop], rng: np.random.Generator, high: float = 30.0) -> Stop:
    """A view anywhere, led by the fixed one that looks from nearest to it."""
    camera = beside(reference, rng.uniform(0, 360), rng.uniform(-high, high))
    away = [float(camera.cam2world[:3, 2] @ stop.camera.cam2world[:3, 2]) for stop in stops]
    return Stop(camera, int(np.argmax(away)))
