"""The animatable .glb of an avatar, read by trimesh and by a reader of the tests' own."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree
from trimesh.visual.material import PBRMaterial

from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.avatar.hair.tone import Tone
from portrait360.pipeline.avatar.skin.fit import pack_fit, unpack_fit
from portrait360.pipeline.export.avatar_glb.bust import FLOOR
from portrait360.pipeline.export.avatar_glb.eyes import find_sight
from portrait360.pipeline.export.avatar_glb.face import name_mouth_parts
from portrait360.pipeline.export.avatar_glb.file import pack_avatar_glb, write_avatar_glb
from portrait360.pipeline.export.avatar_glb.hair import colour_cards
from portrait360.pipeline.export.avatar_glb.hair_cards import LOWEST, make_cards
from portrait360.pipeline.export.avatar_glb.light import show
from portrait360.pipeline.export.avatar_glb.skin import find_skin
from portrait360.pipeline.export.avatar_glb.skin_texture import calm_lids
from portrait360.pipeline.export.avatar_glb.skin_uv import skin_uv
from portrait360.pipeline.export.glb import read_tree
from portrait360.pipeline.export.units import METRES
from portrait360.synth.head.bare_head import make_head
from portrait360.synth.head.eyes import eye_meshes
from portrait360.synth.head_pack import load_pack
from portrait360.synth.meshes import unit
from portrait360.synth.render.lights import LUMINANCE, reflected_light
from portrait360.synth.render.renderer import render
from portrait360.synth.sampling.parameters import HeadParameters, Pose
from portrait360.synth.scene import Material, Strands
from portrait360.utils.errors import UserError
from portrait360.utils.portrait_labels import Label
from tests.fixtures import glb_view
from tests.fixtures.expression_laws import Laws
from tests.fixtures.glb_view import Glb

FOV, SIZE = 18.8, 256
MILLIMETRE = 1e-3
PARTS = {"skin", "eye_left", "eye_right", "upper_teeth", "lower_teeth", "tongue", "lashes", "clothes", "base", "hair"}


@pytest.fixture(scope="module")
def avatar(quick_avatar) -> Avatar:
    return quick_avatar


@pytest.fixture(scope="module")
def path(avatar, tmp_path_factory):
    place = tmp_path_factory.mktemp("glb") / "head.glb"
    write_avatar_glb(place, avatar)
    return place


@pytest.fixture(scope="module")
def glb(path) -> Glb:
    return glb_view.read(path)


@pytest.fixture(scope="module")
def unlit(avatar, tmp_path_factory) -> Glb:
    place = tmp_path_factory.mktemp("unlit") / "head.glb"
    write_avatar_glb(place, avatar, detail=0.5, unlit=True)
    return glb_view.read(place)


def orbit_camera(azimuth: float, elevation: float = 0.0) -> Camera:
    return Camera(look_at(azimuth, elevation), focal_from_fov(FOV))


def draw(glb: Glb, camera: Camera, weights: dict[str, float] | None = None) -> glb_view.Drawing:
    return glb_view.draw(glb, camera, SIZE, weights, 1 / METRES)


def landmark(avatar: Avatar, name: str) -> np.ndarray:
    return avatar.scene.landmarks[name].astype(np.float64) * METRES


def test_another_program_reads_it_in_metres_upright_and_facing_forward(path, avatar):
    scene = trimesh.load(path)
    assert isinstance(scene, trimesh.Scene)
    nodes = {scene.graph[node][1]: node for node in scene.graph.nodes_geometry}
    assert set(nodes) >= PARTS
    skin = scene.geometry["skin"]
    assert 0.2 < landmark(avatar, "crown")[1] - landmark(avatar, "chin")[1] < 0.3
    low, high = scene.bounds
    assert abs(low[1] - FLOOR * METRES) < 0.02 and 0.1 < high[1] < 0.25
    nose = skin.vertices[np.argmax(skin.vertices[:, 2])]
    assert nose[2] > 0.08 and abs(nose[0]) < 0.02  # the nose is foremost
    for side, sign in (("left", 1), ("right", -1)):
        pose, name = scene.graph[nodes[f"eye_{side}"]]
        middle = scene.geometry[name].vertices.mean(0) + pose[:3, 3]
        assert 0.02 < sign * middle[0] < 0.05 and abs(middle[1]) < 0.03
    material = skin.visual.material
    assert isinstance(material, PBRMaterial)
    assert material.name == "skin" and getattr(material.baseColorTexture, "size", None) == (2048, 2048)
    assert 0.3 < float(material.roughnessFactor or 0) < 0.8 and material.metallicFactor == 0
    assert scene.geometry["hair"].visual.material.alphaMode == "MASK"


def test_it_is_small_and_all_normals_and_indices_are_valid(path, glb):
    assert path.stat().st_size < 12e6
    assert 30_000 < sum(len(mesh.triangles) for mesh in glb.meshes.values()) <= 60_100
    for mesh in glb.meshes.values():
        assert mesh.triangles.max() < len(mesh.attributes["POSITION"])
        np.testing.assert_allclose(np.linalg.norm(mesh.attributes["NORMAL"], axis=1), 1, atol=1e-4)


def test_front_faces_look_outward(glb):
    for name in ("skin", "eye_left", "eye_right", "base", "hair"):
        mesh = glb.meshes[name]
        a, b, c = (mesh.points()[mesh.triangles[:, k]] for k in range(3))
        normals = mesh.attributes["NORMAL"][mesh.triangles].sum(1)
        agree = (np.cross(b - a, c - a) * normals).sum(1) > 0
        assert agree.mean() > 0.97, name
    eye = glb.meshes["eye_left"].attributes
    assert (eye["POSITION"] * eye["NORMAL"]).sum(1).min() > 0


def test_the_skin_has_the_units_of_arkit_and_other_parts_those_that_move_them(glb):
    skin = glb.meshes["skin"]
    assert len(skin.targets) == 52 and set(skin.targets) == set(load_pack().units)
    assert "jawOpen" in glb.meshes["lower_teeth"].targets and "jawOpen" not in glb.meshes["upper_teeth"].targets
    assert "tongueOut" in glb.meshes["tongue"].targets
    assert {"eyeBlinkLeft", "eyeBlinkRight"} <= set(glb.meshes["lashes"].targets)
    for mesh in glb.meshes.values():
        assert set(mesh.targets) <= set(skin.targets)
        assert all(mesh.weights[name] == skin.weights[name] for name in mesh.targets)


def test_it_opens_with_the_expression_of_the_photo(glb, avatar):
    skin = glb.meshes["skin"]
    points = skin.points() / METRES
    distance, _ = KDTree(find_skin(avatar).vertices).query(points)
    assert distance[points[:, 1] > FLOOR + 1e-3].max() * METRES < 0.03 * MILLIMETRE  # smaller moves are left out
    fitted = dict(zip(load_pack().units, avatar.fit.expression, strict=True))
    assert max(fitted.values()) > 0.3  # the photo smiles
    assert all(abs(skin.weights[name] - weight) < 1e-4 for name, weight in fitted.items())


def test_the_jaw_opens_and_nothing_above_the_nose_moves(glb, avatar):
    skin = glb.meshes["skin"]
    closed = skin.points({})
    move = skin.points({"jawOpen": 1.0}) - closed
    near = np.linalg.norm(skin.points() - landmark(avatar, "chin"), axis=1) < 10 * MILLIMETRE
    assert move[near, 1].mean() < -15 * MILLIMETRE
    above = closed[:, 1] > landmark(avatar, "nose_bridge")[1]
    front = above & (closed[:, 2] > landmark(avatar, "left_eye_outer")[2])
    assert front.sum() > 500 and np.abs(move[front]).max() < 0.1 * MILLIMETRE
    assert np.abs(move[above]).max() < 1.5 * MILLIMETRE  # the temples move with the joint of the jaw
    teeth = glb.meshes["lower_teeth"]
    assert (teeth.points({"jawOpen": 1.0}) - teeth.points({}))[:, 1].mean() < -10 * MILLIMETRE
    front = orbit_camera(0)
    shown = [np.isin(draw(glb, front, w).names, ("lower_teeth", "tongue")).sum() for w in ({}, {"jawOpen": 1.0})]
    assert shown[1] > 100 > 10 > shown[0]


def test_each_eye_closes_without_a_gap_and_alone(glb):
    open_eyes = draw(glb, orbit_camera(0), {}).names
    counts = {side: (open_eyes == f"eye_{side}").sum() for side in ("left", "right")}
    assert min(counts.values()) > 30
    for side, other in (("left", "right"), ("right", "left")):
        unit = {f"eyeBlink{side.capitalize()}": 1.0}
        for azimuth in (-30, 0, 30):
            assert (draw(glb, orbit_camera(azimuth), unit).names == f"eye_{side}").sum() <= 1
        names = draw(glb, orbit_camera(0), unit).names
        assert (names == f"eye_{other}").sum() == counts[other]


def test_no_expression_tears_the_skin_or_shows_teeth_through_lips(glb):
    """Edges stay edges: none becomes many times as long as it was, but for those inside the mouth."""
    skin = glb.meshes["skin"]
    neutral = skin.points({})
    edges = skin.triangles[:, [0, 1]]
    length = np.linalg.norm(np.diff(neutral[edges], axis=1)[:, 0], axis=1)
    for name in skin.targets:
        moved = skin.points({name: 1.0, "jawOpen": float(name in ("mouthClose", "jawOpen"))})  # one closes the other
        longer = np.linalg.norm(np.diff(moved[edges], axis=1)[:, 0], axis=1) - length
        assert np.abs(moved - neutral).max() < 60 * MILLIMETRE, name
        assert longer.max() < 12 * MILLIMETRE, name
    for name in ("mouthPressLeft", "mouthClose", "mouthRollLower", "mouthShrugLower", "mouthPucker"):
        names = draw(glb, orbit_camera(0), {name: 1.0}).names
        assert np.isin(names, ("upper_teeth", "lower_teeth")).sum() < 25, name


def test_all_expressions_obey_what_faces_do(glb, avatar):
    laws = Laws(avatar, glb)
    assert all(laws.measure_eye({}, side) > 3 for side in ("left", "right"))
    for name in laws.skin.targets:
        found = laws.measure(name)
        assert found.teeth_through_lips <= 15, (name, found)  # pixels of half a millimetre
        assert found.open_eye <= 0.5 and found.ear_move < 1, (name, found)
        assert found.stretch < (8 if "Blink" in name else 4), (name, found)  # a lid unfolds
        assert found.inverted < 15, (name, found)  # as much as the inner edges of lips that roll


def test_lids_take_the_colour_that_they_show_beside_open_eyes():
    """Lashes and the fold darken their edges, and often more than half of them."""
    lids = np.r_[np.zeros(50), np.full(50, 0.3), np.full(100, 1.0)].astype(np.float32)
    colours = np.where(lids < 1, 0.6, 0.2)[:, None] * np.ones(3, np.float32)
    left = np.arange(200) % 2 == 0
    colours[~left] *= 0.5  # the side in shade
    calm = calm_lids(colours.astype(np.float32), lids, left, 1.0)
    assert calm[left] == pytest.approx(0.6) and calm[~left] == pytest.approx(0.3)


def test_no_card_of_hair_looks_down():
    """Lights come from above: ends of hair whose normals look down would be black."""
    rng = np.random.default_rng(2)
    roots = unit(rng.normal(size=(400, 3))) * 0.1
    fall = np.linspace(0, 0.15, 9)[:, None] * [0.0, -1.0, 0.0]
    points = (roots[:, None] + fall).astype(np.float32)
    strands = Strands(
        points,
        np.full((400, 9), 0.002, np.float32),
        np.full((400, 9, 3), 0.3, np.float32),
        *np.zeros((2, 400), np.uint8),
    )
    cards = make_cards([strands], lambda p: unit(p), lambda p: np.ones((len(p), 1), np.float32), 2000)
    assert cards is not None and (cards.vertices[:, 1] < -0.1).any()
    assert cards.normals[:, 1].min() > LOWEST - 1e-6
    np.testing.assert_allclose(np.linalg.norm(cards.normals, axis=1), 1, atol=1e-5)


def test_cards_of_hair_have_the_photos_hues_at_their_brightness():
    """Strands are of one hue, the photo's hair is deeper in hue where it is in shade."""
    texture = np.zeros((8, 8, 4), np.float32)
    texture[:4] = [0.2, 0.1, 0.05, 1]
    gain = np.full(3, 1.2, np.float32)
    plain = colour_cards(texture, gain, None)
    assert plain[0, 0, :3] == pytest.approx(1.2 * texture[0, 0, :3]) and (plain[..., 3] == texture[..., 3]).all()
    levels = np.log([0.01, 0.1, 1.0])
    deep = Tone(levels, np.tile([0.1, 0.0, -0.3], (3, 1)), np.zeros((3, 3)), np.zeros(3))
    toned = colour_cards(texture, gain, deep)[0, 0, :3]
    assert toned @ LUMINANCE == pytest.approx(plain[0, 0, :3] @ LUMINANCE, rel=1e-3)
    assert toned[2] / toned[0] == pytest.approx(np.exp(-0.4) * 0.25, rel=1e-3)


