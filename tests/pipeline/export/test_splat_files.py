"""Gaussians in files: what comes back, what other programs would read, and what is refused."""

from __future__ import annotations

import gzip
import struct
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.ply import NAMES, read_ply, write_ply
from portrait360.pipeline.export.splat import read_splat, write_splat
from portrait360.pipeline.export.splat_options import SplatFileOptions, parse_splat_options
from portrait360.pipeline.export.spz import read_spz, write_spz
from portrait360.pipeline.export.units import METRES, rotate_half_turn
from portrait360.pipeline.export.writer import write_splat_file
from portrait360.utils.errors import UserError
from tests.fixtures.splats import matrices, some_splats, some_turning_splats

READERS = {"ply": read_ply, "splat": read_splat, "spz": read_spz}


def covariances(splats: GaussianSplats) -> np.ndarray:
    """What a Gaussian looks like, whatever its own axes are called."""
    turns = matrices(splats)
    return np.einsum("nij,nj,nkj->nik", turns, splats.scales.astype(np.float64) ** 2, turns)


def test_ply_comes_back_to_float_rounding(tmp_path: Path):
    splats = some_splats()
    write_ply(tmp_path / "head.ply", splats)
    back = read_ply(tmp_path / "head.ply")
    for field in fields(GaussianSplats):
        assert np.allclose(getattr(back, field.name), getattr(splats, field.name), rtol=2e-6, atol=1e-7), field.name
    write_ply(tmp_path / "again.ply", back)
    again = read_ply(tmp_path / "again.ply")
    assert all(
        np.allclose(getattr(again, f.name), getattr(back, f.name), rtol=2e-6, atol=1e-7)
        for f in fields(GaussianSplats)
    )


def test_an_independent_reader_finds_metres_logarithms_and_strict_rows(tmp_path: Path):
    splats = some_splats()
    write_ply(tmp_path / "head.ply", splats, sh_degree=3)
    vertex = PlyData.read(tmp_path / "head.ply")["vertex"]
    assert vertex.data.dtype.itemsize == 248 and vertex.data.dtype.names == NAMES and len(vertex) == len(splats)
    places = np.stack([vertex[name] for name in "xyz"], 1)
    assert np.allclose(places / METRES * [-1, -1, 1], splats.means, atol=1e-6)  # y points down, the face to +z
    assert np.allclose(np.exp(vertex["scale_1"]) / METRES, splats.scales[:, 1], rtol=1e-5)
    assert np.allclose(1 / (1 + np.exp(-vertex["opacity"])), splats.opacities, atol=1e-6)
    assert np.allclose(vertex["f_dc_2"] * SH_C0 + 0.5, splats.colours[:, 2], atol=1e-6)
    assert not vertex["f_rest_44"].any()


def test_without_harmonics_it_has_the_properties_that_gsplat_writes_and_a_quarter_of_the_size(tmp_path: Path):
    splats = some_splats()
    write_ply(tmp_path / "head.ply", splats)
    write_ply(tmp_path / "strict.ply", splats, sh_degree=3)
    vertex, strict = (PlyData.read(tmp_path / f"{name}.ply")["vertex"] for name in ("head", "strict"))
    gsplats = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert vertex.data.dtype.names == tuple(gsplats.split()) and vertex.data.dtype.itemsize == 56
    assert (tmp_path / "head.ply").stat().st_size < 0.25 * (tmp_path / "strict.ply").stat().st_size
    assert all(np.array_equal(vertex[name], strict[name]) for name in gsplats.split())


def sh_colours(vertex, directions: np.ndarray) -> np.ndarray:
    """What the 3DGS paper's renderer shows of the harmonics of degree 0 and 1 in a file."""
    dc = np.stack([vertex[f"f_dc_{i}"] for i in range(3)], 1)
    names = [name for name in vertex.data.dtype.names if name.startswith("f_rest_")]
    rest = np.stack([vertex[name] for name in names], 1).reshape(len(dc), 3, -1)[..., :3]
    x, y, z = directions.T[:, :, None]
    first = np.sqrt(3 / (4 * np.pi)) * (-y * rest[..., 0] + z * rest[..., 1] - x * rest[..., 2])
    return np.maximum(SH_C0 * dc + first + 0.5, 0)


