"""Training data of the full-size networks: images around heads, from any source.

A folder of heads holds one folder per head. A transforms.json in it, as `synth` and `export` write it, gives the
cameras. Without one, the images in the order of their names are a full turn in even steps that starts at the front
(the published training data: 72 images per head). The folder of heads may also hold tars, as `synth --shard` writes
them; they are read without unpacking.
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

from portrait360.geometry.camera_files import read_pose, read_transforms
from portrait360.geometry.cameras import Camera
from portrait360.utils.array_types import Floats
from portrait360.utils.errors import UserError
from portrait360.utils.images import image_size, load_bytes, load_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_ELEVATION = 15.0  # degrees of elevation up to which a camera belongs to the orbit
MIN_IMAGES, MAX_GAP = 8, 60.0  # images; degrees between two neighbours
WHITE = 1.0
HEADER = 4096  # bytes of a PNG that contain its size
TRANSFORMS = ".transforms.json"  # suffix of a head's cameras in a tar


@dataclass(frozen=True)
class TarMember:
    """A file in an uncompressed tar."""

    tar: Path
    name: str
    start: int
    size: int

    @property
    def path(self) -> Path:
        """The path to show in messages."""
        return self.tar / self.name

    def read(self, limit: int | None = None) -> bytes:
        with self.tar.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size if limit is None else min(limit, self.size))


@dataclass(frozen=True, eq=False)
class Orbit:
    """Images around one head, in the order of their azimuths (degrees, 0 in front)."""

    name: str
    pictures: tuple[Path | TarMember, ...]
    azimuths: Floats

    def nearest(self, azimuths: Floats) -> NDArray[np.integer]:
        """Return the indices of the images nearest to these azimuths."""
        return np.abs(angle_between(self.azimuths[None], np.atleast_1d(azimuths)[:, None])).argmin(1)

    def load(self, index: int, size: int) -> Floats:
        """Load an image (size, size, 3) in [0, 1], composited over white."""
        return load_resized(self.pictures[index], size)


def angle_between(a: Floats, b: Floats) -> Floats:
    """Return the signed angle from b to a in degrees, in [-180, 180)."""
    return np.asarray((a - b + 180.0) % 360.0 - 180.0, np.float64)


def load_resized(source: Path | TarMember, size: int) -> Floats:
    picture = load_picture(source) if isinstance(source, Path) else load_bytes(source.read(), source.path)
    rgb = picture.rgb if picture.alpha is None else WHITE + picture.alpha[..., None] * (picture.rgb - WHITE)
    return cv2.resize(np.asarray(rgb, np.float32), (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)


def read_orbits(folder: Path) -> list[Orbit]:
    """Read the orbits of all heads in a folder, in an order that does not depend on the file system."""
    paths = sorted(path for path in folder.iterdir()) if folder.is_dir() else []
    orbits = [orbit for path in paths if path.is_dir() and (orbit := read_orbit(path)) is not None]
    orbits += [orbit for path in paths if path.suffix == ".tar" for orbit in read_tar_orbits(path)]
    if len(orbits) < 2:
        raise UserError(
            f"{folder} contains {len(orbits)} usable orbits, but training needs at least 2: folders of {MIN_IMAGES} "
            f"pictures or more, from cameras within {MAX_ELEVATION:g} degrees of the horizon and at most {MAX_GAP:g} "
            "degrees apart."
        )
    return orbits


def read_orbit(folder: Path) -> Orbit | None:
    if (folder / "transforms.json").is_file():
        shots = read_transforms(folder)
        cameras = [Camera(shot.cam2world, shot.fx / shot.width) for shot in shots]
        return orbit_from_cameras(folder.name, [shot.image for shot in shots], cameras)
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return orbit_from_azimuths(folder.name, pictures, np.arange(len(pictures)) * (360.0 / max(len(pictures), 1)))


def read_tar_orbits(tar: Path) -> list[Orbit]:
    """Read the orbits in a tar of `synth --shard` from its headers and the transforms of each head."""
    orbits = []
    try:
        with tarfile.open(tar, "r:") as archive:
            files = {m.name: TarMember(tar, m.name, m.offset_data, m.size) for m in archive if m.isreg()}
        for name, member in files.items():
            if name.endswith(TRANSFORMS):
                frames = json.loads(member.read())["frames"]
                cameras = [
                    Camera(read_pose(frame, str(member.path)), float(frame["fl_x"]) / float(frame["w"]))
                    for frame in frames
                ]
                pictures = [files[frame["file_path"]] for frame in frames]
                orbits.append(orbit_from_cameras(name[: -len(TRANSFORMS)], pictures, cameras))
    except (tarfile.TarError, ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(
            f"{tar} is not a complete tar of heads; make it again with `portrait360 synth --shard`."
        ) from error
    return [orbit for orbit in orbits if orbit is not None]


def orbit_from_cameras(name: str, pictures: Sequence[Path | TarMember], cameras: Sequence[Camera]) -> Orbit | None:
    """Return the orbit of the cameras near the horizon, or None if they do not make one."""
    level = [i for i, camera in enumerate(cameras) if abs(camera.elevation) <= MAX_ELEVATION]
    azimuths = np.array([cameras[i].azimuth % 360 for i in level])
    return orbit_from_azimuths(name, [pictures[i] for i in level], azimuths)


def orbit_from_azimuths(name: str, pictures: Sequence[Path | TarMember], azimuths: Floats) -> Orbit | None:
    """Return the orbit, or None if it has too few images or too wide a gap."""
    order = np.argsort(azimuths, kind="stable")
    azimuths = azimuths[order]
    if len(pictures) < MIN_IMAGES or np.diff(azimuths, append=azimuths[0] + 360).max() > MAX_GAP:
        return None
    for picture in pictures:
        require_square(picture)
    return Orbit(name, tuple(pictures[i] for i in order), azimuths)


def require_square(source: Path | TarMember) -> None:
    """Check the size in the image's header before training starts, so that no image stops it hours later."""
    path = source if isinstance(source, Path) else source.path
    if isinstance(source, Path):
        width, height = image_size(source)
    else:
        limit = HEADER if path.suffix == ".png" else None  # other formats may store the size further on
        width, height = image_size(io.BytesIO(source.read(limit)), path)
    if width != height:
        raise UserError(
            f"{path} has {width} x {height} pixels; crop all pictures of an orbit to squares in the same way."
        )
