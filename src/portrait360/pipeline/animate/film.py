"""Render a performance to a video, frame by frame; frames that a stopped run has rendered are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from portrait360.geometry.cameras import Camera
from portrait360.pipeline.animate.lighting import Studio
from portrait360.pipeline.animate.performance import Performance, unit_names
from portrait360.pipeline.animate.pose import pose_avatar
from portrait360.pipeline.avatar.avatar import Avatar
from portrait360.pipeline.export.video import save_turntable
from portrait360.utils.array_types import Floats
from portrait360.utils.files import atomic_write, create_folder, lock_folder, translate_write_errors
from portrait360.utils.images import load_picture, over_grey, save_picture
from portrait360.utils.resume import RecordFile, cache_key

DECIMALS = 4
SAMPLES = 48_000  # of sound a second


@dataclass(frozen=True)
class Shot:
    """How a performance is filmed."""

    camera: Camera
    size: int
    studio: Studio | None = None  # another light than the photo's

    def describe(self) -> dict[str, object]:
        """Return all that the frames depend on, as plain values."""
        camera = [
            round(float(v), 6) for v in (*self.camera.cam2world.ravel(), self.camera.focal, *self.camera.center)
        ]
        return {"camera": camera, "size": self.size, "light": None if self.studio is None else self.studio.key}


def write_film(
    path: Path,
    avatar: Avatar,
    performance: Performance,
    shot: Shot,
    *,
    identity: str,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write a performance as .mp4 with its sound, or as .webp or .gif.

    Args:
        path: The file; frames wait in a folder beside it until it is done.
        avatar: The head.
        performance: What it does.
        shot: Camera, size and light.
        identity: Tells heads apart, so that frames of another are not taken for this one's.
        on_frame: Called after each frame.
    """
    folder = path.with_name(f".{path.name}.frames")
    with translate_write_errors(path.parent):
        create_folder(path.parent)
        create_folder(folder)
        with lock_folder(folder):
            _forget_other_frames(folder, _describe(performance, shot, identity))
            frames = _render_frames(folder, avatar, performance, shot, on_frame)
            if performance.sound is None or path.suffix.lower() != ".mp4":
                save_turntable(path, frames, performance.rate)
            else:
                silent = folder / "silent.mp4"
                save_turntable(silent, frames, performance.rate)
                with atomic_write(path) as temporary:
                    add_sound(temporary, silent, performance.sound)
        shutil.rmtree(folder, ignore_errors=True)


def _describe(performance: Performance, shot: Shot, identity: str) -> dict[str, str]:
    own = np.zeros(0) if performance.own is None else performance.own
    values = [np.round(a, DECIMALS).tolist() for a in (performance.weights, performance.neck, own)]
    return {"key": cache_key([identity, shot.describe(), performance.rate, values])}


def _forget_other_frames(folder: Path, inputs: dict[str, str]) -> None:
    record = RecordFile(folder / "frames.json")
    if record.load(inputs) is None:
        for file in folder.glob("*.png"):
            file.unlink()
        record.save(inputs)


def _render_frames(
    folder: Path, avatar: Avatar, performance: Performance, shot: Shot, on_frame: Callable[[], None]
) -> Iterator[Floats]:
    names, weights = unit_names(), performance.on(avatar.fit.expression)
    for i in range(len(performance)):
        file = folder / f"{i:05d}.png"
        if not file.is_file():
            expression = dict(zip(names, weights[i].tolist(), strict=True))
            yaw, pitch, roll = (float(v) for v in performance.neck[i])
            posed = pose_avatar(avatar, expression, (yaw, pitch, roll))
            view = (posed if shot.studio is None else shot.studio.light(posed)).render(shot.camera, shot.size)
            save_picture(file, over_grey(view.rgb, view.mask))
        yield load_picture(file).rgb
        on_frame()


def add_sound(path: Path, film: Path, source: Path) -> None:
    """Write a film with the sound of another file, as long as the film is; without it where it cannot be read."""
    with (
        av.open(str(film)) as pictures,
        av.open(str(source), metadata_errors="ignore") as sounds,
        av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        video = pictures.streams.video[0]
        end = float(video.duration * video.time_base) if video.duration and video.time_base else 0.0
        shown = out.add_stream_from_template(video)
        heard = out.add_stream("aac", rate=SAMPLES, layout="stereo") if sounds.streams.audio else None
        for packet in pictures.demux(video):
            if packet.dts is not None:
                packet.stream = shown
                out.mux(packet)
        if heard is not None:
            _encode_sound(out, heard, sounds, end)


def _encode_sound(out: Any, heard: Any, sounds: Any, end: float) -> None:
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLES)
    position = 0
    try:
        for frame in sounds.decode(audio=0):
            if frame.time is not None and frame.time >= end:
                break
            frame.pts = None
            for part in resampler.resample(frame):
                part.pts, position = position, position + part.samples
                out.mux(heard.encode(part))
    except av.error.FFmpegError:
        pass  # what is cut off stays silent
    out.mux(heard.encode())
