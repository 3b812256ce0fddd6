"""Turntables as MP4 for everywhere, and as WebP or GIF for pages that take no video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

from portrait360.errors import UserError
from portrait360.files import whole
from portrait360.images import eight_bits

Floats = NDArray[np.floating]

FPS = 30
X264 = {"crf": "19", "preset": "medium", "x264-params": "mbtree=0"}  # to the eye without loss
# (mbtree reads memory that nobody wrote: of small pictures, the same frames became other bytes each time)
BT709 = 1  # the number of these primaries, transfer curve and matrix in H.264
PALETTE_FRAMES = 8  # of a GIF, from which its one palette is made: one palette a frame would flicker


def save_turntable(path: Path, frames: Iterable[Floats], fps: float = FPS) -> None:
    """RGB frames (h, w, 3) in [0, 1] as a film without end, in the format that the name's ending says."""
    savers = {".mp4": _save_mp4, ".webp": _save_webp, ".gif": _save_gif}
    saver = savers.get(path.suffix.lower())
    if saver is None:
        raise UserError(f"A turntable can be an .mp4, .webp or .gif, not {path.name}.")
    row = (eight_bits(frame) for frame in frames)
    first = next(row, None)
    if first is None:
        raise ValueError("a turntable needs at least one frame")
    with whole(path) as temporary:
        saver(temporary, chain([first], row), fps)


def _save_mp4(path: Path, frames: Iterator[NDArray[np.uint8]], fps: float) -> None:
    """H.264 that any browser and phone plays; one frame is in memory at a time, and the index comes first."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = None
        for frame in frames:
            even = _even(frame)
            if stream is None:
                stream = container.add_stream("libx264", rate=round(fps), options=X264)
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.color_primaries = context.color_trc = context.colorspace = BT709
                context.color_range = ColorRange.MPEG
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            picture = picture.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode())


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour is stored for two pixels by two: an odd side is made longer by its last row or column."""
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge"))


def _save_webp(path: Path, frames: Iterator[NDArray[np.uint8]], fps: float) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]  # Pillow wants all of them
    pictures[0].save(
        path, "WEBP", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, quality=85
    )


def _save_gif(path: Path, frames: Iterator[NDArray[np.uint8]], fps: float) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]
    some = pictures[:: -(-len(pictures) // PALETTE_FRAMES)]
    palette = Image.fromarray(np.concatenate([np.asarray(p) for p in some])).quantize(256)
    indexed = [p.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for p in pictures]
    indexed[0].save(
        path, "GIF", save_all=True, append_images=indexed[1:], duration=round(1000 / fps), loop=0, optimize=False
    )
