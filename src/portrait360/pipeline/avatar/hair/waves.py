"""Give long wavy hair waves that are seen from afar: locks that hang side by side sway alike.

A hairstyle winds each lock by itself. From afar that is straight hair with a rough surface; what makes hair wavy are
crests that run on from lock to lock, and gleam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from portrait360.geometry.canonical_frame import HEAD_HEIGHT
from portrait360.pipeline.avatar.hair.donors import measure_along
from portrait360.pipeline.avatar.hair.texture import read_grain
from portrait360.pipeline.avatar.hair.wave_size import Waves, measure_waves
from portrait360.pipeline.avatar.photo.exposure import HEAD_CENTRE
from portrait360.pipeline.avatar.photo.pixels import Photo
from portrait360.synth.head.bare_head import Head
from portrait360.synth.meshes import unit
from portrait360.synth.noise import noise
from portrait360.synth.sampling.hairstyles import HairStyle
from portrait360.synth.scene import Strands
from portrait360.utils.array_types import F32
from portrait360.utils.image_ops import smoothstep

MOST_TURNS, MOST = 4.5, 0.12  # a head height: more are curls, not waves; greatest radius times turns of waves
LEAST, LONG_TOP = 0.004, 0.7  # canonical height of waves; head heights of straight hair on top that shows them
HIGH, FRONT = (0.13, 0.0), (0.11, -0.02)  # heights, and z, over which hair on top and before the face comes to sway
LONG = (0.08, 0.25)  # canonical way from the root over which hair comes to sway: short hair does not
AWAY = 0.8  # share of the sway of hair before the head, which goes away from the camera: its outline is the photo's
OUTWARD = 0.55  # share of the sway that stands off the head: it is what gleams
ROUND, PHASES, SHIFT = 0.15, 16.0, 1.8  # canonical radius at which locks are told apart, their number per unit; turns
NEAREST = 0.006  # canonical; how close to the skin hair may come


def find_waves(style: HairStyle, photo: Photo) -> Waves | None:
    """Return the waves that a photo shows of hair of this style; None of straight hair, of curls and of ties.

    Long hair of a straight style is as wavy as the photo shows it; that of a wavy style has its waves as long.
    """
    radius, turns = style.wave
    if turns > MOST_TURNS or style.locks != "none" or style.ties:
        return None
    shown = measure_waves(photo)
    if turns <= 0 or radius <= 0:
        return shown if shown is not None and shown.height > LEAST and style.lengths[0] > LONG_TOP else None
    own = Waves(HEAD_HEIGHT / turns, HEAD_HEIGHT * min(max(radius * turns, read_grain(photo)[0]), MOST) / turns)
    return own if shown is None else Waves(shown.length, max(shown.height, own.height * shown.length / own.length))


def sway(groups: Sequence[Strands], head: Head, waves: Waves | None) -> list[Strands]:
    """Return hair in these waves."""
    if waves is None:
        return list(groups)
    return [_sway(group, head, waves) if len(group.points) else group for group in groups]


def _sway(group: Strands, head: Head, waves: Waves) -> Strands:
    points = group.points.astype(np.float64)
    distance = head.field.distance(points)
    turn = 2 * np.pi * (_find_shift(group.points) - points[..., 1] / waves.length)
    hangs = smoothstep(*HIGH, points[..., 1]) * smoothstep(*LONG, measure_along(group.points))
    free = smoothstep(*FRONT, points[..., 2])
    size, held = (
        waves.height * gaussian_filter1d(hangs * share, 1.0, axis=1, mode="nearest")[..., None]
        for share in (free, AWAY * (1 - free))
    )
    outward = unit((points - HEAD_CENTRE) * np.array([1.0, 0.2, 1.0]))
    aside = np.cross(unit(np.gradient(points, axis=1)), outward)
    moved = points + size * (np.sin(turn)[..., None] * aside + OUTWARD * np.cos(turn)[..., None] * outward)
    moved = moved + held * (np.sin(turn)[..., None] - 1) * np.array([0.0, 0.0, 1.0])
    moved = head.field.push_out(moved, np.clip(distance, -1.0, NEAREST))
    moved[:, 0] = points[:, 0]
    return replace(group, points=np.asarray(moved, np.float32))


def _find_shift(points: F32) -> F32:
    """Return how many turns higher the waves of each strand lie (s, 1); strands side by side sway alike."""
    middle = points[:, points.shape[1] // 2] - HEAD_CENTRE
    place = ROUND * unit(middle * np.array([1.0, 0.0, 1.0]) + 1e-9)
    return np.asarray(SHIFT * noise(place.astype(np.float32), PHASES, 83), np.float32)[:, None]
