"""Lights as snapshots have them: flash, hard sun, candles, neon, backlight, beside the studio moods of `lights`."""

from __future__ import annotations

import numpy as np

from portrait360.synth.render.lights import WHITE, Key, Mood, light_of, sample_light
from portrait360.synth.scene import Light

STUDIO_SHARE = 0.5  # of the pictures have a light of `lights`
HARSH_MOODS: dict[str, Mood] = {
    "flash": Mood(
        (0.5, 0.5, 0.5),
        (0.4, 0.4, 0.4),
        (0.3, 0.3, 0.3),
        (Key(WHITE, (0, 12), (-5, 15), (0.5, 3)),),
        brightness=(0.6, 1.0),
        share=(0.15, 0.4),
    ),
    "noon": Mood(
        (0.45, 0.65, 1.0),
        (0.8, 0.85, 0.9),
        (0.5, 0.45, 0.38),
        (Key((1, 0.96, 0.88), (0, 80), (55, 85), (0.3, 2)),),
        brightness=(0.7, 1.1),
        share=(0.2, 0.4),
    ),
    "side_sun": Mood(
        (0.4, 0.55, 0.9),
        (0.6, 0.6, 0.6),
        (0.35, 0.3, 0.25),
        (Key((1, 0.9, 0.72), (60, 120), (5, 35), (0.3, 2)),),
        brightness=(0.5, 1.0),
        share=(0.1, 0.3),
    ),
    "candle": Mood(
        (0.10, 0.05, 0.03),
        (0.20, 0.10, 0.05),
        (0.25, 0.13, 0.06),
        (Key((1, 0.55, 0.22), (0, 70), (-40, 5), (3, 10)),),
        brightness=(0.3, 0.6),
        share=(0.1, 0.3),
    ),
    "neon": Mood(
        (0.15, 0.1, 0.3),
        (0.3, 0.15, 0.35),
        (0.1, 0.1, 0.2),
        (
            Key((1, 0.12, 0.55), (30, 100), (-10, 30), (5, 15)),
            Key((0.1, 0.5, 1), (-110, -40), (-10, 30), (5, 15), 0.9),
        ),
        brightness=(0.35, 0.8),
        share=(0.15, 0.4),
    ),
    "backlight": Mood(
        (0.8, 0.85, 0.95),
        (0.9, 0.9, 0.9),
        (0.5, 0.5, 0.5),
        (Key((1, 0.97, 0.9), (140, 180), (10, 45), (2, 10)),),
        brightness=(0.3, 0.7),
        share=(0.3, 0.6),
    ),
    "screen": Mood(
        (0.08, 0.08, 0.1),
        (0.12, 0.13, 0.18),
        (0.15, 0.17, 0.25),
        (Key((0.55, 0.75, 1), (0, 30), (-30, 5), (8, 18)),),
        brightness=(0.3, 0.6),
        share=(0.15, 0.35),
    ),
    "painter": Mood(
        (0.35, 0.30, 0.22),
        (0.25, 0.20, 0.14),
        (0.12, 0.09, 0.06),
        (Key((1, 0.85, 0.62), (35, 75), (25, 55), (6, 16)),),
        brightness=(0.4, 0.75),
        share=(0.15, 0.35),
    ),
}


def sample_photo_light(rng: np.random.Generator) -> Light:
    """Sample a light: half of them soft or studio-like, half of them harsh, coloured or mixed."""
    if rng.random() < STUDIO_SHARE:
        return sample_light(rng)
    names = list(HARSH_MOODS)
    return light_of(HARSH_MOODS[names[int(rng.integers(len(names)))]], rng)
