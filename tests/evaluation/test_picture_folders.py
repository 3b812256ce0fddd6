"""Pictures with cameras by other programs: the same rig in every format, and files that lie."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from portrait360.evaluation import picture_folders, protocols
from portrait360.evaluation.evaluate import plan_jobs
from portrait360.evaluation.multiview_datasets import CameraRig
from portrait360.evaluation.picture_folders import (
    MOST_TRUTH,
    choose_portrait,
    find_loaded_size,
    find_portrait,
    load_picture_folder,
    select_truth,
)
from portrait360.evaluation.protocols import Protocol
from portrait360.evaluation.report import gather_results
from portrait360.evaluation.rig_alignment import align_rig
from portrait360.evaluation.runner import run_job
from portrait360.geometry.camera_folders import find_cameras
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.synth.render.renderer import render
from portrait360.utils.errors import UserError
from portrait360.utils.images import save_picture
from tests.fixtures.rigs import FRONT, SIZE, places, portrait_of, true_poses
from tests.fixtures.scenes import psnr

LENS = "<iiQQ4d"  # of cameras.bin: number, model (1 is PINHOLE), size, fx fy cx cy


def save_pictures(folder: Path, rig: CameraRig) -> None:
    folder.mkdir(parents=True)
    for shot in rig.shots:
        picture = shot.load()
        save_picture(folder / f"{shot.name}.png", picture.rgb, picture.alpha)


def lens_of(shot) -> list[float]:
    """Return fx fy cx cy, counted from the edge of the first pixel."""
    return [shot.K[0, 0], shot.K[1, 1], shot.K[0, 2] + 0.5, shot.K[1, 2] + 0.5]


def size_of(shot) -> tuple[int, int]:
    return shot.load().rgb.shape[1::-1]


def colmap_pose(shot) -> list[float]:
    world2cam = np.linalg.inv(shot.cam2world)
    x, y, z, w = Rotation.from_matrix(world2cam[:3, :3]).as_quat()
    return [w, x, y, z, *world2cam[:3, 3]]


def write_nerfstudio(folder: Path, rig: CameraRig) -> None:
    save_pictures(folder / "images", rig)
    frames = []
    for shot in rig.shots:
        lens = dict(zip(("fl_x", "fl_y", "cx", "cy"), lens_of(shot), strict=True))
        pose = (shot.cam2world * [1, -1, -1, 1]).tolist()  # OpenGL's axes
        frames.append({"file_path": f"images/{shot.name}.png", "transform_matrix": pose, **lens})
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", "frames": frames}))


def write_facelift(folder: Path, rig: CameraRig) -> None:
    save_pictures(folder / "images", rig)
    frames = []
    for shot in rig.shots:
        lens = dict(zip(("fx", "fy", "cx", "cy"), lens_of(shot), strict=True))
        lens |= dict(zip(("w", "h"), size_of(shot), strict=True))
        pose = np.linalg.inv(shot.cam2world).tolist()
        frames.append({**lens, "w2c": pose, "file_path": f"images/{shot.name}.png"})
    (folder / "opencv_cameras.json").write_text(json.dumps({"id": "sample_000", "frames": frames}))


def write_colmap_text(folder: Path, rig: CameraRig) -> None:
    """With points between the poses, and images that are not in the order of their names."""
    save_pictures(folder / "images", rig)
    (folder / "sparse" / "0").mkdir(parents=True)
    lenses, images = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS"], ["# two lines an image"]
    for i, shot in reversed([*enumerate(rig.shots, 1)]):
        lenses.append(" ".join(map(str, [i, "PINHOLE", *size_of(shot), *map(repr, map(float, lens_of(shot)))])))
        images.append(" ".join(map(str, [i, *map(repr, map(float, colmap_pose(shot))), i, f"{shot.name}.png"])))
        images.append(" ".join(["12.5 30.25 -1"] * (9000 * (i == 2))))
    for name, lines in (("cameras", lenses), ("images", images)):
        (folder / "sparse" / "0" / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_colmap_binary(folder: Path, rig: CameraRig) -> None:
    save_pictures(folder / "images", rig)
    (folder / "sparse").mkdir(parents=True)
    lenses, images = [struct.pack("<Q", len(rig.shots))], [struct.pack("<Q", len(rig.shots))]
    for i, shot in enumerate(rig.shots):
        lenses.append(struct.pack(LENS, i, 1, *size_of(shot), *lens_of(shot)))
        images.append(struct.pack("<i7di", i, *colmap_pose(shot), i) + f"{shot.name}.png".encode() + b"\0")
        images.append(struct.pack("<Q", i) + struct.pack("<ddq", 3.5, 4.5, -1) * i)
    (folder / "sparse" / "cameras.bin").write_bytes(b"".join(lenses))
    (folder / "sparse" / "images.bin").write_bytes(b"".join(images))


FORMATS: dict[str, Callable[[Path, CameraRig], None]] = {
    "nerfstudio": write_nerfstudio,
    "FaceLift": write_facelift,
    "COLMAP, text": write_colmap_text,
    "COLMAP, binary": write_colmap_binary,
}


@pytest.fixture(scope="module")
def folders(rig, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    for name, write in FORMATS.items():
        write(root / name, rig)
    return {name: root / name for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rig(folders, rig, name):
    """Poses are in a frame of their own: turned, shifted and scaled."""
    found = load_picture_folder(folders[name])
    assert [Path(frame.name).stem for frame in found.shots] == [shot.name for shot in rig.shots]
    for frame, shot in zip(found.shots, rig.shots, strict=True):
        np.testing.assert_allclose(frame.cam2world, shot.cam2world, atol=1e-9)
        np.testing.assert_allclose(frame.K, shot.K, atol=1e-9)
        loaded, picture = frame.load(), shot.load()
        np.testing.assert_allclose(loaded.alpha, picture.alpha, atol=1e-6)
        np.testing.assert_allclose(loaded.rgb, picture.rgb, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_is_aligned_by_the_portraits_camera(folders, rig, rig_head, name):
    found = load_picture_folder(folders[name])
    front = find_portrait(found, f"{rig.shots[FRONT].name}.png")
    alignment = align_rig(found, front, portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT]))
    reference = align_rig(rig, FRONT, portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT]))
    for frame, shot, true in zip(found.shots, rig.shots, places(), strict=True):
        np.testing.assert_allclose(alignment.camera(frame).cam2world, reference.camera(shot).cam2world, atol=1e-6)
        np.testing.assert_allclose(alignment.camera(frame).cam2world[:3, :3], true.cam2world[:3, :3], atol=1e-3)
    view, seen = alignment.view(found.shots[FRONT + 2], SIZE), render(rig_head, places()[FRONT + 2], SIZE)
    solid = cv2.erode((seen.alpha > 0.99).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    inside = (view.known_mask > 0.999) & solid
    assert inside.mean() > 0.1 and psnr(view.rgb[inside], seen.rgb[inside]) > 33


def test_a_fit_reads_the_same_folders(folders):
    """Cameras are brought to the canonical frame; the order of the pictures says which one is in front."""
    sets = {name: ViewSet.load(folder) for name, folder in folders.items()}
    first = sets.pop("nerfstudio")
    assert len(first.views) == 8 and first.reference is None
    for found in sets.values():
        for view, other in zip(found.views, first.views, strict=True):
            np.testing.assert_allclose(view.camera.cam2world, other.camera.cam2world, atol=1e-6)
            assert view.camera.focal == pytest.approx(other.camera.focal)
            np.testing.assert_array_equal(view.rgb, other.rgb)


def test_a_runs_own_photo_is_the_portrait(tmp_path):
    grey = np.full((32, 32, 3), 0.5, np.float32)
    views = tuple(View(grey, np.ones((32, 32), np.float32), camera) for camera in places())
    ViewSet(views[:-1], reference=views[-1]).save(tmp_path / "run" / "views")
    found = load_picture_folder(tmp_path / "run")
    assert found.shots[choose_portrait(found)].name == "views/reference.png"
    for frame, camera in zip(found.shots, places(), strict=True):
        np.testing.assert_allclose(frame.cam2world, camera.cam2world, atol=1e-12)


def test_pictures_are_found_by_parts_of_their_names(rig):
    shots = [replace(rig.shots[0], name=name) for name in ("left/a.png", "right/a.png", "b.jpg")]
    two = CameraRig("two", tuple(shots))
    assert [find_portrait(two, name) for name in ("left/a.png", "b.jpg", "b")] == [0, 2, 2]
    with pytest.raises(UserError, match="2 pictures of two are called a"):
        find_portrait(two, "a")
    with pytest.raises(UserError, match="no picture c; choose one of 3, such as left/a.png"):
        find_portrait(two, "c")


def test_the_truth_is_all_but_the_portrait():
    assert select_truth(4, 1) == [0, 2, 3]
    many = select_truth(5 * MOST_TRUTH, 7)
    assert len(set(many)) == MOST_TRUTH and 7 not in many and np.diff(many).max() <= 6


def test_large_pictures_are_used_as_they_are_loaded():
    assert find_loaded_size(640, 480) == (640, 480)
    assert find_loaded_size(8192, 4096) == (4096, 2048)


def test_a_folder_is_judged_by_the_picture_that_is_named(folders, rig, monkeypatch, tmp_path):
    few = Protocol("few-v1", "For tests.", "folder", size=64, portrait=256)
    monkeypatch.setitem(protocols.PROTOCOLS, few.name, few)
    (job,) = plan_jobs(few, [folders["FaceLift"]], (), rig.shots[FRONT].name)
    other = plan_jobs(few, [folders["FaceLift"]], (), rig.shots[FRONT + 1].name)[0]
    assert job.key != other.key
    run_job(job, tmp_path)
    found = gather_results([job], tmp_path)
    assert found.failures == {"repeat": {}, "mirror": {}, "proxy": {}}
    assert found.means["proxy"]["PSNR inside/all"] > found.means["repeat"]["PSNR inside/all"] + 1
    assert found.means["proxy"]["IoU/all"] > 0.8


def test_the_portrait_is_only_named_for_folders():
    with pytest.raises(UserError, match="leave out --portrait"):
        plan_jobs(protocols.find_protocol("wild"), [Path("x.png")], (), "x")


# files that lie


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A folder with three pictures of 16 x 16 pixels."""
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def write_model(folder: Path, lens: bytes, image: bytes, count: int = 1) -> None:
    (folder / "sparse").mkdir(exist_ok=True)
    (folder / "sparse" / "cameras.bin").write_bytes(struct.pack("<Q", 1) + lens)
    (folder / "sparse" / "images.bin").write_bytes(struct.pack("<Q", count) + image)


