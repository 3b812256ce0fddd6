"""Gaussians in glTF: what the ratified KHR_gaussian_splatting asks for, what comes back, and what is refused."""

from __future__ import annotations

import json
import struct
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.geometry.gaussians.rasterizer import render_image
from portrait360.geometry.gaussians.splats import SH_C0, GaussianSplats
from portrait360.pipeline.export.khr_splats import holds_splats, pack_khr_splats, read_khr_splats, write_khr_splats
from portrait360.pipeline.export.ply import read_ply, write_ply
from portrait360.pipeline.export.spz import read_spz, write_spz
from portrait360.pipeline.export.units import METRES
from portrait360.pipeline.export.writer import open_head
from portrait360.utils.errors import UserError
from portrait360.utils.images import over_grey
from tests.fixtures.splats import matrices, some_splats, some_turning_splats

NAME = "KHR_gaussian_splatting"
SCHEMA = {  # of the extension's object in a primitive, in the words of its specification
    "type": "object",
    "required": ["kernel", "colorSpace"],
    "properties": {
        "kernel": {"enum": ["ellipse"]},
        "colorSpace": {"enum": ["srgb_rec709_display", "lin_rec709_display"]},
        "projection": {"enum": ["perspective"]},
        "sortingMethod": {"enum": ["cameraDistance"]},
        "extensions": {"type": "object"},
        "extras": {},
    },
    "additionalProperties": False,
}
ATTRIBUTES = {  # allowed (type, component type, normalised) of each that must be there
    "POSITION": {("VEC3", 5126, False)},
    f"{NAME}:ROTATION": {("VEC4", 5126, False), ("VEC4", 5120, True), ("VEC4", 5122, True)},
    f"{NAME}:SCALE": {("VEC3", 5126, False)},
    f"{NAME}:OPACITY": {("SCALAR", 5126, False), ("SCALAR", 5121, True), ("SCALAR", 5123, True)},
    f"{NAME}:SH_DEGREE_0_COEF_0": {("VEC3", 5126, False)},
}