def test_the_file_says_where_the_photos_eyes_look(path):
    """Programs that turn eyes to a point need to know where they look before."""
    person = HeadParameters(pose=Pose(gaze=(12.0, -6.0)))
    x, y, z = np.sum([find_sight(mesh) for mesh in eye_meshes(make_head(person), person)], 0)
    assert np.degrees([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))]) == pytest.approx([12, -6], abs=1)
    nodes = {node["name"]: node for node in read_tree(path.read_bytes())["nodes"]}
    for side in ("left", "right"):
        assert np.linalg.norm(nodes[f"eye_{side}"]["extras"]["sight"]) == pytest.approx(1, abs=1e-3)


def test_eyes_turn_about_their_middle(glb):
    for side in ("left", "right"):
        mesh = glb.meshes[f"eye_{side}"]
        radius = np.linalg.norm(mesh.attributes["POSITION"], axis=1)
        back = mesh.attributes["POSITION"][:, 2] < 0
        assert radius[back].std() < 0.03 * radius[back].mean()
        assert 9 * MILLIMETRE < radius.mean() < 20 * MILLIMETRE
        up = mesh.points({f"eyeLookUp{side.capitalize()}": 1.0}) - mesh.points({})
        front = np.argmax(mesh.attributes["POSITION"][:, 2])
        assert up[front, 1] > 2 * MILLIMETRE
        turned = np.linalg.norm(mesh.points({f"eyeLookUp{side.capitalize()}": 1.0}) - mesh.origin, axis=1)
        np.testing.assert_allclose(turned, radius, atol=1e-4)


