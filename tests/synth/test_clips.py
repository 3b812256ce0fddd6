"""Laws of the data set: splits by seed, clips that depend on their number alone, files that resume."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait360.geometry.camera_files import flip_camera_axes
from portrait360.geometry.cameras import Camera
from portrait360.synth.data.clips import SPLITS, Clip, ClipSettings, SyntheticClips, identity_seed, split_of
from portrait360.synth.data.writer import DEPTH_UNIT, WriteSettings, write_dataset
from portrait360.utils.errors import UserError

SMALL = ClipSettings(size=48, views=3, orbit=12, identities=3, clips=2, kind="animal")


def same(a: Clip, b: Clip) -> bool:
    pictures = ("views", "alpha", "front", "back", "hints", "hint_alpha")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in pictures) and a.cameras == b.cameras


def test_splits_share_out_all_seeds_and_identities_keep_to_theirs():
    seeds = {split: [identity_seed(split, i) for i in range(500)] for split in SPLITS}
    for split, of_split in seeds.items():
        assert all(split_of(seed) == split for seed in of_split)
        assert sorted(set(of_split)) == of_split
    assert not set(seeds["train"]) & (set(seeds["val"]) | set(seeds["test"]))
    share = np.mean([split_of(seed) == "train" for seed in range(2000)])
    assert 0.85 < share < 0.95


def test_clips_depend_on_their_number_alone_and_survive_pickling():
    clips = SyntheticClips(SMALL, seed=4)
    later = pickle.loads(pickle.dumps(SyntheticClips(SMALL, seed=4, start=2)))
    first = [clip for clip, _ in zip(iter(clips), range(3), strict=False)]
    assert [clip.index for clip in first] == list(range(3))
    resumed = next(iter(later))
    assert resumed.index == 2 and same(resumed, first[2])
    assert not same(first[0], SyntheticClips(SMALL, seed=5).clip(0))


def test_a_block_shows_every_identity_equally_often_and_hints_are_of_another():
    clips = SyntheticClips(SMALL, seed=1)
    block = [clips.clip(k) for k in range(SMALL.block)]
    seeds = [clip.seed for clip in block]
    assert sorted(seeds.count(s) for s in set(seeds)) == [SMALL.clips] * SMALL.identities
    for clip in block:
        assert clip.hint_seed != clip.seed
        assert clip.views.shape == (3, 48, 48, 3) and clip.hints.shape == (3, 48, 48, 3)
        turns = np.diff(np.unwrap(np.radians([camera.azimuth for camera in clip.cameras])))
        assert np.allclose(turns, turns[0])


def test_workers_give_the_same_row():
    row = iter(SyntheticClips(SMALL, seed=4, workers=2, ahead=2))
    alone = SyntheticClips(SMALL, seed=4)
    for k in range(2):
        clip = next(row)
        assert same(clip, alone.clip(k))
    row.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "wrong",
    [{"clips": 0}, {"size": 0}, {"views": 0}, {"steps": ()}, {"kind": "robot"}, {"split": "all"}, {"fov": 0.0}],
)
def test_settings_that_make_no_clip_are_refused_at_once(wrong):
    with pytest.raises(ValueError):
        ClipSettings(**wrong)


def test_an_unfinished_head_is_gone_on_with_and_never_mixed(tmp_path: Path):
    what = {"views": 2, "size": 32, "kind": "statue"}
    (folder,) = write_dataset(tmp_path, count=1, **what)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "transforms.json").rename(folder / "kept")
    settings = json.dumps(json.loads((folder / "kept").read_text())["settings"])
    (folder / "kept").unlink()
    (folder / ".unfinished").write_text(settings)  # as a kill leaves it
    with pytest.raises(UserError, match="other settings"):
        write_dataset(tmp_path, count=1, views=3, size=32, kind="statue")
    write_dataset(tmp_path, count=1, **what)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    (folder / "001.png").unlink()
    write_dataset(tmp_path, count=1, **what)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_wrong_places_and_numbers_are_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for place, more in (
        ("file", {}),
        ("file/in", {}),
        ("a", {"seed": -1}),
        ("a", {"seed": 2**40}),
    ):
        with pytest.raises(UserError):
            write_dataset(tmp_path / place, count=1, views=1, size=32, **more)
    (tmp_path / "b" / "000000").mkdir(parents=True)
    (tmp_path / "b" / "000000" / "holiday.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        write_dataset(tmp_path / "b", count=1, views=1, size=32)


def test_written_heads_resume_and_read_back(tmp_path: Path):
    what = {"views": 2, "size": 48, "kind": "statue", "depth": True, "normals": True}
    folders = write_dataset(tmp_path, count=2, seed=3, **what)
    files = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    assert len(files) == 2 * (2 * 3 + 2)
    times = {path: path.stat().st_mtime_ns for path in files}
    settings = json.loads((folders[1] / "transforms.json").read_text())["settings"]
    (folders[1] / "transforms.json").unlink()
    (folders[1] / ".unfinished").write_text(json.dumps(settings))
    (folders[1] / "001.png").write_bytes(b"cut off")
    write_dataset(tmp_path, count=2, seed=3, **what)
    assert {path: path.read_bytes() for path in files} == files
    assert all(path.stat().st_mtime_ns == times[path] for path in files if path.parent == folders[0])
    found = json.loads((folders[0] / "transforms.json").read_text())
    frame = found["frames"][1]
    picture = np.asarray(Image.open(folders[0] / frame["file_path"]))
    depth = np.asarray(Image.open(folders[0] / frame["depth_file_path"])) * DEPTH_UNIT
    assert picture.shape == (48, 48, 4)
    assert depth[picture[..., 3] > 250].min() > 2.0 and depth[picture[..., 3] == 0].max(initial=0) == 0
    pose = np.array(frame["transform_matrix"])
    back = Camera(pose @ np.diag([1.0, -1, -1, 1]))
    assert np.allclose(flip_camera_axes(back.cam2world), pose) and abs(back.azimuth - 180) < 1e-6


def test_other_settings_in_the_same_place_are_refused(tmp_path: Path):
    write_dataset(tmp_path, count=1, views=1, size=32, kind="statue")
    with pytest.raises(UserError, match="other settings"):
        write_dataset(tmp_path, count=1, views=2, size=32, kind="statue")
    with pytest.raises(UserError, match="no kind"):
        write_dataset(tmp_path, count=1, kind="robot")


def test_the_elevation_is_that_of_the_orbit_or_bounds_random_cameras(tmp_path: Path):
    def elevations(name: str, **what) -> list[float]:
        (folder,) = write_dataset(tmp_path / name, count=1, size=32, kind="statue", **what)
        return [frame["elevation"] for frame in json.loads((folder / "transforms.json").read_text())["frames"]]

    assert elevations("level", views=2) == pytest.approx([0, 0], abs=1e-4)
    assert elevations("above", views=2, elevation=25.0) == pytest.approx([25, 25], abs=1e-4)
    assert elevations("flat", views=2, random_cameras=True, elevation=0.0) == pytest.approx([0, 0], abs=1e-4)
    free = [camera.elevation for camera in WriteSettings(200, random_cameras=True, elevation=60.0).cameras(3)]
    assert 50 < max(free) < 60.1 and -60.1 < min(free) < -50


@pytest.mark.parametrize("wrong", [{"elevation": 90.0}, {"elevation": float("nan")}])
def test_elevations_that_make_no_camera_are_one_sentence(tmp_path: Path, wrong):
    with pytest.raises(UserError, match="`elevation="):
        write_dataset(tmp_path, count=1, **wrong)
    with pytest.raises(UserError, match="is the limit above and below the head"):
        write_dataset(tmp_path, count=1, random_cameras=True, elevation=-5.0)
