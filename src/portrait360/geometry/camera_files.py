"""Cameras of images in transforms.json, as nerfstudio and instant-ngp write and read it, and in text files.

Poses in transforms.json are cam2world with OpenGL's camera axes (x right, y up, z backwards); intrinsics are in
pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.utils.array_types import F64
from portrait360.utils.errors import UserError
from portrait360.utils.files import read_limited
from portrait360.utils.images import image_size

MAX_BYTES = 64 << 20
MAX_SIDE = 1 << 16
MAX_CAMERAS = 1000
MAX_DISTANCE = 1e9  # of a camera from a file's origin, in its own units
PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
DISTORTIONS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
FISHEYE = "is_fisheye"  # true or false


@dataclass(frozen=True, eq=False)
class Shot:
    """An image and its camera as given by a file; the image need not be square."""

    image: Path
    cam2world: F64  # (4, 4), OpenCV axes, in the file's own units and frame
    width: int
    height: int
    fx: float  # in pixels, like all that follow
    fy: float
    cx: float
    cy: float


def flip_camera_axes(cam2world: F64) -> F64:
    """Convert a pose (4, 4) from OpenCV's camera axes to OpenGL's, or back."""
    return cam2world @ np.diag([1.0, -1.0, -1.0, 1.0])


def frame_entry(name: str, camera: Camera, width: int, height: int) -> dict[str, Any]:
    """Return the entry of one image in transforms.json."""
    k = camera.intrinsics(width, height)
    lens = {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2], "cy": k[1, 2], "w": width, "h": height}
    angles = {"azimuth": camera.azimuth, "elevation": camera.elevation}
    return {"file_path": name, **lens, **angles, "transform_matrix": flip_camera_axes(camera.cam2world).tolist()}


def read_transforms(path: Path) -> list[Shot]:
    """Read the images that a transforms.json of any program lists; only their headers are opened.

    `path` is the folder of a transforms.json, or such a file of any name.
    """
    path = Path(path)
    path = path / "transforms.json" if path.is_dir() else path
    try:
        data = json.loads(read_limited(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; export it again.") from error
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{path} lists no frames.")
    if len(frames) > MAX_CAMERAS:
        raise UserError(f"{path} has {len(frames)} frames; give 1 to {MAX_CAMERAS}.")
    return [_read_shot(path, i, data, entry) for i, entry in enumerate(frames)]


def _read_shot(path: Path, i: int, shared: Mapping[str, Any], entry: Any) -> Shot:
    where = f"{path}, frame {i}"
    if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
        raise UserError(f"{where}, names no picture.")
    image = find_image(path.parent, entry["file_path"], where)
    values = {**{k: v for k, v in shared.items() if k != "frames"}, **entry}
    distortions = [name for name in DISTORTIONS if read_number(values, name, where, 0.0) != 0]
    distortions += [FISHEYE] * bool(values.get(FISHEYE))
    if distortions or values.get("camera_model", PINHOLES[0]) not in PINHOLES:
        name = (distortions or ["camera_model"])[0]
        raise UserError(f"{where}, has a lens that is not a pinhole ({name}); undistort its image.")
    width, height = read_picture_size(image, values, where)
    fx, fy = _read_focal(values, "x", width, where), _read_focal(values, "y", height, where)
    if fx is None and fy is None:
        raise UserError(f"{where}, has no focal length (fl_x or camera_angle_x).")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0
    cx, cy = read_number(values, "cx", where, width / 2), read_number(values, "cy", where, height / 2)
    return Shot(image, read_pose(entry, where), width, height, fx, fy, cx, cy)


def find_image(folder: Path, name: str, where: str) -> Path:
    """Return an image's path. Its name may lack the suffix (NeRF's synthetic scenes), but not leave the folder."""
    try:
        path = (folder / name.replace("\\", "/")).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise UserError(f"{where}, names {name!r}, which lies outside its folder.")
        image = next((p for p in (path, path.with_name(path.name + ".png")) if p.is_file()), None)
    except (OSError, ValueError, RuntimeError) as error:  # names that no file can have, and circular links
        raise UserError(f"{where}, has an invalid file name: {name[:80]!r}.") from error
    if image is None:
        raise UserError(f"{where}, names {name!r}, which does not exist.")
    return image


def read_number(values: Mapping[str, Any], name: str, where: str, default: float) -> float:
    value = values.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= 1e15:  # false for NaN too
        raise UserError(f"{where}, has no finite number for {name}.")
    return float(value)


def read_picture_size(image: Path, values: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Return width and height from the image's header, which must agree with the file of cameras."""
    width, height = image_size(image)
    expected = read_number(values, "w", where, width), read_number(values, "h", where, height)
    if expected != (width, height) or max(width, height) > MAX_SIDE:
        raise UserError(
            f"{where}, has {expected[0]:g} x {expected[1]:g} pixels, but {image.name} has {width} x {height}; "
            f"use images of the size given there, at most {MAX_SIDE} pixels wide."
        )
    return width, height


