"""Patterns of woven, knitted, plaited and printed things that are worn."""

from __future__ import annotations

import numpy as np

from portrait360.synth.noise import noise, smoothstep
from portrait360.synth.sampling.parameters import Colour


def paint(
    points: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    colour: Colour | np.ndarray,
    second: Colour,
    texture: str,
    seed: int,
) -> np.ndarray:
    """Return the colours (..., 3) of points (..., 3); `place` holds two coordinates along the cloth, canonical."""
    u, v = (np.broadcast_to(c, points.shape[:-1]) for c in place)
    flat = points.reshape(-1, 3)

    def cloud(frequency: float, octaves: int = 1, number: int = 0) -> np.ndarray:
        return noise(flat, frequency, seed + number, octaves).reshape(u.shape)

    share, shade = np.zeros(u.shape), 0.93 + 0.14 * cloud(60.0, 2)
    if texture == "straw":
        shade = 0.80 + 0.2 * np.abs(np.sin(u * 260)) * (0.7 + 0.3 * np.sin(v * 190)) + 0.12 * (cloud(45.0) - 0.5)
    elif texture == "wool":
        shade = 0.82 + 0.18 * np.abs(np.sin(u * 330 + 1.2 * np.sin(v * 330))) + 0.1 * (cloud(80.0) - 0.5)
    elif texture == "fur":
        shade = 0.55 + 0.9 * cloud(70.0, 2)
    elif texture == "dots":
        share = smoothstep(0.52, 0.62, np.sin(u * 130) * np.sin(v * 130))
    elif texture == "stripes":
        share = smoothstep(0.2, 0.4, np.sin(u * 150))
    elif texture == "check":
        share = 0.4 * (np.sin(u * 120) > 0) + 0.4 * (np.sin(v * 120) > 0)
    elif texture == "flowers":
        share = smoothstep(0.62, 0.68, cloud(26.0))
    elif texture == "paisley":
        share = smoothstep(0.04, 0.02, np.abs(cloud(22.0, 1, 5) - 0.5)) + smoothstep(0.66, 0.7, cloud(34.0, 1, 6))
    base = np.broadcast_to(np.asarray(colour, np.float64), points.shape)
    mixed = base + (np.array(second) - base) * np.clip(share, 0, 1)[..., None]
    return mixed * shade[..., None]
