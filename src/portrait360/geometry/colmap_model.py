"""Cameras of images in a COLMAP model, as text or binary; the points in it are skipped.

Poses are world2cam, as a quaternion and a translation, with OpenCV's camera axes; pixels are counted from edges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from portrait360.geometry.camera_files import MAX_CAMERAS, MAX_DISTANCE, Shot, find_image, read_picture_size
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_size

CAMERAS, IMAGES = "cameras", "images"  # names of a model's files, without their suffixes
MAX_BYTES = 4 << 30  # of a file, which is read piece by piece
MAX_LINE = 1 << 12  # bytes of a line with a camera or a pose
MAX_NAME = 1 << 10  # bytes
BLOCK = 1 << 16
POINT_BYTES = 24  # of an observation in images.bin
MODELS = (  # COLMAP's numbers count them: name, parameters, how many of them come before the distortion
    ("SIMPLE_PINHOLE", 3, 3),
    ("PINHOLE", 4, 4),
    ("SIMPLE_RADIAL", 4, 3),
    ("RADIAL", 5, 3),
    ("OPENCV", 8, 4),
    ("OPENCV_FISHEYE", 8, 0),
    ("FULL_OPENCV", 12, 4),
    ("FOV", 5, 0),
    ("SIMPLE_RADIAL_FISHEYE", 4, 0),
    ("RADIAL_FISHEYE", 5, 0),
    ("THIN_PRISM_FISHEYE", 12, 0),
)


@dataclass(frozen=True)
class Lens:
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True, eq=False)
class Pose:
    """An image and where it was taken from."""

    name: str
    lens: int  # number of its lens
    world2cam: tuple[float, ...]  # quaternion w x y z, translation


def find_colmap_model(folder: Path) -> Path | None:
    """Return the folder of a model: this one, or where COLMAP and those who use it put one."""
    for path in (folder, folder / "sparse" / "0", folder / "sparse", folder / "colmap" / "sparse" / "0"):
        if any(all((path / f"{name}{end}").is_file() for name in (CAMERAS, IMAGES)) for end in (".bin", ".txt")):
            return path
    return None


def read_colmap(model: Path) -> list[Shot]:
    """Read the images that a model lists, in the order of their names; of the pictures only headers are opened."""
    is_binary = (model / f"{CAMERAS}.bin").is_file() and (model / f"{IMAGES}.bin").is_file()
    end = ".bin" if is_binary else ".txt"
    files = [model / f"{name}{end}" for name in (CAMERAS, IMAGES)]
    for path in files:
        check_size(path, MAX_BYTES)
    lenses = _read_binary_lenses(files[0]) if is_binary else _read_text_lenses(files[0])
    poses = _read_binary_poses(files[1]) if is_binary else _read_text_poses(files[1])
    if not poses:
        raise UserError(f"{files[1]} lists no images.")
    pictures = _find_pictures(model)
    return [_make_shot(pose, lenses, pictures, files[1]) for pose in sorted(poses, key=lambda pose: pose.name)]


def _find_pictures(model: Path) -> Path:
    """Return the folder that the names of a model's images start from."""
    above = [model, *model.parents][:4]
    return next((path / "images" for path in above if (path / "images").is_dir()), model)


def _make_shot(pose: Pose, lenses: dict[int, Lens], pictures: Path, path: Path) -> Shot:
    where = f"{path}, image {pose.name[:80]!r}"
    if pose.lens not in lenses:
        raise UserError(f"{where}, refers to a camera that is not in the model; export it again.")
    lens, image = lenses[pose.lens], find_image(pictures, pose.name, where)
    width, height = read_picture_size(image, {"w": lens.width, "h": lens.height}, where)
    return Shot(image, _to_cam2world(pose, where), width, height, lens.fx, lens.fy, lens.cx, lens.cy)


def _to_cam2world(pose: Pose, where: str) -> F64:
    values = np.array(pose.world2cam, np.float64)
    length = float(np.linalg.norm(values[:4]))
    if not (np.abs(values) <= MAX_DISTANCE).all() or not length > 1e-6:  # false for NaN too
        raise UserError(f"{where}, has no camera pose; export it again.")
    w, x, y, z = values[:4] / length
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + 2 * w * skew + 2 * skew @ skew
    cam2world = np.eye(4)
    cam2world[:3, :3], cam2world[:3, 3] = rotation.T, -rotation.T @ values[4:]
    return cam2world