def _read_focal(values: Mapping[str, Any], axis: str, side: int, where: str) -> float | None:
    """Return the focal length in pixels, from a focal length or a full angle of view in radians."""
    focal = read_number(values, f"fl_{axis}", where, 0.0)
    angle = read_number(values, f"camera_angle_{axis}", where, 0.0)
    if focal < 0 or not 0 <= angle < math.pi:
        raise UserError(f"{where}, has an impossible focal length.")
    if focal:
        return focal
    return side / 2 / math.tan(angle / 2) if angle else None


def read_pose(entry: Mapping[str, Any], where: str) -> F64:
    """Return the pose (4, 4) of an entry with OpenCV's camera axes."""
    return flip_camera_axes(parse_rigid_transform(entry.get("transform_matrix"), where))


def parse_rigid_transform(values: Any, where: str) -> F64:
    """Parse a rigid transform (4, 4) from a file's values, with any camera axes."""
    try:
        matrix = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}, has no 4 x 4 camera pose matrix.") from error
    if matrix.shape not in ((3, 4), (4, 4)) or not (np.abs(matrix) <= MAX_DISTANCE).all():  # false for NaN too
        raise UserError(f"{where}, has no 4 x 4 camera pose matrix.")
    pose = np.eye(4)
    pose[:3] = matrix[:3]
    rotation = pose[:3, :3]
    is_rotation = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3 and np.linalg.det(rotation) > 0
    if not is_rotation:
        raise UserError(f"{where}, has a camera pose that is not a rotation and a translation.")
    return pose


MAX_ORBIT_BYTES = 4 << 20
MAX_ELEVATION, MIN_RADIUS, MAX_RADIUS = 89.0, 1.0, 30.0
FORMS = "a line for each camera, like `azimuth,elevation` or `azimuth,elevation,radius`, or a run's transforms.json"


def read_orbit(path: Path, focal: float) -> list[Camera]:
    """Read cameras from text with one camera a line, from a JSON list of them, or from a run's transforms.json."""
    text = read_limited(path, MAX_ORBIT_BYTES).decode("utf-8", "replace").strip()
    if text.startswith(("[", "{")):
        cameras = _cameras_from_json(path, text, focal)
    else:
        lines = [line.split("#")[0].replace(",", " ") for line in text.splitlines()]
        lines = [line for line in lines if line and not line.isspace()]
        _check_count(path, lines)
        cameras = [_orbit_camera(path, line.split(), focal) for line in lines]
    return cameras


def _check_count(path: Path, cameras: Sequence[Any]) -> None:
    """Raise a UserError for too few or too many cameras, before any is computed."""
    if not 1 <= len(cameras) <= MAX_CAMERAS:
        raise UserError(f"{path} has {len(cameras)} cameras; give 1 to {MAX_CAMERAS}: {FORMS}.")


def is_run_file(path: Path) -> bool:
    """Return whether a file of cameras is a run's transforms.json, with poses in the canonical frame."""
    return read_limited(path, MAX_ORBIT_BYTES).lstrip()[:1] == b"{"


def _cameras_from_json(path: Path, text: str, focal: float) -> list[Camera]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON; give {FORMS}.") from error
    if isinstance(data, list):
        _check_count(path, data)
        return [_orbit_camera(path, values if isinstance(values, list) else [], focal) for values in data]
    frames = data.get("frames")
    if "portrait360" not in data or not isinstance(frames, list):
        raise UserError(
            f"{path} is not the transforms.json of a run, so the head's position is unknown; give {FORMS}."
        )
    frames = [entry for entry in frames if not _is_photo(entry)]
    _check_count(path, frames)
    return [_frame_camera(path, i, entry) for i, entry in enumerate(frames)]


def _is_photo(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("file_path") == "reference.png"


def _orbit_camera(path: Path, numbers: list[Any], focal: float) -> Camera:
    try:
        azimuth, elevation, radius = map(float, [*numbers, RADIUS] if len(numbers) == 2 else numbers)
    except (TypeError, ValueError, OverflowError):  # not numbers, or neither two nor three of them
        azimuth = elevation = radius = float("nan")
    if not (abs(azimuth) <= 3600 and abs(elevation) <= MAX_ELEVATION and MIN_RADIUS <= radius <= MAX_RADIUS):
        raise UserError(
            f"{path} has an impossible camera {_quote(numbers)}; give {FORMS}, with elevations up to "
            f"{MAX_ELEVATION:g} degrees and radii of {MIN_RADIUS:g} to {MAX_RADIUS:g}."
        )
    return Camera(look_at(azimuth, elevation, radius=radius), focal)


def _quote(numbers: Sequence[Any]) -> str:
    try:
        return repr(" ".join(map(str, numbers[:4]))[:80])
    except ValueError:  # an integer of more digits than Python writes
        return "of very many digits"


def _frame_camera(path: Path, i: int, entry: Any) -> Camera:
    where = f"{path}, frame {i}"
    try:
        width, height = float(entry["w"]), float(entry["h"])
        lens = float(entry["fl_y"]) / height, (float(entry["cx"]) / width, float(entry["cy"]) / height)
        plausible = 0.1 <= lens[0] <= 100 and all(-1 <= c <= 2 for c in lens[1])
    except (TypeError, ValueError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise UserError(f"{where}, has no intrinsics (w, h, fl_y, cx, cy).") from error
    if not plausible:
        raise UserError(f"{where}, has invalid intrinsics.")
    return Camera(read_pose(entry, where), *lens)