@pytest.mark.parametrize("sh_degree", [1, 3])
@pytest.mark.parametrize("up", ["y", "-y"])
def test_other_renderers_see_the_same_colours_from_everywhere(tmp_path: Path, sh_degree, up):
    splats, camera = some_turning_splats(), Camera(look_at(50, 20))
    write_ply(tmp_path / "head.ply", splats, sh_degree=sh_degree, up=up)
    vertex = PlyData.read(tmp_path / "head.ply")["vertex"]
    assert vertex.data.dtype.itemsize == {1: 92, 3: 248}[sh_degree]
    eye = camera.position * METRES * ([1, 1, 1] if up == "y" else [-1, -1, 1])
    away = np.stack([vertex[name] for name in "xyz"], 1) - eye
    seen = sh_colours(vertex, away / np.linalg.norm(away, axis=1, keepdims=True))
    assert np.allclose(seen, splats.find_colours(camera), atol=1e-5)
    assert np.abs(seen - splats.colours).max() > 0.2


@pytest.mark.parametrize(
    ("name", "options", "limit"),
    [("ply", {}, 1e-5), ("ply", {"sh_degree": 3}, 1e-5), ("spz", {}, 0.015), ("spz", {"version": 4}, 0.015)],
)
def test_colours_that_depend_on_the_view_come_back(tmp_path: Path, name, options, limit):
    splats, write = some_turning_splats(), {"ply": write_ply, "spz": write_spz}[name]
    write(tmp_path / f"head.{name}", splats, **options)
    back = READERS[name](tmp_path / f"head.{name}")
    for azimuth in (0, 90, 200):
        camera = Camera(look_at(azimuth, 20))
        assert np.abs(back.find_colours(camera) - splats.find_colours(camera)).max() < limit


def test_files_with_one_colour_each_have_what_is_seen_from_outside(tmp_path: Path):
    splats = some_turning_splats()
    plain, options = splats.without_slopes(), SplatFileOptions(sh_degree=0)
    assert plain.degree == 0 and splats.degree == 1
    for n in range(0, 500, 50):
        outside = Camera(look_at(*find_angles(splats.means[n])))
        assert np.allclose(splats.find_colours(outside)[n], plain.colours[n], atol=1e-5)
    for name in ("ply", "spz", "splat"):
        write_splat_file(tmp_path / f"a.{name}", splats, name, options)
        write_splat_file(tmp_path / f"b.{name}", plain, name, options)
        assert (tmp_path / f"a.{name}").read_bytes() == (tmp_path / f"b.{name}").read_bytes()


def find_angles(point: np.ndarray) -> tuple[float, float]:
    x, y, z = point
    return float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arctan2(y, np.hypot(x, z))))


@pytest.mark.parametrize("sh_degree", [0, 3])
def test_y_can_point_up_and_ply_says_so(tmp_path: Path, sh_degree):
    splats = some_splats()
    write_ply(tmp_path / "head.ply", splats, up="y", sh_degree=sh_degree)
    write_splat(tmp_path / "head.splat", splats, up="y")
    vertex = PlyData.read(tmp_path / "head.ply")["vertex"]
    assert np.allclose(np.stack([vertex[name] for name in "xyz"], 1) / METRES, splats.means, atol=1e-6)
    assert np.allclose(np.stack([vertex[f"rot_{i}"] for i in range(4)], 1), splats.rotations)
    assert np.allclose(read_ply(tmp_path / "head.ply").means, splats.means, atol=1e-6)
    order = np.lexsort(splats.means.T)
    back = read_splat(tmp_path / "head.splat", up="y").means
    assert np.allclose(back[np.lexsort(back.T)], splats.means[order], atol=1e-6)


@pytest.mark.parametrize("values", [(2, "-y", 2), (0, "z", 2), (0, "y", 3)])
def test_options_that_there_are_not_are_refused(values):
    with pytest.raises(UserError, match="choose "):
        parse_splat_options(*values)


@pytest.mark.parametrize("text,order", [(True, "="), (False, "<"), (False, ">")])
@pytest.mark.parametrize("rest", [0, 9])
def test_layouts_of_other_programs_are_read(tmp_path: Path, text, order, rest):
    """Fewer harmonics, more properties, another order and unnormalised quaternions, as text or binary."""
    splats = some_splats(40)
    write_ply(tmp_path / "head.ply", splats, sh_degree=3)
    own = PlyData.read(tmp_path / "head.ply")["vertex"].data
    names = ["rot_3", "rot_0", "rot_1", "rot_2", *(f"f_rest_{i}" for i in range(rest)), *NAMES[6:9]]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "z", "y", "x"]
    rows = np.zeros(40, [("label", "u1"), *((name, "f8" if name == "x" else "f4") for name in names), ("more", "i4")])
    for name in names:
        rows[name] = own[name] * (3 if name.startswith("rot") else 1)
    element = PlyElement.describe(rows, "vertex")
    faces = PlyElement.describe(np.array([((0, 1, 2),)], [("vertex_indices", "i4", (3,))]), "face")
    PlyData([element, faces], text=text, byte_order=order, comments=["made elsewhere"]).write(tmp_path / "other.ply")
    back = read_ply(tmp_path / "other.ply")
    for field in fields(GaussianSplats):
        assert np.allclose(getattr(back, field.name), getattr(splats, field.name), rtol=1e-5, atol=1e-6), field.name


