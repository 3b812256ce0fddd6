"""Photos as people bring them: on their side, framed, without a head, with the wrong hints, several at once."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from portrait360.apps.cli import photo_stages
from portrait360.apps.cli.photo_stages import proxy_photo
from portrait360.apps.cli.stages import each_photo
from portrait360.geometry.cameras import Camera, focal_from_fov, look_at
from portrait360.pipeline.portrait.alignment import make_portrait
from portrait360.pipeline.portrait.crop import CropSquare, cut
from portrait360.pipeline.portrait.face_detection import find_faces
from portrait360.pipeline.portrait.matting import Matte, crop_scale_for_hair, is_only_framed
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write
from portrait360.utils.images import Picture, load_picture
from tests.fixtures.paths import ASTRONAUT
from tests.fixtures.photos import assert_same

FOCAL = focal_from_fov(18.8)


@pytest.fixture(scope="module")
def photo() -> Picture:
    return load_picture(ASTRONAUT)


@pytest.fixture(scope="module")
def portrait(photo) -> Portrait:
    return make_portrait(photo, size=128)


# no head


def landscape() -> np.ndarray:
    """A blue sky, lighter further down, and a green hill."""
    y, x = np.mgrid[0:1:240j, 0:1:320j]
    sky = np.stack([0.4 + 0.3 * y, 0.6 + 0.2 * y, np.full_like(y, 0.9)], -1)
    hill = y > 0.7 - 0.3 * np.exp(-((x - 0.5) ** 2) / 0.05)
    return np.where(hill[..., None], [0.2, 0.5, 0.15], sky).astype(np.float32)


def strip() -> np.ndarray:
    return np.broadcast_to(np.float32([0.5, 0.3, 0.2]), (900, 16, 3)).copy()


@pytest.mark.parametrize("rgb", [landscape(), strip()], ids=["landscape", "strip"])
def test_a_picture_with_structure_but_without_a_head_is_refused(rgb):
    with pytest.raises(UserError, match="No head was found"):
        make_portrait(Picture(rgb, None), size=64)


# on its side


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_of_a_photo_give_the_same_portrait(photo, portrait, quarters):
    turned = make_portrait(photo.rotate(quarters), size=128)
    assert turned.quarter_turns == 4 - quarters and "rotated" in turned.warnings[0]
    assert_same(replace(turned, quarter_turns=0, warnings=()), replace(portrait, warnings=()))


def test_a_turned_portrait_comes_back_from_its_files(tmp_path, portrait):
    replace(portrait, quarter_turns=3).save(tmp_path)
    assert Portrait.load(tmp_path).quarter_turns == 3


# framed by transparency


def frames() -> dict[str, np.ndarray]:
    y, x = np.indices((512, 512))
    dot = np.ones((512, 512), np.float32)
    dot[300, 400] = 0
    corner = np.hypot(np.maximum(abs(x - 255.5) - 205.5, 0), np.maximum(abs(y - 255.5) - 205.5, 0)) < 50
    disc = np.hypot(x - 240, y - 200) < 230
    return {"dot": dot, "rounded": corner.astype(np.float32), "disc": disc.astype(np.float32)}


@pytest.mark.parametrize("frame", frames())
def test_a_frame_is_no_cut_out(photo, portrait, frame):
    alpha = frames()[frame]
    assert is_only_framed(alpha)
    found = make_portrait(replace(photo, alpha=alpha), size=128)
    inside = (cut(alpha, CropSquare(portrait.corner, portrait.side), 128, cv2.BORDER_CONSTANT) > 0.99) & (
        portrait.inside_photo > 0.99
    )
    assert np.abs(found.alpha - portrait.alpha)[inside].mean() < 0.02


def test_a_cut_out_is_no_frame():
    alpha = np.zeros((300, 300), np.float32)
    cv2.ellipse(alpha, (150, 90), (60, 75), 0, 0, 360, 1.0, -1)
    cv2.ellipse(alpha, (150, 290), (120, 110), 0, 0, 360, 1.0, -1)
    assert not is_only_framed(alpha) and not is_only_framed(np.zeros((64, 64), np.float32))


# hints


def test_an_azimuth_that_the_face_denies(photo):
    with pytest.raises(UserError, match="`azimuth=.180` cannot be"):
        make_portrait(photo, azimuth=180, size=64)
    assert "do not set" in make_portrait(photo, azimuth=50, size=64).warnings[0]
    assert make_portrait(photo, azimuth=5, size=64).warnings == ()


# several people


def test_a_neighbours_head_does_not_make_the_crop_larger():
    matte = np.zeros((256, 640), np.float32)
    for x in (128, 340):
        cv2.ellipse(matte, (x, 128), (50, 66), 0, 0, 360, 1.0, -1)
    matte[200:] = 1  # their shoulders touch
    square, camera = CropSquare((0.0, 0.0), 256.0), Camera(look_at(0), FOCAL)
    assert crop_scale_for_hair(Matte(matte, (0.0, 0.0), 1.0), square, camera) == 1
    matte[10:200, 100:156] = 1  # a hat of one's own does
    matte[:20, 100:156] = 1
    assert crop_scale_for_hair(Matte(matte, (0.0, 0.0), 1.0), square, camera) > 1


def test_a_small_face_beside_a_large_one_is_found(photo):
    face = photo.rgb[5:205, 120:320]
    both = np.full((1000, 2000, 3), 0.6, np.float32)
    both[100:900, 100:900] = cv2.resize(face, (800, 800), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    both[400:475, 1500:1575] = cv2.resize(face, (75, 75), interpolation=cv2.INTER_AREA)
    large, small = find_faces(both)
    assert large.box[0] < 900 and small.box[0] > 1400 and small.box[2] < 40


# files


def test_what_a_stopped_run_leaves_belongs_together(tmp_path, monkeypatch):
    options = {"face": None, "azimuth": None, "elevation": None, "size": 64, "method": "proxy"}
    for name in ("sheet.png", "turntable.webp", "proxy/proxy.npz", "portrait/sheet.png"):  # of an earlier photo
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")

    def stopped(portrait, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(photo_stages, "build_proxy", stopped)
    with pytest.raises(UserError):
        proxy_photo(tmp_path / "none.jpg", tmp_path, **options)
    assert (tmp_path / "sheet.png").read_text() == "old"  # nothing was begun: the old head is whole
    with pytest.raises(KeyboardInterrupt):
        proxy_photo(ASTRONAUT, tmp_path, **options)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [
        f"portrait/{name}"
        for name in ("known.png", "labels.png", "portrait.json", "portrait.png", "reading.npz", "sheet.png")
    ]
    assert (tmp_path / "portrait" / "sheet.png").stat().st_size > 1000


def test_what_killed_processes_left_is_removed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f".x.png.{ended.pid}", f".x.png.{os.getppid()}", ".x.png.notes", f".y.png.{ended.pid}"):
        (tmp_path / name).write_text("")
    with atomic_write(tmp_path / "x.png") as temporary:
        temporary.write_text("new")
    kept = [f".x.png.{os.getppid()}", ".x.png.notes", f".y.png.{ended.pid}", "x.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("name", ["sheet.png", "portrait/sheet.png"])
def test_a_sheet_that_cannot_be_written_is_one_sentence(tmp_path, portrait, monkeypatch, name):
    monkeypatch.setattr(photo_stages, "make_portrait", lambda *photo, **options: portrait)
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UserError, match="cannot be written .*; choose another folder"):
        proxy_photo(ASTRONAUT, tmp_path, face=None, azimuth=None, elevation=None, size=64, method="proxy")


@pytest.mark.parametrize("name", ["shape", "expression", "landmarks"])
def test_coefficients_of_another_length_are_damage(tmp_path, portrait, name):
    replace(portrait, **{name: getattr(portrait, name)[:-1]}).save(tmp_path)
    with pytest.raises(UserError, match="is damaged"):
        Portrait.load(tmp_path)


# several photos


def test_each_failure_has_its_own_line_and_a_mistake_of_ours_stops_nothing(tmp_path):
    done = []

    def work(photo: Path, folder: Path) -> list[str]:
        if photo.name == "b":
            raise UserError("b is bad.")
        if photo.name == "c":
            raise ZeroDivisionError("oh")
        done.append(folder.name)
        return []

    with pytest.raises(UserError) as caught:
        each_photo([Path(name) for name in "abcd"], tmp_path, work)
    first, second = str(caught.value).splitlines()
    assert first == "b is bad." and second.startswith("c: This is a bug in portrait360 (ZeroDivisionError: oh)")
    assert done == ["00", "03"]
    with pytest.raises(ZeroDivisionError):
        each_photo([Path("c")], tmp_path, work)


# crops


def test_a_large_square_is_cut_small_as_its_means():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.random((1203, 1301, 3)).astype(np.float32), (0, 0), 30)
    square = CropSquare((37.0, -50.0), 1280.0)
    small = cut(image, square, 32)
    means = cv2.copyMakeBorder(image, 50, 27, 0, 16, cv2.BORDER_REPLICATE)[:1280, 37:1317]
    np.testing.assert_allclose(small, cv2.resize(means, (32, 32), interpolation=cv2.INTER_AREA), atol=0.004)
