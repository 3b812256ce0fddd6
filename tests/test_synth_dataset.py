"""Laws of the data set: splits by seed, clips that depend on their number alone, files that resume."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait360.cameras import Camera
from portrait360.errors import UserError
from portrait360.synth.dataset import SPLITS, Clip, ClipSettings, SyntheticClips, identity, split_of
from portrait360.synth.write import DEPTH_UNIT, opengl, write_dataset

SMALL = ClipSettings(size=48, views=3, orbit=12, identities=3, clips=2, kind="animal")


def same(a: Clip, b: Clip) -> bool:
    pictures = ("views", "alpha", "front", "back", "hints", "hint_alpha")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in pictures) and a.cameras == b.cameras


def test_splits_share_out_all_seeds_and_identities_keep_to_theirs():
    seeds = {split: [identity(split, i) for i in range(500)] for split in SPLITS}
    for split, of_split in seeds.items():
        assert all(split_of(seed) == split for seed in of_split)
        assert sorted(set(of_split)) == of_split
    assert not set(seeds["train"]) & (set(seeds["val"]) | set(seeds["test"]))
    share = np.mean([split_of(seed) == "train" for seed in range(2000)])
    assert 0.85 < share < 0.95


def test_clips_depend_on_their_number_alone_and_survive_pickling():
    clips = SyntheticClips(SMALL, seed=4)
    later = pickle.loads(pickle.dumps(SyntheticClips(SMALL, seed=4, start=5)))
    first = [clip for clip, _ in zip(iter(clips), range(6), strict=False)]
    assert [clip.index for clip in first] == list(range(6))
    resumed = next(iter(later))
    assert resumed.index == 5 and same(resumed, first[5])
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
    row = iter(SyntheticClips(SMALL, seed=4, workers=2, ahead=4))
    alone = SyntheticClips(SMALL, seed=4)
    alone_of_workers = SyntheticClips(SMALL, seed=4, workers=2)
    for k in range(3):
        clip = next(row)
        assert same(clip, alone_of_workers.clip(k))
        assert np.array_equal(clip.views, alone.clip(k).views)
    row.close()  # type: ignore[attr-defined]


def test_written_heads_resume_and_read_back(tmp_path: Path):
    what = {"views": 2, "size": 48, "kind": "statue", "depth": True, "normals": True}
    folders = write_dataset(tmp_path, count=2, seed=3, progress=False, **what)
    files = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    assert len(files) == 2 * (2 * 3 + 2)
    times = {path: path.stat().st_mtime_ns for path in files}
    (folders[1] / "transforms.json").unlink()
    (folders[1] / "001.png").write_bytes(b"cut off")
    write_dataset(tmp_path, count=2, seed=3, progress=False, **what)
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
    assert np.allclose(opengl(back), pose) and abs(back.azimuth - 180) < 1e-6


def test_other_settings_in_the_same_place_are_refused(tmp_path: Path):
    write_dataset(tmp_path, count=1, progress=False, views=1, size=32, kind="statue")
    with pytest.raises(UserError, match="other settings"):
        write_dataset(tmp_path, count=1, progress=False, views=2, size=32, kind="statue")
    with pytest.raises(UserError, match="no kind"):
        write_dataset(tmp_path, count=1, progress=False, kind="robot")
