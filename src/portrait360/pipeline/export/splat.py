"""Gaussians as a .splat file for viewers in the browser: 32 bytes each, without a header.

Each has three floats of position, three of scale, then bytes: red, green, blue, opacity, and a quaternion w x y z
around 128. The largest and most opaque come first, so that a viewer can show a head while it loads. As in other such
files, y points down; a file written with y up must be read as one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.splat_options import Up
from portrait360.pipeline.export.units import MAX_SPLATS, in_metres, splats_from_file, turn_up
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited
from portrait360.utils.images import to_uint8

ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def write_splat(path: Path, splats: GaussianSplats, *, up: Up = "-y") -> None:
    weight = splats.scales.astype(np.float64).prod(1) * splats.opacities
    values = turn_up(in_metres(splats.without_slopes()[np.argsort(-weight, kind="stable")]), up)
    rows = np.empty(len(values), ROW)
    rows["mean"], rows["scale"] = values.means, values.scales
    rows["rgba"] = to_uint8(np.concatenate([values.colours, values.opacities[:, None]], 1))
    rows["rotation"] = np.clip(np.round(values.rotations * 128 + 128), 0, 255)
    with atomic_write(path) as temporary:
        rows.tofile(temporary)


def read_splat(path: Path, *, up: Up = "-y") -> GaussianSplats:
    data = read_limited(Path(path), MAX_SPLATS * ROW.itemsize)
    if len(data) % ROW.itemsize:
        raise UserError(
            f"{path} is not a complete .splat file: its length is not a multiple of {ROW.itemsize} bytes."
        )
    rows = np.frombuffer(data, ROW)
    rgba, rotations = rows["rgba"] / 255, (rows["rotation"] - 128.0) / 128
    if (rows["scale"] < 0).any():
        raise UserError(f"{path} contains negative scales: it is not a .splat file.")
    splats = splats_from_file(path, rows["mean"], rows["scale"], rotations, rgba[:, 3], rgba[:, :3])
    return turn_up(splats, up, back=True)
