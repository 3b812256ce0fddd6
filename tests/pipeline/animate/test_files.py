"""Films that resume and keep their sound, animated .glb files, and panoramas."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import trimesh

from portrait360.geometry.cameras import Camera, look_at
from portrait360.pipeline.animate import film
from portrait360.pipeline.animate.animate import AnimateRequest, animate_head
from portrait360.pipeline.animate.film import Shot, write_film
from portrait360.pipeline.animate.gltf_animation import TURN_ERROR, WEIGHT_ERROR, animate_glb, keep_keys
from portrait360.pipeline.animate.lighting import parse_light, read_environment
from portrait360.pipeline.animate.neck import neck_rotation
from portrait360.pipeline.animate.performance import Performance, unit_names
from portrait360.pipeline.animate.presets import make_preset
from portrait360.synth.render.lights import reflected_light, sphere_directions
from portrait360.utils.errors import Interrupted, UserError
from tests.fixtures.paths import ROOT
from tests.fixtures.tiny_avatar import pack_tiny_avatar
from tests.pipeline.animate.talking_head import write_video

NAMES = unit_names()
PHOTO = np.zeros(52)


def read_tree(glb: bytes) -> tuple[dict, bytes]:
    length = struct.unpack_from("<I", glb, 12)[0]
    return json.loads(glb[20 : 20 + length]), glb[28 + length :]


def read_floats(tree: dict, body: bytes, index: int) -> np.ndarray:
    accessor = tree["accessors"][index]
    view = tree["bufferViews"][accessor["bufferView"]]
    width = {"SCALAR": 1, "VEC4": 4}[accessor["type"]]
    values = np.frombuffer(body, "<f4", accessor["count"] * width, view["byteOffset"])
    return values.reshape(-1, width).astype(np.float64)


@pytest.fixture(scope="module")
def performance() -> Performance:
    return make_preset("talk", 30)


@pytest.fixture(scope="module")
def animated(performance) -> bytes:
    return animate_glb(pack_tiny_avatar(), performance, PHOTO)


def test_tracks_hold_what_the_face_does(animated, performance):
    tree, body = read_tree(animated)
    (animation,) = tree["animations"]
    times = np.arange(len(performance)) / performance.rate
    seen = []
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler["interpolation"] == "LINEAR"
        keys = read_floats(tree, body, sampler["input"])[:, 0]
        values = read_floats(tree, body, sampler["output"]).reshape(len(keys), -1)
        assert keys[0] == 0 and keys[-1] == pytest.approx(times[-1], abs=1e-5) and (np.diff(keys) > 0).all()
        assert len(keys) < len(times)
        between = np.stack([np.interp(times, keys, column) for column in values.T], 1)
        node, path = tree["nodes"][channel["target"]["node"]], channel["target"]["path"]
        seen.append((node["name"], path))
        if path == "rotation":
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
            wanted = np.stack([neck_rotation(*row).as_quat() for row in performance.neck])
            np.testing.assert_allclose(between, wanted, atol=TURN_ERROR + 1e-5)
        else:
            targets = tree["meshes"][node["mesh"]]["extras"]["targetNames"]
            wanted = performance.weights[:, [NAMES.index(name) for name in targets]]
            np.testing.assert_allclose(between, wanted, atol=WEIGHT_ERROR + 1e-5)
    assert seen == [("skin", "weights"), ("head", "rotation")]


def test_an_independent_reader_finds_the_same_head_in_it(animated, tmp_path: Path):
    (tmp_path / "a.glb").write_bytes(animated)
    (tmp_path / "b.glb").write_bytes(pack_tiny_avatar())
    moving, still = (trimesh.load_scene(tmp_path / name) for name in ("a.glb", "b.glb"))
    assert set(moving.geometry) == set(still.geometry)
    np.testing.assert_allclose(moving.bounds, still.bounds)


@pytest.mark.slow
def test_the_khronos_validator_finds_nothing(animated, tmp_path: Path):
    """Needs node, and `npm install gltf-validator` in a folder that NODE_PATH names."""
    node = shutil.which("node")
    if node is None or "NODE_PATH" not in os.environ:
        pytest.skip("node or gltf-validator is not there")
    (tmp_path / "head.glb").write_bytes(animated)
    script = ROOT / "benchmarks" / "validate_glb.mjs"
    run = subprocess.run([node, script, tmp_path / "head.glb"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert '"numErrors":0,"numWarnings":0' in run.stdout, run.stdout


def test_straight_lines_need_two_keys():
    times = np.arange(50) / 30
    line = np.stack([times, 1 - times], 1)
    assert len(keep_keys(times, line, 1e-6)[0]) == 2
    bent = np.where(times[:, None] < times[20], line, 2 * line[20] - line)
    assert len(keep_keys(times, bent, 1e-6)[0]) <= 4
    assert len(keep_keys(times[:1], line[:1], 1e-6)[0]) == 1


class Stand:
    """A head whose picture is as bright as its jaw is open."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.level = weights["jawOpen"]

    def render(self, camera: Camera, size: int):
        return SimpleNamespace(rgb=np.full((size, size, 3), self.level, np.float32), mask=np.ones((size, size)))


@pytest.fixture
def poses(monkeypatch) -> list[float]:
    seen: list[float] = []

    def pose(avatar, weights, neck):
        seen.append(weights["jawOpen"])
        return Stand(weights)

    monkeypatch.setattr(film, "pose_avatar", pose)
    return seen


def brighten(count: int, sound: Path | None = None) -> Performance:
    weights = np.zeros((count, 52))
    weights[:, NAMES.index("jawOpen")] = np.linspace(0.1, 0.9, count)
    return Performance(10.0, weights, np.zeros((count, 3)), (), sound)


