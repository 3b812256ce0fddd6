"""Turntables as MP4, and as WebP or GIF for pages that do not accept video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import atomic_write
from portrait360.utils.images import to_uint8

FPS = 30
X264 = {"crf": "18", "preset": "faster", "x264-params": "mbtree=0"}  # visually lossless; 19 and medium take longer
# (mbtree reads uninitialised memory: with small images, the same frames gave different bytes each time)
BT709 = 1  # H.264's number for these primaries, transfer curve and matrix
PALETTE_FRAMES = 8  # frames that define the single palette of a GIF: a palette for each frame would flicker


def save_turntable(path: Path, frames: Iterable[Floats], fps: float = FPS) -> None:
    """Save RGB frames (h, w, 3) in [0, 1] as a looping video in the format of the file's suffix."""
    savers = {".mp4": _save_mp4, ".webp": _save_webp, ".gif": _save_gif}
    saver = savers.get(path.suffix.lower())
    if saver is None:
        raise UserError(f"A turntable can be an .mp4, .webp or .gif, not {path.name}.")
    images = (to_uint8(frame) for frame in frames)
    first = next(images, None)
    if first is None:
        raise ValueError("a turntable needs at least one frame")
    with atomic_write(path) as temporary:
        saver(temporary, chain([first], images), fps)


def _save_mp4(path: Path, frames: Iterator[NDArray[np.uint8]], fps: float) -> None:
    """Save H.264 that any browser and phone plays; one frame is in memory at a time, and the index comes first."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = None
        for frame in frames:
            even = _pad_to_even(frame)
            if stream is None:
                stream = container.add_stream("libx264", rate=round(fps), options=X264)
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.color_primaries = context.color_trc = context.colorspace = BT709
                context.color_range = ColorRange.MPEG
            image = av.VideoFrame.from_ndarray(even, format="rgb24")
            image = image.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(image))
        if stream is not None:
            container.mux(stream.encode())


def _pad_to_even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row or column of an odd side, because colour is stored in blocks of 2 x 2 pixels."""
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge"))


def _save_webp(path: Path, frames: Iterator[NDArray[np.uint8]], fps: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]  # Pillow needs all of them at once
    images[0].save(
        path, "WEBP", save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, quality=85
    )


def _save_gif(path: Path, frames: Iterator[NDArray[np.uint8]], fps: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    samples = images[:: -(-len(images) // PALETTE_FRAMES)]
    palette = Image.fromarray(np.concatenate([np.asarray(p) for p in samples])).quantize(256)
    indexed = [p.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for p in images]
    indexed[0].save(
        path, "GIF", save_all=True, append_images=indexed[1:], duration=round(1000 / fps), loop=0, optimize=False
    )
