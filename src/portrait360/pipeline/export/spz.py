"""Gaussians as Niantic's .spz: 19 or 20 bytes each, 9 more where colours depend on the view, compressed.

The format's axes are right, up, back: x right, y up, and the camera looks along -z. This is the canonical frame as
seen by a viewer of the face, so no axis changes. Versions 2 and 3 are one gzip stream, and differ in the quaternions:
x, y, z in bytes, or the smallest three in four bytes. Version 4 has a plain header, a table, and a Zstandard frame
for each kind of value. Versions 2 and 4 are written, 2 to 4 are read.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.units import (
    MAX_SPLATS,
    harmonics_to_slopes,
    in_metres,
    slopes_to_harmonics,
    splats_from_file,
)
from portrait360.utils.array_types import F64, Bytes
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write, read_limited
from portrait360.utils.images import to_uint8

MAGIC = 0x5053474E  # NGSP
HEADER = struct.Struct("<IIIBBBB")  # magic, version, count, degree, fractional bits, flags, reserved
HEADER_4 = struct.Struct("<IIIBBBBI12x")  # the same, but streams for reserved; then the offset of the table
TABLE_ROW = struct.Struct("<QQ")  # bytes of a stream, compressed and not
FRACTIONAL_BITS = 16  # of positions in metres: a resolution of 15 micrometres, up to 128 m
MAX_FRACTIONAL_BITS = 23
COLOUR_SCALE = 0.15  # of coefficients, so that colours slightly beyond [0, 1] can be stored
# signs of q, q i, q j, q k; component n of the product with unit m is component n ^ m of q
HALF_TURNS = np.array([[1, 1, 1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1], [-1, 1, -1, 1]], np.float32)
HARMONICS = (0, 3, 8, 15, 24)  # coefficients per channel beyond the constant one, by degree
WIDTHS = (9, 1, 3, 3)  # bytes of position, opacity, colour and scale
HARMONIC_STEPS = 128  # of a coefficient beyond the constant one
MAX_RATIO = 1024  # of bytes not compressed to compressed: a short file with more is not a head
LEVEL = 12  # of Zstandard, as the format's own library writes
SIGN, MAGNITUDE = 512, 511  # of a component of a quaternion in ten bits


class Streams(NamedTuple):
    """The values of a file as bytes, one row per Gaussian."""

    version: int
    bits: int  # of the fraction of positions
    parts: list[Bytes]  # positions, opacities, colours, scales, rotations, and harmonics or nothing


def write_spz(path: Path, splats: GaussianSplats, *, version: Literal[2, 4] = 2) -> None:
    """Write version 2, which everything reads, or version 4, which has finer rotations."""
    values = in_metres(splats)
    fixed = np.round(values.means.astype(np.float64) * 2**FRACTIONAL_BITS).astype(np.int32)
    positions = fixed.astype("<i4").view(np.uint8).reshape(len(values), 3, 4)[..., :3]
    coefficients = (values.colours - 0.5) / SH_C0
    logs = np.log(np.maximum(values.scales, np.finfo(np.float32).tiny))
    if version == 2:
        rotations = to_uint8(_large_w(values.rotations)[:, 1:] / 2 + 0.5)
    else:
        rotations = _pack_smallest_three(values.rotations.astype(np.float64))
    parts = [
        positions,
        to_uint8(values.opacities),
        to_uint8(coefficients * COLOUR_SCALE + 0.5),
        np.clip(np.round((logs + 10) * 16), 0, 255).astype(np.uint8),
        rotations,
    ]
    if splats.degree:
        steps = np.round(slopes_to_harmonics(values.slopes) * HARMONIC_STEPS) + HARMONIC_STEPS
        parts.append(np.clip(steps, 0, 255).astype(np.uint8))
    pack = _pack_gzip if version == 2 else _pack_zstandard
    with atomic_write(path) as temporary:
        temporary.write_bytes(pack(len(values), splats.degree, [part.tobytes() for part in parts]))


def _pack_gzip(count: int, degree: int, parts: list[bytes]) -> bytes:
    header = HEADER.pack(MAGIC, 2, count, degree, FRACTIONAL_BITS, 0, 0)
    return gzip.compress(header + b"".join(parts), mtime=0)


def _pack_zstandard(count: int, degree: int, parts: list[bytes]) -> bytes:
    compressor = _import_zstandard().ZstdCompressor(level=LEVEL)
    streams = [compressor.compress(part) for part in parts]
    header = HEADER_4.pack(MAGIC, 4, count, degree, FRACTIONAL_BITS, 0, len(parts), HEADER_4.size)
    table = [TABLE_ROW.pack(len(stream), len(part)) for stream, part in zip(streams, parts, strict=True)]
    return b"".join([header, *table, *streams])


def _import_zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise UserError(
            "Version 4 of .spz needs Zstandard; install it with `pip install 'portrait360[spz]'`, or use version 2."
        ) from error
    return zstandard


def _large_w(rotations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return quaternions of the same Gaussians whose w, which version 2 omits, is at least 1/2.

    Half a turn about one of its own axes does not change a Gaussian, and moves another component to w. A small w
    would be lost in the rounding of the others, which costs up to 12 degrees.
    """
    largest = np.abs(rotations).argmax(1)[:, None]
    quaternions = np.take_along_axis(rotations, largest ^ np.arange(4), 1) * HALF_TURNS[largest[:, 0]]
    return quaternions * np.where(quaternions[:, :1] < 0, np.float32(-1), np.float32(1))


