"""Read the frames of an untrusted video: its sizes are checked first, and what is cut off or uneven is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from portrait360.pipeline.animate.performance import MOST_SECONDS, USUAL_RATE
from portrait360.pipeline.animate.request import RATES
from portrait360.utils.array_types import Bytes
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_size

MAX_BYTES = 4 << 30
MAX_SIDE = 8192  # pixels of a frame
WORKING_SIDE = 960  # pixels to which the longer side of larger frames is reduced
CUT = 0.5  # seconds that may lack at the end before a video counts as cut off
UNEVEN = 0.25  # share of a frame's time by which most frames may come early or late


@dataclass
class VideoSource:
    """A video that has been opened for reading."""

    path: Path
    rate: float  # frames a second, on average
    seconds: float | None  # as the file says
    has_sound: bool
    frames: int  # as the file says; 0 if it does not
    times: list[float] = field(default_factory=list)  # of the frames that have been read
    damaged: bool = False  # whether reading ended with an error
    reduced: tuple[int, int] | None = None  # width and height of frames that were made smaller

    def read(self) -> Iterator[Bytes]:
        """Yield the frames (h, w, 3), upright and no larger than needed; what cannot be decoded ends the video."""
        with _open(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            start = None
            try:
                for frame in container.decode(stream):
                    time = len(self.times) / self.rate if frame.time is None else float(frame.time)
                    start = time if start is None else start
                    if self.times and time - start <= self.times[-1]:
                        continue  # two frames at one time
                    if time - start > MOST_SECONDS:
                        raise UserError(
                            f"{self.path} is longer than {MOST_SECONDS / 60:g} minutes; cut it into shorter videos."
                        )
                    self.times.append(time - start)
                    yield self._convert(frame)
            except av.error.FFmpegError:
                self.damaged = True

    def _convert(self, frame: Any) -> Bytes:
        width, height = frame.width, frame.height
        if max(width, height) > MAX_SIDE:
            raise _too_large(self.path, width, height)
        scale = WORKING_SIDE / max(width, height)
        if scale < 1:
            self.reduced = (width, height)
            width, height = (max(2 * round(scale * side / 2), 16) for side in (width, height))
        picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
        quarters = round(float(getattr(frame, "rotation", 0) or 0) / 90) % 4
        return np.ascontiguousarray(np.rot90(picture, quarters))

    def find_notes(self) -> tuple[str, ...]:
        """Return what the user should know, once all frames have been read."""
        notes = []
        steps = np.diff(self.times)
        if len(steps) > 2 and np.quantile(np.abs(steps * self.rate - 1), 0.75) > UNEVEN:
            notes.append(f"{self.path} has a variable frame rate; the result has a constant one.")
        lacking = 0.0 if self.seconds is None or not self.times else self.seconds - self.times[-1] - 1 / self.rate
        if self.damaged or lacking > CUT:
            read = self.times[-1] if self.times else 0.0
            notes.append(f"{self.path} is cut off after {read:.1f} seconds; only that much of it is used.")
        if not self.has_sound:
            notes.append(f"{self.path} has no sound, so the result has none.")
        if self.reduced is not None:
            width, height = self.reduced
            limit = f"at most {WORKING_SIDE} pixels per side"
            notes.append(f"{self.path} has {width} x {height} pixels; the face is read at {limit}.")
        return tuple(notes)


def open_video(path: Path) -> VideoSource:
    """Look at a video without decoding it; raise a UserError for what is none."""
    check_size(path, MAX_BYTES)
    with _open(path) as container:
        if not container.streams.video:
            raise UserError(f"{path} has no video track; use a video that shows a face.")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None or not context.width or not context.height:
            raise _broken(path)
        if max(context.width, context.height) > MAX_SIDE:
            raise _too_large(path, context.width, context.height)
        seconds = None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        rate = float(stream.average_rate or stream.guessed_rate or USUAL_RATE)
        return VideoSource(
            path, float(np.clip(rate, *RATES)), seconds, bool(container.streams.audio), int(stream.frames or 0)
        )


def _open(path: Path) -> Any:
    try:
        return av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _broken(path) from error


def _broken(path: Path) -> UserError:
    return UserError(f"{path} is not a readable video, or is cut off; use an .mp4, .mov, .webm or .mkv.")


def _too_large(path: Path, width: int, height: int) -> UserError:
    return UserError(f"{path} has {width} x {height} pixels; use a video of at most {MAX_SIDE} pixels per side.")