def take_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def put_together(tree: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(body), 0x004E4942) + body
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def read_accessor(tree: dict[str, Any], body: bytes, name: str) -> np.ndarray:
    """An attribute's values, read by the rules of glTF without the package's reader."""
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"][name]]
    view = tree["bufferViews"][accessor["bufferView"]]
    kind = {5126: "<f4", 5122: "<i2", 5123: "<u2"}[accessor["componentType"]]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    values = np.frombuffer(body, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
    return values / np.iinfo(kind).max if accessor.get("normalized") else values


def test_it_is_what_the_specification_asks_for():
    splats = some_splats(50)
    tree, body = take_apart(pack_khr_splats(splats))
    primitive = tree["meshes"][0]["primitives"][0]
    jsonschema.validate(primitive["extensions"][NAME], SCHEMA)
    assert tree["extensionsUsed"] == [NAME] and primitive["mode"] == 0
    for name, allowed in ATTRIBUTES.items():
        accessor = tree["accessors"][primitive["attributes"][name]]
        assert (accessor["type"], accessor["componentType"], accessor.get("normalized", False)) in allowed, name
        view = tree["bufferViews"][accessor["bufferView"]]
        assert accessor["count"] == 50 and view["target"] == 34962 and view["byteOffset"] % 4 == 0, name
        assert view["byteLength"] % (4 * 50) == 0  # each element of an attribute begins at a multiple of four
    places = read_accessor(tree, body, "POSITION")
    assert np.allclose(places, splats.means * METRES) and tree["accessors"][0]["min"] == places.min(0).tolist()
    assert np.allclose(read_accessor(tree, body, f"{NAME}:SCALE"), splats.scales * METRES)  # linear, not logarithms
    assert np.allclose(read_accessor(tree, body, f"{NAME}:OPACITY")[:, 0], splats.opacities)
    turns = read_accessor(tree, body, f"{NAME}:ROTATION")
    assert np.allclose(turns, splats.rotations[:, [1, 2, 3, 0]], atol=2e-5)
    assert np.allclose(
        read_accessor(tree, body, f"{NAME}:SH_DEGREE_0_COEF_0") * SH_C0 + 0.5, splats.colours, atol=1e-6
    )


def test_programs_without_the_extension_see_linear_colours():
    grey = some_splats(1)
    grey = GaussianSplats(grey.means, grey.scales, grey.rotations, grey.opacities, np.full((1, 3), 0.5, np.float32))
    tree, body = take_apart(pack_khr_splats(grey))
    assert np.allclose(read_accessor(tree, body, "COLOR_0")[0, :3], 0.2140, atol=1e-4)  # of sRGB's middle grey


@pytest.mark.parametrize("make", [some_splats, some_turning_splats])
def test_it_comes_back(tmp_path: Path, make):
    splats = make()
    write_khr_splats(tmp_path / "head.glb", splats)
    back = read_khr_splats(tmp_path / "head.glb")
    for field in fields(GaussianSplats):
        assert np.allclose(getattr(back, field.name), getattr(splats, field.name), rtol=2e-6, atol=3e-5), field.name
    opened = open_head(tmp_path / "head.glb").splats
    assert holds_splats(tmp_path / "head.glb") and opened is not None and len(opened) == len(splats)


def draw(splats: GaussianSplats) -> np.ndarray:
    rgb, alpha, _ = render_image(splats, Camera(look_at(20, 10), focal_from_fov(18)), 96)
    return over_grey(rgb, alpha)


@pytest.mark.parametrize(
    "name,write,read,limit",
    [
        ("head.glb", write_khr_splats, read_khr_splats, 60),
        ("head.ply", write_ply, read_ply, 60),
        ("head.spz", write_spz, read_spz, 40),
        ("new.spz", lambda path, splats: write_spz(path, splats, version=4), read_spz, 40),
    ],
)
def test_it_looks_the_same_when_it_comes_back(tmp_path: Path, name, write, read, limit):
    splats = some_splats(400)
    write(tmp_path / name, splats)
    error = np.square(draw(read(tmp_path / name)) - draw(splats)).mean()
    assert draw(splats).std() > 0.05 and -10 * np.log10(error) > limit


def change(change_tree: Any) -> bytes:
    tree, body = take_apart(pack_khr_splats(some_splats(4)))
    primitive = tree["meshes"][0]["primitives"][0]
    change_tree(tree, primitive, primitive["extensions"][NAME])
    return put_together(tree, body)


def test_it_is_read_where_it_stands_in_its_scene(tmp_path: Path):
    half = np.sqrt(0.5)
    node = {"mesh": 0, "rotation": [0, half, 0, half], "scale": [2, 2, 2], "translation": [0, 1, 0]}
    (tmp_path / "moved.glb").write_bytes(change(lambda tree, *_: tree.update(nodes=[node])))
    splats, back = some_splats(4), read_khr_splats(tmp_path / "moved.glb")
    turn = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert np.allclose(back.means, 2 * splats.means @ turn.T + [0, 1 / METRES, 0], atol=1e-5)
    assert np.allclose(back.scales, 2 * splats.scales, rtol=1e-5)
    assert np.allclose(matrices(back), turn @ matrices(splats), atol=2e-4)


def test_bytes_of_other_programs_are_read(tmp_path: Path):
    """One Gaussian with a rotation in signed bytes and an opacity in a byte, written by hand."""
    body = struct.pack("<9f", 1, 2, 3, 0.1, 0.2, 0.3, 1, 0, -1) + bytes([0, 0, 0, 127]) + bytes([51, 0, 0, 0])
    kinds = [(0, 5126, "VEC3"), (12, 5126, "VEC3"), (24, 5126, "VEC3"), (36, 5120, "VEC4"), (40, 5121, "SCALAR")]
    names = ["POSITION", f"{NAME}:SCALE", f"{NAME}:SH_DEGREE_0_COEF_0", f"{NAME}:ROTATION", f"{NAME}:OPACITY"]
    tree = {
        "asset": {"version": "2.0"},
        "extensionsUsed": [NAME],
        "extensionsRequired": [NAME],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {
                        "mode": 0,
                        "attributes": {name: i for i, name in enumerate(names)},
                        "extensions": {NAME: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
                    }
                ]
            }
        ],
        "accessors": [
            {"bufferView": 0, "byteOffset": o, "componentType": c, "type": t, "count": 1, "normalized": c < 5126}
            for o, c, t in kinds
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(body)}],
        "buffers": [{"byteLength": len(body)}],
    }
    (tmp_path / "one.glb").write_bytes(put_together(tree, body))
    one = read_khr_splats(tmp_path / "one.glb")
    assert np.allclose(one.means[0] * METRES, [1, 2, 3]) and np.allclose(one.scales[0] * METRES, [0.1, 0.2, 0.3])
    assert np.allclose(one.rotations[0], [1, 0, 0, 0]) and np.allclose(one.opacities, 0.2)
    assert np.allclose(one.colours[0], [0.5 + SH_C0, 0.5, 0.5 - SH_C0])