def test_standing_over_turns_every_gaussian_half_about_z_and_back():
    splats = some_turning_splats()
    turned, half = rotate_half_turn(splats), np.diag([-1.0, -1.0, 1.0])
    assert np.allclose(turned.means, splats.means @ half) and np.allclose(
        matrices(turned), half @ matrices(splats), atol=1e-6
    )
    again = rotate_half_turn(turned, back=True)
    assert all(np.array_equal(getattr(again, f.name), getattr(splats, f.name)) for f in fields(GaussianSplats))


def test_splat_comes_back_to_its_bytes_the_most_important_first(tmp_path: Path):
    splats = some_splats()
    write_splat(tmp_path / "head.splat", splats)
    assert (tmp_path / "head.splat").stat().st_size == 32 * len(splats)
    back = read_splat(tmp_path / "head.splat")
    weight = back.scales.astype(np.float64).prod(1) * back.opacities
    order = np.argsort(-splats.scales.astype(np.float64).prod(1) * splats.opacities)
    wanted = splats[order]
    assert (np.diff(weight) <= 0.2 * weight[:-1]).all()  # opacities were rounded
    assert np.allclose(back.means, wanted.means, atol=1e-7) and np.allclose(back.scales, wanted.scales)
    assert np.abs(back.opacities - wanted.opacities).max() < 0.51 / 255
    assert np.abs(back.colours - wanted.colours).max() < 0.51 / 255
    assert np.abs(matrices(back) - matrices(wanted)).max() < 0.03


def test_spz_comes_back_to_its_bytes(tmp_path: Path):
    splats = some_splats()
    write_spz(tmp_path / "head.spz", splats)
    back = read_spz(tmp_path / "head.spz")
    assert np.abs(back.means - splats.means).max() * METRES < 2**-17 + 1e-7
    assert np.abs(np.log(back.scales / splats.scales)).max() < 1 / 32 + 1e-5
    assert np.abs(back.opacities - splats.opacities).max() < 0.51 / 255
    assert np.abs(back.colours - splats.colours).max() < 0.51 / 255 / 0.15 * SH_C0
    shapes, wanted = covariances(back), covariances(replace(splats, scales=back.scales))
    largest = back.scales.max(1)[:, None, None].astype(np.float64) ** 2
    assert np.abs((shapes - wanted) / largest).max() < 0.025


def spz(version: int, count: int, body: bytes, degree: int = 0, bits: int = 12, magic: int = 0x5053474E) -> bytes:
    return gzip.compress(struct.pack("<IIIBBBB", magic, version, count, degree, bits, 0, 0) + body)


def test_spz_of_known_bytes(tmp_path: Path):
    """Written by hand from the format's description: one Gaussian of version 2 and the same of version 3."""
    place = (0x001000).to_bytes(3, "little") + (0xFFF000).to_bytes(3, "little") + (0x000800).to_bytes(3, "little")
    common = place + bytes([204, 128, 255, 0, 64, 80, 96])
    half = round(0.5 / np.sqrt(0.5) * 511)
    turn = 3 << 30 | half << 20 | 512 << 10 | 0  # w is the largest, then x, y, z: x alone is there
    second = common + bytes([round(127.5 + 127.5 * 0.5), 128, 128])
    for version, body in ((2, second), (3, common + turn.to_bytes(4, "little") + bytes(9))):
        (tmp_path / "one.spz").write_bytes(spz(version, 1, body, degree=version - 2))
        one = read_spz(tmp_path / "one.spz")
        assert np.allclose(one.means[0] * METRES, [1, -1, 0.5])
        assert np.allclose(one.scales[0] * METRES, np.exp([-6, -5, -4]))
        assert np.allclose(one.opacities, 0.8) and np.allclose(one.rotations[0], [0.866, 0.5, 0, 0], atol=5e-3)
        assert np.allclose(one.colours[0], [0.5, 0.5 + SH_C0 / 0.3, 0.5 - SH_C0 / 0.3], atol=4e-3)


def ply(header: str, body: bytes = b"") -> bytes:
    return f"ply\n{header}\nend_header\n".encode() + body


