"""Gaussians as a .splat file: 32 bytes each without a header, for viewers in the browser.

Three floats of position, three of scale, then bytes: red, green, blue, opacity, and a quaternion w x y z around 128.
The largest and most opaque come first, so that a viewer can show a head while it loads. As in
other such files y points down.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from portrait360.errors import UserError
from portrait360.export.units import MAX_SPLATS, in_metres, splats_from_file, stood_over
from portrait360.files import read_limited, whole
from portrait360.geometry.splats import Splats
from portrait360.images import eight_bits

ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def write_splat(path: Path, splats: Splats) -> None:
    weight = splats.scales.astype(np.float64).prod(1) * splats.opacities
    values = stood_over(in_metres(splats[np.argsort(-weight, kind="stable")]))
    rows = np.empty(len(values), ROW)
    rows["mean"], rows["scale"] = values.means, values.scales
    rows["rgba"] = eight_bits(np.concatenate([values.colours, values.opacities[:, None]], 1))
    rows["rotation"] = np.clip(np.round(values.rotations * 128 + 128), 0, 255)
    with whole(path) as temporary:
        rows.tofile(temporary)


def read_splat(path: Path) -> Splats:
    data = read_limited(Path(path), MAX_SPLATS * ROW.itemsize)
    if len(data) % ROW.itemsize:
        raise UserError(f"{path} is not a whole .splat file: its length is no multiple of {ROW.itemsize} bytes.")
    rows = np.frombuffer(data, ROW)
    rgba, turns = rows["rgba"] / 255, (rows["rotation"] - 128.0) / 128
    if (rows["scale"] < 0).any():
        raise UserError(f"{path} holds negative scales: it is not a .splat file.")
    splats = splats_from_file(path, rows["mean"], rows["scale"], turns, rgba[:, 3], rgba[:, :3])
    return stood_over(splats, back=True)
