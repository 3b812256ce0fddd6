"""What a face does in a video or a table is read as it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrait360.pipeline.animate.arkit_csv import read_arkit_csv
from portrait360.pipeline.animate.face_reading import read_video
from portrait360.pipeline.animate.performance import unit_names
from portrait360.pipeline.animate.presets import SECONDS, make_preset
from portrait360.pipeline.animate.video_source import WORKING_SIDE, open_video
from portrait360.utils.errors import UserError
from tests.pipeline.animate.talking_head import MOVES, make_talking_head, write_video

NAMES = unit_names()
SIDES = [name.capitalize() if name.islower() else name[0].upper() + name[1:] for name in NAMES]
WITHIN = 0.1  # of the truth, on the median


def check_reading(path: Path, count: int, size: int) -> None:
    head = make_talking_head(count, size)
    performance = read_video(write_video(path, head.frames))
    assert len(performance) == count and performance.sound == path and performance.notes == ()
    for name in ("jawOpen", "smile", "blink"):
        read = performance.weights[:, [NAMES.index(unit) for unit in MOVES[name]]].mean(1)
        assert np.median(np.abs(read - head.weights[name])) < WITHIN, name
        assert np.corrcoef(read, head.weights[name])[0, 1] > 0.8, name
    turns = head.neck - np.median(head.neck, 0)
    assert (np.median(np.abs(performance.neck - turns), 0) < 2.5).all()


def test_a_talking_head_is_read_as_it_was_made(tmp_path: Path):
    check_reading(tmp_path / "talk.mp4", 16, 224)


@pytest.mark.slow
def test_a_longer_video_is_read_as_it_was_made(tmp_path: Path):
    check_reading(tmp_path / "talk.mp4", 72, 384)


def noise(count: int = 4, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(90, 140, (count, height, width, 3)).astype(np.uint8)


def test_a_video_without_a_face_is_told(tmp_path: Path):
    with pytest.raises(UserError, match="No face was found in"):
        read_video(write_video(tmp_path / "noise.mp4", noise()))


def read_all(path: Path):
    video = open_video(path)
    return video, list(video.read())


def test_uneven_frames_a_lack_of_sound_and_a_cut_are_told(tmp_path: Path):
    times = [0, 30, 60, 200, 230, 420, 450, 700]
    video, frames = read_all(write_video(tmp_path / "uneven.mp4", noise(8), sound=False, times=times))
    np.testing.assert_allclose(video.times, np.array(times) / 1000, atol=2e-3)
    assert len(frames) == 8
    uneven, silent = video.find_notes()
    assert "variable frame rate" in uneven and "no sound" in silent

    whole = write_video(tmp_path / "whole.mp4", noise(48, 128, 128), movflags="+faststart")
    assert read_all(whole)[0].find_notes() == ()
    data = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    video, frames = read_all(tmp_path / "cut.mp4")
    assert 0 < len(frames) < 48
    assert any("cut off after" in note for note in video.find_notes())


def test_what_is_no_video_is_told(tmp_path: Path):
    late = write_video(tmp_path / "late.mp4", noise(8))  # its index is at the end
    (tmp_path / "cut.mp4").write_bytes(late.read_bytes()[:-400])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name in ("cut.mp4", "text.mp4", "empty.mp4", "missing.mp4"):
        with pytest.raises(UserError) as error:
            read_video(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_frames_of_4k_are_made_smaller(tmp_path: Path):
    big = np.repeat(np.repeat(noise(2, 54, 96), 40, 1), 40, 2)
    video, frames = read_all(write_video(tmp_path / "big.mp4", big))
    assert max(frames[0].shape) == WORKING_SIDE and frames[0].shape[0] == WORKING_SIDE * 9 // 16
    assert any("3840 x 2160" in note for note in video.find_notes())


def write_table(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n", encoding="utf-8-sig")
    return path


def live_link(path: Path, weights: np.ndarray, turns: np.ndarray, codes: list[str]) -> Path:
    order = np.random.default_rng(0).permutation(len(NAMES))
    header = ["Timecode", "BlendShapeCount", *(SIDES[i] for i in order), "HeadYaw", "HeadPitch", "HeadRoll"]
    return write_table(
        path,
        header,
        [[code, 61, *w[order].tolist(), *t.tolist()] for code, w, t in zip(codes, weights, turns, strict=True)],
    )


def test_a_table_of_live_link_face_is_read_in_any_order_of_columns(tmp_path: Path):
    rng = np.random.default_rng(1)
    weights, turns = rng.uniform(0, 1, (31, 52)), rng.uniform(-0.4, 0.4, (31, 3))
    codes = [f"10:59:{59 + i // 60}:{i % 60:02d}.{0:03d}" for i in range(0, 62, 2)]
    codes = [code.replace("10:59:60", "11:00:00") for code in codes]
    read = read_arkit_csv(live_link(tmp_path / "take.csv", weights, turns, codes), 30)
    assert len(read) == 31 and read.notes == () and read.seconds == pytest.approx(31 / 30)
    np.testing.assert_allclose(read.weights, weights, atol=1e-9)
    np.testing.assert_allclose(read.neck, np.degrees(turns) * [1, -1, -1], atol=1e-9)
    half = read_arkit_csv(tmp_path / "take.csv", 15)
    np.testing.assert_allclose(half.weights, weights[::2], atol=1e-9)


def test_degrees_are_told_from_radians_and_absent_units_from_absent_tables(tmp_path: Path):
    turns = np.array([[20.0, 5.0, -3.0], [0, 0, 0]])
    read = read_arkit_csv(live_link(tmp_path / "a.csv", np.zeros((2, 52)), turns, ["0:0:0:0", "0:0:0:2"]), 30)
    np.testing.assert_allclose(read.neck[0], [20, -5, 3])
    read = read_arkit_csv(write_table(tmp_path / "few.csv", NAMES[:20], [[0.5] * 20, [1] * 20]))  # type: ignore[arg-type]
    assert read.weights[0, :20] == pytest.approx(0.5) and (read.weights[:, 20:] == 0).all()
    assert "32 of ARKit's 52" in read.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,age\nAnna,3\n", "0 of ARKit's 52 blend shapes"),
        ("", "no rows"),
        (",".join(NAMES) + "\n", "no rows"),
        (",".join(NAMES) + "\n" + ",".join(["x"] * 52), "Row 2"),
        (",".join(NAMES) + "\n" + ",".join(["nan"] * 52), "Row 2"),
        (",".join(NAMES) + "\n0.5,0.5\n", "Row 2"),
        ("\xff\xfe\x00\x01", "comma-separated"),
    ],
)
def test_tables_of_something_else_are_told(tmp_path: Path, text: str, words: str):
    (tmp_path / "bad.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words) as error:
        read_arkit_csv(tmp_path / "bad.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SECONDS)
def test_presets_loop_and_stay_within_their_range(name: str):
    one = make_preset(name)
    assert len(one) == round(SECONDS[name] * 30)
    assert one.weights.min() >= 0 and one.weights.max() <= 1 and np.abs(one.weights).max() > 0.2
    step = np.abs(np.diff(one.weights, axis=0)).max()
    assert np.abs(one.weights[0] - one.weights[-1]).max() <= step + 1e-9
    photo = np.full(52, 0.4)
    assert one.on(photo).min() >= 0 and one.on(photo).max() <= 1


def test_there_is_no_other_preset():
    with pytest.raises(UserError, match="talk, smile"):
        make_preset("dance")