def test_the_head_turns_on_the_neck(glb, avatar):
    tree = glb.tree
    (skin,) = tree["skins"]
    assert [tree["nodes"][joint]["name"] for joint in skin["joints"]] == ["shoulders", "head"]
    pivot = np.array(tree["nodes"][skin["joints"][1]]["translation"])
    assert landmark(avatar, "chin")[1] - 0.06 < pivot[1] < landmark(avatar, "chin")[1] + 0.02
    mesh = glb.meshes["skin"]
    weights, y = mesh.attributes["WEIGHTS_0"], mesh.points()[:, 1]
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    share = (weights * (mesh.attributes["JOINTS_0"] == 1)).sum(1)
    assert share[y > landmark(avatar, "nose_tip")[1]].min() > 0.99
    edges = mesh.triangles[:, [0, 1]]
    assert np.abs(np.diff(share[edges], axis=1)).max() < 0.35  # smooth
    low = y < -0.23
    assert not low.any() or share[low].max() < 0.05
    for name in ("eye_left", "upper_teeth", "lashes"):  # fixed to the head, not to the skin with joints
        assert not glb.meshes[name].skinned


def test_the_bust_is_closed_below(glb):
    base = glb.meshes["base"]
    edges = np.sort(base.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2
    below = Camera(look_at(0, -89.9, radius=5.0), focal_from_fov(40))
    names = draw(glb, below).names
    outline = np.isin(names, ("clothes", "skin", "base"))
    assert (names == "base").sum() > 0.97 * outline.sum()
    points = base.points()
    steps = np.abs(np.diff(np.linalg.norm(points[:144, [0, 2]] - points[:, [0, 2]].mean(0), axis=1)))
    assert np.median(steps) < 10 * MILLIMETRE


def test_it_has_the_outline_of_the_avatar_from_every_side(glb, avatar):
    for azimuth in range(0, 360, 45):
        camera = orbit_camera(azimuth)
        fine = (
            glb_view.draw(glb, camera, 2 * SIZE, None, 1 / METRES).mask.reshape(SIZE, 2, SIZE, 2).mean((1, 3)) > 0.5
        )
        own = render(avatar.prepared_scene, camera, SIZE).alpha > 0.5
        assert (fine & own).sum() / (fine | own).sum() > 0.965, azimuth


def test_unlit_it_has_the_colours_of_the_avatar(unlit, avatar):
    assert all("KHR_materials_unlit" in m["extensions"] for m in unlit.tree["materials"])
    for azimuth in (0, 90, 180):
        camera = orbit_camera(azimuth)
        drawing, own = draw(unlit, camera), render(avatar.prepared_scene, camera, SIZE)
        for name, part in (("skin", 1), ("hair", 2)):
            both = (drawing.names == name) & (own.parts == part) & (own.alpha > 0.99)
            if both.sum() > 200:
                shown, true = drawing.colours[both].mean(0) ** (1 / 2.2), own.rgb[both].mean(0)
                assert np.abs(shown - true).max() < 0.1, (azimuth, name)


def test_in_the_photos_light_it_has_the_colours_of_the_avatars_views(glb, avatar):
    """Viewers that light it as the file says show the person as the avatar's own pictures do, from every side."""
    light = glb.tree["scenes"][0]["extras"]["light"]
    assert np.allclose(light["ambient"], avatar.scene.light.ambient, atol=1e-3)
    ways, colours = (np.array([lamp[key] for lamp in light["lamps"]]) for key in ("direction", "colour"))
    bare = replace(
        glb,
        meshes={
            name: replace(mesh, attributes=_show_light(mesh, light, ways, colours), material=_bare(mesh))
            for name, mesh in glb.meshes.items()
        },
    )
    for azimuth in (0, 60, 180, 270):
        camera = orbit_camera(azimuth)
        albedo, lit, view = draw(glb, camera), draw(bare, camera), avatar.render(camera, SIZE)
        for name, most in (("skin", 0.05), ("hair", 0.1)):
            both = cv2.erode(((albedo.names == name) & (lit.names == name)).astype(np.uint8), np.ones((3, 3))) > 0
            if both.sum() > 300:
                shown = show((albedo.colours * lit.colours)[both].astype(np.float32))
                assert np.median(np.abs(shown - view.rgb[both])) < most, (azimuth, name)


def _show_light(mesh, light, ways, colours):
    """The mesh with the light that it receives as its colours."""
    normals = mesh.attributes["NORMAL"]
    value = reflected_light(light["ambient"], normals) + np.maximum(normals @ ways.T, 0) @ colours
    return mesh.attributes | {"COLOR_0": value}


def _bare(mesh):
    """Its material without a texture, but for cards, whose outline it is."""
    return {**mesh.material, "pbrMetallicRoughness": {}, "alphaMode": "OPAQUE"}


def test_unlit_files_hold_their_light_already(unlit):
    assert "extras" not in unlit.tree["scenes"][0]


def test_clothes_show_what_the_photo_shows_of_them(glb, avatar):
    camera = avatar.camera
    drawing, photo = draw(glb, camera), cv2.resize(avatar.picture.rgb.astype(np.float32), (SIZE, SIZE))
    labels = cv2.resize(avatar.picture.labels, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    both = ((drawing.names == "clothes") & (labels == Label.CLOTHES)).astype(np.uint8)
    both = cv2.erode(both, np.ones((5, 5), np.uint8)) > 0
    assert both.sum() > 2000
    shown, true = drawing.colours.astype(np.float32) ** np.float32(1 / 2.2), photo
    fine = [(picture - cv2.GaussianBlur(picture, (0, 0), 6))[both].ravel() for picture in (shown, true)]
    assert np.corrcoef(*fine)[0, 1] > 0.7


def test_detail_is_paid_with_triangles(avatar, unlit):
    assert 15_000 < sum(len(mesh.triangles) for mesh in unlit.meshes.values()) <= 32_000
    for detail in (0.0, 9.0, float("nan")):
        with pytest.raises(UserError, match="detail"):
            pack_avatar_glb(avatar, detail=detail)


def test_the_face_has_a_third_of_the_texture_and_no_chart_is_mirrored():
    pack, uv = load_pack(), skin_uv().astype(np.float64)
    assert uv.min() >= 0 and uv.max() <= 1
    a, b = uv[:, 2] - uv[:, 0], uv[:, 3] - uv[:, 1]
    area = 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    assert (area <= 1e-9).all()  # v points down
    face = pack.masks["face"][: pack.body][pack.quads].mean(1) > 0.5
    assert -area[face].sum() > 1 / 3


@pytest.mark.slow
def test_the_same_avatar_gives_the_same_bytes_before_and_after_saving(avatar, path, tmp_path):
    assert pack_avatar_glb(avatar) == path.read_bytes()
    avatar.save(tmp_path)
    loaded = Avatar.load(tmp_path)
    np.testing.assert_array_equal(loaded.fit.offset, avatar.fit.offset)
    assert pack_avatar_glb(loaded) == path.read_bytes()


def test_a_fit_comes_back_and_a_damaged_one_does_not(avatar):
    arrays = pack_fit(avatar.fit)
    again = unpack_fit(arrays)
    np.testing.assert_array_equal(again.expression, avatar.fit.expression)
    np.testing.assert_array_equal(again.camera.cam2world, avatar.fit.camera.cam2world)
    for name, values in arrays.items():
        for damaged in (values[:-1], values.astype(np.float16), np.full_like(values, np.nan)):
            with pytest.raises(ValueError, match="the fit's"):
                unpack_fit(arrays | {name: damaged})


def test_a_mouth_has_an_upper_and_a_lower_row_of_teeth_and_one_tongue_whatever_it_is_made_of(avatar):
    names = sorted(name_mouth_parts(avatar).values())
    stone = [replace(mesh, material=np.full_like(mesh.material, Material.STONE)) for mesh in avatar.scene.meshes]
    carved = replace(avatar, scene=replace(avatar.scene, meshes=stone))
    assert sorted(name_mouth_parts(carved).values()) == names == ["lower_teeth", "tongue", "upper_teeth"]