def _pack_smallest_three(rotations: F64) -> Bytes:
    """Return w x y z as four bytes: the index of the largest of x y z w, then sign and 9 bits of each other one."""
    xyzw = rotations[:, [1, 2, 3, 0]]
    largest = np.abs(xyzw).argmax(1)
    negative = xyzw < 0
    negative ^= np.take_along_axis(negative, largest[:, None], 1)  # -q is the same rotation: the largest is positive
    fields = np.round(np.abs(xyzw) / np.sqrt(0.5) * MAGNITUDE).astype(np.uint32) | negative * np.uint32(SIGN)
    others = np.arange(3) + (np.arange(3) >= largest[:, None])
    first, second, third = np.take_along_axis(fields, others, 1).T
    bits = largest.astype(np.uint32) << 30 | first << 20 | second << 10 | third
    return bits.astype("<u4").view(np.uint8).reshape(-1, 4)


def read_spz(path: Path) -> GaussianSplats:
    """Read version 2 to 4 of any program; of colours that depend on the view, only degree 1 is kept."""
    path = Path(path)
    data = read_limited(path, MAX_SPLATS * 64)
    try:
        streams = _unpack_zstandard(path, data) if data[:4] == struct.pack("<I", MAGIC) else _unpack_gzip(path, data)
    except (zlib.error, EOFError, struct.error) as error:
        raise UserError(f"{path} is not a complete .spz file; copy it again.") from error
    positions, opacities, colours, scales, rotations, harmonics = streams.parts
    # the sign is in the highest of three bytes: they become the upper bytes of an int32, which is shifted back
    count = len(positions)
    wide = np.concatenate([np.zeros((count, 3, 1), np.uint8), positions.reshape(count, 3, 3)], -1)
    means = (wide.view("<i4")[..., 0] >> 8) / 2.0**streams.bits
    coefficients = (colours / 255 - 0.5) / COLOUR_SCALE
    quaternions = _unpack_first_three(rotations) if streams.version == 2 else _unpack_smallest_three(rotations)
    activated = np.exp(scales / 16 - 10), quaternions, opacities[:, 0] / 255, 0.5 + SH_C0 * coefficients
    first = (harmonics[:, :9].reshape(-1, 3, 3) - float(HARMONIC_STEPS)) / HARMONIC_STEPS
    slopes = harmonics_to_slopes(first) if harmonics.shape[1] else None
    return splats_from_file(path, means, *activated, slopes)


