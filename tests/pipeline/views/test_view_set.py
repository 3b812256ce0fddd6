"""View sheets: ours come back the same, those of other programs are brought to our frame, bad ones are refused."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait360.geometry.camera_files import frame_entry
from portrait360.geometry.cameras import Camera, azimuth_between, focal_from_fov, look_at, orbit
from portrait360.geometry.volumes.volume import CELLS
from portrait360.pipeline.export.contact_sheet import run_sheet
from portrait360.pipeline.reconstruction.fit import fit_head
from portrait360.pipeline.views import view_set
from portrait360.pipeline.views.view_set import KNOWN, SURFACE, View, ViewSet, save_view
from portrait360.utils import memory
from portrait360.utils.errors import UserError
from portrait360.utils.images import save_picture
from tests.fixtures.viewer_scene import mesh

FOCAL = focal_from_fov(18.8)


def view(camera: Camera, size: int = 32) -> View:
    drawn = mesh().draw(camera, size)
    rgb = np.round(drawn.rgb * 255).astype(np.float32) / 255
    return View(rgb, drawn.mask.astype(np.float32), camera)


@pytest.fixture(scope="module")
def sheet() -> ViewSet:
    photo = view(Camera(look_at(10, 5, roll=3), FOCAL, (0.48, 0.53)), 64)
    return ViewSet(tuple(view(c) for c in orbit(6, focal=FOCAL)), photo, seed=7)


def test_files_give_back_the_same(tmp_path, sheet):
    sheet.save(tmp_path / "views")
    again = ViewSet.load(tmp_path / "views")
    assert again.seed == 7 and len(again.views) == 6 and again.reference is not None
    for ours, theirs in zip(sheet.all, again.all, strict=True):
        inside = ours.alpha > 0
        np.testing.assert_allclose(ours.rgb[inside], theirs.rgb[inside], atol=1e-6)
        np.testing.assert_array_equal(ours.alpha, theirs.alpha)
        np.testing.assert_allclose(ours.camera.label(), theirs.camera.label(), atol=1e-9)


def test_the_cells_near_the_surface_come_back_and_a_damaged_file_counts_as_none(tmp_path, sheet):
    surface = np.random.default_rng(0).random((CELLS,) * 3) < 0.1
    replace(sheet, surface=surface).save(tmp_path)
    again = ViewSet.load(tmp_path).surface
    assert again is not None and (again == surface).all()
    for damaged in (b"", b"no", zlib.compress(bytes(100)), zlib.compress(bytes(CELLS**3))):
        (tmp_path / SURFACE).write_bytes(damaged)
        assert ViewSet.load(tmp_path).surface is None
    sheet.save(tmp_path)  # views of something else
    assert not (tmp_path / SURFACE).exists() and ViewSet.load(tmp_path).surface is None


def test_views_that_were_written_one_by_one_are_not_written_again(tmp_path, sheet):
    sheet.save(tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    for i, single in enumerate(sheet.views):
        save_view(tmp_path / "parts", i, single)
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "parts").iterdir()}
    sheet.save(tmp_path / "parts", drawn=True)
    assert len(before) == 6 and all((tmp_path / "parts" / n).stat().st_mtime_ns == t for n, t in before.items())
    names = {file.name for file in (tmp_path / "whole").iterdir()}
    assert {file.name for file in (tmp_path / "parts").iterdir()} == names
    assert all((tmp_path / "parts" / n).read_bytes() == (tmp_path / "whole" / n).read_bytes() for n in names)


def test_what_lies_beyond_the_photo_stays_unknown(tmp_path, sheet):
    """Otherwise a fit is told that there is nothing."""
    known = np.ones((64, 64), np.float32)
    known[50:] = 0
    replace(sheet, reference=replace(sheet.reference, known_mask=known)).save(tmp_path)
    again = ViewSet.load(tmp_path).reference
    np.testing.assert_array_equal(again.known_mask, known)
    np.testing.assert_array_equal(again.alpha, sheet.reference.alpha)
    replace(sheet, reference=replace(sheet.reference, known_mask=np.ones_like(known))).save(tmp_path)
    assert ViewSet.load(tmp_path).reference.known_mask is None
    save_picture(tmp_path / KNOWN, np.ones((80, 80, 3), np.float32))
    with pytest.raises(UserError, match="differ in size"):
        ViewSet.load(tmp_path)


def elsewhere(camera: Camera) -> Camera:
    """The same camera in a frame that is moved, turned and three times as large."""
    pose = np.eye(4)
    turn = look_at(70, 0)[:3, :3] @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
    pose[:3, :3] = turn @ camera.cam2world[:3, :3]
    pose[:3, 3] = 3 * turn @ camera.position + [5, -2, 1]
    return replace(camera, cam2world=pose)


def foreign(folder: Path, sheet: ViewSet, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    frames = []
    for i, one in enumerate(sheet.views):
        save_picture(folder / f"{i}.png", one.rgb, one.alpha)
        frames.append(frame_entry(f"{i}.png", elsewhere(one.camera), one.size, one.size))
    (folder / "transforms.json").write_text(json.dumps({"frames": frames} | changes))
    return folder


def test_another_programs_frame_is_brought_to_ours(tmp_path, sheet):
    got = ViewSet.load(foreign(tmp_path / "a", sheet))
    assert got.reference is None
    for ours, theirs in zip(sheet.views, got.views, strict=True):
        assert abs(azimuth_between(ours.camera.azimuth, theirs.camera.azimuth)) < 1e-3
        assert abs(theirs.camera.elevation) < 1e-3 and theirs.camera.focal == pytest.approx(FOCAL)
        assert theirs.camera.radius == pytest.approx(2.7, rel=2e-3)  # REACH is that of our views


def test_pictures_that_are_not_square_are_padded_and_say_so(tmp_path, sheet):
    folder = foreign(tmp_path / "a", sheet)
    said = json.loads((folder / "transforms.json").read_text())
    for i, (one, entry) in enumerate(zip(sheet.views, said["frames"], strict=True)):
        save_picture(folder / f"{i}.png", one.rgb[4:28], one.alpha[4:28])  # 24 rows of 32 columns
        entry |= {"h": 24, "cy": 12.0}
    (folder / "transforms.json").write_text(json.dumps(said))
    got = ViewSet.load(folder).views[0]
    assert got.size == 32 and got.known_mask is not None and got.known_mask.sum() == 24 * 32
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (20, 3)) / (32 / 24)
    ours = sheet.views[0].camera.project(points)[0] * 32 - [0, 4]  # in the cropped picture's pixels
    scale = got.camera.radius / 2.7
    np.testing.assert_allclose(got.camera.project(points * scale)[0] * 32, ours, atol=0.05)


def one_view(folder: Path) -> None:
    said = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").write_text(json.dumps({"frames": said["frames"][:1]}))


def no_cameras(folder: Path) -> None:
    (folder / "transforms.json").unlink()


def missing_picture(folder: Path) -> None:
    (folder / "3.png").unlink()


def nan(folder: Path) -> None:
    path = folder / "transforms.json"
    path.write_text(path.read_text().replace("5.0", "NaN", 1).replace('"fl_x": ', '"fl_x": NaN, "x": ', 1))


def same_way(folder: Path) -> None:
    said = json.loads((folder / "transforms.json").read_text())
    for entry in said["frames"]:
        entry["transform_matrix"] = said["frames"][0]["transform_matrix"]
    (folder / "transforms.json").write_text(json.dumps(said))


def other_size(folder: Path) -> None:
    save_picture(folder / "2.png", np.zeros((20, 20, 3)))


@pytest.mark.parametrize("harm", [one_view, no_cameras, missing_picture, nan, same_way, other_size])
def test_bad_folders_end_in_one_plain_sentence(tmp_path, sheet, harm):
    folder = foreign(tmp_path / "a", sheet)
    harm(folder)
    with pytest.raises(UserError) as caught:
        ViewSet.load(folder)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_cameras_on_the_point_that_they_look_at_are_refused(tmp_path, sheet):
    sheet.save(tmp_path)
    said = json.loads((tmp_path / "transforms.json").read_text())
    for entry in said["frames"]:
        for row in entry["transform_matrix"][:3]:
            row[3] *= 1e-200
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": said["frames"]}))
    with pytest.raises(UserError, match="at the point that it looks at"):
        ViewSet.load(tmp_path)


def test_pictures_that_do_not_fit_into_memory_are_refused_before_any_is_opened(tmp_path, sheet, monkeypatch):
    sheet.save(tmp_path)
    monkeypatch.setattr(memory, "available_memory", lambda: 20 * (6 * 32**2 + 64**2) - 1)
    monkeypatch.setattr(view_set, "load_picture", None)
    with pytest.raises(UserError, match="use fewer or smaller pictures"):
        ViewSet.load(tmp_path)


@pytest.mark.parametrize("count", [1, 2])
def test_a_set_of_ours_may_hold_fewer_views_than_a_fit_needs(tmp_path, sheet, count):
    """As a run writes them that makes one view and no head."""
    few = ViewSet(sheet.views[:count], sheet.reference if count == 1 else None)
    few.save(tmp_path)
    assert len(ViewSet.load(tmp_path).views) == count
    with pytest.raises(UserError, match="has 2 views; provide 3 to 1000"):
        fit_head(few)


def test_the_sheet_shows_nothing_that_was_added_beyond_the_photo():
    grey, red = np.full((8, 8, 3), 0.5), np.full((8, 8, 3), [0.9, 0.1, 0.1])
    camera = Camera(look_at(0), 1.0)
    known = np.ones((8, 8), np.float32)
    known[4:] = 0
    views = tuple(View(grey, np.ones((8, 8)), camera) for _ in range(14))
    photo = run_sheet(ViewSet(views, View(red, np.ones((8, 8)), camera, known)), None, 4)[:8, :8]
    assert np.allclose(photo[:4], red[0, 0], atol=0.01) and np.allclose(photo[4:], 0.5, atol=0.01)
