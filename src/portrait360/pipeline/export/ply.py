"""Gaussians as a .ply file in the layout of the 3D Gaussian splatting paper, which most programs read.

Vertices have 14 floats (56 bytes) where colours do not depend on the view, and 23 (92 bytes) where they do. With
harmonics of degree 3, which strict readers require, they have 62 (248 bytes), most of them 0. Most such files have y
down; one that has y up says so in a comment, by which `read_ply` knows it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.splat_options import Up
from portrait360.pipeline.export.units import (
    MAX_BYTES,
    MAX_SPLATS,
    OPACITY_MARGIN,
    harmonics_to_slopes,
    in_metres,
    slopes_to_harmonics,
    splats_from_file,
    turn_up,
)
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, check_size

MAX_HEADER = 1 << 16
REST = {0: 0, 1: 9, 2: 24, 3: 45}  # coefficients of the spherical harmonics of degree 1 up to another one
MEAN, COLOUR = ("x", "y", "z"), tuple(f"f_dc_{i}" for i in range(3))
SCALE, ROTATION = tuple(f"scale_{i}" for i in range(3)), tuple(f"rot_{i}" for i in range(4))
SHORT_NAMES = (*MEAN, *COLOUR, "opacity", *SCALE, *ROTATION)
NAMES = (*MEAN, "nx", "ny", "nz", *COLOUR, *(f"f_rest_{i}" for i in range(REST[3])), "opacity", *SCALE, *ROTATION)
UP_COMMENT = "up y"
TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}


class Header(NamedTuple):
    order: str  # byte order; empty if the file is text
    vertices: int
    properties: dict[str, str]  # name -> type, in the file's order
    length: int  # of the header in bytes
    up: Up


def write_ply(path: Path, splats: GaussianSplats, *, sh_degree: Literal[0, 1, 3] = 1, up: Up = "-y") -> None:
    """Write little-endian binary: logarithms of scales, logits of opacities, coefficients of harmonics."""
    values, degree = turn_up(in_metres(splats if sh_degree else splats.without_slopes()), up), splats.degree
    rest = REST[3 if sh_degree == 3 else min(degree, sh_degree)]
    names = NAMES if sh_degree == 3 else (*MEAN, *COLOUR, *name_rest(rest, rest), *SHORT_NAMES[6:])
    rows = np.zeros(len(splats), [(name, "<f4") for name in names])
    opacities = np.clip(values.opacities.astype(np.float64), OPACITY_MARGIN, 1 - OPACITY_MARGIN)
    scales = np.log(np.maximum(values.scales, np.finfo(np.float32).tiny).astype(np.float64))
    _set_columns(rows, MEAN, values.means)
    _set_columns(rows, COLOUR, (values.colours.astype(np.float64) - 0.5) / SH_C0)
    if rest:
        first = slopes_to_harmonics(values.slopes).transpose(0, 2, 1).reshape(len(rows), 9)  # those of red first
        _set_columns(rows, name_rest(rest, 9), first)
    _set_columns(rows, ("opacity",), (np.log(opacities) - np.log1p(-opacities))[:, None])
    _set_columns(rows, SCALE, scales)
    _set_columns(rows, ROTATION, values.rotations)
    lines = ["ply", "format binary_little_endian 1.0", *([f"comment {UP_COMMENT}"] if up == "y" else [])]
    lines += [f"element vertex {len(splats)}", *(f"property float {name}" for name in names), "end_header", ""]
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(lines).encode())
        rows.tofile(file)


def name_rest(count: int, wanted: int) -> tuple[str, ...]:
    """Return the first `wanted` of `count` coefficients beyond the constant ones, as many of each channel."""
    return tuple(f"f_rest_{channel * count // 3 + i}" for channel in range(3) for i in range(wanted // 3))


def _set_columns(rows: NDArray[np.void], names: tuple[str, ...], columns: NDArray[np.floating]) -> None:
    for name, column in zip(names, columns.T, strict=True):
        rows[name] = column


def read_ply(path: Path) -> GaussianSplats:
    """Read 3D Gaussians with any harmonics and properties, as text or binary; only degrees 0 and 1 are kept."""
    path = Path(path)
    size = check_size(path, MAX_BYTES)
    with path.open("rb") as file:
        header = _parse_header(path, file.read(MAX_HEADER))
    names = (*MEAN, *SCALE, *ROTATION, "opacity", *COLOUR)
    missing = [name for name in names if name not in header.properties]
    if missing:
        raise UserError(f"{path} has no property {missing[0]}, so it contains no 3D Gaussians; use another file.")
    count = sum(name.startswith("f_rest_") for name in header.properties)
    rest = name_rest(count, 9) if count in REST.values() and count else ()
    rest = rest if all(name in header.properties for name in rest) else ()
    columns = _read_columns(path, header, (*names, *rest), size - header.length)
    means, scales, rotations, opacity, colours, first = np.split(columns, [3, 6, 10, 11, 14], axis=1)
    slopes = harmonics_to_slopes(first.reshape(-1, 3, 3).transpose(0, 2, 1)) if rest else None
    with np.errstate(over="ignore"):
        activated = np.exp(scales), 1 / (1 + np.exp(-opacity[:, 0])), 0.5 + SH_C0 * colours
    splats = splats_from_file(path, means, activated[0], rotations, activated[1], activated[2], slopes)
    return turn_up(splats, header.up, back=True)


def _parse_header(path: Path, start: bytes) -> Header:
    """Parse the header of the vertices, which must come first; later elements are not read."""
    end = start.find(b"end_header")
    length = start.find(b"\n", end) + 1
    if not start.startswith(b"ply") or end < 0 or not length:
        raise UserError(f"{path} is not a PLY file.")
    order, element, count, properties, up = None, "", -1, {}, "-y"
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
            case ["comment", *words] if words == UP_COMMENT.split():
                up = "y"
            case ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise UserError(f"{path} has an unreadable header: {line[:80].strip()!r}.")
    if order is None or element != "vertex" or not 0 <= count <= MAX_SPLATS:
        raise UserError(
            f"{path} must begin with a list of at most {MAX_SPLATS:,} vertices; no 3D Gaussians can be read from it."
        )
    return Header(order, count, properties, length, up)


def _read_columns(path: Path, header: Header, names: tuple[str, ...], body_size: int) -> NDArray[np.float64]:
    """Return these properties (vertices, len(names)), after a check that the file is as long as its header says."""
    row = np.dtype([(name, header.order + kind) for name, kind in header.properties.items()])
    shortest = row.itemsize if header.order else 2 * len(header.properties)  # a digit and a space each
    if header.vertices * shortest > body_size + (not header.order):  # the last number needs no space after it
        raise UserError(f"{path} ends before its {header.vertices} Gaussians do; copy it again.")
    if header.order:
        rows = np.memmap(path, row, "r", header.length, (header.vertices,)) if header.vertices else np.empty(0, row)
        return np.stack([rows[name].astype(np.float64) for name in names], 1)
    columns = list(header.properties)
    table = _read_text_numbers(path, header.length, header.vertices * len(columns))
    return table.reshape(header.vertices, len(columns))[:, [columns.index(name) for name in names]]


def _read_text_numbers(path: Path, start: int, count: int) -> NDArray[np.float64]:
    """Read numbers as text. NumPy stops at the first word that is not one, with a warning or, in future, an error."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            file.seek(start)
            numbers = np.fromfile(file, np.float64, count, sep=" ")
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count:
        raise UserError(f"{path} does not contain the {count} numbers that its header declares; copy it again.")
    return numbers
