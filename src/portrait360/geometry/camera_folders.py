"""Folders with pictures and their cameras, by any program: nerfstudio, instant-ngp, COLMAP, FaceLift, our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from portrait360.geometry.camera_files import (
    MAX_BYTES,
    MAX_CAMERAS,
    Shot,
    find_image,
    parse_rigid_transform,
    read_number,
    read_picture_size,
    read_transforms,
)
from portrait360.geometry.colmap_model import find_colmap_model, read_colmap
from portrait360.utils.errors import UserError
from portrait360.utils.files import check_name, read_limited

TRANSFORMS, OPENCV = "transforms.json", "opencv_cameras.json"
EXPECTED = f"a {TRANSFORMS} (nerfstudio), a COLMAP model (sparse/0) or an {OPENCV} (FaceLift)"


def find_cameras(path: Path) -> Path | None:
    """Return what says where a folder's pictures were taken from: a file of JSON, or the folder of a COLMAP model."""
    check_name(path)
    if path.is_file():
        return path if path.suffix.lower() == ".json" else None
    for name in (TRANSFORMS, OPENCV):
        if (path / name).is_file():
            return path / name
    return find_colmap_model(path)


def read_shots(path: Path) -> list[Shot]:
    """Read the pictures that `find_cameras` found; only their headers are opened."""
    if path.is_dir():
        return read_colmap(path)
    return read_opencv_cameras(path) if path.name == OPENCV else read_transforms(path)


def read_opencv_cameras(path: Path) -> list[Shot]:
    """Read FaceLift's cameras: world2cam with OpenCV's axes, and a lens in pixels for each picture."""
    try:
        data = json.loads(read_limited(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; export it again.") from error
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not 1 <= len(frames) <= MAX_CAMERAS:
        raise UserError(f"{path} must list 1 to {MAX_CAMERAS} frames; export it again.")
    return [_read_opencv_shot(path, i, entry) for i, entry in enumerate(frames)]


def _read_opencv_shot(path: Path, i: int, entry: Any) -> Shot:
    where = f"{path}, frame {i}"
    if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
        raise UserError(f"{where}, names no picture.")
    image = find_image(path.parent, entry["file_path"], where)
    width, height = read_picture_size(image, entry, where)
    fx, fy = read_number(entry, "fx", where, 0.0), read_number(entry, "fy", where, 0.0)
    if min(fx, fy) <= 0:
        raise UserError(f"{where}, has no focal length (fx, fy).")
    cx, cy = read_number(entry, "cx", where, width / 2), read_number(entry, "cy", where, height / 2)
    cam2world = np.linalg.inv(parse_rigid_transform(entry.get("w2c"), where)).astype(np.float64)
    return Shot(image, cam2world, width, height, fx, fy, cx, cy)
