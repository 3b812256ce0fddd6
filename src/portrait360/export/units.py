"""From the canonical frame to metres and back, and what every reader of Gaussians promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from portrait360.errors import UserError
from portrait360.geometry.splats import Splats

METRES = 0.24 / 0.46  # of one canonical unit: a head is about 0.46 units or 0.24 m high
MAX_SPLATS = 20_000_000
MAX_BYTES = 5 << 30  # of a file of Gaussians: what so many take in the widest layout
NEARLY = 2.0**-24  # opacities keep this from 0 and 1, whose logits are infinite


def in_metres(splats: Splats, *, metres: float = METRES) -> Splats:
    """Scaled about the origin; `1 / METRES` leads back."""
    return replace(splats, means=splats.means * np.float32(metres), scales=splats.scales * np.float32(metres))


def stood_over(splats: Splats, *, back: bool = False) -> Splats:
    """Half a turn about z, so that y points down as in most files of Gaussians: they come from COLMAP, and programs
    turn them all over. Back leads what was turned to where it was."""
    w, x, y, z = splats.rotations.T  # k q, and -k q back
    turns = np.stack([-z, -y, x, w], 1) * np.float32(-1 if back else 1)
    return replace(splats, means=splats.means * np.array([-1, -1, 1], np.float32), rotations=turns)


def splats_from_file(
    path: Path, means: ArrayLike, scales: ArrayLike, rotations: ArrayLike, opacities: ArrayLike, colours: ArrayLike
) -> Splats:
    """Values of a file, in metres, as sound splats of the canonical frame; what cannot be drawn is refused."""
    turns = np.asarray(rotations, np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        turns = turns / np.linalg.norm(turns, axis=-1, keepdims=True)
        values = [np.asarray(v, np.float64) for v in (means, scales, turns, opacities, colours)]
        values[0], values[1] = values[0] / METRES, values[1] / METRES
        singles = [v.astype(np.float32) for v in values]
    if not len(singles[0]):
        raise UserError(f"{path} holds no Gaussians.")
    if not all(np.isfinite(v).all() for v in singles):
        raise UserError(f"{path} holds numbers that are not finite; export it again.")
    singles[3] = np.clip(singles[3], NEARLY, 1 - NEARLY)
    return Splats(*singles)
