"""Gaussians as Niantic's .spz: 19 bytes each in gzip, about a tenth of the .ply.

The format's axes are right, up, back: x right, y up, and the camera looks along -z. This is the canonical frame as
seen by a viewer of the face, so no axis changes. Version 2 is written; version 3, with quaternions of four bytes, is
read as well.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.units import MAX_SPLATS, in_metres, splats_from_file
from portrait360.utils.array_types import Bytes
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited
from portrait360.utils.images import to_uint8

MAGIC = 0x5053474E  # NGSP
HEADER = struct.Struct("<IIIBBBB")  # magic, version, count, degree, fractional bits, flags, reserved
VERSION = 2
FRACTIONAL_BITS = 16  # of positions in metres: a resolution of 15 micrometres, up to 128 m
COLOUR_SCALE = 0.15  # of coefficients, so that colours slightly beyond [0, 1] can be stored
# signs of q, q i, q j, q k; component n of the product with unit m is component n ^ m of q
HALF_TURNS = np.array([[1, 1, 1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1], [-1, 1, -1, 1]], np.float32)
HARMONICS = (0, 3, 8, 15, 24)  # coefficients per channel beyond the constant one, by degree


def write_spz(path: Path, splats: GaussianSplats) -> None:
    values = in_metres(splats)
    fixed = np.round(values.means.astype(np.float64) * 2**FRACTIONAL_BITS).astype(np.int32)
    positions = fixed.astype("<i4").view(np.uint8).reshape(len(values), 3, 4)[..., :3]
    coefficients = (values.colours - 0.5) / SH_C0
    logs = np.log(np.maximum(values.scales, np.finfo(np.float32).tiny))
    parts = [
        positions,
        to_uint8(values.opacities),
        to_uint8(coefficients * COLOUR_SCALE + 0.5),
        np.clip(np.round((logs + 10) * 16), 0, 255).astype(np.uint8),
        to_uint8(_large_w(values.rotations)[:, 1:] / 2 + 0.5),
    ]
    header = HEADER.pack(MAGIC, VERSION, len(values), 0, FRACTIONAL_BITS, 0, 0)
    with atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(header + b"".join(p.tobytes() for p in parts), mtime=0))


def _large_w(rotations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return quaternions of the same Gaussians whose w, which the file omits, is at least 1/2.

    Half a turn about one of its own axes does not change a Gaussian, and moves another component to w. A small w
    would be lost in the rounding of the others, which costs up to 12 degrees.
    """
    largest = np.abs(rotations).argmax(1)[:, None]
    quaternions = np.take_along_axis(rotations, largest ^ np.arange(4), 1) * HALF_TURNS[largest[:, 0]]
    return quaternions * np.where(quaternions[:, :1] < 0, np.float32(-1), np.float32(1))


def read_spz(path: Path) -> GaussianSplats:
    """Read version 2 or 3 of any program; view-dependent colour is dropped."""
    path = Path(path)
    data = read_limited(path, MAX_SPLATS * 64)
    try:
        version, count, bits, body = _unpack(path, data)
    except (zlib.error, EOFError) as error:
        raise UserError(f"{path} is not a whole .spz file; copy it again.") from error
    widths = (9, 1, 3, 3, 3 if version == 2 else 4)
    ends = np.cumsum(widths) * count
    parts = (p.reshape(count, w) for p, w in zip(np.split(body, ends)[:5], widths, strict=True))
    positions, opacities, colours, scales, rotations = parts
    # the sign is in the highest of three bytes: they become the upper bytes of an int32, which is shifted back
    wide = np.concatenate([np.zeros((count, 3, 1), np.uint8), positions.reshape(count, 3, 3)], -1)
    means = (wide.view("<i4")[..., 0] >> 8) / 2.0**bits
    coefficients = (colours / 255 - 0.5) / COLOUR_SCALE
    quaternions = _unpack_first_three(rotations) if version == 2 else _unpack_smallest_three(rotations)
    activated = np.exp(scales / 16 - 10), quaternions, opacities[:, 0] / 255, 0.5 + SH_C0 * coefficients
    return splats_from_file(path, means, *activated)


def _unpack(path: Path, data: bytes) -> tuple[int, int, int, Bytes]:
    """Return version, count, fractional bits, and exactly the bytes that these need, even if there are more."""
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    header = stream.decompress(data, HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    magic, version, count, degree, bits, _, _ = HEADER.unpack(header)
    if magic != MAGIC:
        raise UserError(f"{path} is not an .spz file.")
    if version not in (2, 3):
        raise UserError(f"{path} is an .spz file of version {version}; use version 2 or 3, or a .ply.")
    if count > MAX_SPLATS or degree >= len(HARMONICS):
        raise UserError(f"{path} claims {count} Gaussians of degree {degree}, which is more than can be read.")
    size = count * (19 if version == 2 else 20)
    body = stream.decompress(stream.unconsumed_tail, max(size, 1))
    if len(body) < size:
        raise EOFError
    return version, count, bits, np.frombuffer(body, np.uint8)


def _unpack_first_three(rotations: Bytes) -> NDArray[np.float64]:
    """Return w x y z from x y z; w is positive."""
    xyz = rotations / 127.5 - 1
    w = np.sqrt(np.maximum(1 - (xyz**2).sum(1), 0))
    return np.concatenate([w[:, None], xyz], 1)


def _unpack_smallest_three(rotations: Bytes) -> NDArray[np.float64]:
    """Return w x y z from the index of the largest of x y z w (2 bits), and sign and 9 bits of each other one."""
    bits = np.ascontiguousarray(rotations).view("<u4")[:, 0].copy()
    largest, xyzw = bits >> 30, np.zeros((len(rotations), 4))
    for i in (3, 2, 1, 0):
        stored = largest != i
        value = np.sqrt(0.5) * (bits & 511) / 511 * np.where(bits & 512, -1, 1)
        xyzw[stored, i] = value[stored]
        bits[stored] >>= 10
    largest_value = np.sqrt(np.maximum(1 - (xyzw**2).sum(1), 0))
    xyzw[np.arange(len(xyzw)), largest] = largest_value
    return xyzw[:, [3, 0, 1, 2]]
