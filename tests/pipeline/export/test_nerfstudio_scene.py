"""Scenes that other programs train on: cameras where ours are, to readers that know nothing of ours."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait360.geometry.camera_files import read_transforms
from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.export.nerfstudio_scene import Points, View, write_scene
from portrait360.pipeline.export.units import METRES
from portrait360.synth.data.writer import write_dataset
from portrait360.utils.errors import UserError

SIDE = 32
POINTS = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3))


def cameras() -> list[Camera]:
    own = [Camera(look_at(a, e, roll=r), 3.5) for a, e, r in ((0, 0, 0), (75, 30, 10), (180, -20, 0), (290, 60, -70))]
    return [*own, Camera(look_at(10, 5, target=(0.1, 0, 0)), 2.5, (0.45, 0.52))]


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    rgb, alpha = np.full((SIDE, SIDE, 3), 0.5, np.float32), np.ones((SIDE, SIDE), np.float32)
    colours = np.tile(np.float32([1, 0.5, 0]), (50, 1))
    views = (View(rgb, alpha if i % 2 else None, camera) for i, camera in enumerate(cameras()))
    write_scene(folder, views, Points(POINTS.astype(np.float32), colours))
    return folder


def test_nerfstudios_cameras_see_what_ours_see(scene: Path):
    """Read as its documents say: OpenGL axes, pixels."""
    said = json.loads((scene / "transforms.json").read_text())
    assert len(said["frames"]) == len(cameras())
    for frame, camera in zip(said["frames"], cameras(), strict=True):
        pose = np.array(frame["transform_matrix"])
        assert np.allclose(pose[:3, 3], camera.position * METRES, atol=1e-9)
        x, y, z = ((POINTS * METRES - pose[:3, 3]) @ pose[:3, :3]).T
        u, v = frame["cx"] + frame["fl_x"] * x / -z, frame["cy"] - frame["fl_y"] * y / -z
        assert np.abs(np.stack([u, v], 1) - camera.project(POINTS)[0] * SIDE).max() < 1e-6
        with Image.open(scene / frame["file_path"]) as image:
            assert image.size == (frame["w"], frame["h"]) == (SIDE, SIDE)


def test_instant_ngps_cube_holds_the_head(scene: Path):
    said = json.loads((scene / "transforms.json").read_text())
    assert said["aabb_scale"] == 1 and np.isclose(said["camera_angle_x"], 2 * math.atan(0.5 / 3.5))
    inside = POINTS * METRES * said["scale"] + said["offset"]
    assert np.allclose(inside, POINTS + 0.5)


def test_colmaps_cameras_and_points_are_ours(scene: Path):
    """Read as COLMAP's format page says: x_camera = R(q) x_world + t, pixels with their corners at whole numbers."""
    model = scene / "sparse" / "0"
    rows = [line.split() for line in (model / "cameras.txt").read_text().splitlines() if not line.startswith("#")]
    lenses = {row[0]: np.array(row[4:], float) for row in rows}
    assert len(lenses) == 2 and all(row[1:4] == ["PINHOLE", str(SIDE), str(SIDE)] for row in rows)
    lines = [line for line in (model / "images.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[1::2] == [""] * len(cameras())
    for line, camera in zip(lines[::2], cameras(), strict=True):
        _, *numbers, lens, name = line.split()
        w, x, y, z, *move = map(float, numbers)
        turn = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turn = np.eye(3) + 2 * w * turn + 2 * turn @ turn
        local = POINTS * METRES @ turn.T + move
        fx, fy, cx, cy = lenses[lens]
        seen = np.stack([cx + fx * local[:, 0] / local[:, 2], cy + fy * local[:, 1] / local[:, 2]], 1)
        assert np.abs(seen - camera.project(POINTS)[0] * SIDE).max() < 1e-6
        assert (scene / "images" / name).is_file()
    points = np.loadtxt(model / "points3D.txt")
    assert np.allclose(points[:, 1:4], POINTS * METRES, atol=1e-6) and (points[:, 4:7] == [255, 128, 0]).all()


def test_own_scenes_are_read_back(scene: Path):
    for shot, camera in zip(read_transforms(scene), cameras(), strict=True):
        assert np.allclose(shot.cam2world[:3, :3], camera.cam2world[:3, :3], atol=1e-12)
        assert np.allclose(shot.cam2world[:3, 3], camera.position * METRES, atol=1e-12)
        k = camera.intrinsics(SIDE)
        assert np.allclose([shot.fx, shot.fy, shot.cx, shot.cy], [k[0, 0], k[1, 1], k[0, 2], k[1, 2]])
        assert (shot.width, shot.height) == (SIDE, SIDE) and shot.image.is_file()


def test_synthetic_heads_are_read_back(tmp_path: Path):
    (folder,) = write_dataset(tmp_path, count=1, views=2, size=32, kind="statue")
    front, back = read_transforms(folder)
    assert np.allclose(front.cam2world, look_at(0)) and np.allclose(back.cam2world, look_at(180), atol=1e-12)


POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2.7], [0, 0, 0, 1]]


def written(folder: Path, said, size: tuple[int, int] = (60, 40)) -> Path:
    (folder / "train").mkdir(exist_ok=True)
    Image.new("RGB", size).save(folder / "train" / "r_0.png")
    (folder / "transforms.json").write_text(said if isinstance(said, str) else json.dumps(said))
    return folder