def pack_image(quaternion=(1.0, 0.0, 0.0, 0.0), lens: int = 1, name: str = "0.png", points: int = 0) -> bytes:
    return struct.pack("<i7di", 1, *quaternion, 0, 0, 2, lens) + name.encode() + b"\0" + struct.pack("<Q", points)


GOOD_LENS = struct.pack(LENS, 1, 1, 16, 16, 20, 20, 8, 8)


@pytest.mark.parametrize(
    ("lens", "image", "count", "sentence"),
    [
        (GOOD_LENS, pack_image(), 1 << 60, "more than 1000"),
        (GOOD_LENS, pack_image(), 2, "ends too early"),
        (GOOD_LENS, pack_image(points=1 << 62), 1, "ends too early"),
        (GOOD_LENS, pack_image()[:68], 1, "an unterminated image name"),
        (GOOD_LENS, pack_image(name="a" * 5000), 1, "an unterminated image name"),
        (GOOD_LENS, pack_image(name="../../secret.png"), 1, "lies outside its folder"),
        (GOOD_LENS, pack_image(name="/etc/passwd"), 1, "lies outside its folder"),
        (GOOD_LENS, pack_image(name="9.png"), 1, "which does not exist"),
        (GOOD_LENS, pack_image(lens=7), 1, "a camera that is not in the model"),
        (GOOD_LENS, pack_image(quaternion=(0, 0, 0, 0)), 1, "has no camera pose"),
        (GOOD_LENS, pack_image(quaternion=(np.nan, 0, 0, 1)), 1, "has no camera pose"),
        (struct.pack(LENS, 1, 1, 1 << 40, 16, 20, 20, 8, 8), pack_image(), 1, "use images of the size given there"),
        (struct.pack(LENS, 1, 1, 16, 16, np.inf, 20, 8, 8), pack_image(), 1, "finite numbers"),
        (struct.pack(LENS, 1, 1, 16, 16, -1, 20, 8, 8), pack_image(), 1, "impossible focal length"),
        (struct.pack(LENS, 1, 2, 16, 16, 20, 8, 8, 0.1), pack_image(), 1, "SIMPLE_RADIAL.*image_undistorter"),
        (struct.pack(LENS, 1, 5, 16, 16, 20, 20, 8, 8), pack_image(), 1, "ends too early"),
        (struct.pack(LENS, 1, 99, 16, 16, 20, 20, 8, 8), pack_image(), 1, "image_undistorter"),
    ],
)
def test_a_binary_model_that_lies_is_refused(tiny, lens, image, count, sentence):
    write_model(tiny, lens, image, count)
    with pytest.raises(UserError, match=sentence):
        load_picture_folder(tiny)


