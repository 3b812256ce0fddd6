"""An avatar as .usdz and .stl, read by USD itself and by trimesh."""

from __future__ import annotations

import io
import re
import struct
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import KDTree

from portrait360.pipeline.export.avatar_files import write_avatar_file
from portrait360.pipeline.export.avatar_stl.file import pack_stl
from portrait360.pipeline.export.avatar_stl.solid import fill_edges
from portrait360.pipeline.export.avatar_usdz.archive import ALIGNMENT, pack_usdz
from portrait360.pipeline.export.avatar_usdz.colours import spread_colours
from portrait360.pipeline.export.units import METRES
from portrait360.pipeline.loaded_head import LoadedHead
from portrait360.pipeline.reconstruction.head import Head
from portrait360.utils.errors import UserError

FLOOR_MM = -0.60 * METRES * 1000
PARTS = {"skin", "eye_left", "eye_right", "upper_teeth", "lower_teeth", "clothes", "hair", "base"}


@pytest.fixture(scope="module")
def avatar(quick_avatar):
    return quick_avatar


@pytest.fixture(scope="module")
def usdz(avatar, tmp_path_factory):
    return write_avatar_file(tmp_path_factory.mktemp("usdz"), avatar, "usdz", detail=0.5)


@pytest.fixture(scope="module")
def solid(avatar, tmp_path_factory):
    file = write_avatar_file(tmp_path_factory.mktemp("stl"), avatar, "stl", detail=0.25)
    mesh = trimesh.load(file)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def check_archive(data: bytes) -> list[str]:
    """The law of .usdz: nothing is compressed, and everything begins at a multiple of 64 bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            name, extra = struct.unpack_from("<HH", data, entry.header_offset + 26)
            assert entry.compress_type == zipfile.ZIP_STORED
            assert (entry.header_offset + 30 + name + extra) % ALIGNMENT == 0
        return archive.namelist()


@pytest.mark.parametrize("size", range(0, 200, 7))
def test_entries_of_an_archive_are_aligned_and_come_back(size):
    files = {"a.usda": bytes(size), "textures/" + "n" * (size % 70 + 1): b"x" * 3, "b": b""}
    data = pack_usdz(files)
    assert check_archive(data) == list(files) and pack_usdz(files) == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {name: archive.read(name) for name in files} == files


def test_the_scene_comes_first_and_names_only_textures_that_are_there(usdz):
    names = check_archive(usdz.read_bytes())
    assert names[0] == "avatar.usda"
    with zipfile.ZipFile(usdz) as archive:
        text = archive.read(names[0]).decode()
        for name in names[1:]:
            Image.open(io.BytesIO(archive.read(name))).verify()
    assert text.startswith("#usda 1.0") and 'upAxis = "Y"' in text and "metersPerUnit = 1" in text
    assert set(re.findall("@(.*?)@", text)) == set(names[1:])
    assert set(re.findall('def Mesh "(.*?)"', text)) >= PARTS
    assert text.count("{") == text.count("}") and "nan" not in text


def test_usd_reads_the_scene(usdz, avatar):
    Usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import UsdGeom, UsdShade, UsdValidation  # type: ignore[import-not-found]

    stage = Usd.Stage.Open(str(usdz))
    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    assert [error.GetMessage() for error in context.Validate(stage)] == []
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1 and UsdGeom.GetStageUpAxis(stage) == "Y"
    box = UsdGeom.BBoxCache(0, ["default"]).ComputeWorldBound(stage.GetDefaultPrim()).ComputeAlignedRange()
    assert abs(box.GetMin()[1]) < 1e-5 and 0.3 < box.GetMax()[1] < 0.6
    meshes = {prim.GetName(): UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)}
    assert set(meshes) >= PARTS
    for name, mesh in meshes.items():
        points, index = np.array(mesh.GetPointsAttr().Get()), np.array(mesh.GetFaceVertexIndicesAttr().Get())
        assert index.max() < len(points) == len(mesh.GetNormalsAttr().Get())
        uv = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get()
        assert len(uv) == len(points) and np.array(uv).min() >= 0 and np.array(uv).max() <= 1
        material, _ = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()
        shader, _, _ = material.ComputeSurfaceSource()
        assert shader.GetIdAttr().Get() == "UsdPreviewSurface", name
    hair = UsdShade.MaterialBindingAPI(meshes["hair"]).ComputeBoundMaterial()[0].ComputeSurfaceSource()[0]
    assert hair.GetInput("opacityThreshold").Get() > 0
    tip = np.array(meshes["skin"].GetPointsAttr().Get())
    tip = tip[tip[:, 2].argmax()]
    assert np.abs(tip - avatar.scene.landmarks["nose_tip"] * METRES).max() < 0.006  # the file has the photo's face


def test_colours_of_vertices_are_found_in_their_texture():
    rng = np.random.default_rng(3)
    axes = rng.uniform(0, 0.4, (2, 3))
    colours = (0.1 + rng.uniform(0, 1, (500, 2)) @ axes).astype(np.float32)
    uv, texture = spread_colours(colours)
    place = np.clip((uv * len(texture)).astype(int), 0, len(texture) - 1)
    shown = (texture[place[:, 1], place[:, 0]] / 255.0 + 0.055) / 1.055
    assert np.abs(shown**2.4 - colours).max() < 0.02
    one, plain = spread_colours(np.full((5, 3), 0.5, np.float32))
    assert np.isfinite(one).all() and np.abs(plain.astype(int) - 188).max() <= 1


def test_the_solid_is_closed_upright_and_of_one_piece(solid, avatar):
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    assert solid.body_count == 1
    low, high = solid.bounds
    assert abs(low[2]) < 1e-3 and 300 < high[2] < 600  # millimetres, z up, on the plate
    flat = solid.area_faces[(solid.triangles[:, :, 2] < 0.01).all(1)].sum()
    assert flat > 0.8 * (high[0] - low[0]) * (high[1] - low[1]) * 0.6  # it stands on its whole base


def test_the_solid_keeps_the_face(solid, avatar):

    for name, most in (("nose_tip", 2.5), ("chin", 2.5), ("nose_bridge", 2.5)):
        x, y, z = avatar.scene.landmarks[name].astype(float) * METRES * 1000
        point = np.array([[x, -z, y - FLOOR_MM]])
        assert KDTree(solid.vertices).query(point)[0][0] < most, name


def test_stl_is_what_trimesh_writes():
    box = trimesh.creation.box((0.1, 0.2, 0.3))
    data = pack_stl(np.asarray(box.vertices, np.float32), np.asarray(box.faces, np.int32))
    mesh = trimesh.load(io.BytesIO(data), file_type="stl")
    assert isinstance(mesh, trimesh.Trimesh)
    np.testing.assert_allclose(mesh.extents, [100, 300, 200], rtol=1e-5)  # y up became z up
    assert mesh.is_watertight and abs(mesh.volume - 6e6) < 10


def test_cells_that_touch_at_an_edge_are_joined():
    values = np.ones((6, 6, 6), np.float32)
    values[2, 2, 2] = values[2, 3, 3] = -1
    fill_edges(values)
    inside = values < 0
    for axis in range(3):
        a = np.moveaxis(inside, axis, 0)
        crossed = (
            (a[:, :-1, :-1] == a[:, 1:, 1:]) & (a[:, :-1, 1:] == a[:, 1:, :-1]) & (a[:, :-1, :-1] != a[:, 1:, :-1])
        )
        assert not crossed.any()


def test_heads_without_an_avatar_say_what_to_do(tmp_path):
    for name in ("usdz", "stl"):
        with pytest.raises(UserError, match="avatar.*make PHOTO"):
            LoadedHead(None, None, Head()).export(tmp_path / f"x.{name}")