def test_files_of_other_programs_are_read(tmp_path: Path):
    """NeRF's synthetic set (no endings, one angle), instant-ngp (shared lens), nerfstudio (a lens a frame)."""
    frame = {"file_path": "./train/r_0", "transform_matrix": POSE, "rotation": 0.1}
    (shot,) = read_transforms(written(tmp_path, {"camera_angle_x": 0.7, "frames": [frame]}))
    assert shot.image.name == "r_0.png" and (shot.width, shot.height) == (60, 40)
    assert np.isclose(shot.fx, 30 / math.tan(0.35)) and shot.fy == shot.fx and (shot.cx, shot.cy) == (30, 20)
    assert np.allclose(shot.cam2world, look_at(0))
    lens = {"fl_x": 80, "fl_y": 81.5, "cx": 29, "cy": 21, "w": 60.0, "h": 40.0, "k1": 0, "k2": 0.0, "p1": 0}
    shared = {**lens, "aabb_scale": 16, "camera_model": "OPENCV", "frames": [{**frame, "sharpness": 3.5}]}
    (tmp_path / "transforms_train.json").write_text(json.dumps(shared))
    (shot,) = read_transforms(tmp_path / "transforms_train.json")
    assert (shot.fx, shot.fy, shot.cx, shot.cy) == (80, 81.5, 29, 21)
    own = {**frame, "fl_x": 70, "file_path": "train\\r_0.png", "transform_matrix": POSE[:3]}
    (shot,) = read_transforms(written(tmp_path, {"frames": [own]}))
    assert (shot.fx, shot.fy) == (70, 70)
    angles = {**frame, "camera_angle_x": 0.7, "camera_angle_y": 0.5}
    (shot,) = read_transforms(written(tmp_path, {"frames": [angles]}))
    assert np.isclose(shot.fy, 20 / math.tan(0.25))


def of_frame(**changes):
    return {"fl_x": 50, "frames": [{"file_path": "train/r_0.png", "transform_matrix": POSE} | changes]}


TURNED = [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
MIRRORED = [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
NAN = [[float("nan"), 0, 0, 0], *POSE[1:]]

REFUSED = {
    "no json": ("{frames:", "not JSON"),
    "not text": ("\x80\x00", "not JSON"),
    "nested": ("[" * 100_000, "not JSON"),
    "a list": ("[]", "no frames"),
    "no frames": ({"fl_x": 3}, "no frames"),
    "empty": ({"fl_x": 3, "frames": []}, "no frames"),
    "frames of numbers": ({"fl_x": 3, "frames": [3]}, "no picture"),
    "no picture": (of_frame(file_path=None), "no picture"),
    "up and out": (of_frame(file_path="../../secret.png"), "outside"),
    "from the root": (of_frame(file_path="/etc/passwd"), "outside"),
    "out by a backslash": (of_frame(file_path="..\\..\\secret.png"), "outside"),
    "out by a link": (of_frame(file_path="link/secret.png"), "outside"),
    "not there": (of_frame(file_path="train/r_1.png"), "does not exist"),
    "a folder": (of_frame(file_path="train"), "does not exist"),
    "no name": (of_frame(file_path="train/\x00.png"), "invalid file name"),
    "too long a name": (of_frame(file_path="a" * 5000), "invalid file name"),
    "no picture in it": (of_frame(file_path="transforms.json"), "not a readable picture"),
    "no pose": (of_frame(transform_matrix=None), "no 4 x 4 camera pose"),
    "half a pose": (of_frame(transform_matrix=POSE[:2]), "no 4 x 4 camera pose"),
    "uneven pose": (of_frame(transform_matrix=[[1], [1, 2]]), "no 4 x 4 camera pose"),
    "pose of words": (of_frame(transform_matrix="none"), "no 4 x 4 camera pose"),
    "pose of no numbers": (of_frame(transform_matrix=NAN), "no 4 x 4 camera pose"),
    "stretched": (of_frame(transform_matrix=TURNED), "not a rotation"),
    "mirrored": (of_frame(transform_matrix=MIRRORED), "not a rotation"),
    "no lens": ({"frames": of_frame()["frames"]}, "no focal length"),
    "negative lens": (of_frame(fl_x=-5), "impossible"),
    "wide angle": ({**of_frame(), "camera_angle_x": 3.2}, "impossible"),
    "lens of words": (of_frame(fl_x="50"), "finite number for fl_x"),
    "lens without end": (of_frame(fl_x=float("inf")), "finite number for fl_x"),
    "huge": (of_frame(cx=10**400), "finite number for cx"),
    "a lens that is true": (of_frame(fl_y=True), "finite number for fl_y"),
    "far away": (of_frame(transform_matrix=[[1, 0, 0, 1e200], *POSE[1:]]), "no 4 x 4 camera pose"),
    "sixty thousand": ({**of_frame(), "frames": of_frame()["frames"] * 60_000}, "60000 frames; give 1 to 1000"),
    "bent": (of_frame(k1=0.05), "not a pinhole"),
    "fisheye": (of_frame(camera_model="OPENCV_FISHEYE"), "not a pinhole"),
    "marked fisheye": ({**of_frame(), "is_fisheye": True}, "not a pinhole"),
    "another size": (of_frame(w=64, h=40), "64 x 40 pixels, but r_0.png has 60 x 40"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_damaged_and_hostile_files_are_refused_in_one_sentence(tmp_path: Path, what):
    said, words = REFUSED[what]
    (tmp_path / "secret.png").write_bytes(b"")
    folder = tmp_path / "scene"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match=words) as refused:
        read_transforms(written(folder, said))
    assert "\n" not in str(refused.value)


def test_what_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(UserError, match="no file"):
        read_transforms(tmp_path)