def test_a_lens_without_distortion_is_a_pinhole(tiny):
    images = b"".join(pack_image(name=f"{i}.png") for i in range(3))
    write_model(tiny, struct.pack(LENS, 1, 2, 16, 16, 20, 8, 8, 0.0), images, 3)
    assert all(frame.K[0, 0] == frame.K[1, 1] == 20 for frame in load_picture_folder(tiny).shots)


POSE = "1 1 0 0 0 0 0 2 1 0.png"


@pytest.mark.parametrize(
    ("lenses", "images", "sentence"),
    [
        ("1 PINHOLE 16 16 20 20 8 8", "", "lists no images"),
        ("1 PINHOLE 16 16 20 20 8", POSE, "does not have 4 finite numbers"),
        ("1 PINHOLE 16 16 20 20 8 nan", POSE, "not finite"),
        ("1 PINHOLE wide 16 20 20 8 8", POSE, "word where a number belongs"),
        ("1 PINHOLE 16.5 16 20 20 8 8", POSE, "lacks a number, model or size"),
        ("1", POSE, "lacks a number, model or size"),
        ("1 OPENCV 16 16 20 20 8 8 0 0 0.1 0", POSE, "OPENCV.*image_undistorter"),
        ("1 PINHOLE 16 16 20 20 8 8", "1 1 0 0 0 0 0 2 1", "lacks a pose, camera or name"),
        ("1 PINHOLE 16 16 20 20 8 8", "1 1 0 0 0 0 0 2 1.5 0.png", "lacks a pose, camera or name"),
        ("1 PINHOLE 16 16 20 20 8 8", "1 " * 5000, "a line that is too long"),
        ("\n".join(f"{i} PINHOLE 16 16 20 20 8 8" for i in range(1002)), POSE, "more than 1000"),
    ],
)
def test_a_text_model_that_lies_is_refused(tiny, lenses, images, sentence):
    (tiny / "sparse").mkdir()
    (tiny / "sparse" / "cameras.txt").write_text(lenses)
    (tiny / "sparse" / "images.txt").write_text(images)
    with pytest.raises(UserError, match=sentence):
        load_picture_folder(tiny)


