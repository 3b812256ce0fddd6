"""Pictures of another head that a user brings as hints: an orbit in even steps, which begins at the front."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from portrait360.geometry.cameras import Camera, azimuth_between
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.files import sha256
from portrait360.utils.images import composite_over_white, image_size, load_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PICTURES = 360
TOLERANCE = 1.0  # degrees between a view's camera and that of its hint


@dataclass(frozen=True)
class HintPictures:
    """Pictures at azimuths 0, 360 / n, ... around a head, level with it."""

    folder: Path
    files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path) -> HintPictures:
        """Find the pictures of a folder in the order of the numbers in their names; none is decoded yet."""
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"`hints={folder}` is not a folder; give one with pictures of a head from all sides.")
        files = tuple(sorted((f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES), key=_name_key))
        if not 1 <= len(files) <= MAX_PICTURES:
            raise UserError(
                f"{folder} has {len(files)} pictures; give 1 to {MAX_PICTURES}, evenly spaced around the head."
            )
        for file in files:
            width, height = image_size(file)
            if width != height:
                raise UserError(
                    f"{file} has {width} x {height} pixels; hints must be square, like the networks' crops."
                )
        return cls(folder, files)

    def content_hash(self) -> str:
        return hashlib.sha256("".join(sha256(file) for file in self.files).encode()).hexdigest()

    def choose(self, cameras: Sequence[Camera]) -> list[Path]:
        """Return the file of each camera; the cameras are those of the published frame."""
        step = 360 / len(self.files)
        indices = [round(camera.azimuth / step) % len(self.files) for camera in cameras]
        for camera, index in zip(cameras, indices, strict=True):
            away = max(abs(azimuth_between(index * step, camera.azimuth)), abs(camera.elevation))
            if away > TOLERANCE:
                raise UserError(
                    f"{self.folder} has {len(self.files)} pictures, none of them from azimuth {camera.azimuth:.1f} "
                    f"and elevation {camera.elevation:.1f}; set `views=` to {len(self.files)} or to a divisor of it."
                )
        return [self.files[index] for index in indices]

    def load(self, cameras: Sequence[Camera], size: int) -> list[Floats]:
        """Load the hint (size size 3) of each camera as it stands; what is transparent becomes white."""
        return [_load_square(file, size) for file in self.choose(cameras)]


def _name_key(file: Path) -> list[tuple[int, str]]:
    """Order `2.png` before `10.png`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", file.name)]


def _load_square(file: Path, size: int) -> Floats:
    picture = load_picture(file)
    rgb = picture.rgb if picture.alpha is None else composite_over_white(picture.rgb, picture.alpha)
    interpolation = cv2.INTER_AREA if rgb.shape[0] > size else cv2.INTER_CUBIC
    resized = cv2.resize(np.asarray(rgb, np.float32), (size, size), interpolation=interpolation)
    return np.asarray(resized, np.float32).clip(0, 1)
