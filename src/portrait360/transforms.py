"""Cameras beside pictures in transforms.json, as nerfstudio and instant-ngp write and read it.

Poses there are cam2world with OpenGL's camera axes (x right, y up, z backwards); intrinsics are in pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portrait360.cameras import Array, Camera
from portrait360.errors import UserError
from portrait360.files import read_limited
from portrait360.images import size_told

MAX_BYTES = 64 << 20
MAX_SIDE = 1 << 16
PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
DISTORTIONS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "is_fisheye")


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture and its camera, as a file has them; the picture need not be square."""

    image: Path
    cam2world: Array  # (4, 4), OpenCV axes, the file's own units and frame
    width: int
    height: int
    fx: float  # pixels, as all that follow
    fy: float
    cx: float
    cy: float


def opengl(cam2world: Array) -> Array:
    """A pose (4, 4) from OpenCV's camera axes to OpenGL's, and back."""
    return cam2world @ np.diag([1.0, -1.0, -1.0, 1.0])


def frame(name: str, camera: Camera, width: int, height: int) -> dict[str, Any]:
    """The entry of one picture."""
    k = camera.intrinsics(width, height)
    lens = {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2], "cy": k[1, 2], "w": width, "h": height}
    turned = {"azimuth": camera.azimuth, "elevation": camera.elevation}
    return {"file_path": name, **lens, **turned, "transform_matrix": opengl(camera.cam2world).tolist()}


def read_transforms(path: Path) -> list[Shot]:
    """The pictures of a folder (or of a file of any name in it), from whatever program; only headers are opened."""
    path = Path(path)
    path = path / "transforms.json" if path.is_dir() else path
    try:
        said = json.loads(read_limited(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; export it again.") from error
    frames = said.get("frames") if isinstance(said, dict) else None
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{path} names no frames.")
    return [_shot(path, i, said, entry) for i, entry in enumerate(frames)]


def _shot(path: Path, i: int, shared: Mapping[str, Any], entry: Any) -> Shot:
    where = f"{path}, frame {i}"
    if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
        raise UserError(f"{where}, names no picture.")
    image = _inside(path.parent, entry["file_path"], where)
    values = {**{k: v for k, v in shared.items() if k != "frames"}, **entry}
    bent = [name for name in DISTORTIONS if _number(values, name, where, 0.0) != 0]
    if bent or values.get("camera_model", PINHOLES[0]) not in PINHOLES:
        raise UserError(f"{where}, has a lens that is not a pinhole ({(bent or ['camera_model'])[0]}); undistort it.")
    width, height = _size(image, values, where)
    fx, fy = _focal(values, "x", width, where), _focal(values, "y", height, where)
    if fx is None and fy is None:
        raise UserError(f"{where}, has no focal length (fl_x or camera_angle_x).")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0
    cx, cy = _number(values, "cx", where, width / 2), _number(values, "cy", where, height / 2)
    return Shot(image, pose_of(entry, where), width, height, fx, fy, cx, cy)


def _inside(folder: Path, name: str, where: str) -> Path:
    """A picture's place; the name may lack its ending, as in NeRF's synthetic scenes, but not lead elsewhere."""
    try:
        place = (folder / name.replace("\\", "/")).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise UserError(f"{where}, names {name!r}, which lies outside its folder.")
        found = next((p for p in (place, place.with_name(place.name + ".png")) if p.is_file()), None)
    except (OSError, ValueError, RuntimeError) as error:  # names no file can have, and links in a circle
        raise UserError(f"{where}, names a picture that no file can be: {name[:80]!r}.") from error
    if found is None:
        raise UserError(f"{where}, names {name!r}, which is not there.")
    return found


def _number(values: Mapping[str, Any], name: str, where: str, otherwise: float) -> float:
    value = values.get(name, otherwise)
    if not isinstance(value, int | float) or not abs(value) <= 1e15:  # false for NaN too
        raise UserError(f"{where}, has no finite number as {name}.")
    return float(value)


def _size(image: Path, values: Mapping[str, Any], where: str) -> tuple[int, int]:
    """As the picture's header tells, which must agree with the file."""
    width, height = size_told(image)
    said = _number(values, "w", where, width), _number(values, "h", where, height)
    if said != (width, height) or max(width, height) > MAX_SIDE:
        raise UserError(
            f"{where}, is of {said[0]:g} x {said[1]:g} pixels, but {image.name} of {width} x {height}; "
            f"bring pictures as large as said, at most {MAX_SIDE} pixels wide."
        )
    return width, height


def _focal(values: Mapping[str, Any], axis: str, side: int, where: str) -> float | None:
    """In pixels, from a focal length or a full angle in radians."""
    focal = _number(values, f"fl_{axis}", where, 0.0)
    angle = _number(values, f"camera_angle_{axis}", where, 0.0)
    if focal < 0 or not 0 <= angle < math.pi:
        raise UserError(f"{where}, has an impossible focal length.")
    if focal:
        return focal
    return side / 2 / math.tan(angle / 2) if angle else None


def pose_of(entry: Mapping[str, Any], where: str) -> Array:
    return opengl(rigid(entry.get("transform_matrix"), where))


def rigid(values: Any, where: str) -> Array:
    """A rotation and a place (4, 4) from what a file has, with whatever camera axes."""
    try:
        matrix = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}, has no camera pose of 4 x 4 numbers.") from error
    if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
        raise UserError(f"{where}, has no camera pose of 4 x 4 numbers.")
    pose = np.eye(4)
    pose[:3] = matrix[:3]
    turn = pose[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        sound = np.abs(turn @ turn.T - np.eye(3)).max() < 1e-3 and np.linalg.det(turn) > 0
    if not sound:
        raise UserError(f"{where}, has a camera pose that is no rotation and place.")
    return pose