def drop(name: str) -> Any:
    return lambda tree, primitive, details: primitive["attributes"].pop(name)


REFUSED = {
    "no opacity": (drop(f"{NAME}:OPACITY"), "lacks"),
    "no places": (drop("POSITION"), "lacks"),
    "no extension": (lambda t, p, d: p["extensions"].clear(), "no Gaussians"),
    "triangles": (lambda t, p, d: p.update(mode=4), "an unsupported kind"),
    "another kernel": (lambda t, p, d: d.update(kernel="box"), "an unsupported kind"),
    "compressed": (lambda t, p, d: d.update(extensions={"EXT_packed": {}}), "an unsupported kind"),
    "other colours": (lambda t, p, d: d.update(colorSpace="aces"), "sRGB"),
    "too many": (lambda t, p, d: [a.update(count=10**9) for a in t["accessors"]], "more than"),
    "more than it holds": (lambda t, p, d: [a.update(count=500) for a in t["accessors"]], "cut off"),
    "of different lengths": (lambda t, p, d: t["accessors"][2].update(count=3), "different lengths"),
    "a count that is none": (lambda t, p, d: [a.update(count="4") for a in t["accessors"]], "export it again"),
    "stretched": (lambda t, p, d: t["nodes"][0].update(scale=[1, 2, 1]), "stretches"),
    "mirrored": (lambda t, p, d: t["nodes"][0].update(scale=[-1, 1, 1]), "stretches"),
    "shrunk to nothing": (lambda t, p, d: t["nodes"][0].update(scale=[0, 0, 0]), "stretches"),
    "another file": (lambda t, p, d: t["buffers"][0].update(uri="../secret"), "another file"),
    "wide opacities": (lambda t, p, d: p["attributes"].update({f"{NAME}:OPACITY": 0}), "shape"),
    "negative scales": (lambda t, p, d: p["attributes"].update({f"{NAME}:SCALE": 0}), "shape"),
    "a needed extension": (lambda t, p, d: t.update(extensionsRequired=["EXT_unknown"]), "EXT_unknown"),
    "no nodes": (lambda t, p, d: t.pop("nodes"), "export it again"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_damaged_and_hostile_files_are_refused_in_one_sentence(tmp_path: Path, what):
    change_tree, said = REFUSED[what]
    (tmp_path / "head.glb").write_bytes(change(change_tree))
    with pytest.raises(UserError, match=said) as refused:
        read_khr_splats(tmp_path / "head.glb")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("length", [0, 19, 200, 900])
def test_cut_files_are_refused(tmp_path: Path, length):
    (tmp_path / "head.glb").write_bytes(pack_khr_splats(some_splats(40))[:length])
    with pytest.raises(UserError):
        read_khr_splats(tmp_path / "head.glb")
    with pytest.raises(UserError):
        open_head(tmp_path / "head.glb")
