"""The order in which views are refined, and which finished neighbour drives each of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portrait360.geometry.cameras import Camera, look_at

FIXED = 13  # views, including the reference


class ScheduledView(NamedTuple):
    camera: Camera
    driving: int | None  # index of the view that drives it; None: it is the reference


def outward_schedule(reference: Camera, count: int = FIXED) -> list[ScheduledView]:
    """Return the reference, then views around the head at its elevation, alternating between both sides, from the
    front to the back; with an even count the last one is opposite the reference."""
    step, schedule = 360 / count, [ScheduledView(reference, None)]
    for i in range(1, count):
        turns, side = (i + 1) // 2, 1 if i % 2 else -1
        schedule.append(
            ScheduledView(turn_camera(reference, side * turns * step, reference.elevation), max(i - 2, 0))
        )
    return schedule


def turn_camera(reference: Camera, turn: float, elevation: float = 0.0) -> Camera:
    """Return a camera with the reference's focal length, turned around the vertical axis by `turn` degrees."""
    return Camera(look_at((reference.azimuth + turn) % 360, elevation), reference.focal)


def random_view(
    reference: Camera, schedule: list[ScheduledView], rng: np.random.Generator, max_elevation: float = 30.0
) -> ScheduledView:
    """Sample a random view, driven by the scheduled view whose direction is nearest to its own."""
    camera = turn_camera(reference, rng.uniform(0, 360), rng.uniform(-max_elevation, max_elevation))
    cosines = [float(camera.cam2world[:3, 2] @ view.camera.cam2world[:3, 2]) for view in schedule]
    return ScheduledView(camera, int(np.argmax(cosines)))
