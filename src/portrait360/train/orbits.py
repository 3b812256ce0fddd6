"""What the full-size networks learn from: folders of pictures around heads, whoever made them.

A folder of heads holds a folder for each. With a transforms.json, as `synth` and `export` write it, cameras are
known; without one, its pictures are a full turn in even steps, in the order of their names, that begins at the front
(the published training data: 72 a head). Or it holds tars, as `synth --shard` writes them; they are not unpacked.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from portrait360.cameras import Camera
from portrait360.errors import UserError
from portrait360.images import load_bytes, load_picture, size_told
from portrait360.transforms import pose_of, read_transforms

Floats = NDArray[np.floating]

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
LEVEL = 15.0  # degrees of elevation up to which a camera is on the turn
FEWEST, WIDEST = 8, 60.0  # pictures; degrees between two of them
WHITE = 1.0
HEADER = 4096  # bytes of a PNG that tell its size
TOLD = ".transforms.json"  # of a head in a tar


@dataclass(frozen=True)
class Packed:
    """A file in a tar."""

    tar: Path
    name: str
    start: int
    size: int

    @property
    def path(self) -> Path:
        """For messages."""
        return self.tar / self.name

    def read(self, most: int | None = None) -> bytes:
        with self.tar.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size if most is None else min(most, self.size))


@dataclass(frozen=True, eq=False)
class Orbit:
    """Around one head: pictures in the order of their azimuths (degrees, 0 in front)."""

    name: str
    pictures: tuple[Path | Packed, ...]
    azimuths: Floats

    def nearest(self, azimuths: Floats) -> NDArray[np.integer]:
        """The places of the pictures that were taken nearest to there."""
        return np.abs(turned(self.azimuths[None], np.atleast_1d(azimuths)[:, None])).argmin(1)

    def load(self, place: int, size: int) -> Floats:
        """(size, size, 3) in [0, 1], before white where the picture is see-through."""
        return picture_of(self.pictures[place], size)


def turned(a: Floats, b: Floats) -> Floats:
    """From b to a the shorter way, in degrees."""
    return np.asarray((a - b + 180.0) % 360.0 - 180.0, np.float64)


def picture_of(place: Path | Packed, size: int) -> Floats:
    found = load_picture(place) if isinstance(place, Path) else load_bytes(place.read(), place.path)
    rgb = found.rgb if found.alpha is None else WHITE + found.alpha[..., None] * (found.rgb - WHITE)
    return cv2.resize(np.asarray(rgb, np.float32), (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)


def orbits_in(folder: Path) -> list[Orbit]:
    """Of every head there, in an order that does not depend on the disk."""
    inside = sorted(path for path in folder.iterdir()) if folder.is_dir() else []
    found = [orbit for path in inside if path.is_dir() and (orbit := orbit_in(path)) is not None]
    found += [orbit for path in inside if path.suffix == ".tar" for orbit in packed_orbits(path)]
    if len(found) < 2:
        raise UserError(
            f"{folder} holds {len(found)} orbits: folders of {FEWEST} pictures or more, from cameras within "
            f"{LEVEL:g} degrees of the horizon, with no gap of more than {WIDEST:g} between two; at least two heads "
            "are needed, since each is shown another one's views as hints."
        )
    return found


def orbit_in(folder: Path) -> Orbit | None:
    if (folder / "transforms.json").is_file():
        shots = read_transforms(folder)
        cameras = [Camera(shot.cam2world, shot.fx / shot.width) for shot in shots]
        return of_cameras(folder.name, [shot.image for shot in shots], cameras)
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    return in_order(folder.name, pictures, np.arange(len(pictures)) * (360.0 / max(len(pictures), 1)))


def packed_orbits(tar: Path) -> list[Orbit]:
    """Of a tar of `synth --shard`, by its headers and transforms.json."""
    found = []
    try:
        with tarfile.open(tar, "r:") as opened:
            files = {m.name: Packed(tar, m.name, m.offset_data, m.size) for m in opened if m.isreg()}
        for name, told in files.items():
            if name.endswith(TOLD):
                frames = json.loads(told.read())["frames"]
                cameras = [
                    Camera(pose_of(one, str(told.path)), float(one["fl_x"]) / float(one["w"])) for one in frames
                ]
                found.append(of_cameras(name[: -len(TOLD)], [files[one["file_path"]] for one in frames], cameras))
    except (tarfile.TarError, ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(
            f"{tar} is not a whole tar of heads; make it again with `portrait360 synth --shard`."
        ) from error
    return [orbit for orbit in found if orbit is not None]


def of_cameras(name: str, pictures: Sequence[Path | Packed], cameras: Sequence[Camera]) -> Orbit | None:
    """Those near to the horizon."""
    level = [i for i, camera in enumerate(cameras) if abs(camera.elevation) <= LEVEL]
    return in_order(name, [pictures[i] for i in level], np.array([cameras[i].azimuth % 360 for i in level]))


def in_order(name: str, pictures: Sequence[Path | Packed], azimuths: Floats) -> Orbit | None:
    """None where too few look at too little."""
    order = np.argsort(azimuths, kind="stable")
    azimuths = azimuths[order]
    if len(pictures) < FEWEST or np.diff(azimuths, append=azimuths[0] + 360).max() > WIDEST:
        return None
    for picture in pictures:
        require_square(picture)
    return Orbit(name, tuple(pictures[i] for i in order), azimuths)


def require_square(place: Path | Packed) -> None:
    """By its header: hours of training do not end at one picture."""
    path = place if isinstance(place, Path) else place.path
    if isinstance(place, Path):
        width, height = size_told(place)
    else:
        most = HEADER if path.suffix == ".png" else None  # others may tell it later
        width, height = size_told(io.BytesIO(place.read(most)), path)
    if width != height:
        raise UserError(f"{path} is of {width} x {height} pixels; crop the pictures of an orbit alike, to squares.")