def _unpack_gzip(path: Path, data: bytes) -> Streams:
    """Return what a file of version 2 or 3 holds; what else it may hold is not even decompressed."""
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    header = stream.decompress(data, HEADER.size)
    if len(header) < HEADER.size:
        raise EOFError
    magic, version, count, degree, bits, _, _ = HEADER.unpack(header)
    if magic != MAGIC:
        raise UserError(f"{path} is not an .spz file.")
    _check_header(path, version, (2, 3), count, degree, bits)
    widths = (*WIDTHS, 3 if version == 2 else 4, 3 * HARMONICS[degree])
    size = count * sum(widths)
    body = stream.decompress(stream.unconsumed_tail, max(size, 1))
    if len(body) < size:
        raise EOFError
    ends = np.cumsum(widths) * count
    parts = np.split(np.frombuffer(body, np.uint8), ends)[:6]
    return Streams(version, bits, [part.reshape(count, width) for part, width in zip(parts, widths, strict=True)])


def _unpack_zstandard(path: Path, data: bytes) -> Streams:
    """Return what a file of version 4 holds; extensions are passed over."""
    _, version, count, degree, bits, _, number, offset = HEADER_4.unpack_from(data)
    _check_header(path, version, (4,), count, degree, bits)
    widths = [width for width in (*WIDTHS, 4, 3 * HARMONICS[degree]) if width and count]
    if number != len(widths) or offset < HEADER_4.size or count * WIDTHS[0] > len(data) * MAX_RATIO:
        raise EOFError
    place, parts, zstandard = offset + number * TABLE_ROW.size, [], _import_zstandard()
    for i, width in enumerate(widths):
        packed, size = TABLE_ROW.unpack_from(data, offset + i * TABLE_ROW.size)
        if size != count * width or packed > len(data) - place:
            raise EOFError
        part = _decompress(zstandard, data[place : place + packed], size)
        parts.append(np.frombuffer(part, np.uint8).reshape(count, width))
        place += packed
    parts = parts or [np.zeros((0, width), np.uint8) for width in (*WIDTHS, 4)]
    return Streams(version, bits, parts if len(parts) == 6 else [*parts, np.zeros((count, 0), np.uint8)])


def _decompress(zstandard: ModuleType, data: bytes, size: int) -> bytes:
    """Return the `size` bytes of a frame; one that holds more is not read further."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
            out = reader.read(size)
    except (zstandard.ZstdError, MemoryError) as error:
        raise EOFError from error
    if len(out) < size:
        raise EOFError
    return out


def _check_header(path: Path, version: int, versions: tuple[int, ...], count: int, degree: int, bits: int) -> None:
    if version not in versions:
        raise UserError(f"{path} is an .spz file of version {version}; use version 2, 3 or 4, or a .ply.")
    if count > MAX_SPLATS or degree >= len(HARMONICS):
        raise UserError(f"{path} declares {count} Gaussians of degree {degree}, which is more than can be read.")
    if bits > MAX_FRACTIONAL_BITS:
        raise UserError(f"{path} declares {bits} fractional bits, more than its positions have.")


def _unpack_first_three(rotations: Bytes) -> NDArray[np.float64]:
    """Return w x y z from x y z; w is positive."""
    xyz = rotations / 127.5 - 1
    w = np.sqrt(np.maximum(1 - (xyz**2).sum(1), 0))
    return np.concatenate([w[:, None], xyz], 1)


def _unpack_smallest_three(rotations: Bytes) -> NDArray[np.float64]:
    """Invert `_pack_smallest_three`."""
    bits = np.ascontiguousarray(rotations).view("<u4")[:, 0].copy()
    largest, xyzw = bits >> 30, np.zeros((len(rotations), 4))
    for i in (3, 2, 1, 0):
        stored = largest != i
        value = np.sqrt(0.5) * (bits & MAGNITUDE) / MAGNITUDE * np.where(bits & SIGN, -1, 1)
        xyzw[stored, i] = value[stored]
        bits[stored] >>= 10
    largest_value = np.sqrt(np.maximum(1 - (xyzw**2).sum(1), 0))
    xyzw[np.arange(len(xyzw)), largest] = largest_value
    return xyzw[:, [3, 0, 1, 2]]
