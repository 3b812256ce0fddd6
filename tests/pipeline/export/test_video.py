"""Films that close, and the paths they are seen from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from portrait360.geometry.cameras import Camera, azimuth_between, orbit
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.pipeline.export.camera_paths import figure_eight, parse_path, spline_path
from portrait360.pipeline.export.video import save_turntable
from portrait360.utils.errors import UserError
from tests.fixtures.chromium import FOUND, Chromium, Tab


def turning(count: int, height: int = 64, width: int = 64):
    """A soft bright spot that goes round once."""
    rows, columns = np.indices((height, width))
    for i in range(count):
        angle = 2 * np.pi * i / count
        x, y = width / 2 + width / 4 * np.cos(angle), height / 2 + height / 4 * np.sin(angle)
        light = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 60)[..., None]
        yield (0.1 + 0.9 * light * [1, 0.6, 0.3]).astype(np.float32).clip(0, 1)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.float64)


def test_mp4_is_what_browsers_and_phones_play_and_closes(tmp_path: Path):
    path = tmp_path / "turntable.mp4"
    save_turntable(path, turning(60))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert context.name == "h264" and stream.average_rate == 30 and context.pix_fmt == "yuv420p"
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert stream.frames == 60 and abs(container.duration / 1e6 - 2) < 0.05
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # so that it plays while it loads
    frames = decoded(path)
    steps = np.abs(frames - np.roll(frames, -1, 0)).mean((1, 2, 3))
    assert steps[-1] < 1.15 * steps[:-1].max() and steps[-1] > 0.85 * steps[:-1].min()
    truth = np.stack(list(turning(60))) * 255
    assert np.abs(frames - truth).mean() < 2.5
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")
def test_a_browser_plays_the_film(tmp_path: Path):
    save_turntable(tmp_path / "turntable.mp4", turning(30))
    page = "<video id=v muted src=turntable.mp4 style='position:fixed;left:0;top:0;width:64px;height:64px'></video>"
    (tmp_path / "page.html").write_text(page)
    seeking = (
        "new Promise((done, no) => {v.onerror = () => no(v.error.message); v.onseeked = done; v.currentTime = 0.51})"
    )
    with Chromium(tmp_path / "profile") as browser:
        tab = Tab(browser, 64, 64)
        tab.open(tmp_path / "page.html")
        tab.run(seeking)
        assert tab.run("[v.videoWidth, v.videoHeight, v.duration]") == pytest.approx([64, 64, 1], abs=0.05)
        until = time.monotonic() + 10
        while tab.picture().max() < 0.5 and time.monotonic() < until:
            time.sleep(0.1)
        assert np.abs(tab.picture() - list(turning(30))[15]).mean() < 0.03
        assert not tab.complaints()


@pytest.mark.parametrize("colour", [(200, 40, 40), (40, 160, 60), (224, 172, 140)])
def test_colours_are_those_of_bt709(tmp_path: Path, colour):
    """Read as tagged, not as this writer meant them: 8-bit luma of the standard."""
    frame = np.broadcast_to(np.float32(colour) / 255, (32, 32, 3))
    save_turntable(tmp_path / "flat.mp4", [frame] * 4)
    with av.open(str(tmp_path / "flat.mp4")) as container:
        luma = next(container.decode(video=0)).to_ndarray(format="yuv420p")[:32]
    assert abs(luma.mean() - (16 + 219 * np.dot([0.2126, 0.7152, 0.0722], np.float32(colour) / 255))) < 1.5


def test_odd_sides_gain_a_row_and_a_column(tmp_path: Path):
    save_turntable(tmp_path / "odd.mp4", turning(4, 49, 63))
    assert decoded(tmp_path / "odd.mp4").shape == (4, 50, 64, 3)


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_pages_that_take_no_video_get_the_same_film(tmp_path: Path, ending):
    path = tmp_path / f"turntable.{ending}"
    save_turntable(path, turning(12), fps=10)
    with Image.open(path) as image:
        assert image.n_frames == 12 and image.info["loop"] == 0 and image.format == ending.upper()
        error = []
        for i, truth in enumerate(turning(12)):
            image.seek(i)
            image.load()
            assert image.info["duration"] == 100
            error.append(np.abs(np.asarray(image.convert("RGB")) - truth * 255).mean())
    assert max(error) < 5


def test_a_long_film_is_never_held_whole(tmp_path: Path):
    frames = (np.full((512, 512, 3), i / 40, np.float32) for i in range(40))
    tracemalloc.start()
    save_turntable(tmp_path / "long.mp4", frames)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 512 * 512 * 3 * 4


WAVES = """
import sys, hashlib
from pathlib import Path
import numpy as np
from portrait360.pipeline.export.video import save_turntable
out = Path(sys.argv[1])
for size in (32, 64, 100):
    row = np.linspace(0, 1, size)
    parts = lambda i: (0.5 + 0.5 * np.sin(9 * row[:, None] + i), 0.5 + 0.5 * np.cos(7 * row + i / 2), row[:, None])
    save_turntable(out, (np.stack(np.broadcast_arrays(*parts(i)), -1) for i in range(8)))
    print(size, hashlib.sha256(out.read_bytes()).hexdigest())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can fill new memory")
