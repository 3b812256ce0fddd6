"""Versions of .spz: what Niantic's own reader would find in a file, and what comes back."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.spz import _pack_smallest_three, _unpack_smallest_three, read_spz, write_spz
from portrait360.pipeline.export.units import METRES
from portrait360.utils.errors import UserError
from tests.fixtures.splats import matrices, some_splats

PLACE = (0x001000).to_bytes(3, "little") + (0xFFF000).to_bytes(3, "little") + (0x000800).to_bytes(3, "little")
HALF = round(0.5 / np.sqrt(0.5) * 511)
TURN = (3 << 30 | HALF << 20 | 512 << 10).to_bytes(4, "little")  # w is the largest; then x, y, z: x alone is there
PARTS = (PLACE, bytes([204]), bytes([128, 255, 0]), bytes([64, 80, 96]), TURN)


def spz4(
    parts: tuple[bytes, ...] = PARTS,
    *,
    count: int = 1,
    degree: int = 0,
    bits: int = 12,
    flags: int = 0,
    extension: bytes = b"",
    sizes: dict[int, int] | None = None,
) -> bytes:
    """A file of version 4, byte by byte from the format's description; `sizes` are lies in its table."""
    streams = [zstandard.ZstdCompressor().compress(part) for part in parts]
    header = struct.pack("<IIIBBBBI12x", 0x5053474E, 4, count, degree, bits, flags, len(parts), 32 + len(extension))
    lengths = [(sizes or {}).get(i, len(part)) for i, part in enumerate(parts)]
    table = b"".join(struct.pack("<QQ", len(s), length) for s, length in zip(streams, lengths, strict=True))
    return header + extension + table + b"".join(streams)


def check_one(splats: GaussianSplats) -> None:
    assert np.allclose(splats.means[0] * METRES, [1, -1, 0.5])
    assert np.allclose(splats.scales[0] * METRES, np.exp([-6, -5, -4]))
    assert np.allclose(splats.opacities, 0.8) and np.allclose(splats.rotations[0], [0.866, 0.5, 0, 0], atol=5e-3)
    assert np.allclose(splats.colours[0], [0.5, 0.5 + SH_C0 / 0.3, 0.5 - SH_C0 / 0.3], atol=4e-3)


@pytest.mark.parametrize("degree", [0, 1, 4])
@pytest.mark.parametrize("extension", [b"", bytes(12)])
def test_version_4_of_known_bytes(tmp_path: Path, degree: int, extension: bytes):
    """Harmonics and extensions that the file has besides are passed over."""
    parts = PARTS + ((bytes(3 * (0, 3, 8, 15, 24)[degree]),) if degree else ())
    (tmp_path / "one.spz").write_bytes(spz4(parts, degree=degree, extension=extension, flags=2 * bool(extension)))
    check_one(read_spz(tmp_path / "one.spz"))


def test_version_4_is_written_as_niantic_describes_it(tmp_path: Path):
    splats = some_splats(300)
    write_spz(tmp_path / "head.spz", splats, version=4)
    data = (tmp_path / "head.spz").read_bytes()
    header = struct.unpack("<IIIBBBBI", data[:20])
    assert header == (0x5053474E, 4, 300, 0, 16, 0, 5, 32) and not any(data[20:32])
    rows = np.frombuffer(data, "<u8", 10, 32).reshape(5, 2)
    assert rows[:, 1].tolist() == [300 * width for width in (9, 1, 3, 3, 4)]  # no stream of harmonics where none are
    assert 32 + 80 + rows[:, 0].sum() == len(data)
    first = zstandard.ZstdDecompressor().decompress(data[112 : 112 + int(rows[0, 0])], max_output_size=300 * 9)
    low, middle, high = np.frombuffer(first, np.uint8).reshape(-1, 3).astype(int).T
    fixed = low + (middle << 8) + (high << 16)
    places = np.where(fixed >= 1 << 23, fixed - (1 << 24), fixed).reshape(-1, 3) / 2**16
    assert np.abs(places - splats.means * METRES).max() < 2**-17 + 1e-7


@pytest.mark.parametrize("version,degrees", [(2, 1.4), (4, 0.25)])
def test_it_comes_back_with_rotations_as_fine_as_the_version_has_them(tmp_path: Path, version, degrees):
    splats = some_splats(2000)
    write_spz(tmp_path / "head.spz", splats, version=version)
    back = read_spz(tmp_path / "head.spz")
    assert np.abs(back.means - splats.means).max() * METRES < 2**-17 + 1e-7
    assert np.abs(np.log(back.scales / splats.scales)).max() < 1 / 32 + 1e-5 or version == 2  # 2 may swap axes
    assert np.abs(back.opacities - splats.opacities).max() < 0.51 / 255
    turn = np.einsum("nij,nik->njk", matrices(back), matrices(splats))
    if version == 2:  # half turns about own axes, which change no Gaussian
        turn = np.abs(turn)
    angle = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert angle.max() < degrees


def test_quaternions_of_every_sign_and_largest_component_come_back():
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    turns = np.concatenate([np.roll([0.8, 0.4, 0.36, 0.28], k) * signs for k in range(4)])
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    back = _unpack_smallest_three(_pack_smallest_three(turns))
    assert np.abs((back * turns).sum(1)).min() > 1 - 1e-5


REFUSED = {
    "half a header": (spz4()[:20], "not a complete"),
    "cut": (spz4()[:-4], "not a complete"),
    "more than its frames hold": (
        spz4(count=2, sizes={i: 2 * len(p) for i, p in enumerate(PARTS)}),
        "not a complete",
    ),
    "sizes that are not its own": (spz4(sizes={2: 4}), "not a complete"),
    "too few streams": (spz4(PARTS[:4]), "not a complete"),
    "a table in its header": (spz4()[:16] + bytes(16) + spz4()[32:], "not a complete"),
    "a table beyond its end": (spz4()[:16] + b"\xff\xff\xff\x7f" + spz4()[20:], "not a complete"),
    "a bomb": (spz4(count=19_000_000, sizes={0: 171_000_000}), "not a complete"),
    "far too many": (spz4(count=2**32 - 1), "more than"),
    "none": (spz4((), count=0), "no Gaussians"),
    "a degree that is none": (spz4(degree=9), "more than"),
    "finer than its places": (spz4(bits=200), "fraction"),
    "a later version": (spz4().replace(struct.pack("<I", 4), struct.pack("<I", 5), 1), "version 5"),
    "no Zstandard": (spz4()[:112] + bytes(len(spz4()) - 112), "not a complete"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_damaged_and_hostile_files_of_version_4_are_refused_in_one_sentence(tmp_path: Path, what):
    data, said = REFUSED[what]
    (tmp_path / "head.spz").write_bytes(data)
    with pytest.raises(UserError, match=said) as refused:
        read_spz(tmp_path / "head.spz")
    assert "\n" not in str(refused.value)


def test_without_zstandard_version_4_is_refused_and_version_2_is_not(tmp_path: Path, monkeypatch):
    (tmp_path / "new.spz").write_bytes(spz4())
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UserError, match="pip install"):
        read_spz(tmp_path / "new.spz")
    with pytest.raises(UserError, match="pip install"):
        write_spz(tmp_path / "head.spz", some_splats(3), version=4)
    assert not (tmp_path / "head.spz").exists()
    write_spz(tmp_path / "head.spz", some_splats(3))
    assert len(read_spz(tmp_path / "head.spz")) == 3