FRAME = {
    "fx": 20,
    "fy": 20,
    "cx": 8,
    "cy": 8,
    "w": 16,
    "h": 16,
    "w2c": np.eye(4).tolist(),
    "file_path": "images/0.png",
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fx": 0}, "no focal length"),
        ({"fx": "wide"}, "no finite number for fx"),
        ({"w": 17}, "use images of the size given there"),
        ({"w2c": [[1]]}, "no 4 x 4 camera pose"),
        ({"w2c": np.diag([2.0, 1, 1, 1]).tolist()}, "not a rotation and a translation"),
        ({"file_path": "../x.png"}, "lies outside its folder"),
        ({"file_path": 7}, "names no picture"),
    ],
)
def test_cameras_of_facelift_that_lie_are_refused(tiny, change, sentence):
    path = tiny / "opencv_cameras.json"
    path.write_text(json.dumps({"frames": [FRAME] * 3}))
    assert len(load_picture_folder(tiny).shots) == 3
    path.write_text(json.dumps({"frames": [FRAME, FRAME | change, FRAME]}))
    with pytest.raises(UserError, match=sentence):
        load_picture_folder(tiny)


@pytest.mark.parametrize("text", ["{", "[]", '{"frames": []}', '{"frames": 3}', "[" * 100_000])
def test_what_is_no_file_of_cameras_is_refused(tiny, text):
    (tiny / "opencv_cameras.json").write_text(text)
    with pytest.raises(UserError):
        load_picture_folder(tiny)


def test_pictures_are_brought_to_the_size_that_their_lens_is_for(tiny, monkeypatch):
    (tiny / "opencv_cameras.json").write_text(json.dumps({"frames": [FRAME] * 3}))
    monkeypatch.setattr(picture_folders, "WORKING_SIDE", 8)
    frame = load_picture_folder(tiny).shots[0]
    assert frame.load().rgb.shape == (8, 8, 3)
    np.testing.assert_allclose(frame.K, [[10, 0, 3.5], [0, 10, 3.5], [0, 0, 1]])


def test_too_few_pictures_and_none_at_all_are_told(tiny):
    with pytest.raises(UserError, match="has no cameras for its pictures; add a transforms.json"):
        load_picture_folder(tiny)
    (tiny / "opencv_cameras.json").write_text(json.dumps({"frames": [FRAME] * 2}))
    with pytest.raises(UserError, match="at least 3"):
        load_picture_folder(tiny)
    assert find_cameras(tiny / "images" / "0.png") is None


def test_pictures_that_are_stored_sideways_are_told(tiny):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 16)).save(tiny / "images" / "0.jpg", exif=exif)
    frame = FRAME | {"w": 32, "file_path": "images/0.jpg"}
    (tiny / "opencv_cameras.json").write_text(json.dumps({"frames": [frame, FRAME, FRAME]}))
    with pytest.raises(UserError, match="EXIF orientation"):
        load_picture_folder(tiny).shots[0].load()