def test_the_same_frames_are_the_same_bytes_whatever_was_in_memory(tmp_path: Path):
    command = [sys.executable, "-c", WAVES, str(tmp_path / "film.mp4")]
    filled = [dict(os.environ, MALLOC_PERTURB_=str(fill)) for fill in (77, 200)]
    said = {subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout for env in filled}
    assert len(said) == 1


def test_a_film_that_fails_leaves_nothing(tmp_path: Path):
    def broken():
        yield from turning(3)
        raise RuntimeError("no view")

    for ending in ("mp4", "webp", "gif"):
        with pytest.raises(RuntimeError, match="no view"):
            save_turntable(tmp_path / f"film.{ending}", broken())
    with pytest.raises(ValueError, match="at least one"):
        save_turntable(tmp_path / "film.mp4", [])
    with pytest.raises(UserError, match="can be an .mp4"):
        save_turntable(tmp_path / "film.avi", turning(3))
    assert not list(tmp_path.iterdir())


KEYS = [(0, 0), (80, 20), (180, 0, 3.5), (-80, -20)]


def test_a_path_is_named_or_spelled_out():
    spelled = spline_path(7, [(0, 0), (60, 10), (180, 20, 3.5)], focal=3)
    same = {"orbit": orbit(7, focal=3), "eight": figure_eight(7, focal=3), "0,0 60,10 180,20,3.5": spelled}
    for text, cameras in same.items():
        assert parse_path(text, focal=3)(7) == cameras
    for text in ("spiral", "", "0", "0,0", "0,0 x,1", "0,95", "0,0,0", "nan,0", "1,2,3,4"):
        with pytest.raises(UserError):
            parse_path(text, focal=3)


@pytest.mark.parametrize("path", [orbit, figure_eight, lambda n: spline_path(n, KEYS)])
def test_paths_close_without_a_jump(path):
    positions = np.stack([camera.position for camera in path(240)])
    steps = np.linalg.norm(positions - np.roll(positions, -1, 0), axis=1)
    assert steps.max() < 0.2 and np.abs(steps - np.roll(steps, 1)).max() < 0.01
    assert np.allclose(path(120)[5].position, path(240)[10].position)


def test_keys_are_passed_in_turn_the_shorter_way():
    cameras = spline_path(40, KEYS)
    for key, camera in zip(KEYS, cameras[::10], strict=True):
        radius = key[2] if len(key) == 3 else RADIUS
        assert abs(azimuth_between(camera.azimuth, key[0])) < 1e-6 and np.isclose(camera.elevation, key[1], atol=1e-6)
        assert np.isclose(camera.radius, radius)
    turns = [azimuth_between(a.azimuth, b.azimuth) for a, b in zip(cameras, cameras[1:] + cameras[:1], strict=True)]
    assert np.isclose(sum(turns), 360) and min(turns) > 0
    there_and_back = spline_path(16, [(-30, 0), (30, 10)])
    assert max(abs(azimuth_between(0, camera.azimuth)) for camera in there_and_back) < 31
    assert all(isinstance(camera, Camera) for camera in spline_path(3, [(20, 10)]))


def test_the_eight_is_as_wide_as_said_and_crosses_before_the_face():
    cameras = figure_eight(80, azimuth=30, elevation=12)
    sides = [azimuth_between(0, camera.azimuth) for camera in cameras]
    assert np.isclose(max(sides), 30) and np.isclose(min(sides), -30)
    assert np.isclose(max(camera.elevation for camera in cameras), 12)
    assert np.allclose(cameras[0].position, cameras[40].position) and np.isclose(sides[0], 0)


@pytest.mark.parametrize("keys", [[], [(1,)], [(0, 0, 2, 1)], [(0, 95)], [(0, float("nan"))], [(0, 0, 0)]])
def test_impossible_keys_are_refused(keys):
    with pytest.raises(UserError):
        spline_path(10, keys)