def _make_lens(model: str, size: Sequence[int], values: Sequence[float], where: str) -> Lens:
    """Return a pinhole, or a lens whose distortion is 0."""
    count, undistorted = next(((n, m) for name, n, m in MODELS if name == model), (0, 0))
    distortion = values[undistorted:]
    if not undistorted or any(distortion):
        raise UserError(f"{where}, is not a pinhole ({model[:40]}); run COLMAP's image_undistorter first.")
    if len(values) != count or not all(abs(value) <= 1e15 for value in values):  # false for NaN too
        raise UserError(f"{where}, does not have {count} finite numbers; export it again.")
    fx, fy = (values[0], values[0]) if undistorted == 3 else (values[0], values[1])
    cx, cy = values[undistorted - 2 : undistorted]
    if min(fx, fy, *size) <= 0:
        raise UserError(f"{where}, has an impossible focal length or size; export it again.")
    return Lens(size[0], size[1], fx, fy, cx, cy)


def _check_count(path: Path, count: int) -> None:
    if count > MAX_CAMERAS:
        raise UserError(f"{path} lists more than {MAX_CAMERAS} entries; keep fewer images.")


def _read_text_lenses(path: Path) -> dict[int, Lens]:
    lenses = {}
    with path.open("rb") as file:
        for line in _text_lines(file, path):
            words = line.split()
            where = f"{path}, camera {' '.join(words)[:20]!r}"
            numbers = _to_numbers([*words[:1], *words[2:]], where)
            if len(numbers) < 3 or not all(float(number).is_integer() for number in numbers[:3]):
                raise UserError(f"{where}, lacks a number, model or size; export it again.")
            lenses[int(numbers[0])] = _make_lens(words[1], [int(n) for n in numbers[1:3]], numbers[3:], where)
            _check_count(path, len(lenses))
    return lenses


def _read_text_poses(path: Path) -> list[Pose]:
    """Read every other line: those between them list points."""
    poses = []
    with path.open("rb") as file:
        for line in _text_lines(file, path):
            words = line.split(maxsplit=9)
            where = f"{path}, image {' '.join(words)[:20]!r}"
            numbers = _to_numbers(words[:9], where)
            if len(words) < 10 or not numbers[8].is_integer():
                raise UserError(f"{where}, lacks a pose, camera or name; export it again.")
            poses.append(Pose(words[9].strip(), int(numbers[8]), tuple(numbers[1:8])))
            _check_count(path, len(poses))
            while (rest := file.readline(BLOCK)) and not rest.endswith(b"\n"):
                pass
    return poses


def _text_lines(file: BinaryIO, path: Path) -> Iterator[str]:
    """Yield the lines that are neither empty nor comments."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            raise UserError(f"{path} has a line that is too long; export it again.")
        text = line.decode("utf-8", "replace").strip()
        if text and not text.startswith("#"):
            yield text


def _to_numbers(words: Sequence[str], where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise UserError(f"{where}, has a word where a number belongs; export it again.") from error
    if not all(abs(number) <= 1e15 for number in numbers):  # false for NaN too
        raise UserError(f"{where}, has a number that is not finite; export it again.")
    return numbers


def _read_binary_lenses(path: Path) -> dict[int, Lens]:
    lenses = {}
    with path.open("rb") as file:
        (count,) = _unpack(file, "<Q", path)
        _check_count(path, count)
        for _ in range(count):
            number, model, width, height = _unpack(file, "<iiQQ", path)
            where = f"{path}, camera {number}"
            if not 0 <= model < len(MODELS):
                raise UserError(f"{where}, is not a pinhole; run COLMAP's image_undistorter first.")
            name, parameters, _ = MODELS[model]
            values = _unpack(file, f"<{parameters}d", path)
            lenses[number] = _make_lens(name, (width, height), values, where)
    return lenses


def _read_binary_poses(path: Path) -> list[Pose]:
    poses, size = [], path.stat().st_size
    with path.open("rb") as file:
        (count,) = _unpack(file, "<Q", path)
        _check_count(path, count)
        for _ in range(count):
            _, *world2cam, lens = _unpack(file, "<i7di", path)
            name = _read_name(file, path)
            (points,) = _unpack(file, "<Q", path)
            end = file.tell() + points * POINT_BYTES
            if end > size:
                raise UserError(f"{path} ends too early; export it again.")
            file.seek(end)
            poses.append(Pose(name, lens, tuple(world2cam)))
    return poses


def _read_name(file: BinaryIO, path: Path) -> str:
    """Read a name up to the zero that ends it."""
    start = file.tell()
    name, end, _ = file.read(MAX_NAME).partition(b"\0")
    if not end:
        raise UserError(f"{path} has an unterminated image name; export it again.")
    file.seek(start + len(name) + 1)
    return name.decode("utf-8", "replace")


def _unpack(file: BinaryIO, form: str, path: Path) -> tuple:
    values = file.read(struct.calcsize(form))
    if len(values) < struct.calcsize(form):
        raise UserError(f"{path} ends too early; export it again.")
    return struct.unpack(form, values)
