"""The import script of Blender: in the real bpy where there is one, and against stand-ins of it everywhere."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from portrait360.pipeline.animate.performance import unit_names
from portrait360.pipeline.export.avatar_glb.document import pack_pieces
from portrait360.pipeline.export.avatar_glb.piece import Look, Piece
from tests.fixtures.paths import ROOT, TESTS
from tests.fixtures.tiny_avatar import AXES, EYES, MOUTH, NECK, ball, checks, near

SCRIPT = ROOT / "integrations" / "blender" / "import_portrait360.py"
PYTHON = os.environ.get("PORTRAIT360_BPY") or (sys.executable if importlib.util.find_spec("bpy") else None)
LOOKS = [f"eyeLook{way}{side}" for way in ("Down", "Up", "In", "Out") for side in ("Left", "Right")]


def write_head(path: Path) -> None:
    """Skin with a jaw and lids, teeth that follow the jaw, two eyes, and cards of hair."""
    points, normals, faces, uv = ball(np.zeros(3), AXES, 24, 40)
    moves = {"jawOpen": near(points, MOUTH, 0.05) * np.float32([0, -0.05, 0])}
    for name in LOOKS:
        moves[name] = near(points, EYES["left" if name.endswith("Left") else "right"], 0.05) * np.float32(
            [0, 0.01, 0]
        )
    still = np.ones(len(points), np.float32)
    pieces = [Piece("skin", Look("skin", 0.6, texture="skin"), points, normals, faces, uv, moves=moves, head=still)]
    for side, place in EYES.items():
        points, normals, faces, uv = ball(place, np.full(3, 0.03), 12, 16)
        turn = {f"eyeLookDown{side.capitalize()}": np.full_like(points, 0.001)}
        look = Look(f"eye_{side}", 0.1, texture="skin")
        pieces.append(
            Piece(f"eye_{side}", look, points, normals, faces, uv, moves=turn, pivot=place.astype(np.float32))
        )
    points, normals, faces, uv = ball(MOUTH - [0, 0, 0.03], np.full(3, 0.02), 8, 12)
    follow = {"jawOpen": np.full_like(points, -0.01)}
    teeth = Look("teeth", 0.2, double=True)
    pieces.append(Piece("lower_teeth", teeth, points, normals, faces, uv, moves=follow))
    points, normals, faces, uv = ball(np.array([0, 0.09, -0.03]), AXES * [1.06, 0.75, 1.0], 12, 20)
    look = Look("hair", 0.5, texture="hair", cutoff=0.4, double=True)
    pieces.append(Piece("hair", look, points, normals, faces, uv, head=np.ones(len(points), np.float32)))
    images = {"skin": checks((230, 180, 150), (150, 90, 70)), "hair": checks((90, 60, 30), (60, 40, 20), True)}
    path.write_bytes(pack_pieces(pieces, images, NECK.astype(np.float32), {"eyeLookDownLeft": 0.2}))


@pytest.mark.skipif(PYTHON is None, reason="there is no bpy; name a Python that has it in PORTRAIT360_BPY")
def test_a_head_is_set_up_in_blender(tmp_path):
    write_head(tmp_path / "head.glb")
    command = [PYTHON, str(TESTS / "fixtures" / "blender_check.py"), str(SCRIPT.parent), str(tmp_path / "head.glb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout + done.stderr
    found = json.loads(lines[0][7:])
    assert found["objects"] == ["eye_left", "eye_right", "hair", "lower_teeth", "neck", "skin"]  # no bone shapes
    for look in found["looks"].values():
        np.testing.assert_allclose(look["gaze"], look["wanted"], atol=1e-3)
    assert "eyeLookOutLeft" in found["looks"]["to its left"]["lids"]
    assert "eyeLookInRight" in found["looks"]["to its left"]["lids"]
    assert {"eyeLookDownLeft", "eyeLookDownRight"} <= set(found["looks"]["down"]["lids"])
    assert not {"eyeLookUpLeft", "eyeLookOutLeft"} & set(found["looks"]["down"]["lids"])
    assert found["teeth"] == pytest.approx(0.6)
    assert found["culling"] == [False, True] and found["alpha"] == "Alpha"
    assert found["hair"] == ["ShaderNodeBsdfPrincipled", "ShaderNodeOutputMaterial", "ShaderNodeTexImage"]
    assert set(found["bones"]) == {"XYZ"} and found["drivers"]
    assert found["second"] == ["skin.001", ["left", "right"], True, 0]


@pytest.fixture
def script(monkeypatch):
    """The script, with a bpy that only has what the script's classes are made of."""
    bpy = ModuleType("bpy")
    bpy.types = SimpleNamespace(Operator=object)
    bpy.props = SimpleNamespace(**{name: lambda **given: given for name in ("StringProperty", "BoolProperty")})
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    spec = importlib.util.spec_from_file_location("import_portrait360", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "import_portrait360", module)  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


class Links(list):
    def new(self, source, target):
        self.append((source, target))


class Socket:
    def __init__(self, *links):
        self.links, self.default_value = list(links), 0.0

    @property
    def is_linked(self):
        return bool(self.links)


def make_hair_tree() -> SimpleNamespace:
    """As the importer makes it: the texture's alpha is cut by two nodes of mathematics."""
    cut = ("cut", "alpha")
    shader = SimpleNamespace(
        bl_idname="ShaderNodeBsdfPrincipled", inputs={"Alpha": Socket(cut), "Anisotropic": Socket()}
    )
    image = SimpleNamespace(bl_idname="ShaderNodeTexImage", outputs={"Alpha": Socket()})
    maths = [SimpleNamespace(bl_idname="ShaderNodeMath") for _ in range(2)]
    return SimpleNamespace(nodes=[shader, image, *maths], links=Links([cut]))


def test_hair_has_two_sides_and_soft_edges(script):
    tree = make_hair_tree()
    hair = SimpleNamespace(
        name="hair.002", node_tree=tree, use_backface_culling=True, surface_render_method="BLENDED"
    )
    script.set_up_material(hair)
    shader, image = tree.nodes
    assert not hair.use_backface_culling and hair.surface_render_method == "DITHERED"
    assert tree.links == [(image.outputs["Alpha"], shader.inputs["Alpha"])]
    assert shader.inputs["Anisotropic"].default_value > 0
    skin = SimpleNamespace(name="skin", node_tree=make_hair_tree(), use_backface_culling=True)
    script.set_up_material(skin)
    assert skin.use_backface_culling and len(skin.node_tree.nodes) == 4


def test_the_script_looks_for_names_that_files_have(script):
    assert {f"{look}{side}" for look in script.LOOKS for side in ("Left", "Right")} <= set(unit_names())
    source = "".join(path.read_text() for path in (ROOT / "src/portrait360/pipeline/export/avatar_glb").glob("*.py"))
    for name in {*script.TWO_SIDED, "skin", "eye_"}:
        assert f'"{name}' in source, name
    assert script.base_name("eye_left.001") == "eye_left" and script.base_name("skin") == "skin"


def test_other_files_are_refused(script, tmp_path):
    (tmp_path / "head.obj").touch()
    for name in ("head.obj", "nothing.glb"):
        with pytest.raises(FileNotFoundError, match="glb"):
            script.import_head(tmp_path / name)