PROPERTIES = "\n".join(f"property float {name}" for name in NAMES)
LITTLE, TEXT = "format binary_little_endian 1.0", "format ascii 1.0"
ROW = np.ones(62, "<f4")
BAD_ROW, NO_TURN = ROW.copy(), ROW.copy()
BAD_ROW[0], NO_TURN[-4:] = np.nan, 0

REFUSED = {
    "empty": ("ply", b"", "not a PLY"),
    "another file": ("ply", b"\x89PNG" + bytes(500), "not a PLY"),
    "no end of header": ("ply", b"ply\n" + LITTLE.encode() + b"\n" * 100_000, "not a PLY"),
    "a point cloud": ("ply", ply(f"{LITTLE}\nelement vertex 1\nproperty float x", bytes(4)), "3D Gaussians"),
    "packed": ("ply", ply(f"{LITTLE}\nelement chunk 1\nproperty float min_x", bytes(4)), "begin with"),
    "lists": ("ply", ply(f"{LITTLE}\nelement vertex 1\nproperty list uchar int x", bytes(9)), "unreadable header"),
    "no format": ("ply", ply(f"element vertex 1\n{PROPERTIES}", bytes(248)), "begin with"),
    "far too many": ("ply", ply(f"{LITTLE}\nelement vertex 99999999999\n{PROPERTIES}", bytes(248)), "at most"),
    "more than there are": ("ply", ply(f"{LITTLE}\nelement vertex 2\n{PROPERTIES}", bytes(248)), "ends before"),
    "a negative number": ("ply", ply(f"{LITTLE}\nelement vertex -2\n{PROPERTIES}", bytes(248)), "begin with"),
    "none": ("ply", ply(f"{LITTLE}\nelement vertex 0\n{PROPERTIES}"), "no Gaussians"),
    "not a number": ("ply", ply(f"{LITTLE}\nelement vertex 1\n{PROPERTIES}", BAD_ROW.tobytes()), "not finite"),
    "no rotation": ("ply", ply(f"{LITTLE}\nelement vertex 1\n{PROPERTIES}", NO_TURN.tobytes()), "not finite"),
    "too little text": ("ply", ply(f"{TEXT}\nelement vertex 1\n{PROPERTIES}", b"1.0000 " * 61), "declares"),
    "words": ("ply", ply(f"{TEXT}\nelement vertex 1\n{PROPERTIES}", b"one " * 62), "declares"),
    "cut splats": ("splat", bytes(33), "multiple"),
    "no splats": ("splat", b"", "no Gaussians"),
    "splats of nothing": ("splat", b"\xff" * 32, "not finite"),
    "negative splats": ("splat", np.full(8, -1, "<f4").tobytes(), "negative"),
    "no gzip": ("spz", bytes(100), "not a complete"),
    "cut gzip": ("spz", spz(2, 1, bytes(range(19)))[:20], "not a complete"),
    "short spz": ("spz", spz(2, 2, bytes(19)), "not a complete"),
    "another gzip": ("spz", spz(2, 1, bytes(19), magic=7), "not an .spz"),
    "an old spz": ("spz", spz(1, 1, bytes(19)), "version 1"),
    "a new spz in gzip": ("spz", spz(4, 1, bytes(20)), "version 4"),
    "too many for spz": ("spz", spz(2, 2**32 - 1, bytes(19)), "more than"),
    "no spz": ("spz", spz(2, 0, b""), "no Gaussians"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_damaged_and_hostile_files_are_refused_in_one_sentence(tmp_path: Path, what):
    ending, data, said = REFUSED[what]
    (tmp_path / f"head.{ending}").write_bytes(data)
    with pytest.raises(UserError, match=said) as refused:
        READERS[ending](tmp_path / f"head.{ending}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("ending", READERS)
def test_what_is_not_there_is_said(tmp_path: Path, ending):
    with pytest.raises(UserError, match="no file"):
        READERS[ending](tmp_path / "head")


def test_opacity_without_a_finite_logit_is_kept_in_bounds(tmp_path: Path):
    row = ROW.copy()
    row[NAMES.index("opacity")] = np.inf
    (tmp_path / "head.ply").write_bytes(ply(f"{LITTLE}\nelement vertex 1\n{PROPERTIES}", row.tobytes()))
    splats = read_ply(tmp_path / "head.ply")
    assert 0.999 < splats.opacities[0] < 1
    write_ply(tmp_path / "again.ply", splats)
    assert np.isfinite(PlyData.read(tmp_path / "again.ply")["vertex"]["opacity"]).all()
