"""Gaussians as a .ply file in the layout of the 3D Gaussian splatting paper, which most programs read; y points down.

Vertices have 62 floats (248 bytes), as strict readers demand, though a head's colour does not depend on the view.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.errors import UserError
from portrait360.export.units import MAX_BYTES, MAX_SPLATS, NEARLY, in_metres, splats_from_file, stood_over
from portrait360.files import checked_size, whole
from portrait360.geometry.splats import SH_C0, Splats

MAX_HEADER = 1 << 16
REST = 45  # coefficients of the harmonics of degree 1 to 3
MEAN, COLOUR = ("x", "y", "z"), tuple(f"f_dc_{i}" for i in range(3))
SCALE, ROTATION = tuple(f"scale_{i}" for i in range(3)), tuple(f"rot_{i}" for i in range(4))
NAMES = (*MEAN, "nx", "ny", "nz", *COLOUR, *(f"f_rest_{i}" for i in range(REST)), "opacity", *SCALE, *ROTATION)
TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


class Header(NamedTuple):
    order: str  # of a number's bytes; empty where the file is text
    vertices: int
    properties: dict[str, str]  # type of each, in the file's order
    length: int  # bytes of the header


def write_ply(path: Path, splats: Splats) -> None:
    """Little-endian binary: logarithms of scales, logits of opacities, coefficients of the constant harmonic."""
    values = stood_over(in_metres(splats))
    rows = np.zeros(len(splats), [(name, "<f4") for name in NAMES])
    opacities = np.clip(values.opacities.astype(np.float64), NEARLY, 1 - NEARLY)
    scales = np.log(np.maximum(values.scales, np.finfo(np.float32).tiny).astype(np.float64))
    _put(rows, MEAN, values.means)
    _put(rows, COLOUR, (values.colours.astype(np.float64) - 0.5) / SH_C0)
    _put(rows, ("opacity",), (np.log(opacities) - np.log1p(-opacities))[:, None])
    _put(rows, SCALE, scales)
    _put(rows, ROTATION, values.rotations)
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(splats)}"]
    lines += [*(f"property float {name}" for name in NAMES), "end_header", ""]
    with whole(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(lines).encode())
        rows.tofile(file)


def _put(rows: NDArray[np.void], names: tuple[str, ...], columns: NDArray[np.floating]) -> None:
    for name, column in zip(names, columns.T, strict=True):
        rows[name] = column


def read_ply(path: Path) -> Splats:
    """Any layout of 3D Gaussians: other harmonics, more properties, text or binary; view-dependent colour is left."""
    path = Path(path)
    size = checked_size(path, MAX_BYTES)
    with path.open("rb") as file:
        header = _header(path, file.read(MAX_HEADER))
    wanted = (*MEAN, *SCALE, *ROTATION, "opacity", *COLOUR)
    missing = [name for name in wanted if name not in header.properties]
    if missing:
        raise UserError(f"{path} has no property {missing[0]}: it does not hold 3D Gaussians.")
    columns = _columns(path, header, wanted, size - header.length)
    means, scales, rotations, opacity, colours = np.split(columns, [3, 6, 10, 11], axis=1)
    with np.errstate(over="ignore"):
        plain = np.exp(scales), 1 / (1 + np.exp(-opacity[:, 0])), 0.5 + SH_C0 * colours
    splats = splats_from_file(path, means, plain[0], rotations, plain[1], plain[2])
    return stood_over(splats, back=True)


def _header(path: Path, start: bytes) -> Header:
    """Of the vertices, which must come first; later elements are not read."""
    end = start.find(b"end_header")
    length = start.find(b"\n", end) + 1
    if not start.startswith(b"ply") or end < 0 or not length:
        raise UserError(f"{path} is not a PLY file.")
    order, element, count, properties = None, "", -1, {}
    for line in start[:end].decode("latin-1").splitlines()[1:]:
        match line.split():
            case ["format", name, _] if name in ORDERS:
                order = ORDERS[name]
            case ["element", name, number] if not element and number.isdecimal() and len(number) < 12:
                element, count = name, int(number)
            case ["element", *_]:
                break
            case ["property", kind, name] if kind in TYPES and name not in properties:
                properties[name] = TYPES[kind]
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise UserError(f"{path} has a header that cannot be read: {line[:80].strip()!r}.")
    if order is None or element != "vertex" or not 0 <= count <= MAX_SPLATS:
        raise UserError(f"{path} does not begin with at most {MAX_SPLATS} vertices: it does not hold 3D Gaussians.")
    return Header(order, count, properties, length)


def _columns(path: Path, header: Header, wanted: tuple[str, ...], left: int) -> NDArray[np.float64]:
    """(vertices, wanted), once the file is known to be long enough for what its header says."""
    row = np.dtype([(name, header.order + kind) for name, kind in header.properties.items()])
    shortest = row.itemsize if header.order else 2 * len(header.properties)  # a digit and a blank each
    if header.vertices * shortest > left + (not header.order):  # after the last number no blank is needed
        raise UserError(f"{path} ends before its {header.vertices} Gaussians do; copy it again.")
    if header.order:
        rows = np.memmap(path, row, "r", header.length, (header.vertices,)) if header.vertices else np.empty(0, row)
        return np.stack([rows[name].astype(np.float64) for name in wanted], 1)
    names = list(header.properties)
    table = _numbers(path, header.length, header.vertices * len(names))
    return table.reshape(header.vertices, len(names))[:, [names.index(name) for name in wanted]]


def _numbers(path: Path, start: int, count: int) -> NDArray[np.float64]:
    """As text; NumPy stops at the first word that is none, with a warning or, in the future, an error."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            file.seek(start)
            numbers = np.fromfile(file, np.float64, count, sep=" ")
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count:
        raise UserError(f"{path} does not hold the {count} numbers that it promises; copy it again.")
    return numbers
