"""The textured head in files: true to the mesh, sound to other programs, and safe to read from them."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.textured_mesh import TexturedMesh
from portrait360.pipeline.export.mesh import read_glb, write_glb, write_obj
from portrait360.pipeline.export.units import METRES
from portrait360.utils.errors import UserError
from tests.fixtures.paths import ROOT


def globe(rows: int = 12, columns: int = 24) -> TexturedMesh:
    """A ball, higher than wide, split at the back; its texture tells up from down and left from right."""
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1), indexing="ij")
    azimuth, polar = (u - 0.5) * 2 * np.pi, v * np.pi
    unit = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    normals = unit / [0.18, 0.23, 0.2]
    at = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    a, b, c, d = at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]
    triangles = np.concatenate(
        [np.stack([a, b, c], -1)[:-1].reshape(-1, 3), np.stack([a, c, d], -1)[1:].reshape(-1, 3)]
    )
    across = np.linspace(0, 255, 64)[None].repeat(64, 0)
    return TexturedMesh(
        (unit * [0.18, 0.23, 0.2]).reshape(-1, 3).astype(np.float32),
        (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).reshape(-1, 3).astype(np.float32),
        np.stack([u, v], -1).reshape(-1, 2).astype(np.float32),
        triangles.astype(np.int32),
        np.stack([across, across.T, 255 - across], -1).astype(np.uint8),
    )


@pytest.fixture(scope="module")
def ball() -> TexturedMesh:
    return globe()


def same_picture(a: TexturedMesh, b: TexturedMesh, tolerance: float = 1e-3) -> bool:
    camera = Camera(look_at(40, 20))
    return bool(np.abs(a.draw(camera, 96).rgb - b.draw(camera, 96).rgb).max() < tolerance)


def test_glb_comes_back(tmp_path: Path, ball):
    write_glb(tmp_path / "head.glb", ball)
    back = read_glb(tmp_path / "head.glb")
    assert np.abs(back.vertices - ball.vertices).max() < 1e-7 and np.abs(back.normals - ball.normals).max() < 1e-6
    assert np.array_equal(back.uv, ball.uv) and np.array_equal(back.triangles, ball.triangles)
    assert np.array_equal(back.texture, ball.texture)
    write_glb(tmp_path / "small.glb", ball, "jpeg")
    assert np.abs(read_glb(tmp_path / "small.glb").texture.astype(int) - ball.texture).mean() < 3


def test_another_reader_sees_a_head_in_metres_with_its_texture_the_right_way_up(tmp_path: Path, ball):
    write_glb(tmp_path / "head.glb", ball)
    (mesh,) = trimesh.load_scene(tmp_path / "head.glb", process=False).geometry.values()
    assert np.allclose(mesh.extents, np.array([0.36, 0.46, 0.4]) * METRES, rtol=0.02) and mesh.volume > 0
    assert np.isclose(mesh.extents[1], 0.24)
    top = int(np.argmax(mesh.vertices[:, 1]))
    assert np.isclose(mesh.visual.uv[top, 1], 1)  # there v grows upwards
    front = int(np.argmax(mesh.vertices[:, 2]))
    assert np.allclose(mesh.vertex_normals[front], [0, 0, 1], atol=1e-5) and np.allclose(mesh.visual.uv[front], 0.5)
    assert np.array_equal(np.asarray(mesh.visual.material.baseColorTexture), ball.texture)


def test_obj_is_the_same_head_to_another_reader(tmp_path: Path, ball):
    write_obj(tmp_path, ball)
    mesh = trimesh.load_mesh(tmp_path / "head.obj", process=False)
    assert np.isclose(mesh.extents[1], 0.24) and mesh.volume > 0 and len(mesh.faces) == len(ball.triangles)
    corners = mesh.visual.uv[mesh.faces] * [1, -1] + [0, 1]
    assert np.allclose(corners, ball.uv[ball.triangles], atol=1e-6)
    assert np.allclose(mesh.vertices[mesh.faces], ball.vertices[ball.triangles] * METRES, atol=1e-7)
    assert np.array_equal(np.asarray(mesh.visual.material.image), ball.texture)


def test_files_of_another_writer_are_read_where_they_stand_in_their_scene(tmp_path: Path, ball):
    """Trimesh writes the mesh around another origin, and its scene puts it back; normals are left out."""
    image = Image.fromarray(ball.texture)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    visual = trimesh.visual.TextureVisuals(uv=ball.uv * [1, -1] + [0, 1], material=material)
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0.2, 0])
    turn[:3, :3] *= 2
    mesh = trimesh.Trimesh(ball.vertices * METRES, ball.triangles, visual=visual, process=False)
    mesh.apply_transform(np.linalg.inv(turn))
    scene = trimesh.Scene()
    scene.add_geometry(mesh, transform=turn)
    (tmp_path / "other.glb").write_bytes(scene.export(file_type="glb"))
    back = read_glb(tmp_path / "other.glb")
    assert np.allclose(back.vertices, ball.vertices, atol=1e-6) and same_picture(back, ball, 0.02)
    inside = np.abs(ball.uv[:, 0] - 0.5) < 0.49  # at the seam these normals know one side only
    inside &= np.abs(ball.uv[:, 1] - 0.5) < 0.4
    assert (back.normals * ball.normals).sum(1)[inside].min() > 0.97


def edited(data: bytes, change) -> bytes:
    """The same file after `change` of its JSON."""
    (length,) = struct.unpack_from("<I", data, 12)
    tree = json.loads(data[20 : 20 + length])
    change(tree)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    return data[:12] + struct.pack("<I", len(text)) + data[16:20] + text + data[20 + length :]


def put(where: str, value):
    """An edit: `put("accessors.0.count", 7)`."""

    def change(tree):
        *path, last = [int(key) if key.isdecimal() else key for key in where.split(".")]
        for key in path:
            tree = tree[key]
        tree[last] = value

    return change


def test_mirrored_files_are_turned_right_side_out(tmp_path: Path, ball):
    write_glb(tmp_path / "head.glb", ball)
    data = (tmp_path / "head.glb").read_bytes()
    mirrored = edited(data, put("nodes.0.scale", [-1.0, 1.0, 1.0]))
    (tmp_path / "mirrored.glb").write_bytes(mirrored)
    back = read_glb(tmp_path / "mirrored.glb")
    assert np.allclose(back.vertices, ball.vertices * [-1, 1, 1], atol=1e-6)
    a, b, c = (back.vertices[back.triangles[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a) * (a + b + c)).sum(1).min() > 0
    assert np.allclose(back.normals, ball.normals * [-1, 1, 1], atol=1e-5)


def test_quantised_and_interleaved_numbers_mean_what_they_say(tmp_path: Path, ball):
    """uv as 16-bit integers, whole textures counted on, in rows with a gap."""
    write_glb(tmp_path / "head.glb", ball)
    rows = np.zeros((len(ball.uv), 4), "<u2")
    rows[:, :2] = np.round(ball.uv * 65535)

    def quantised(tree):
        tree["accessors"][2] |= {"componentType": 5123, "normalized": True}
        tree["bufferViews"][2]["byteStride"] = 8

    data = edited((tmp_path / "head.glb").read_bytes().replace(ball.uv.tobytes(), rows.tobytes()), quantised)
    (tmp_path / "small.glb").write_bytes(data)
    assert np.abs(read_glb(tmp_path / "small.glb").uv - ball.uv).max() < 1e-5
    shifted = replace(ball, uv=ball.uv + np.float32([2, -1]))
    write_glb(tmp_path / "shifted.glb", shifted)
    assert np.abs(read_glb(tmp_path / "shifted.glb").uv - ball.uv).max() < 1e-6


REFUSED = {
    "count": (put("accessors.0.count", 10**12), "is cut off"),
    "negative count": (put("accessors.0.count", -5), "is cut off"),
    "no number": (put("accessors.0.count", "many"), "not a complete"),
    "sparse": (put("accessors.0.sparse", {}), "sparse"),
    "no data": (lambda tree: tree["accessors"][0].pop("bufferView"), "sparse"),
    "view beyond the end": (put("bufferViews.0.byteLength", 1 << 40), "is cut off"),
    "view before the start": (put("bufferViews.0.byteOffset", -64), "is cut off"),
    "stride": (put("bufferViews.0.byteStride", 1), "is cut off"),
    "data elsewhere": (put("buffers.0.uri", "/etc/passwd"), "another file"),
    "texture elsewhere": (put("images.0", {"uri": "../texture.png"}), "another file"),
    "no texture": (lambda tree: tree["materials"][0].pop("pbrMetallicRoughness"), "no texture"),
    "moved texture": (
        put("materials.0.pbrMetallicRoughness.baseColorTexture.extensions", {"KHR_texture_transform": {}}),
        "moves its",
    ),
    "texture of bytes": (put("images.0.bufferView", 0), "not a complete"),
    "no meshes": (put("scenes.0.nodes", []), "0 meshes"),
    "two meshes": (
        lambda tree: tree["meshes"][0]["primitives"].append(tree["meshes"][0]["primitives"][0]),
        "2 meshes",
    ),
    "lines": (put("meshes.0.primitives.0.mode", 1), "plain triangles"),
    "compressed": (put("extensionsRequired", ["KHR_draco_mesh_compression"]), "draco"),
    "no such accessor": (put("meshes.0.primitives.0.indices", 99), "does not contain"),
    "indices of another kind": (put("meshes.0.primitives.0.indices", -1), "does not contain"),
    "a place for an index": (put("meshes.0.primitives.0.attributes.TEXCOORD_0", 0), "does not contain"),
    "not finite": (put("nodes.0.translation", [float("nan"), 0, 0]), "not finite"),
    "flat": (put("nodes.0.scale", [0.0, 1, 1]), "not a complete"),
    "repeated": (put("accessors.2.bufferView", 0), "repeats|cut off"),
    "a list": (lambda tree: tree.update(meshes=7), "not a complete"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_damaged_and_hostile_files_are_refused_in_one_sentence(tmp_path: Path, ball, what):
    change, said = REFUSED[what]
    write_glb(tmp_path / "head.glb", ball)
    (tmp_path / "bad.glb").write_bytes(edited((tmp_path / "head.glb").read_bytes(), change))
    with pytest.raises(UserError, match=said) as refused:
        read_glb(tmp_path / "bad.glb")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("keep", [0, 11, 19, 40, 2000, -1])
def test_what_is_cut_off_or_another_file_is_refused(tmp_path: Path, ball, keep):
    write_glb(tmp_path / "head.glb", ball)
    (tmp_path / "bad.glb").write_bytes((tmp_path / "head.glb").read_bytes()[:keep])
    with pytest.raises(UserError, match="not a|is cut off"):
        read_glb(tmp_path / "bad.glb")
    (tmp_path / "bad.glb").write_bytes(bytes(1000))
    with pytest.raises(UserError, match="not a binary glTF"):
        read_glb(tmp_path / "bad.glb")
    with pytest.raises(UserError, match="no file"):
        read_glb(tmp_path / "none.glb")


def test_a_node_within_itself_ends(tmp_path: Path, ball):
    write_glb(tmp_path / "head.glb", ball)
    looped = edited((tmp_path / "head.glb").read_bytes(), put("nodes.0.children", [0]))
    (tmp_path / "looped.glb").write_bytes(looped)
    assert same_picture(read_glb(tmp_path / "looped.glb"), ball)


def test_a_picture_of_another_format_is_not_decoded(tmp_path: Path, ball):
    write_glb(tmp_path / "head.glb", ball)
    data = (tmp_path / "head.glb").read_bytes()
    bitmap = io.BytesIO()
    Image.fromarray(ball.texture[:4, :4]).save(bitmap, "BMP")
    place = data.index(b"\x89PNG")
    (tmp_path / "bad.glb").write_bytes(data[:place] + bitmap.getvalue() + data[place + len(bitmap.getvalue()) :])
    with pytest.raises(UserError, match="not a complete"):
        read_glb(tmp_path / "bad.glb")


@pytest.mark.slow
@pytest.mark.parametrize("texture", ["png", "jpeg"])
def test_the_khronos_validator_finds_nothing(tmp_path: Path, ball, texture):
    """Needs node, and `npm install gltf-validator` in a folder that NODE_PATH names."""
    node = shutil.which("node")
    if node is None or "NODE_PATH" not in os.environ:
        pytest.skip("node or gltf-validator is not there")
    normals = ball.normals.copy()
    normals[0] = 0  # as where no triangle is
    write_glb(tmp_path / "head.glb", replace(ball, normals=normals), texture)
    script = ROOT / "benchmarks" / "validate_glb.mjs"
    run = subprocess.run([node, script, tmp_path / "head.glb"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert '"numErrors":0,"numWarnings":0' in run.stdout, run.stdout
