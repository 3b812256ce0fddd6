"""Conversions between the canonical frame and metres, and checks that all readers of Gaussians share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrait360.geometry.gaussians.splats import SH_C1, GaussianSplats
from portrait360.pipeline.export.splat_options import Up
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError

METRES = 0.24 / 0.46  # of one canonical unit: a head is about 0.46 units or 0.24 m high
MAX_SPLATS = 20_000_000
MAX_BYTES = 5 << 30  # of a file of Gaussians: MAX_SPLATS in the widest layout
FIRST = ((1, -1.0), (2, 1.0), (0, -1.0))  # axis and sign of the harmonics of degree 1, in the order of files
OPACITY_MARGIN = 2.0**-24  # distance of opacities from 0 and 1, whose logits are infinite


def in_metres(splats: GaussianSplats, *, metres: float = METRES) -> GaussianSplats:
    """Scale splats about the origin; `1 / METRES` inverts it."""
    return replace(splats, means=splats.means * np.float32(metres), scales=splats.scales * np.float32(metres))


def rotate_half_turn(splats: GaussianSplats, *, back: bool = False) -> GaussianSplats:
    """Rotate splats by half a turn about z, so that y points down; `back` inverts it.

    Most files of Gaussians come from COLMAP and have y down, and programs turn all files upright.
    """
    w, x, y, z = splats.rotations.T  # k q, and -k q for the inverse
    rotations, turn = np.stack([-z, -y, x, w], 1) * np.float32(-1 if back else 1), np.array([-1, -1, 1], np.float32)
    return replace(splats, means=splats.means * turn, rotations=rotations, slopes=splats.slopes * turn[:, None])


def turn_up(splats: GaussianSplats, up: Up, *, back: bool = False) -> GaussianSplats:
    """Rotate splats such that this axis is up; `back` inverts it."""
    return splats if up == "y" else rotate_half_turn(splats, back=back)


def slopes_to_harmonics(slopes: NDArray[np.floating]) -> F64:
    """Return the coefficients (n, 3, rgb) of the harmonics of degree 1 of colours with these slopes (n, xyz, rgb)."""
    return np.stack([sign / SH_C1 * slopes[:, axis].astype(np.float64) for axis, sign in FIRST], 1)


def harmonics_to_slopes(coefficients: NDArray[np.floating]) -> F64:
    """Invert `slopes_to_harmonics`."""
    out = np.zeros(coefficients.shape)
    for i, (axis, sign) in enumerate(FIRST):
        out[:, axis] = sign * SH_C1 * coefficients[:, i]
    return out


def splats_from_file(
    path: Path,
    means: ArrayLike,
    scales: ArrayLike,
    rotations: ArrayLike,
    opacities: ArrayLike,
    colours: ArrayLike,
    slopes: ArrayLike | None = None,
) -> GaussianSplats:
    """Convert a file's values, in metres, to splats of the canonical frame; reject values that cannot be rendered."""
    quaternions = np.asarray(rotations, np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        quaternions = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
        slopes = np.zeros((len(quaternions), 3, 3)) if slopes is None else slopes
        values = [np.asarray(v, np.float64) for v in (means, scales, quaternions, opacities, colours, slopes)]
        values[0], values[1] = values[0] / METRES, values[1] / METRES
        singles = [v.astype(np.float32) for v in values]
    if not len(singles[0]):
        raise UserError(f"{path} contains no Gaussians.")
    if not all(np.isfinite(v).all() for v in singles):
        raise UserError(f"{path} contains numbers that are not finite; export it again.")
    singles[3] = np.clip(singles[3], OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    return GaussianSplats(*singles)