def test_a_stopped_film_goes_on_and_keeps_the_sound(tmp_path: Path, poses):
    talk = write_video(tmp_path / "talk.mp4", np.zeros((8, 32, 32, 3), np.uint8), 10)
    head, shot, out = (
        SimpleNamespace(fit=SimpleNamespace(expression=PHOTO)),
        Shot(Camera(look_at(0, 0)), 64),
        tmp_path / "out.mp4",
    )
    done = 0

    def stop() -> None:
        nonlocal done
        done += 1
        if done == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        write_film(out, head, brighten(8, talk), shot, identity="a", on_frame=stop)  # type: ignore[arg-type]
    first = len(poses)
    assert not out.exists() and first < 8
    write_film(out, head, brighten(8, talk), shot, identity="a")  # type: ignore[arg-type]
    assert len(poses) == 8  # none twice
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        frames = [frame.to_ndarray(format="rgb24").mean() / 255 for frame in container.decode(video=0)]
        np.testing.assert_allclose(frames, np.linspace(0.1, 0.9, 8), atol=0.02)
    with av.open(str(out)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(sound[4800:28800]))
    assert np.argmax(spectrum) == pytest.approx(440 / 2, abs=3)  # half a second: bins of 2 Hz
    assert list(tmp_path.glob(".*")) == []


def test_frames_of_another_head_are_not_taken(tmp_path: Path, poses):
    head, shot, out = (
        SimpleNamespace(fit=SimpleNamespace(expression=PHOTO)),
        Shot(Camera(look_at(0, 0)), 64),
        tmp_path / "out.webp",
    )

    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        write_film(out, head, brighten(3), shot, identity="a", on_frame=stop)  # type: ignore[arg-type]
    count = len(poses)
    write_film(out, head, brighten(3), shot, identity="b")  # type: ignore[arg-type]
    assert len(poses) == count + 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "one of --video"),
        ({"preset": "talk", "video": Path("a.mp4")}, "one of --video"),
        ({"preset": "talk", "output": Path("a.avi")}, "a.avi"),
        ({"preset": "talk", "size": 51}, "51"),
        ({"preset": "talk", "rate": 500.0}, "500"),
        ({"preset": "talk", "light": "0,0", "environment": Path("a.hdr")}, "not both"),
        ({"preset": "talk", "light": "0,0", "output": Path("a.glb")}, ".glb"),
        ({"video": Path("out.mp4")}, "overwrite"),
        ({"preset": "talk", "elevation": 95.0}, "89"),
        ({"preset": "talk"}, "no head that can be animated"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(tmp_path: Path, changes: dict, words: str):
    request = AnimateRequest(**({"head": tmp_path, "output": Path("out.mp4")} | changes))
    with pytest.raises(UserError, match=words) as error:
        animate_head(request)
    assert "\n" not in str(error.value)


def test_what_is_no_video_is_refused_before_the_head_is_looked_for(tmp_path: Path):
    (tmp_path / "song.mp4").write_bytes(b"no video at all")
    with pytest.raises(UserError, match="not a readable video"):
        AnimateRequest(tmp_path / "no head", tmp_path / "out.mp4", video=tmp_path / "song.mp4").check()


def write_panorama(path: Path, values: np.ndarray) -> Path:
    cv2.imwrite(str(path), values[..., ::-1].astype(np.float32))
    return path


def direction(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def test_an_even_panorama_lights_evenly(tmp_path: Path):
    light = read_environment(write_panorama(tmp_path / "even.hdr", np.full((64, 128, 3), [0.5, 1.0, 2.0])))
    np.testing.assert_allclose(reflected_light(light.ambient, sphere_directions(50)), [[0.5, 1, 2]] * 50, rtol=0.02)
    assert len(light.key_directions) == 0


def test_a_sun_becomes_a_lamp_and_no_light_is_lost(tmp_path: Path):
    """Its place: the middle of the panorama is before the face, and the face's left is left of it from there."""
    height, width = 128, 256
    rows, columns = np.indices((height, width)) + 0.5
    elevation, azimuth = 90 - rows / height * 180, (0.5 - columns / width) * 360
    around = direction(azimuth, elevation)
    sun = direction(50, 35)
    values = np.full((height, width, 3), 0.2)
    values[np.einsum("kij,k->ij", around, sun) > np.cos(np.radians(6))] = 60.0
    light = read_environment(write_panorama(tmp_path / "sun.hdr", values))
    assert np.degrees(np.arccos(light.key_directions[0] @ sun)) < 4
    area = np.cos(np.radians(elevation)) * (np.pi / height) * (2 * np.pi / width)
    whole = (values[..., 0] * np.maximum(np.einsum("kij,k->ij", around, sun), 0) * area).sum() / np.pi
    sent = reflected_light(light.ambient, sun[None])[0, 0] + light.key_colours[0, 0]
    assert sent == pytest.approx(whole, rel=0.12)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 900000 +X 900000\n",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 128\n\x02\x02",
        b"P6 4 4 255 " + bytes(48),
    ],
)
def test_what_is_no_panorama_is_told(tmp_path: Path, data: bytes):
    (tmp_path / "bad.hdr").write_bytes(data)
    with pytest.raises(UserError, match="bad.hdr"):
        read_environment(tmp_path / "bad.hdr")


@pytest.mark.parametrize("text", ["", "left", "1", "0,100", "0,0,2", "0,0,0,0", "nan,0"])
def test_what_is_no_light_is_told(text: str):
    with pytest.raises(UserError):
        parse_light(text)
